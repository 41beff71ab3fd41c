/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/support.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "tests/wire/samples.h"
#include "wire/json.h"

#define SET(member, text)                                                                          \
	do {                                                                                       \
		static_assert(sizeof(text) <= sizeof(member), "");                                 \
		memcpy(member, text, sizeof(text));                                                \
	} while (0)

static void expect_bad(const Manifest *manifest, const char *part)
{
	Error err = ERROR_INIT;

	assert_fails(manifest_check(manifest, &err), ERROR_PEER, part, &err);
	assert_memory_equal(err.text, "manifest: ", 10);
}

static void expect_good(const Manifest *manifest)
{
	Error err = ERROR_INIT;

	assert_works(manifest_check(manifest, &err), &err);
}

static void samples_are_good(void **state)
{
	Manifest manifest;

	(void)state;
	sample_manifest(&manifest);
	expect_good(&manifest);
	sample_manifest_largest(&manifest);
	expect_good(&manifest);
}

static void a_vm_may_have_no_disk_no_nic_and_no_kernel(void **state)
{
	Manifest manifest;

	(void)state;
	sample_manifest(&manifest);
	manifest.disks_count = manifest.nics_count = 0;
	expect_good(&manifest);
	memset(manifest.initrd_sha256, 0, sizeof(manifest.initrd_sha256));
	expect_good(&manifest);
	memset(manifest.kernel_sha256, 0, sizeof(manifest.kernel_sha256));
	manifest.append[0] = '\0';
	manifest.boots_kernel = false;
	expect_good(&manifest);
}

static void machine_types_in_pairs(void **state)
{
	static const char *const fine[] = { "pc-q35-10.0", "pc-q35-7.2", "pc-i440fx-10.0" };
	static const char *const wrong[] = {
		"q35",	      "pc",	   "pc-q35",	    "pc-q35-",	    "pc-q35-10",
		"pc-q35-10.", "pc-q35-.0", "pc-q35-10.0.1", "pc-q35-10.0x", "pc-q35-x.0",
		"microvm",    "none",	   "xpc-q35-10.0",  "PC-q35-10.0",
	};
	Manifest manifest;

	(void)state;
	sample_manifest(&manifest);
	for (size_t i = 0; i < ARRAY_SIZE(fine); i++) {
		memcpy(manifest.machine, fine[i], strlen(fine[i]) + 1);
		expect_good(&manifest);
	}
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		memcpy(manifest.machine, wrong[i], strlen(wrong[i]) + 1);
		expect_bad(&manifest, "is not pc-q35-N.M or pc-i440fx-N.M");
	}
}

static void memory_in_pairs(void **state)
{
	Manifest manifest;

	(void)state;
	sample_manifest(&manifest);
	manifest.memory_bytes = LIMIT_MEMORY_MIN;
	expect_good(&manifest);
	manifest.memory_bytes = LIMIT_MEMORY_MIN - 1;
	expect_bad(&manifest, "memory_bytes is 16777215, outside 16777216..17592186044416");
	manifest.memory_bytes = LIMIT_MEMORY_BYTES + (2 << 20);
	expect_bad(&manifest, "memory_bytes is");
	manifest.memory_bytes = (UINT64_C(512) << 20) + 4096;
	expect_bad(&manifest, "no multiple of 2 MiB");
}

static void what_could_become_an_option_is_refused(void **state)
{
	static const char *const wrong[] = {
		"",	   "../x",    "a/b",  "/etc/passwd", "a,readonly=off",
		"json:{}", "-drive",  ".x",   "a b",	     "a=b",
		"a\nb",	   "a:b",     "a;b",  "a\"b",	     "a%s",
		"a\\b",	   "nbd:a:1", "\x7f", "$(x)",	     "a'b",
	};
	Manifest manifest;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		size_t size = strlen(wrong[i]) + 1;

		sample_manifest(&manifest);
		memcpy(manifest.disks[1].volume, wrong[i], size);
		expect_bad(&manifest, "disks[1]: volume");
		sample_manifest(&manifest);
		memcpy(manifest.disks[0].pool, wrong[i], size);
		expect_bad(&manifest, "disks[0]: pool");
		sample_manifest(&manifest);
		memcpy(manifest.nics[1].network, wrong[i], size);
		expect_bad(&manifest, "nics[1]: network");
		sample_manifest(&manifest);
		memcpy(manifest.name, wrong[i], size);
		expect_bad(&manifest, "name");
		sample_manifest(&manifest);
		memcpy(manifest.cpu, wrong[i], size);
		expect_bad(&manifest, "cpu");
		sample_manifest(&manifest);
		memcpy(manifest.machine, wrong[i], size);
		expect_bad(&manifest, "machine");
	}
}

static void counts_and_sizes_out_of_bounds(void **state)
{
	Manifest manifest;

	(void)state;
	sample_manifest(&manifest);
	manifest.cpus = 0;
	expect_bad(&manifest, "cpus is 0, outside 1..1024");
	sample_manifest(&manifest);
	manifest.cpus = LIMIT_VCPUS + 1;
	expect_bad(&manifest, "cpus is 1025");
	sample_manifest(&manifest);
	manifest.disks_count = LIMIT_DISKS + 1;
	expect_bad(&manifest, "disks has 9 entries");
	sample_manifest(&manifest);
	manifest.nics_count = SIZE_MAX;
	expect_bad(&manifest, "nics has");
	sample_manifest(&manifest);
	manifest.disks[0].size_bytes = 511;
	expect_bad(&manifest, "disks[0]: size_bytes is 511");
	manifest.disks[0].size_bytes = (UINT64_C(1) << 50) + 1;
	expect_bad(&manifest, "disks[0]: size_bytes");
	sample_manifest(&manifest);
	manifest.disks[0].format = (DiskFormat)2;
	expect_bad(&manifest, "disks[0]: format is 2");
	sample_manifest(&manifest);
	memset(manifest.append, 'a', sizeof(manifest.append));
	expect_bad(&manifest, "append is longer than 1023");
	sample_manifest(&manifest);
	SET(manifest.append, "a\nb");
	expect_bad(&manifest, "append");
	sample_manifest(&manifest);
	SET(manifest.uuid, "");
	expect_bad(&manifest, "uuid");
}

static void nothing_comes_twice(void **state)
{
	Manifest manifest;

	(void)state;
	sample_manifest(&manifest);
	SET(manifest.disks[1].pool, "fast");
	expect_good(&manifest);
	SET(manifest.disks[1].volume, "vm1-root");
	expect_bad(&manifest, "volume fast/vm1-root twice");
	sample_manifest(&manifest);
	SET(manifest.nics[1].network, "red");
	expect_good(&manifest);
	SET(manifest.nics[1].mac, "52:54:00:12:34:56");
	expect_bad(&manifest, "MAC 52:54:00:12:34:56 twice");
}

static void boot_fields_may_not_contradict(void **state)
{
	Manifest manifest;

	(void)state;
	sample_manifest(&manifest);
	manifest.boots_kernel = false;
	expect_bad(&manifest, "contradict");
	sample_manifest(&manifest);
	memset(manifest.kernel_sha256, 0, sizeof(manifest.kernel_sha256));
	expect_bad(&manifest, "contradict");
	manifest.boots_kernel = false;
	expect_bad(&manifest, "an initrd or a command line without a kernel");
	memset(manifest.initrd_sha256, 0, sizeof(manifest.initrd_sha256));
	expect_bad(&manifest, "an initrd or a command line without a kernel");
}

static void a_key_goes_with_encryption(void **state)
{
	Manifest manifest;

	(void)state;
	sample_manifest(&manifest);
	manifest.disks[1].encryption = DISK_LUKS;
	expect_bad(&manifest, "disks[1]: encryption \"luks\" and no key contradict");
	manifest.disks[1].key[15] = 1;
	expect_good(&manifest);
	manifest.disks[1].encryption = DISK_PLAIN;
	expect_bad(&manifest, "disks[1]: encryption \"none\" and a key contradict");
	manifest.disks[1].encryption = DISK_ENCRYPTION_COUNT;
	expect_bad(&manifest, "disks[1]: encryption is 2");
	sample_manifest(&manifest);
	for (size_t i = 0; i < 2; i++) {
		manifest.disks[i].encryption = DISK_LUKS;
		manifest.disks[i].key[0] = 7;
	}
	expect_bad(&manifest, "disks[1] has the key of disks[0]");
	manifest.disks[1].key[1] = 7;
	expect_good(&manifest);
}

/* Ciphertext: a raw and encrypted image with a header, and its size. */
static void ciphertext_has_its_size(void **state)
{
	static const uint64_t wrong[] = { 0, 1, MANIFEST_HEADER_MAX + 512, 511, UINT64_MAX };
	Manifest manifest;
	ManifestDisk *disk = &manifest.disks[0];

	(void)state;
	sample_manifest(&manifest);
	disk->transfer = DISK_COPIED_SEALED;
	disk->stored_bytes = disk->size_bytes + 512;
	expect_bad(&manifest, "disks[0]: only a raw and encrypted one is copied as ciphertext");
	disk->encryption = DISK_LUKS;
	disk->key[0] = 7;
	expect_good(&manifest);
	disk->stored_bytes = disk->size_bytes + MANIFEST_HEADER_MAX;
	expect_good(&manifest);
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		disk->stored_bytes = disk->size_bytes + wrong[i];
		expect_bad(&manifest, "disks[0]: stored_bytes");
	}
	disk->stored_bytes = 0;
	expect_bad(&manifest, "disks[0]: stored_bytes 0 does not fit");
	disk->stored_bytes = disk->size_bytes + 512;
	disk->format = DISK_QCOW2;
	expect_bad(&manifest, "only a raw and encrypted one");
	disk->format = DISK_RAW;
	/* In the other ways it is nobody's business. */
	disk->transfer = DISK_COPIED;
	expect_bad(&manifest, "disks[0]: stored_bytes without \"ciphertext\"");
	disk->stored_bytes = 0;
	expect_good(&manifest);
	assert_int_equal(manifest_copy_bytes(disk), disk->size_bytes);
	disk->transfer = DISK_COPIED_SEALED;
	disk->stored_bytes = disk->size_bytes + 512;
	assert_int_equal(manifest_copy_bytes(disk), disk->size_bytes + 512);
}

static const char plain_disk[] = "{\"pool\":\"fast\",\"volume\":\"vm1-root\",\"format\":\"raw\","
				 "\"size_bytes\":8388608,\"read_only\":false}";
static const char luks_disk[] =
	"{\"pool\":\"fast\",\"volume\":\"vm1-root\",\"format\":\"raw\",\"size_bytes\":8388608,"
	"\"read_only\":false,\"encryption\":\"luks\","
	"\"key\":\"6b1f0c2d3e4f5061728394a5b6c7d8e9\"}";

static void encode(const Manifest *manifest, Buffer *text)
{
	Error err = ERROR_INIT;

	assert_works(json_encode_plain(&manifest_schema, manifest, text, &err), &err);
	assert_works(buffer_put_u8(text, 0, &err), &err);
}

/* What has no encryption looks to others as before there was any. */
static void encryption_in_json(void **state)
{
	static const uint8_t key[] = { 0x6b, 0x1f, 0x0c, 0x2d, 0x3e, 0x4f, 0x50, 0x61,
				       0x72, 0x83, 0x94, 0xa5, 0xb6, 0xc7, 0xd8, 0xe9 };
	AUTO_BUFFER Buffer plain = BUFFER_INIT(LIMIT_FRAME);
	AUTO_BUFFER Buffer text = BUFFER_INIT(LIMIT_FRAME);
	Manifest manifest, back;
	Error err = ERROR_INIT;

	(void)state;
	sample_manifest(&manifest);
	encode(&manifest, &plain);
	assert_non_null(strstr((const char *)plain.data, plain_disk));
	assert_null(strstr((const char *)plain.data, "encryption"));
	manifest.disks[0].encryption = DISK_LUKS;
	memcpy(manifest.disks[0].key, key, sizeof(key));
	encode(&manifest, &text);
	assert_non_null(strstr((const char *)text.data, luks_disk));
	assert_works(json_decode_plain(&manifest_schema, text.data, text.used - 1, &back, &err),
		     &err);
	assert_memory_equal(&back.disks[0], &manifest.disks[0], sizeof(back.disks[0]));
	assert_int_equal(back.disks[1].encryption, DISK_PLAIN);
	expect_good(&back);
}

/* Each text replaces the first disk of a plain manifest. */
static void encryption_decoded_in_pairs(void **state)
{
#define BEGIN                                                                                      \
	"{\"pool\":\"fast\",\"volume\":\"v\",\"format\":\"raw\",\"size_bytes\":512,\"read_only\":false"
	static const struct {
		const char *disk;
		const char *error; /* NULL: fine */
	} cases[] = {
		{ BEGIN "}", NULL },
		{ BEGIN ",\"encryption\":\"none\"}", NULL },
		{ BEGIN ",\"encryption\":\"none\",\"key\":\"00000000000000000000000000000000\"}",
		  NULL },
		{ BEGIN ",\"encryption\":\"LUKS\"}", "encryption \"LUKS\" is not a known value" },
		{ BEGIN ",\"encryption\":1}", "encryption is not a string" },
		{ BEGIN ",\"encryption\":null}", "encryption is not a string" },
		{ BEGIN ",\"key\":\"\"}", "key is not 32 lower-case hex digits" },
		{ BEGIN ",\"key\":\"6B1f0c2d3e4f5061728394a5b6c7d8e9\"}", "key is not 32" },
		{ BEGIN ",\"key\":\"6b1f0c2d3e4f5061728394a5b6c7d8e9ff\"}", "key is not 32" },
		{ BEGIN ",\"secret\":\"\"}", "unknown member" },
	};
	AUTO_BUFFER Buffer plain = BUFFER_INIT(LIMIT_FRAME);
	Manifest manifest;

	(void)state;
	sample_manifest(&manifest);
	encode(&manifest, &plain);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const char *at = strstr((const char *)plain.data, plain_disk);
		char text[8192];
		Error err = ERROR_INIT;
		int length = snprintf(
			text, sizeof(text), "%.*s%s%s", (int)(at - (const char *)plain.data),
			(const char *)plain.data, cases[i].disk, at + strlen(plain_disk));

		if (cases[i].error)
			assert_fails(json_decode_plain(&manifest_schema, text, (size_t)length,
						       &manifest, &err),
				     ERROR_PEER, cases[i].error, &err);
		else
			assert_works(json_decode_plain(&manifest_schema, text, (size_t)length,
						       &manifest, &err),
				     &err);
	}
#undef BEGIN
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(samples_are_good),
		cmocka_unit_test(a_vm_may_have_no_disk_no_nic_and_no_kernel),
		cmocka_unit_test(machine_types_in_pairs),
		cmocka_unit_test(memory_in_pairs),
		cmocka_unit_test(what_could_become_an_option_is_refused),
		cmocka_unit_test(counts_and_sizes_out_of_bounds),
		cmocka_unit_test(nothing_comes_twice),
		cmocka_unit_test(boot_fields_may_not_contradict),
		cmocka_unit_test(a_key_goes_with_encryption),
		cmocka_unit_test(ciphertext_has_its_size),
		cmocka_unit_test(encryption_in_json),
		cmocka_unit_test(encryption_decoded_in_pairs),
	};

	return cmocka_run_group_tests_name("wire/manifest", tests, NULL, NULL);
}
