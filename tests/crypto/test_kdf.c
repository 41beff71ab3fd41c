/* SPDX-License-Identifier: Apache-2.0 */
/* Digests, HKDF and ECDH: what the key schedule is made of. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "base/file.h"
#include "crypto/digest.h"
#include "crypto/ecdh.h"
#include "crypto/hkdf.h"
#include "crypto/random.h"

static void assert_hex(const void *data, size_t size, const char *expected)
{
	char hex[2 * SECRET_MAX_BYTES + 1];

	assert_true(size <= SECRET_MAX_BYTES);
	hex_encode(data, size, hex);
	assert_string_equal(hex, expected);
}

/* FIPS 180-4 examples. */
static const char abc_sha256[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
static const char abc_sha384[] = "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded163"
				 "1a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7";
static const char empty_sha384[] = "38b060a751ac96384cd9327eb1b1e36a21fdb71114be0743"
				   "4c0cc7bf63f6e1da274edebfe76f65fbd51ad2f14898b95b";

static void test_digest(void **state)
{
	uint8_t sha256[DIGEST_SHA256_SIZE], sha384[DIGEST_SHA384_SIZE];
	Error err = ERROR_INIT;

	(void)state;
	assert_true(digest_sha256("abc", 3, sha256, &err));
	assert_hex(sha256, sizeof(sha256), abc_sha256);
	assert_true(digest_sha384("abc", 3, sha384, &err));
	assert_hex(sha384, sizeof(sha384), abc_sha384);
	assert_true(digest_sha384_pair("a", 1, "bc", 2, sha384, &err));
	assert_hex(sha384, sizeof(sha384), abc_sha384);
	assert_true(digest_sha384(NULL, 0, sha384, &err));
	assert_hex(sha384, sizeof(sha384), empty_sha384);
	assert_true(digest_sha384_pair(NULL, 0, NULL, 0, sha384, &err));
	assert_hex(sha384, sizeof(sha384), empty_sha384);
}

static void test_digest_of_file(void **state)
{
	AUTO_FD int fd = memfd_create("digest", MFD_CLOEXEC);
	uint8_t sha256[DIGEST_SHA256_SIZE];
	Error err = ERROR_INIT;

	(void)state;
	assert_true(fd >= 0);
	assert_true(file_write_fd(fd, "abc", 3, &err));
	assert_true(digest_sha256_fd(fd, 3, sha256, &err));
	assert_hex(sha256, sizeof(sha256), abc_sha256);
	assert_int_equal(lseek(fd, 0, SEEK_CUR), 3);
	assert_false(digest_sha256_fd(fd, 2, sha256, &err));
	assert_int_equal(err.category, ERROR_LIMIT);
	err = ERROR_INIT;
	assert_false(digest_sha256_fd(-1, 3, sha256, &err));
	assert_int_equal(err.category, ERROR_IO);
}

typedef struct HkdfCase {
	const char *key, *salt, *info; /* hex */
	size_t size;
	const char *prk, *out;
} HkdfCase;

/* The inputs of RFC 5869, appendix A.1 to A.3, with SHA-384; results computed with Python's hmac.
 */
static const HkdfCase hkdf_cases[] = {
	{ "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "000102030405060708090a0b0c",
	  "f0f1f2f3f4f5f6f7f8f9", 42,
	  "704b39990779ce1dc548052c7dc39f303570dd13fb39f7acc564680bef80e8de"
	  "c70ee9a7e1f3e293ef68eceb072a5ade",
	  "9b5097a86038b805309076a44b3a9f38063e25b516dcbf369f394cfab43685f7"
	  "48b6457763e4f0204fc5" },
	{ "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f"
	  "303132333435363738393a3b3c3d3e3f404142434445464748494a4b4c4d4e4f",
	  "606162636465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f808182838485868788898a8b8c8d8e8f"
	  "909192939495969798999a9b9c9d9e9fa0a1a2a3a4a5a6a7a8a9aaabacadaeaf",
	  "b0b1b2b3b4b5b6b7b8b9babbbcbdbebfc0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadbdcdddedf"
	  "e0e1e2e3e4e5e6e7e8e9eaebecedeeeff0f1f2f3f4f5f6f7f8f9fafbfcfdfeff",
	  82,
	  "b319f6831dff9314efb643baa29263b30e4a8d779fe31e9c901efd7de737c85b"
	  "62e676d4dc87b0895c6a7dc97b52cebb",
	  "484ca052b8cc724fd1c4ec64d57b4e818c7e25a8e0f4569ed72a6a05fe0649ee"
	  "bf69f8d5c832856bf4e4fbc17967d54975324a94987f7f41835817d8994fdbd6"
	  "f4c09c5500dca24a56222fea53d8967a8b2e" },
	{ "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "", "", 42,
	  "10e40cf072a4c5626e43dd22c1cf727d4bb140975c9ad0cbc8e45b40068f8f0b"
	  "a57cdb598af9dfa6963a96899af047e5",
	  "c8c96e710f89b0d7990bca68bcdec8cf854062e54c73a7abc743fade9b242daa"
	  "cc1cea5670415b52849c" },
};

static Secret *secret_of_hex(const char *hex)
{
	uint8_t bytes[SECRET_MAX_BYTES];
	Error err = ERROR_INIT;

	assert_true(hex_decode(hex, bytes, strlen(hex) / 2));
	return secret_new_from(bytes, strlen(hex) / 2, &err);
}

static void test_hkdf(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(hkdf_cases); i++) {
		const HkdfCase *row = &hkdf_cases[i];
		uint8_t salt[128], info[128];
		Error err = ERROR_INIT;
		AUTO_SECRET Secret *key = secret_of_hex(row->key);
		const Secret *const parts[] = { key };

		assert_true(hex_decode(row->salt, salt, strlen(row->salt) / 2));
		assert_true(hex_decode(row->info, info, strlen(row->info) / 2));

		AUTO_SECRET Secret *prk = hkdf_extract(salt, strlen(row->salt) / 2, parts, 1, &err);

		assert_non_null(prk);
		assert_hex(secret_peek(prk), secret_size(prk), row->prk);

		AUTO_SECRET Secret *out =
			hkdf_expand(prk, info, strlen(row->info) / 2, row->size, &err);

		assert_non_null(out);
		assert_hex(secret_peek(out), secret_size(out), row->out);
	}
}

/* Parts are one after the other, in order. */
static void test_hkdf_parts(void **state)
{
	AUTO_SECRET Secret *first = secret_of_hex("0b0b0b0b0b0b0b0b");
	AUTO_SECRET Secret *second = secret_of_hex("0b0b0b0b0b0b0b0b0b0b0b0b0b0b");
	AUTO_SECRET Secret *other = secret_of_hex("0c");
	const Secret *const parts[] = { first, second };
	const Secret *const forward[] = { first, other };
	const Secret *const backward[] = { other, first };
	Error err = ERROR_INIT;
	AUTO_SECRET Secret *prk = hkdf_extract(NULL, 0, parts, 2, &err);
	AUTO_SECRET Secret *a = hkdf_extract(NULL, 0, forward, 2, &err);
	AUTO_SECRET Secret *b = hkdf_extract(NULL, 0, backward, 2, &err);

	(void)state;
	assert_hex(secret_peek(prk), secret_size(prk), hkdf_cases[2].prk);
	assert_false(secret_equal(a, b));
}

static void test_hkdf_bounds(void **state)
{
	Error err = ERROR_INIT;
	uint8_t info[1025] = { 0 };
	AUTO_SECRET Secret *big = secret_new(SECRET_MAX_BYTES, &err);
	AUTO_SECRET Secret *one = secret_new(1, &err);
	const Secret *const fits[] = { big };
	const Secret *const too_much[] = { big, one };
	AUTO_SECRET Secret *prk = hkdf_extract("s", 1, fits, 1, &err);

	(void)state;
	assert_non_null(prk);
	assert_null(hkdf_extract("s", 1, too_much, 2, &err));
	assert_int_equal(err.category, ERROR_LIMIT);
	err = ERROR_INIT;
	assert_null(hkdf_expand(prk, info, sizeof(info), 32, &err));
	assert_int_equal(err.category, ERROR_LIMIT);

	AUTO_SECRET Secret *longest =
		hkdf_expand(prk, info, sizeof(info) - 1, SECRET_MAX_BYTES, &err);

	assert_non_null(longest);
}

static void test_ecdh_agrees(void **state)
{
	Error err = ERROR_INIT;
	AUTO_ECDH_KEY EcdhKey *a = ecdh_key_new(&err);
	AUTO_ECDH_KEY EcdhKey *b = ecdh_key_new(&err);
	AUTO_ECDH_KEY EcdhKey *c = ecdh_key_new(&err);
	uint8_t share_a[ECDH_PUBLIC_SIZE], share_b[ECDH_PUBLIC_SIZE], share_c[ECDH_PUBLIC_SIZE];

	(void)state;
	assert_true(a && b && c);
	ecdh_key_public(a, share_a);
	ecdh_key_public(b, share_b);
	ecdh_key_public(c, share_c);
	assert_memory_not_equal(share_a, share_b, sizeof(share_a));

	AUTO_SECRET Secret *ab = ecdh_derive(a, share_b, &err);
	AUTO_SECRET Secret *ba = ecdh_derive(b, share_a, &err);
	AUTO_SECRET Secret *ac = ecdh_derive(a, share_c, &err);

	assert_true(ab && ba && ac);
	assert_int_equal(secret_size(ab), ECDH_SECRET_SIZE);
	assert_true(secret_equal(ab, ba));
	assert_false(secret_equal(ab, ac));
}

static void bad_share(const EcdhKey *key, const uint8_t share[ECDH_PUBLIC_SIZE])
{
	Error err = ERROR_INIT;

	assert_null(ecdh_derive(key, share, &err));
	assert_int_equal(err.category, ERROR_PEER);
}

static void test_ecdh_refuses(void **state)
{
	Error err = ERROR_INIT;
	AUTO_ECDH_KEY EcdhKey *own = ecdh_key_new(&err);
	AUTO_ECDH_KEY EcdhKey *peer = ecdh_key_new(&err);
	uint8_t good[ECDH_PUBLIC_SIZE], share[ECDH_PUBLIC_SIZE];

	(void)state;
	assert_true(own && peer);
	ecdh_key_public(peer, good);
	for (size_t bit = 0; bit < 8 * sizeof(share); bit++) {
		memcpy(share, good, sizeof(share));
		share[bit / 8] ^= (uint8_t)(1 << bit % 8);
		bad_share(own, share);
	}
	memset(share, 0, sizeof(share)); /* the point at infinity, padded */
	bad_share(own, share);
	share[0] = 4; /* (0, 0) */
	bad_share(own, share);
	memset(share + 1, 0xff, sizeof(share) - 1); /* beyond the field */
	bad_share(own, share);
	ecdh_key_public(own, share);
	bad_share(own, share);
	memcpy(share, good, sizeof(share));
	share[0] = 2; /* compressed form, hybrid form */
	bad_share(own, share);
	share[0] = (uint8_t)(6 + (share[96] & 1));
	bad_share(own, share);

	AUTO_SECRET Secret *shared = ecdh_derive(own, good, &err);

	assert_non_null(shared);
}

static void test_random_secret(void **state)
{
	Error err = ERROR_INIT;
	AUTO_SECRET Secret *a = random_secret(32, &err);
	AUTO_SECRET Secret *b = random_secret(32, &err);

	(void)state;
	assert_true(a && b);
	assert_int_equal(secret_size(a), 32);
	assert_false(secret_equal(a, b));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_digest),	     cmocka_unit_test(test_digest_of_file),
		cmocka_unit_test(test_hkdf),	     cmocka_unit_test(test_hkdf_parts),
		cmocka_unit_test(test_hkdf_bounds),  cmocka_unit_test(test_ecdh_agrees),
		cmocka_unit_test(test_ecdh_refuses), cmocka_unit_test(test_random_secret),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
