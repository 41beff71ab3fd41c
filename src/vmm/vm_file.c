/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/vm_file.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <libconfig.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buffer.h"
#include "base/file.h"
#include "vmm/boot_files.h"
#include "vmm/image_create.h"
#include "vmm/open_beneath.h"

typedef struct Parse {
	const char *name;
	const char *directory;
	const char *boot_directory; /* NULL: boot files may lie anywhere */
	VmFile *file;
} Parse;

typedef bool TakeSetting(Parse *parse, const config_setting_t *setting, Error *err);
typedef bool TakeMember(Parse *parse, const config_setting_t *setting, void *object, Error *err);

typedef struct Key {
	const char *name;
	bool required;
	TakeSetting *take;
} Key;

typedef struct Member {
	const char *name;
	bool required;
	TakeMember *take;
} Member;

static bool wrong(const Parse *parse, const config_setting_t *setting, Error *err,
		  const char *format, ...) __attribute__((format(printf, 4, 5)));

/* "vm.conf:12: memory ..." */
static bool wrong(const Parse *parse, const config_setting_t *setting, Error *err,
		  const char *format, ...)
{
	const char *name = config_setting_name(setting);
	char text[ERROR_TEXT_SIZE];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	return error_set(err, ERROR_CONFIG, "%s:%u: %s %s", parse->name,
			 config_setting_source_line(setting), name ? name : "entry", text);
}

static bool take_text(const Parse *parse, const config_setting_t *setting, TextClass klass,
		      char *ret_text, size_t size, Error *err)
{
	const char *text = config_setting_get_string(setting);

	if (!text)
		return wrong(parse, setting, err, "is not a string in quotes");
	if (strlen(text) >= size)
		return wrong(parse, setting, err, "is \"%.64s...\": longer than %zu characters",
			     text, size - 1);
	if (!text_is(klass, text, 1))
		return wrong(parse, setting, err, "is \"%s\": malformed", text);
	memcpy(ret_text, text, strlen(text) + 1);
	return true;
}

static bool take_bool(const Parse *parse, const config_setting_t *setting, bool *ret_value,
		      Error *err)
{
	if (config_setting_type(setting) != CONFIG_TYPE_BOOL)
		return wrong(parse, setting, err, "is not true or false");
	*ret_value = config_setting_get_bool(setting) != 0;
	return true;
}

/* The words' indices are the values of the enum. */
static bool take_word(const Parse *parse, const config_setting_t *setting, const char *const *words,
		      size_t count, unsigned int *ret_value, Error *err)
{
	const char *text = config_setting_get_string(setting);
	char known[128] = "";

	for (size_t i = 0; i < count; i++) {
		size_t used = strlen(known);

		if (text && !strcmp(text, words[i])) {
			*ret_value = (unsigned int)i;
			return true;
		}
		snprintf(known + used, sizeof(known) - used, "%s\"%s\"", i ? ", " : "", words[i]);
	}
	return wrong(parse, setting, err, "is \"%.64s\": not one of %s", text ? text : "", known);
}

bool vm_file_parse_size(const char *text, uint64_t *ret_bytes)
{
	static const char suffixes[] = "KMGT";
	uint64_t value = 0;
	const char *suffix;
	int shift = 0;

	if (!isdigit((unsigned char)*text))
		return false;
	for (; isdigit((unsigned char)*text); text++) {
		uint64_t digit = (uint64_t)(*text - '0');

		if (value > (UINT64_MAX - digit) / 10)
			return false;
		value = value * 10 + digit;
	}
	if (*text) {
		suffix = strchr(suffixes, *text++);
		if (!suffix || *text)
			return false;
		shift = 10 * (int)(suffix - suffixes + 1);
	}
	if (value > UINT64_MAX >> shift)
		return false;
	*ret_bytes = value << shift;
	return true;
}

static bool take_name(Parse *parse, const config_setting_t *setting, Error *err)
{
	Manifest *m = &parse->file->manifest;

	return take_text(parse, setting, TEXT_NAME, m->name, sizeof(m->name), err);
}

static bool take_uuid(Parse *parse, const config_setting_t *setting, Error *err)
{
	Manifest *m = &parse->file->manifest;

	return take_text(parse, setting, TEXT_UUID, m->uuid, sizeof(m->uuid), err);
}

static bool take_machine(Parse *parse, const config_setting_t *setting, Error *err)
{
	Manifest *m = &parse->file->manifest;

	if (!take_text(parse, setting, TEXT_NAME, m->machine, sizeof(m->machine), err))
		return false;
	if (manifest_is_versioned_machine(m->machine))
		return true;
	return wrong(
		parse, setting, err,
		"is \"%s\": must be a versioned type such as \"pc-q35-10.0\", so that every host "
		"builds the same machine",
		m->machine);
}

static bool take_cpu(Parse *parse, const config_setting_t *setting, Error *err)
{
	Manifest *m = &parse->file->manifest;

	return take_text(parse, setting, TEXT_NAME, m->cpu, sizeof(m->cpu), err);
}

static bool take_cpus(Parse *parse, const config_setting_t *setting, Error *err)
{
	int value = config_setting_get_int(setting);

	if (config_setting_type(setting) != CONFIG_TYPE_INT || value < 1 || value > LIMIT_VCPUS)
		return wrong(parse, setting, err, "is not a number from 1 to %d", LIMIT_VCPUS);
	parse->file->manifest.cpus = (uint64_t)value;
	return true;
}

static bool take_memory(Parse *parse, const config_setting_t *setting, Error *err)
{
	const char *text = config_setting_get_string(setting);
	uint64_t *bytes = &parse->file->manifest.memory_bytes;

	if (!text || !vm_file_parse_size(text, bytes))
		return wrong(parse, setting, err,
			     "is \"%.64s\": not a size such as \"512M\" or \"2G\"",
			     text ? text : "");
	if (*bytes < LIMIT_MEMORY_MIN || *bytes > LIMIT_MEMORY_BYTES || *bytes % (2 << 20))
		return wrong(parse, setting, err,
			     "is \"%s\": outside 16M to 16T, or no multiple of 2M", text);
	return true;
}

static bool take_path(Parse *parse, const config_setting_t *setting, char *ret_path, Error *err)
{
	char text[LIMIT_PATH];
	int length;

	if (!take_text(parse, setting, TEXT_PRINTABLE, text, sizeof(text), err))
		return false;
	if (text[0] == '/')
		length = snprintf(ret_path, LIMIT_PATH, "%s", text);
	else
		length = snprintf(ret_path, LIMIT_PATH, "%s/%s", parse->directory, text);
	if (length >= LIMIT_PATH)
		return wrong(parse, setting, err, "is a path longer than %d bytes", LIMIT_PATH - 1);
	return true;
}

/* The name of a file that lies in the directory itself; NULL if the path leads elsewhere. */
static const char *name_in(const char *directory, const char *path)
{
	size_t length = strlen(directory);
	const char *name;

	while (length > 1 && directory[length - 1] == '/')
		length--;
	if (strncmp(path, directory, length) || path[length] != '/')
		return NULL;
	name = path + length + strspn(path + length, "/");
	return *name && !strchr(name, '/') && strcmp(name, ".") && strcmp(name, "..") ? name : NULL;
}

static bool open_bounded(const Parse *parse, const char *path, int *ret_fd, Error *err)
{
	const char *name = name_in(parse->boot_directory, path);
	AUTO_FD int directory = -1;
	AUTO_FD int fd = -1;
	struct stat status;

	if (!name)
		return error_set(err, ERROR_DENIED, "only root may name files outside %s",
				 parse->boot_directory);
	directory = open(parse->boot_directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (directory < 0)
		return error_set_errno(err, ERROR_CONFIG, errno, "cannot open %s",
				       parse->boot_directory);
	/* Opening a device would already be an act. */
	if (!fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) && !S_ISREG(status.st_mode))
		return error_set(err, ERROR_DENIED, "not a regular file");
	if (!open_beneath(directory, name, O_RDONLY, &fd, err))
		return false;
	if (fstat(fd, &status) || !S_ISREG(status.st_mode))
		return error_set(err, ERROR_DENIED, "not a regular file");
	*ret_fd = TAKE_FD(fd);
	return true;
}

static bool open_boot_file(const Parse *parse, const char *path, int *ret_fd, Error *err)
{
	if (parse->boot_directory)
		return open_bounded(parse, path, ret_fd, err);
	*ret_fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	return *ret_fd >= 0 || error_set_errno(err, ERROR_CONFIG, errno, "cannot open");
}

static bool take_digest(Parse *parse, const config_setting_t *setting, const char *path,
			uint8_t ret_sha256[DIGEST_SHA256_BYTES], Error *err)
{
	AUTO_FD int fd = -1;
	Error problem = ERROR_INIT;

	if (open_boot_file(parse, path, &fd, &problem) &&
	    boot_file_digest(fd, ret_sha256, &problem))
		return true;
	wrong(parse, setting, err, "is \"%s\": %s", path, problem.text);
	if (problem.category == ERROR_DENIED)
		err->category = ERROR_DENIED;
	return false;
}

static bool take_kernel(Parse *parse, const config_setting_t *setting, Error *err)
{
	VmFile *file = parse->file;

	file->manifest.boots_kernel = true;
	return take_path(parse, setting, file->kernel_path, err) &&
	       take_digest(parse, setting, file->kernel_path, file->manifest.kernel_sha256, err);
}

static bool take_initrd(Parse *parse, const config_setting_t *setting, Error *err)
{
	VmFile *file = parse->file;

	return take_path(parse, setting, file->initrd_path, err) &&
	       take_digest(parse, setting, file->initrd_path, file->manifest.initrd_sha256, err);
}

static bool take_append(Parse *parse, const config_setting_t *setting, Error *err)
{
	Manifest *m = &parse->file->manifest;

	return take_text(parse, setting, TEXT_PRINTABLE, m->append, sizeof(m->append), err);
}

static bool take_display(Parse *parse, const config_setting_t *setting, Error *err)
{
	static const char *const words[] = { [DISPLAY_NONE] = "none", [DISPLAY_VNC] = "vnc" };
	unsigned int value = 0;

	if (!take_word(parse, setting, words, ARRAY_SIZE(words), &value, err))
		return false;
	parse->file->manifest.display = (DisplayKind)value;
	return true;
}

static bool take_populate(Parse *parse, const config_setting_t *setting, Error *err)
{
	static const char *const words[] = { [POPULATE_FULL] = "full", [POPULATE_NONE] = "none" };
	unsigned int value = 0;

	if (!take_word(parse, setting, words, ARRAY_SIZE(words), &value, err))
		return false;
	parse->file->manifest.populate = (PopulateKind)value;
	return true;
}

static bool take_tpm(Parse *parse, const config_setting_t *setting, Error *err)
{
	return take_bool(parse, setting, &parse->file->manifest.tpm, err);
}

static bool take_mode(Parse *parse, const config_setting_t *setting, Error *err)
{
	unsigned int value = 0;

	if (!take_word(parse, setting, seal_mode_words, SEAL_MODE_COUNT, &value, err))
		return false;
	parse->file->mode = (SealMode)value;
	return true;
}

static bool take_labels(Parse *parse, const config_setting_t *setting, Error *err)
{
	VmFile *file = parse->file;
	int count = config_setting_length(setting);

	if (!config_setting_is_aggregate(setting) || config_setting_is_group(setting) ||
	    count > VM_FILE_LABELS_MAX)
		return wrong(parse, setting, err, "is not an array of at most %d strings",
			     VM_FILE_LABELS_MAX);
	for (int i = 0; i < count; i++)
		if (!take_text(parse, config_setting_get_elem(setting, (unsigned int)i), TEXT_NAME,
			       file->labels[i], LIMIT_NAME, err))
			return false;
	file->labels_count = (size_t)count;
	return true;
}

static bool take_pool(Parse *parse, const config_setting_t *setting, void *object, Error *err)
{
	ManifestDisk *disk = object;

	return take_text(parse, setting, TEXT_NAME, disk->pool, sizeof(disk->pool), err);
}

static bool take_volume(Parse *parse, const config_setting_t *setting, void *object, Error *err)
{
	ManifestDisk *disk = object;

	return take_text(parse, setting, TEXT_NAME, disk->volume, sizeof(disk->volume), err);
}

static bool take_format(Parse *parse, const config_setting_t *setting, void *object, Error *err)
{
	static const char *const words[] = { [DISK_RAW] = "raw", [DISK_QCOW2] = "qcow2" };
	ManifestDisk *disk = object;
	unsigned int value = 0;

	if (!take_word(parse, setting, words, ARRAY_SIZE(words), &value, err))
		return false;
	disk->format = (DiskFormat)value;
	return true;
}

static bool take_read_only(Parse *parse, const config_setting_t *setting, void *object, Error *err)
{
	ManifestDisk *disk = object;

	return take_bool(parse, setting, &disk->read_only, err);
}

static bool take_encryption(Parse *parse, const config_setting_t *setting, void *object, Error *err)
{
	ManifestDisk *disk = object;
	unsigned int value = 0;

	if (!take_word(parse, setting, disk_encryption_words, DISK_ENCRYPTION_COUNT, &value, err))
		return false;
	disk->encryption = (DiskEncryption)value;
	return true;
}

static bool is_named(const ManifestDisk *disk)
{
	static const uint8_t none[MANIFEST_KEY_ID_BYTES];

	return memcmp(disk->key, none, sizeof(none)) != 0;
}

static bool take_key(Parse *parse, const config_setting_t *setting, void *object, Error *err)
{
	const char *text = config_setting_get_string(setting);
	ManifestDisk *disk = object;

	/* Not shown: somebody may have written the key itself there. */
	if (!text || !hex_decode(text, disk->key, sizeof(disk->key)) || !is_named(disk))
		return wrong(parse, setting, err,
			     "is not %d lower-case hex digits, the id of a key",
			     2 * MANIFEST_KEY_ID_BYTES);
	return true;
}

/* Of an image that is to be made; what is there says its size itself. */
static bool take_size(Parse *parse, const config_setting_t *setting, void *object, Error *err)
{
	const char *text = config_setting_get_string(setting);
	uint64_t *bytes =
		&parse->file->disk_sizes[(ManifestDisk *)object - parse->file->manifest.disks];

	if (!text || !vm_file_parse_size(text, bytes))
		return wrong(parse, setting, err,
			     "is \"%.64s\": not a size such as \"512M\" or \"10G\"",
			     text ? text : "");
	if (*bytes < IMAGE_CREATE_MIN_BYTES || *bytes > IMAGE_CREATE_MAX_BYTES || *bytes % 512)
		return wrong(parse, setting, err,
			     "is \"%s\": outside 1M to 1024T, or no multiple of 512", text);
	return true;
}

static bool take_network(Parse *parse, const config_setting_t *setting, void *object, Error *err)
{
	ManifestNic *nic = object;

	return take_text(parse, setting, TEXT_NAME, nic->network, sizeof(nic->network), err);
}

static bool take_mac(Parse *parse, const config_setting_t *setting, void *object, Error *err)
{
	ManifestNic *nic = object;

	if (!take_text(parse, setting, TEXT_MAC, nic->mac, sizeof(nic->mac), err))
		return false;
	/* The low bit of the first byte makes it a group address. */
	if (strchr("13579bdf", nic->mac[1]))
		return wrong(parse, setting, err, "is \"%s\": a multicast address", nic->mac);
	return true;
}

static const Member disk_members[] = {
	{ "pool", true, take_pool },
	{ "volume", true, take_volume },
	{ "format", true, take_format },
	{ "read_only", false, take_read_only },
	{ "encryption", false, take_encryption },
	{ "key", false, take_key },
	{ "size", false, take_size },
};

static const Member nic_members[] = {
	{ "network", true, take_network },
	{ "mac", true, take_mac },
};

static bool take_group(Parse *parse, const config_setting_t *group, const Member *members,
		       size_t count, void *object, Error *err)
{
	if (!config_setting_is_group(group))
		return wrong(parse, group, err, "is not a group in braces");
	for (int i = 0; i < config_setting_length(group); i++) {
		const config_setting_t *setting = config_setting_get_elem(group, (unsigned int)i);
		size_t k = 0;

		while (k < count && strcmp(members[k].name, config_setting_name(setting)))
			k++;
		if (k == count)
			return wrong(parse, setting, err, "is no setting that I know");
		if (!members[k].take(parse, setting, object, err))
			return false;
	}
	for (size_t k = 0; k < count; k++)
		if (members[k].required && !config_setting_get_member(group, members[k].name))
			return wrong(parse, group, err, "has no \"%s\"", members[k].name);
	return true;
}

static bool check_list(Parse *parse, const config_setting_t *setting, size_t max, Error *err)
{
	if (!config_setting_is_list(setting))
		return wrong(parse, setting, err, "is not a list in parentheses");
	if ((size_t)config_setting_length(setting) > max)
		return wrong(parse, setting, err, "has %d entries, at most %zu",
			     config_setting_length(setting), max);
	return true;
}

static bool take_disks(Parse *parse, const config_setting_t *setting, Error *err)
{
	Manifest *m = &parse->file->manifest;

	if (!check_list(parse, setting, LIMIT_DISKS, err))
		return false;
	for (int i = 0; i < config_setting_length(setting); i++)
		if (!take_group(parse, config_setting_get_elem(setting, (unsigned int)i),
				disk_members, ARRAY_SIZE(disk_members), &m->disks[i], err))
			return false;
	m->disks_count = (size_t)config_setting_length(setting);
	return true;
}

static bool take_nics(Parse *parse, const config_setting_t *setting, Error *err)
{
	Manifest *m = &parse->file->manifest;

	if (!check_list(parse, setting, LIMIT_NICS, err))
		return false;
	for (int i = 0; i < config_setting_length(setting); i++)
		if (!take_group(parse, config_setting_get_elem(setting, (unsigned int)i),
				nic_members, ARRAY_SIZE(nic_members), &m->nics[i], err))
			return false;
	m->nics_count = (size_t)config_setting_length(setting);
	return true;
}

static const Key keys[] = {
	{ "name", true, take_name },	   { "uuid", true, take_uuid },
	{ "machine", true, take_machine }, { "cpu", true, take_cpu },
	{ "cpus", false, take_cpus },	   { "memory", true, take_memory },
	{ "kernel", false, take_kernel },  { "initrd", false, take_initrd },
	{ "append", false, take_append },  { "disks", false, take_disks },
	{ "nics", false, take_nics },	   { "display", false, take_display },
	{ "mode", false, take_mode },	   { "populate", false, take_populate },
	{ "labels", false, take_labels },  { "tpm", false, take_tpm },
};

static bool take_keys(Parse *parse, const config_setting_t *root, Error *err)
{
	for (int i = 0; i < config_setting_length(root); i++) {
		const config_setting_t *setting = config_setting_get_elem(root, (unsigned int)i);
		size_t k = 0;

		while (k < ARRAY_SIZE(keys) && strcmp(keys[k].name, config_setting_name(setting)))
			k++;
		if (k == ARRAY_SIZE(keys))
			return wrong(parse, setting, err, "is no setting that I know");
		if (!keys[k].take(parse, setting, err))
			return false;
	}
	for (size_t k = 0; k < ARRAY_SIZE(keys); k++)
		if (keys[k].required && !config_setting_get_member(root, keys[k].name))
			return error_set(err, ERROR_CONFIG, "%s: there is no \"%s\"", parse->name,
					 keys[k].name);
	return true;
}

/* What needs more than one setting: the manifest's own rules. A key that is not named is one of its
 * own. */
static bool check_whole(const Parse *parse, Error *err)
{
	Manifest manifest = parse->file->manifest;

	for (size_t i = 0; i < manifest.disks_count; i++) {
		ManifestDisk *disk = &manifest.disks[i];

		disk->size_bytes = 512;
		if (disk->encryption != DISK_LUKS || is_named(disk))
			continue;
		memset(disk->key, 0xff, sizeof(disk->key));
		disk->key[0] = (uint8_t)i;
	}
	if (manifest_check(&manifest, err))
		return true;
	err->category = ERROR_CONFIG;
	return error_prefix(err, "%s", parse->name);
}

/* libconfig would open any file of this host that the text names. */
static bool refuse_includes(const char *name, const char *text, Error *err)
{
	int line = 1;

	for (const char *p = text; *p; line++) {
		p += strspn(p, " \t");
		if (*p == '@')
			return error_set(err, ERROR_CONFIG, "%s:%d: @include is not allowed here",
					 name, line);
		p += strcspn(p, "\n");
		p += *p == '\n';
	}
	return true;
}

bool vm_file_parse(const char *name, const char *directory, const char *text, VmFile *ret_file,
		   Error *err)
{
	return vm_file_parse_bounded(name, directory, text, NULL, ret_file, err);
}

bool vm_file_parse_bounded(const char *name, const char *directory, const char *text,
			   const char *boot_directory, VmFile *ret_file, Error *err)
{
	CLEANUP(config_destroy) config_t config;
	VmFile file = { .manifest.cpus = 1, .manifest.populate = POPULATE_FULL };
	Parse parse = { .name = name,
			.directory = directory,
			.boot_directory = boot_directory,
			.file = &file };

	config_init(&config);
	if (!refuse_includes(name, text, err))
		return false;
	if (!config_read_string(&config, text))
		return error_set(err, ERROR_CONFIG, "%s:%d: %s", name, config_error_line(&config),
				 config_error_text(&config));
	if (!take_keys(&parse, config_root_setting(&config), err) || !check_whole(&parse, err))
		return false;
	*ret_file = file;
	return true;
}

bool vm_file_load(const char *path, VmFile *ret_file, Error *err)
{
	AUTO_BUFFER Buffer text = BUFFER_INIT(VM_FILE_MAX_BYTES + 1);
	char directory[LIMIT_PATH];
	const char *slash = strrchr(path, '/');

	if (strlen(path) >= sizeof(directory))
		return error_set(err, ERROR_CONFIG, "%s is longer than %d bytes", path,
				 LIMIT_PATH - 1);
	if (slash)
		snprintf(directory, sizeof(directory), "%.*s", (int)(slash - path), path);
	else
		snprintf(directory, sizeof(directory), ".");
	if (!file_read(path, VM_FILE_MAX_BYTES, &text, err))
		return false;
	if (text.used && memchr(text.data, 0, text.used))
		return error_set(err, ERROR_CONFIG, "%s holds a zero byte", path);
	if (!buffer_put_u8(&text, 0, err))
		return false;
	return vm_file_parse(path, directory, (const char *)text.data, ret_file, err);
}
