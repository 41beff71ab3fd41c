/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/keys/store_fixture.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

static Secret *from_hex(const char *hex)
{
	Error err = ERROR_INIT;
	Secret *secret = secret_new(strlen(hex) / 2, &err);

	assert_non_null(secret);
	assert_true(hex_decode(hex, secret_bytes(secret), secret_size(secret)));
	return secret;
}

/* RFC 3394, section 4.6: 256 bits of key data with a 256-bit key. */
static void key_wrap_gives_the_known_answer(void **state)
{
	AUTO_SECRET Secret *by = from_hex("000102030405060708090a0b0c0d0e0f"
					  "101112131415161718191a1b1c1d1e1f");
	AUTO_SECRET Secret *key = from_hex("00112233445566778899aabbccddeeff"
					   "000102030405060708090a0b0c0d0e0f");
	AUTO_SECRET Secret *known = from_hex("28c9f404c4b810f4cbccb35cfb87f826"
					     "3f5786e2d80ed326cbc7f0e71a99f43b"
					     "fb988b9b7a02dd21");
	uint8_t wrapped[KEY_WRAPPED_BYTES];
	Error err = ERROR_INIT;
	AUTO_SECRET Secret *again = secret_new(KEY_BYTES, &err);

	(void)state;
	assert_non_null(again);
	assert_works(key_wrap(by, key, wrapped, &err), &err);
	assert_memory_equal(wrapped, secret_peek(known), sizeof(wrapped));
	assert_works(key_unwrap(by, wrapped, again, &err), &err);
	assert_true(secret_equal(again, key));
}

static void a_changed_bit_or_another_key_does_not_unwrap(void **state)
{
	AUTO_SECRET Secret *by = sample_value(3), *other = sample_value(4), *key = sample_value(5);
	uint8_t wrapped[KEY_WRAPPED_BYTES];
	Error err = ERROR_INIT;
	AUTO_SECRET Secret *back = secret_new(KEY_BYTES, &err);

	(void)state;
	assert_non_null(back);
	assert_works(key_wrap(by, key, wrapped, &err), &err);
	for (size_t bit = 0; bit < 8 * sizeof(wrapped); bit++) {
		wrapped[bit / 8] ^= (uint8_t)(1 << (bit % 8));
		assert_fails(key_unwrap(by, wrapped, back, &err), ERROR_AUTH,
			     "not of this root key", &err);
		wrapped[bit / 8] ^= (uint8_t)(1 << (bit % 8));
	}
	assert_fails(key_unwrap(other, wrapped, back, &err), ERROR_AUTH, "not of this root key",
		     &err);
}

static void root_keys_in_memory_are_of_two_kinds(void **state)
{
	AUTO_SECRET Secret *bytes = sample_value(1), *key = sample_value(2);
	AUTO_SECRET Secret *wrong = from_hex("0011");
	uint8_t wrapped[KEY_WRAPPED_BYTES], expected[KEY_WRAPPED_BYTES];
	Error err = ERROR_INIT;
	AUTO_ROOT_KEY RootKey *file = root_key_new("file", bytes, &err);
	AUTO_ROOT_KEY RootKey *tpm = root_key_new("tpm2", bytes, &err);

	(void)state;
	assert_string_equal(file->type->name, "file");
	assert_string_equal(tpm->type->name, "tpm2");
	assert_works(key_wrap(bytes, key, expected, &err), &err);
	assert_works(tpm->type->wrap(tpm, key, wrapped, &err), &err);
	assert_memory_equal(wrapped, expected, sizeof(expected));
	assert_fails(root_key_new("pkcs11", bytes, &err), ERROR_USAGE, "\"pkcs11\"", &err);
	assert_fails(root_key_new("file", wrong, &err), ERROR_USAGE, "2 bytes", &err);
}

/* --- the file of a root key --- */

static const char good_text[] = "0102030405060708090a0b0c0d0e0f10"
				"1112131415161718191a1b1c1d1e1fff";

static RootKey *read_root(const char *text, size_t size, mode_t mode, Error *err)
{
	RootKey *root;
	TestFolder folder;
	char path[128];
	int fd;

	support_make_folder(&folder);
	support_path(&folder, "root.key", path);
	assert_works(file_replace(path, text, size, mode, err), err);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	/* Where the descriptor stands is nobody's business. */
	assert_int_equal(lseek(fd, 5, SEEK_SET), 5);
	root = root_key_read(fd, err);
	close(fd);
	support_remove_folder(&folder);
	return root;
}

static void a_root_key_is_read_from_its_file(void **state)
{
	AUTO_SECRET Secret *bytes = from_hex(good_text), *key = sample_value(2);
	uint8_t wrapped[KEY_WRAPPED_BYTES], expected[KEY_WRAPPED_BYTES];
	char line[80];
	Error err = ERROR_INIT;

	(void)state;
	assert_works(key_wrap(bytes, key, expected, &err), &err);
	snprintf(line, sizeof(line), "%s\n", good_text);
	for (size_t size = 64; size <= 65; size++)
		for (mode_t mode = 0400; mode <= 0600; mode += 0200) {
			AUTO_ROOT_KEY RootKey *root = read_root(line, size, mode, &err);

			assert_non_null(root);
			assert_works(root->type->wrap(root, key, wrapped, &err), &err);
			assert_memory_equal(wrapped, expected, sizeof(expected));
		}
}

static void what_is_no_root_key_is_refused(void **state)
{
	char line[80];
	Error err = ERROR_INIT;

	(void)state;
	snprintf(line, sizeof(line), "%s\n\n", good_text);
	for (size_t size = 0; size <= 66; size++)
		if (size != 64 && size != 65)
			assert_fails(read_root(line, size, 0600, &err), ERROR_CONFIG,
				     "one line of 64 lower-case hex digits", &err);
	line[10] = 'A';
	assert_fails(read_root(line, 64, 0600, &err), ERROR_CONFIG, "lower-case", &err);
	line[10] = '\0';
	assert_fails(read_root(line, 64, 0600, &err), ERROR_CONFIG, "lower-case", &err);
	snprintf(line, sizeof(line), "%s ", good_text);
	assert_fails(read_root(line, 65, 0600, &err), ERROR_CONFIG, "lower-case", &err);
	memset(line, '0', 64);
	assert_fails(read_root(line, 64, 0600, &err), ERROR_CONFIG, "zeros", &err);
}

static void a_root_key_that_others_may_use_is_refused(void **state)
{
	static const mode_t modes[] = { 0640, 0604, 0620, 0602, 0610, 0601, 0777 };
	Error err = ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(modes); i++)
		assert_fails(read_root(good_text, 64, modes[i], &err), ERROR_CONFIG,
			     "others may use it", &err);
}

static void a_root_key_comes_from_a_file_only(void **state)
{
	Error err = ERROR_INIT;
	int ends[2];

	(void)state;
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_fails(root_key_read(ends[0], &err), ERROR_CONFIG, "not in a regular file", &err);
	close(ends[0]);
	close(ends[1]);
	assert_fails(root_key_read(-1, &err), ERROR_IO, "cannot examine", &err);
}

/* --- envelopes --- */

static void a_value_opens_and_two_sealings_differ(void **state)
{
	AUTO_ROOT_KEY RootKey *root = sample_root(1);
	AUTO_SECRET Secret *value = sample_value(1), *again = NULL;
	KeyEnvelope one, two;
	Error err = ERROR_INIT;
	KeyRecord key;

	(void)state;
	sample_key(1, KEY_ACTIVE, &key);
	assert_works(key_seal(root, &key, value, &one, &err), &err);
	assert_works(key_seal(root, &key, value, &two, &err), &err);
	assert_memory_not_equal(one.wrapped, two.wrapped, sizeof(one.wrapped));
	assert_memory_not_equal(one.sealed, two.sealed, sizeof(one.sealed));
	again = key_unseal(root, &key, &one, &err);
	assert_non_null(again);
	assert_true(secret_equal(value, again));
	/* One's wrapping key does not open the other. */
	memcpy(one.sealed, two.sealed, sizeof(one.sealed));
	assert_fails(key_unseal(root, &key, &one, &err), ERROR_AUTH,
		     "key a0010000000000000000000000000000 version 1 does not open", &err);
}

static void a_changed_envelope_or_another_root_does_not_open(void **state)
{
	AUTO_ROOT_KEY RootKey *root = sample_root(1), *other = sample_root(2);
	AUTO_SECRET Secret *value = sample_value(1);
	uint8_t *bytes;
	KeyEnvelope envelope;
	Error err = ERROR_INIT;
	KeyRecord key;

	(void)state;
	sample_key(1, KEY_ACTIVE, &key);
	assert_works(key_seal(root, &key, value, &envelope, &err), &err);
	bytes = (uint8_t *)&envelope;
	for (size_t bit = 0; bit < 8 * sizeof(envelope); bit++) {
		bytes[bit / 8] ^= (uint8_t)(1 << (bit % 8));
		assert_fails(key_unseal(root, &key, &envelope, &err), ERROR_AUTH, "does not open",
			     &err);
		bytes[bit / 8] ^= (uint8_t)(1 << (bit % 8));
	}
	assert_fails(key_unseal(other, &key, &envelope, &err), ERROR_AUTH, "not of this root key",
		     &err);
}

/* Each in turn changes one thing of a record. `kept`: an envelope or a blob opens all the same. */
typedef struct Edit {
	const char *what;
	size_t offset;
	bool envelope_opens, blob_opens;
} Edit;
#define EDIT(member, envelope, blob)                                                               \
	{                                                                                          \
#member, offsetof(KeyRecord, member), envelope, blob                               \
	}
static const Edit edits[] = {
	EDIT(id, false, false),		 EDIT(version, false, false),
	EDIT(purpose, false, false),	 EDIT(state, false, true),
	EDIT(vm, false, false),		 EDIT(owner, false, false),
	EDIT(slot, false, false),	 EDIT(epoch, false, true),
	EDIT(backend, true, true),	 EDIT(reference, true, true),
	EDIT(fingerprint, false, false), EDIT(exposed_to, false, true),
	EDIT(migration, false, true),	 EDIT(created_s, true, true),
	EDIT(changed_s, true, true),
};

static void both_are_bound_to_the_record(void **state)
{
	AUTO_ROOT_KEY RootKey *root = sample_root(1);
	AUTO_SECRET Secret *value = sample_value(1), *blob_key = NULL, *blob = NULL;
	KeyEnvelope envelope;
	Error err = ERROR_INIT;
	KeyRecord key;

	(void)state;
	sample_key(1, KEY_ACTIVE, &key);
	assert_works(key_seal(root, &key, value, &envelope, &err), &err);
	assert_works(key_blob_seal(&key, value, &blob_key, &blob, &err), &err);
	for (size_t i = 0; i < ARRAY_SIZE(edits); i++) {
		KeyRecord edited = key;
		AUTO_SECRET Secret *at_rest = NULL, *given = NULL;

		((uint8_t *)&edited)[edits[i].offset] ^= 1;
		at_rest = key_unseal(root, &edited, &envelope, &err);
		given = key_blob_open(&edited, blob_key, blob, &err);
		if ((at_rest != NULL) != edits[i].envelope_opens ||
		    (given != NULL) != edits[i].blob_opens)
			fail_msg("%s: envelope %d blob %d", edits[i].what, at_rest != NULL,
				 given != NULL);
	}
}

static void a_blob_opens_with_its_key_only(void **state)
{
	AUTO_SECRET Secret *value = sample_value(1), *other = sample_value(2);
	AUTO_SECRET Secret *blob_key = NULL, *blob = NULL, *again = NULL, *short_one = NULL;
	Error err = ERROR_INIT;
	KeyRecord key;

	(void)state;
	sample_key(1, KEY_ACTIVE, &key);
	assert_works(key_blob_seal(&key, value, &blob_key, &blob, &err), &err);
	assert_int_equal(secret_size(blob), KEY_SEALED_BYTES);
	again = key_blob_open(&key, blob_key, blob, &err);
	assert_non_null(again);
	assert_true(secret_equal(again, value));
	assert_fails(key_blob_open(&key, other, blob, &err), ERROR_AUTH, "does not open", &err);
	short_one = secret_new_from(secret_peek(blob), KEY_SEALED_BYTES - 1, &err);
	assert_fails(key_blob_open(&key, blob_key, short_one, &err), ERROR_AUTH, "59 bytes came",
		     &err);
	secret_bytes(blob)[20] ^= 1;
	assert_fails(key_blob_open(&key, blob_key, blob, &err), ERROR_AUTH, "does not open", &err);
}

/* Sealed by us, but for a record that promises another value. */
static void a_blob_with_another_value_is_refused(void **state)
{
	AUTO_SECRET Secret *value = sample_value(2), *blob_key = NULL, *blob = NULL;
	Error err = ERROR_INIT;
	KeyRecord key;

	(void)state;
	sample_key(1, KEY_ACTIVE, &key);
	assert_works(key_blob_seal(&key, value, &blob_key, &blob, &err), &err);
	assert_fails(key_blob_open(&key, blob_key, blob, &err), ERROR_AUTH, "another fingerprint",
		     &err);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(key_wrap_gives_the_known_answer),
		cmocka_unit_test(a_changed_bit_or_another_key_does_not_unwrap),
		cmocka_unit_test(root_keys_in_memory_are_of_two_kinds),
		cmocka_unit_test(a_root_key_is_read_from_its_file),
		cmocka_unit_test(what_is_no_root_key_is_refused),
		cmocka_unit_test(a_root_key_that_others_may_use_is_refused),
		cmocka_unit_test(a_root_key_comes_from_a_file_only),
		cmocka_unit_test(a_value_opens_and_two_sealings_differ),
		cmocka_unit_test(a_changed_envelope_or_another_root_does_not_open),
		cmocka_unit_test(both_are_bound_to_the_record),
		cmocka_unit_test(a_blob_opens_with_its_key_only),
		cmocka_unit_test(a_blob_with_another_value_is_refused),
	};

	return cmocka_run_group_tests_name("keys/wrap", tests, NULL, NULL);
}
