/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "luks_sample.h"

/* A version 3 header of a 64 MiB image, as qemu-img 10 writes it. */
static void make_qcow2(uint8_t head[IMAGE_PROBE_BYTES])
{
	memset(head, 0, IMAGE_PROBE_BYTES);
	memcpy(head, "QFI\xfb", 4);
	store_be32(head + 4, 3);
	store_be32(head + 20, 16);	 /* cluster bits */
	store_be64(head + 24, 64 << 20); /* size */
	store_be32(head + 36, 1);	 /* L1 entries */
	store_be64(head + 40, 0x30000);	 /* L1 table */
	store_be64(head + 48, 0x10000);	 /* refcount table */
	store_be32(head + 56, 1);
	store_be32(head + 96, 4);
	store_be32(head + 100, 112);	    /* header length */
	store_be32(head + 112, 0x6803f857); /* feature names */
	store_be32(head + 116, 0x180);
}

static void test_good_images(void **state)
{
	uint8_t head[IMAGE_PROBE_BYTES] = { 0xeb, 0x63, 0x90 };
	Error err = ERROR_INIT;
	uint64_t size = 1;

	(void)state;
	assert_true(image_probe(DISK_RAW, head, sizeof(head), &size, &err));
	assert_int_equal(size, 0);
	assert_true(image_probe(DISK_RAW, head, 0, &size, &err));
	/* A guest's own whole-disk encryption. */
	memcpy(head, "LUKS\xba\xbe", 6);
	assert_true(image_probe(DISK_RAW, head, sizeof(head), &size, &err));

	make_qcow2(head);
	assert_true(image_probe(DISK_QCOW2, head, sizeof(head), &size, &err));
	assert_int_equal(size, 64 << 20);
	store_be32(head + 4, 2);
	store_be32(head + 72, 0);
	assert_true(image_probe(DISK_QCOW2, head, sizeof(head), &size, &err));
}

static void test_raw_with_planted_header(void **state)
{
	static const struct {
		size_t offset;
		const char *bytes;
		size_t size;
		const char *format;
	} plants[] = {
		{ 0, "QFI\xfb", 4, "qcow2" },
		{ 0, "KDMV", 4, "vmdk" },
		{ 0, "COWD", 4, "vmdk" },
		{ 0, "# Disk DescriptorFile", 21, "vmdk" },
		{ 0, "vhdxfile", 8, "vhdx" },
		{ 0, "conectix", 8, "vpc" },
		{ 0, "QED\0", 4, "qed" },
		{ 0, "WithoutFreeSpace", 16, "parallels" },
		{ 64, "\x7f\x10\xda\xbe", 4, "vdi" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(plants); i++) {
		uint8_t head[IMAGE_PROBE_BYTES] = { 0 };
		Error err = ERROR_INIT;
		uint64_t size;

		memcpy(head + plants[i].offset, plants[i].bytes, plants[i].size);
		assert_false(image_probe(DISK_RAW, head, sizeof(head), &size, &err));
		assert_int_equal(err.category, ERROR_DENIED);
		assert_non_null(strstr(err.text, "planted image header"));
		assert_non_null(strstr(err.text, plants[i].format));
	}
}

typedef struct Change {
	size_t offset;
	size_t size;
	uint64_t value;
	const char *text;
} Change;

static void test_qcow2_that_is_more_than_a_disk(void **state)
{
	static const Change changes[] = {
		{ 0, 4, 0, "not a qcow2 image" },
		{ 4, 4, 4, "version is 4" },
		{ 8, 8, 512, "backing file" },
		{ 16, 4, 9, "backing file" },
		{ 20, 4, 8, "cluster bits are 8" },
		{ 20, 4, 64, "cluster bits are 64" },
		{ 32, 4, 2, "encrypted" },
		{ 36, 4, 0xffffffff, "table of 4294967295 entries" },
		{ 60, 4, 65537, "65537 snapshots" },
		{ 72, 8, 1 << 1, "corrupt" },
		{ 72, 8, 1 << 2, "external data file" },
		{ 72, 8, UINT64_C(1) << 63, "unknown features 0x8000000000000000" },
		{ 100, 4, 100, "header length is 100" },
		{ 100, 4, 0xfffffff8, "header length" },
		{ 100, 4, 105, "header length is 105" },
		{ 112, 4, 0x44415441, "external data file" },
		{ 112, 4, 0x0537be77, "encrypted" },
		{ 116, 4, 0xffffffff, "extensions do not end" },
		{ 116, 4, 4090, "extensions do not end" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		uint8_t head[IMAGE_PROBE_BYTES];
		Error err = ERROR_INIT;
		uint64_t size;

		make_qcow2(head);
		if (changes[i].size == 4)
			store_be32(head + changes[i].offset, (uint32_t)changes[i].value);
		else
			store_be64(head + changes[i].offset, changes[i].value);
		assert_false(image_probe(DISK_QCOW2, head, sizeof(head), &size, &err));
		assert_int_equal(err.category, ERROR_DENIED);
		if (!strstr(err.text, changes[i].text))
			fail_msg("%zu: %s", i, err.text);
	}
}

/* Every length and every flipped bit: an answer, no crash, and never one that opens other files. */
static void test_mutations(void **state)
{
	uint8_t head[IMAGE_PROBE_BYTES];
	Error err = ERROR_INIT;
	uint64_t size;

	(void)state;
	for (size_t length = 0; length < 512; length++) {
		uint8_t *copy = malloc(length + 1);

		make_qcow2(head);
		memcpy(copy, head, length);
		assert_int_equal(image_probe(DISK_QCOW2, copy, length, &size, &err), false);
		(void)!image_probe(DISK_RAW, copy, length, &size, &err);
		free(copy);
	}
	for (size_t bit = 0; bit < 8 * 128; bit++) {
		make_qcow2(head);
		head[bit / 8] ^= (uint8_t)(1u << bit % 8);
		if (image_probe(DISK_QCOW2, head, sizeof(head), &size, &err))
			assert_true(!load_be64(head + 8) && !load_be32(head + 16));
	}
}

/* --- encrypted images --- */

enum { STORED = SAMPLE_LUKS_AT + SAMPLE_LUKS_AREA };

static void test_encrypted(void **state)
{
	uint8_t head[IMAGE_PROBE_BYTES];
	Error err = ERROR_INIT;
	uint64_t size = 1;
	LuksArea area;

	(void)state;
	sample_qcow2_luks(head);
	if (!image_probe_luks(DISK_QCOW2, head, sizeof(head), STORED, &size, &area, &err))
		fail_msg("%s", err.text);
	assert_int_equal(size, 8 << 20);
	assert_int_equal(area.offset, SAMPLE_LUKS_AT);
	assert_int_equal(area.size_bytes, SAMPLE_LUKS_AREA);
	/* What the manifest does not say is not opened. */
	assert_false(image_probe(DISK_QCOW2, head, sizeof(head), &size, &err));
	assert_int_equal(err.category, ERROR_DENIED);
	assert_non_null(strstr(err.text, "encrypted by its own header"));
	store_be32(head + 32, 0);
	assert_false(image_probe(DISK_QCOW2, head, sizeof(head), &size, &err));
	/* Nor is a plain one taken for an encrypted one. */
	make_qcow2(head);
	assert_false(image_probe_luks(DISK_QCOW2, head, sizeof(head), STORED, &size, &area, &err));
	assert_non_null(strstr(err.text, "qcow2 encryption is 0, not LUKS"));

	sample_luks(head);
	assert_true(image_probe_luks(DISK_RAW, head, sizeof(head), STORED, &size, &area, &err));
	assert_int_equal(size, 0);
	assert_int_equal(area.offset, 0);
	assert_int_equal(area.size_bytes, STORED);
}

static void test_encrypted_qcow2_by_field(void **state)
{
	static const Change changes[] = {
		{ 8, 8, 512, "backing file" },
		{ 32, 4, 1, "encryption is 1, not LUKS" },
		{ 32, 4, 3, "encryption is 3" },
		{ 72, 8, 1 << 2, "external data file" },
		{ 112, 4, 0x11111111, "no encryption header" },
		{ 116, 4, 24, "another length than 16" },
		{ 116, 4, 8, "another length than 16" },
		{ 120, 8, 0, "encryption header at 0, no cluster" },
		{ 120, 8, SAMPLE_LUKS_AT + 512, "no cluster" },
		{ 120, 8, SAMPLE_LUKS_AT + 0x10000, "behind the end" },
		{ 120, 8, UINT64_MAX - 0xffff, "behind the end" },
		{ 128, 8, LUKS_HEADER_BYTES - 1, "of 591 bytes, outside 592..16777216" },
		{ 128, 8, IMAGE_LUKS_AREA_MAX + 1, "of 16777217 bytes, outside" },
		{ 128, 8, UINT64_MAX, "outside" },
		{ 128, 8, SAMPLE_LUKS_AREA + 1, "behind the end" },
		{ 136, 8, UINT64_C(0x0537be7700000010), "comes twice" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		uint8_t head[IMAGE_PROBE_BYTES];
		LuksArea area;
		Error err = ERROR_INIT;
		uint64_t size;

		sample_qcow2_luks(head);
		if (changes[i].size == 4)
			store_be32(head + changes[i].offset, (uint32_t)changes[i].value);
		else
			store_be64(head + changes[i].offset, changes[i].value);
		assert_false(image_probe_luks(DISK_QCOW2, head, sizeof(head), STORED, &size, &area,
					      &err));
		assert_int_equal(err.category, ERROR_DENIED);
		if (!strstr(err.text, changes[i].text))
			fail_msg("%zu: %s", i, err.text);
	}
}

static void test_encrypted_mutations(void **state)
{
	(void)state;
	for (size_t bit = 0; bit < 8 * 160; bit++) {
		uint8_t head[IMAGE_PROBE_BYTES];
		LuksArea area;
		Error err = ERROR_INIT;
		uint64_t size;

		sample_qcow2_luks(head);
		head[bit / 8] ^= (uint8_t)(1u << bit % 8);
		if (image_probe_luks(DISK_QCOW2, head, sizeof(head), STORED, &size, &area, &err))
			assert_true(area.size_bytes >= LUKS_HEADER_BYTES && area.offset <= STORED &&
				    area.size_bytes <= STORED - area.offset);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good_images),
		cmocka_unit_test(test_raw_with_planted_header),
		cmocka_unit_test(test_qcow2_that_is_more_than_a_disk),
		cmocka_unit_test(test_mutations),
		cmocka_unit_test(test_encrypted),
		cmocka_unit_test(test_encrypted_qcow2_by_field),
		cmocka_unit_test(test_encrypted_mutations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
