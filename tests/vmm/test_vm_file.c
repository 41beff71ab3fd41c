/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "vmm/vm_file.h"

static const char good[] = "name = \"vm1\";\n"					    /* 1 */
			   "uuid = \"6f1c0f3e-2f0b-4f4e-9d58-1f0f8a1b2c3d\";\n"	    /* 2 */
			   "machine = \"pc-q35-10.0\";\n"			    /* 3 */
			   "cpu = \"max\";\n"					    /* 4 */
			   "cpus = 2;\n"					    /* 5 */
			   "memory = \"512M\";\n"				    /* 6 */
			   "kernel = \"kernel\";\n"				    /* 7 */
			   "initrd = \"initrd\";\n"				    /* 8 */
			   "append = \"console=ttyS0 a=b,c\";\n"		    /* 9 */
			   "disks = ( { pool = \"shared\"; volume = \"vm1.raw\";\n" /* 10 */
			   "  format = \"raw\"; read_only = true; } );\n"	    /* 11 */
			   "nics = ( { network = \"lan\";\n"			    /* 12 */
			   "  mac = \"52:54:00:00:00:01\"; } );\n"		    /* 13 */
			   "display = \"vnc\";\n"				    /* 14 */
			   "populate = \"none\";\n"				    /* 15 */
			   "mode = \"opportunistic\";\n"			    /* 16 */
			   "labels = [ \"a\", \"b\" ];\n"			    /* 17 */
			   "tpm = true;\n";					    /* 18 */

static char directory[] = "/tmp/sealift-vm-file-test.XXXXXX";

static int make_boot_files(void **state)
{
	char path[64];
	Error err;

	(void)state;
	assert_non_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/kernel", directory);
	assert_true(file_replace(path, "abc", 3, 0600, &err));
	snprintf(path, sizeof(path), "%s/initrd", directory);
	assert_true(file_replace(path, "", 0, 0600, &err));
	snprintf(path, sizeof(path), "%s/vm.conf", directory);
	assert_true(file_replace(path, good, strlen(good), 0600, &err));
	return 0;
}

static int remove_boot_files(void **state)
{
	static const char *const names[] = { "kernel", "initrd", "vm.conf" };
	char path[64];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", directory, names[i]);
		unlink(path);
	}
	return rmdir(directory);
}

static void test_good_file(void **state)
{
	/* FIPS 180-4's own example: SHA-256("abc"). */
	static const char abc[] =
		"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
	uint8_t digest[DIGEST_SHA256_BYTES];
	char path[64], kernel[64];
	VmFile file;
	Error err = ERROR_INIT;

	(void)state;
	snprintf(path, sizeof(path), "%s/vm.conf", directory);
	snprintf(kernel, sizeof(kernel), "%s/kernel", directory);
	if (!vm_file_load(path, &file, &err))
		fail_msg("%s", err.text);
	assert_string_equal(file.manifest.name, "vm1");
	assert_string_equal(file.manifest.machine, "pc-q35-10.0");
	assert_int_equal(file.manifest.cpus, 2);
	assert_int_equal(file.manifest.memory_bytes, 512 << 20);
	assert_string_equal(file.kernel_path, kernel);
	assert_true(file.manifest.boots_kernel);
	assert_true(hex_decode(abc, digest, sizeof(digest)));
	assert_memory_equal(file.manifest.kernel_sha256, digest, sizeof(digest));
	assert_string_equal(file.manifest.append, "console=ttyS0 a=b,c");
	assert_int_equal(file.manifest.disks_count, 1);
	assert_string_equal(file.manifest.disks[0].volume, "vm1.raw");
	assert_true(file.manifest.disks[0].read_only);
	assert_int_equal(file.manifest.nics_count, 1);
	assert_string_equal(file.manifest.nics[0].mac, "52:54:00:00:00:01");
	assert_int_equal(file.manifest.display, DISPLAY_VNC);
	assert_int_equal(file.manifest.populate, POPULATE_NONE);
	assert_int_equal(file.mode, SEAL_OPPORTUNISTIC);
	assert_int_equal(file.labels_count, 2);
	assert_true(file.manifest.tpm);
	assert_string_equal(file.labels[1], "b");
}

static void test_defaults(void **state)
{
	VmFile file;
	Error err = ERROR_INIT;

	(void)state;
	assert_true(vm_file_parse("vm.conf", directory,
				  "name = \"vm1\"; uuid = \"6f1c0f3e-2f0b-4f4e-9d58-1f0f8a1b2c3d\";"
				  "machine = \"pc-i440fx-7.2\"; cpu = \"qemu64\"; memory = \"1G\";",
				  &file, &err));
	assert_int_equal(file.manifest.cpus, 1);
	assert_int_equal(file.manifest.display, DISPLAY_NONE);
	assert_int_equal(file.manifest.populate, POPULATE_FULL);
	assert_int_equal(file.mode, SEAL_REQUIRED);
	assert_false(file.manifest.boots_kernel);
	assert_false(file.manifest.tpm);
	assert_string_equal(file.kernel_path, "");
}

static bool parse_disks(const char *disks, VmFile *ret_file, Error *err)
{
	char text[2048];

	snprintf(text, sizeof(text),
		 "name = \"vm1\"; uuid = \"6f1c0f3e-2f0b-4f4e-9d58-1f0f8a1b2c3d\";"
		 "machine = \"pc-i440fx-7.2\"; cpu = \"qemu64\"; memory = \"1G\"; disks = ( %s );",
		 disks);
	*err = ERROR_INIT;
	return vm_file_parse("vm.conf", directory, text, ret_file, err);
}

#define DISK  "pool = \"p\"; volume = \"v\"; format = \"raw\"; "
#define OTHER "pool = \"p\"; volume = \"w\"; format = \"qcow2\"; "
#define KEY   "key = \"6b1f0c2d3e4f5061728394a5b6c7d8e9\"; "
#define LUKS  "encryption = \"luks\"; "

static void test_encrypted_disks(void **state)
{
	static const struct {
		const char *disks;
		const char *error;
	} bad[] = {
		{ "{ " DISK KEY "}", "vm.conf: manifest: disks[0]: encryption \"none\" and a key" },
		{ "{ " DISK "encryption = \"none\"; " KEY "}", "vm.conf: manifest: disks[0]: " },
		{ "{ " DISK LUKS "key = \"\"; }", "vm.conf:1: key is not 32 lower-case hex" },
		{ "{ " DISK LUKS "key = \"6B1F0c2d3e4f5061728394a5b6c7d8e9\"; }",
		  "vm.conf:1: key is not 32" },
		{ "{ " DISK LUKS "key = \"6b1f0c2d3e4f5061728394a5b6c7d8e9ff\"; }",
		  "vm.conf:1: key is not 32" },
		{ "{ " DISK LUKS "key = 7; }", "vm.conf:1: key is not 32" },
		{ "{ " DISK LUKS "key = \"00000000000000000000000000000000\"; }",
		  "vm.conf:1: key is not 32" },
		{ "{ " DISK "size = \"1023K\"; }", "vm.conf:1: size is \"1023K\": outside 1M" },
		{ "{ " DISK "size = \"1025T\"; }", "vm.conf:1: size is \"1025T\": outside 1M" },
		{ "{ " DISK "size = \"2000001\"; }", "vm.conf:1: size is \"2000001\": outside" },
		{ "{ " DISK "size = \"\"; }", "vm.conf:1: size is \"\": not a size" },
		{ "{ " DISK "size = 4096000; }", "vm.conf:1: size is \"\": not a size" },
		{ "{ " DISK "encryption = \"aes\"; " KEY "}",
		  "vm.conf:1: encryption is \"aes\": not one of \"none\", \"luks\"" },
		{ "{ " DISK LUKS KEY "}, { " OTHER LUKS KEY "}",
		  "vm.conf: manifest: disks[1] has the key of disks[0]" },
	};
	VmFile file;
	Error err;

	(void)state;
	if (!parse_disks("{ " DISK LUKS KEY "}, { " OTHER "encryption = \"none\"; }", &file, &err))
		fail_msg("%s", err.text);
	assert_int_equal(file.manifest.disks[0].encryption, DISK_LUKS);
	assert_int_equal(file.manifest.disks[0].key[0], 0x6b);
	assert_int_equal(file.manifest.disks[0].key[15], 0xe9);
	assert_int_equal(file.manifest.disks[1].encryption, DISK_PLAIN);
	/* Keys that are not named are found by their disks: two of them are not one twice. */
	if (!parse_disks("{ " DISK LUKS "size = \"4M\"; }, { " OTHER LUKS "size = \"1024T\"; }",
			 &file, &err))
		fail_msg("%s", err.text);
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(file.manifest.disks[i].key[0] + file.manifest.disks[i].key[15], 0);
	assert_int_equal(file.disk_sizes[0], 4 << 20);
	assert_int_equal(file.disk_sizes[1], UINT64_C(1) << 50);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_false(parse_disks(bad[i].disks, &file, &err));
		assert_int_equal(err.category, ERROR_CONFIG);
		if (strncmp(err.text, bad[i].error, strlen(bad[i].error)))
			fail_msg("case %zu: \"%s\"", i, err.text);
	}
	/* A key written where its id belongs is not repeated into a log. */
	assert_false(parse_disks("{ " DISK LUKS "key = \"AbCdEfGhIjKlMnOp\"; }", &file, &err));
	assert_null(strstr(err.text, "AbCd"));
}

typedef struct Bad {
	const char *old, *new; /* what of the good file is replaced */
	const char *error;     /* how the message begins */
} Bad;

static void replace(const char *old, const char *new, char *ret_text, size_t size)
{
	const char *at = strstr(good, old);

	assert_non_null(at);
	snprintf(ret_text, size, "%.*s%s%s", (int)(at - good), good, new, at + strlen(old));
}

static void test_bad_files(void **state)
{
	static const Bad cases[] = {
		{ "512M", "12X", "vm.conf:6: memory is \"12X\": not a size" },
		{ "\"512M\"", "512", "vm.conf:6: memory is \"\": not a size" },
		{ "512M", "8M", "vm.conf:6: memory is \"8M\": outside 16M to 16T" },
		{ "512M", "99999999T", "vm.conf:6: memory is \"99999999T\": not a size" },
		{ "512M", "17M",
		  "vm.conf:6: memory is \"17M\": outside 16M to 16T, or no multiple" },
		{ "pc-q35-10.0", "q35", "vm.conf:3: machine is \"q35\": must be a versioned" },
		{ "pc-q35-10.0", "pc", "vm.conf:3: machine is \"pc\": must be a versioned" },
		{ "pc-q35-10.0", "pc-q35-10.0,accel=kvm", "vm.conf:3: machine is" },
		{ "\"max\"", "\"max,+vmx\"", "vm.conf:4: cpu is \"max,+vmx\": malformed" },
		{ "cpus = 2", "cpus = 0", "vm.conf:5: cpus is not a number from 1" },
		{ "cpus = 2", "cpus = 1025", "vm.conf:5: cpus is not a number from 1 to 1024" },
		{ "cpus = 2", "cpus = \"2\"", "vm.conf:5: cpus is not a number" },
		{ "6f1c", "6F1C", "vm.conf:2: uuid is \"6F1C0f3e" },
		{ "\"vm1\"", "\"../vm1\"", "vm.conf:1: name is \"../vm1\": malformed" },
		{ "\"vm1.raw\"", "\"../../etc/shadow\"", "vm.conf:10: volume is" },
		{ "\"vm1.raw\"", "\"json:{}\"", "vm.conf:10: volume is" },
		{ "\"raw\"", "\"vmdk\"",
		  "vm.conf:11: format is \"vmdk\": not one of \"raw\", \"qcow2\"" },
		{ "true", "\"yes\"", "vm.conf:11: read_only is not true or false" },
		{ "read_only", "readonly", "vm.conf:11: readonly is no setting that I know" },
		{ "pool = \"shared\"; ", "", "vm.conf:10: entry has no \"pool\"" },
		{ "52:54", "53:54", "vm.conf:13: mac is \"53:54:00:00:00:01\": a multicast" },
		{ "52:54", "52-54", "vm.conf:13: mac is" },
		{ "\"vnc\"", "\"sdl\"", "vm.conf:14: display is \"sdl\"" },
		{ "tpm = true", "tpm = 1", "vm.conf:18: tpm is not true or false" },
		{ "opportunistic", "off", "vm.conf:16: mode is \"off\": not one of \"required\"" },
		{ "[ \"a\", \"b\" ]", "\"a\"", "vm.conf:17: labels is not an array" },
		{ "[ \"a\", \"b\" ]", "[ \"a/b\" ]", "vm.conf:17: entry is \"a/b\": malformed" },
		{ "\"kernel\"", "\"nothing\"", "vm.conf:7: kernel is " },
		{ "kernel = \"kernel\";", "", "vm.conf: manifest: " },
		{ "name = \"vm1\";", "", "vm.conf: there is no \"name\"" },
		{ "name = ", "nmae = ", "vm.conf:1: nmae is no setting that I know" },
		{ "cpus = 2;", "cpus = 2; cpus = 3;", "vm.conf:5: duplicate setting name" },
		{ "cpus = 2;", "cpus = = 2;", "vm.conf:5: syntax error" },
		{ "cpus = 2;", "  @include \"/etc/shadow\"", "vm.conf:5: @include is not allowed" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char text[2048];
		VmFile file;
		Error err = ERROR_INIT;

		replace(cases[i].old, cases[i].new, text, sizeof(text));
		assert_false(vm_file_parse("vm.conf", directory, text, &file, &err));
		assert_int_equal(err.category, ERROR_CONFIG);
		if (strncmp(err.text, cases[i].error, strlen(cases[i].error)))
			fail_msg("case %zu: \"%s\"", i, err.text);
	}
}

static void test_too_many(void **state)
{
	char text[8192];
	VmFile file;
	Error err = ERROR_INIT;
	size_t used;

	(void)state;
	replace("nics = (", "nics = ( { network = \"lan\"; mac = \"52:54:00:00:00:01\"; },", text,
		sizeof(text));
	assert_false(vm_file_parse("vm.conf", directory, text, &file, &err));
	assert_non_null(strstr(err.text, "52:54:00:00:00:01 twice"));

	used = (size_t)snprintf(text, sizeof(text), "nics = (");
	for (unsigned int i = 0; i <= LIMIT_NICS; i++)
		used += (size_t)snprintf(text + used, sizeof(text) - used,
					 "%s{ network = \"lan\"; mac = \"52:54:00:00:01:%02x\"; }",
					 i ? "," : "", i);
	snprintf(text + used, sizeof(text) - used, ");");
	assert_false(vm_file_parse("vm.conf", directory, text, &file, &err));
	assert_string_equal(err.text, "vm.conf:1: nics has 9 entries, at most 8");
}

static void test_sizes(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good_sizes[] = {
		{ "0", 0 },
		{ "1048576", 1 << 20 },
		{ "1K", 1024 },
		{ "3G", UINT64_C(3) << 30 },
		{ "16T", UINT64_C(16) << 40 },
		{ "18446744073709551615", UINT64_MAX },
	};
	static const char *const bad_sizes[] = { "",
						 "M",
						 "-1",
						 "+1",
						 "1 M",
						 "1MB",
						 "0x10",
						 "1m",
						 "1.5G",
						 " 1",
						 "18446744073709551616",
						 "16777216T" };
	uint64_t bytes;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good_sizes); i++) {
		assert_true(vm_file_parse_size(good_sizes[i].text, &bytes));
		assert_int_equal(bytes, good_sizes[i].bytes);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad_sizes); i++)
		assert_false(vm_file_parse_size(bad_sizes[i], &bytes));
}

static void test_missing_file(void **state)
{
	VmFile file;
	Error err = ERROR_INIT;

	(void)state;
	assert_false(vm_file_load("/nonexistent/vm.conf", &file, &err));
	assert_int_equal(err.category, ERROR_NOT_FOUND);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good_file),	cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_bad_files),	cmocka_unit_test(test_too_many),
		cmocka_unit_test(test_sizes),		cmocka_unit_test(test_missing_file),
		cmocka_unit_test(test_encrypted_disks),
	};

	return cmocka_run_group_tests(tests, make_boot_files, remove_boot_files);
}
