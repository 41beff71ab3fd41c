/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/bounds.h"
#include "base/file.h"
#include "crypto/anchor.h"
#include "crypto/cms.h"
#include "crypto/openssl.h"
#include "crypto/pki_directory.h"
#include "fixture_pki.h"

#define NOW FIXTURE_NOW_S
#define DAY ((int64_t)PKI_DAY_S)

enum { PATH_BYTES = 512 };

typedef struct World {
	char *scratch;
	char dir[PATH_BYTES];
} World;

static int open_world(void **state)
{
	World *world = calloc(1, sizeof(*world));
	Error err = ERROR_INIT;

	assert_non_null(world);
	world->scratch = fixture_directory_new();
	snprintf(world->dir, sizeof(world->dir), "%s/north", world->scratch);
	if (!pki_directory_init(world->dir, "north.example", NOW, 3650, &err))
		fail_msg("%s", err.text);
	*state = world;
	return 0;
}

static int close_world(void **state)
{
	World *world = *state;

	fixture_directory_remove(world->scratch);
	free(world);
	return 0;
}

static PkiDirectory *opened(const World *world)
{
	Error err = ERROR_INIT;
	PkiDirectory *directory = pki_directory_open(world->dir, &err);

	if (!directory)
		fail_msg("%s", err.text);
	return directory;
}

static Buffer contents(const World *world, const char *name)
{
	Buffer buffer = BUFFER_INIT(1 << 20);
	char path[2 * PATH_BYTES];
	Error err = ERROR_INIT;

	snprintf(path, sizeof(path), "%s/%s", world->dir, name);
	if (!file_read(path, 1 << 20, &buffer, &err))
		fail_msg("%s", err.text);
	return buffer;
}

static mode_t mode_of(const World *world, const char *name)
{
	char path[2 * PATH_BYTES];
	struct stat status;

	snprintf(path, sizeof(path), "%s/%s", world->dir, name);
	assert_int_equal(stat(path, &status), 0);
	return status.st_mode & 0777;
}

static bool exists(const World *world, const char *name)
{
	char path[2 * PATH_BYTES];

	snprintf(path, sizeof(path), "%s/%s", world->dir, name);
	return !access(path, F_OK);
}

static void issue(const World *world, const char *name, bool renew)
{
	AUTO_PKI_DIRECTORY PkiDirectory *directory = opened(world);
	Error err = ERROR_INIT;

	if (!pki_directory_issue(directory, name ? SPIFFE_HOST : SPIFFE_AUTHORITY, name, NOW, 90,
				 renew, &err))
		fail_msg("%s", err.text);
}

/* What another domain makes of the directory's public files. */
static bool judged(const World *world, const char *certificate_file, AnchorPurpose purpose,
		   int64_t now_s, Error *err)
{
	AUTO_BUFFER Buffer root = contents(world, "root.crt");
	AUTO_BUFFER Buffer crl = contents(world, "crl.pem");
	AUTO_BUFFER Buffer pem = contents(world, certificate_file);
	AUTO_ANCHOR_STORE AnchorStore *store = anchor_store_new(err);
	AUTO_X509 X509 *certificate = pki_get_certificate(pem.data, pem.used, err);
	SpiffeId id;

	return store && certificate &&
	       anchor_store_add_root(store, "north.example", root.data, root.used, err) &&
	       anchor_store_set_crl(store, "north.example", crl.data, crl.used, now_s, err) &&
	       anchor_verify_certificate(store, certificate, NULL, now_s, purpose, &id, err);
}

static void good(const World *world, const char *certificate_file, AnchorPurpose purpose)
{
	Error err = ERROR_INIT;

	if (!judged(world, certificate_file, purpose, NOW, &err))
		fail_msg("%s", err.text);
}

static void bad(const World *world, const char *certificate_file, AnchorPurpose purpose,
		int64_t now_s, const char *reason)
{
	Error err = ERROR_INIT;

	assert_false(judged(world, certificate_file, purpose, now_s, &err));
	if (!strstr(err.text, reason))
		fail_msg("\"%s\" does not say \"%s\"", err.text, reason);
}

static void test_issue(void **state)
{
	const World *world = *state;

	issue(world, "alpha", false);
	issue(world, NULL, false);
	good(world, "hosts/alpha/tls.crt", ANCHOR_TLS_SERVER);
	good(world, "hosts/alpha/tls.crt", ANCHOR_TLS_CLIENT);
	good(world, "hosts/alpha/sign.crt", ANCHOR_SIGN);
	good(world, "authority/sign.crt", ANCHOR_SIGN);
	bad(world, "hosts/alpha/tls.crt", ANCHOR_SIGN, NOW, "not for signing");
	bad(world, "hosts/alpha/tls.crt", ANCHOR_TLS_SERVER, NOW + 7 * DAY, "is stale");
	assert_int_equal(mode_of(world, ""), 0700);
	assert_int_equal(mode_of(world, "root.key"), 0600);
	assert_int_equal(mode_of(world, "root.crt"), 0644);
	assert_int_equal(mode_of(world, "hosts/alpha/tls.key"), 0600);
	assert_int_equal(mode_of(world, "hosts/alpha/sign.key"), 0600);
	assert_int_equal(mode_of(world, "authority/sign.key"), 0600);
	assert_false(exists(world, ".new"));
}

static void issue_keyd(const World *world, bool renew)
{
	AUTO_PKI_DIRECTORY PkiDirectory *directory = opened(world);
	Error err = ERROR_INIT;

	if (!pki_directory_issue(directory, SPIFFE_KEYD, NULL, NOW, 90, renew, &err))
		fail_msg("%s", err.text);
}

/* The key manager's two certificates: as a host's in all but what they are good for. */
static void test_keyd(void **state)
{
	const World *world = *state;
	Error err = ERROR_INIT;
	size_t count = 0;

	issue_keyd(world, false);
	good(world, "keyd/sign.crt", ANCHOR_SIGN);
	good(world, "keyd/agree.crt", ANCHOR_AGREE);
	bad(world, "keyd/sign.crt", ANCHOR_AGREE, NOW, "not for key agreement alone");
	bad(world, "keyd/agree.crt", ANCHOR_SIGN, NOW, "has not the key usage");
	bad(world, "keyd/agree.crt", ANCHOR_TLS_SERVER, NOW, "has not the key usage");
	assert_int_equal(mode_of(world, "keyd/sign.key"), 0600);
	assert_int_equal(mode_of(world, "keyd/agree.key"), 0600);

	AUTO_BUFFER Buffer certificate = contents(world, "keyd/agree.crt");
	AUTO_BUFFER Buffer key = contents(world, "keyd/agree.key");
	AUTO_ENVELOPE_KEY EnvelopeKey *agree =
		envelope_key_load(certificate.data, certificate.used, key.data, key.used, &err);

	assert_non_null(agree);
	assert_string_equal(envelope_key_id(agree)->text, "spiffe://north.example/keyd");
	issue_keyd(world, true);

	AUTO_BUFFER Buffer renewed = contents(world, "keyd/agree.key");
	AUTO_PKI_DIRECTORY PkiDirectory *directory = opened(world);

	assert_memory_not_equal(key.data, renewed.data, key.used);
	assert_int_equal(pki_directory_record_count(directory), 4);
	assert_string_equal(pki_kind_word(pki_directory_record(directory, 0)->kind), "keyd-sign");
	assert_string_equal(pki_kind_word(pki_directory_record(directory, 1)->kind), "keyd-agree");
	assert_true(pki_directory_revoke(directory, "keyd", NOW, 7, &count, &err));
	assert_int_equal(count, 4);
	pki_directory_close(TAKE_PTR(directory));
	bad(world, "keyd/sign.crt", ANCHOR_SIGN, NOW, "is revoked");
	bad(world, "keyd/agree.crt", ANCHOR_AGREE, NOW, "is revoked");
}

static void test_issued_key_signs(void **state)
{
	const World *world = *state;
	Error err = ERROR_INIT;

	issue(world, "alpha", false);

	AUTO_BUFFER Buffer certificate = contents(world, "hosts/alpha/sign.crt");
	AUTO_BUFFER Buffer key = contents(world, "hosts/alpha/sign.key");
	AUTO_BUFFER Buffer tls_key = contents(world, "hosts/alpha/tls.key");
	AUTO_CMS_SIGNER CmsSigner *signer =
		cms_signer_load(certificate.data, certificate.used, key.data, key.used, &err);

	assert_non_null(signer);
	assert_string_equal(cms_signer_id(signer)->text, "spiffe://north.example/host/alpha");
	assert_int_equal(cms_signer_not_after_s(signer), NOW + 90 * DAY);
	assert_null(cms_signer_load(certificate.data, certificate.used, tls_key.data, tls_key.used,
				    &err));
}

static void test_nothing_is_overwritten(void **state)
{
	const World *world = *state;
	char path[2 * PATH_BYTES];
	Error err = ERROR_INIT;

	assert_false(pki_directory_init(world->dir, "south.example", NOW, 10, &err));
	assert_int_equal(err.category, ERROR_CONFLICT);
	assert_non_null(strstr(err.text, "is not empty"));
	assert_false(pki_directory_init(world->scratch, "south.example", NOW, 10, &err));
	snprintf(path, sizeof(path), "%s/.lock", world->scratch);
	assert_int_not_equal(access(path, F_OK), 0);
	issue(world, "alpha", false);

	AUTO_BUFFER Buffer before = contents(world, "hosts/alpha/tls.key");
	AUTO_PKI_DIRECTORY PkiDirectory *directory = opened(world);

	assert_false(pki_directory_issue(directory, SPIFFE_HOST, "alpha", NOW, 90, false, &err));
	assert_int_equal(err.category, ERROR_CONFLICT);
	assert_false(pki_directory_issue(directory, SPIFFE_HOST, "beta", NOW, 90, true, &err));
	assert_int_equal(err.category, ERROR_NOT_FOUND);
	pki_directory_close(TAKE_PTR(directory));

	AUTO_BUFFER Buffer after = contents(world, "hosts/alpha/tls.key");

	assert_int_equal(before.used, after.used);
	assert_memory_equal(before.data, after.data, before.used);
	issue(world, "alpha", true);

	AUTO_BUFFER Buffer renewed = contents(world, "hosts/alpha/tls.key");

	assert_true(renewed.used != before.used || memcmp(renewed.data, before.data, before.used));
	assert_false(exists(world, ".new"));
	good(world, "hosts/alpha/tls.crt", ANCHOR_TLS_SERVER);
}

static void test_bad_requests(void **state)
{
	static const char *const names[] = { "",   ".new",	"a/b",	"..",
					     "-x", "authority", "keyd", "a b" };
	const World *world = *state;
	AUTO_PKI_DIRECTORY PkiDirectory *directory = opened(world);
	Error err = ERROR_INIT;
	char path[2 * PATH_BYTES];
	size_t count = 0;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		assert_false(pki_directory_issue(directory, SPIFFE_HOST, names[i], NOW, 90, false,
						 &err));
		assert_int_equal(err.category, ERROR_USAGE);
	}
	assert_false(pki_directory_issue(directory, SPIFFE_HOST, "a", NOW, 0, false, &err));
	assert_false(pki_directory_issue(directory, SPIFFE_HOST, "a", NOW, PKI_DAYS_MAX + 1, false,
					 &err));
	assert_false(pki_directory_renew_crl(directory, NOW, 0, &err));
	assert_false(pki_directory_revoke(directory, "nobody", NOW, 7, &count, &err));
	assert_int_equal(err.category, ERROR_NOT_FOUND);
	assert_int_equal(pki_directory_record_count(directory), 0);
	snprintf(path, sizeof(path), "%s/south", world->scratch);
	assert_false(pki_directory_init(path, "South.example", NOW, 10, &err));
	assert_int_equal(err.category, ERROR_USAGE);
	assert_int_not_equal(access(path, F_OK), 0);
	assert_null(pki_directory_open(path, &err));
	assert_int_equal(err.category, ERROR_NOT_FOUND);
	assert_null(pki_directory_open("", &err));
}

static void test_lock(void **state)
{
	const World *world = *state;
	AUTO_PKI_DIRECTORY PkiDirectory *first = opened(world);
	Error err = ERROR_INIT;

	assert_null(pki_directory_open(world->dir, &err));
	assert_int_equal(err.category, ERROR_CONFLICT);
	assert_non_null(strstr(err.text, "another process"));
	pki_directory_close(TAKE_PTR(first));
	pki_directory_close(opened(world));
}

static void test_revoke_by_name(void **state)
{
	const World *world = *state;
	Error err = ERROR_INIT;
	size_t count = 0;

	issue(world, "alpha", false);
	issue(world, "beta", false);

	AUTO_PKI_DIRECTORY PkiDirectory *directory = opened(world);

	assert_true(pki_directory_revoke(directory, "alpha", NOW, 7, &count, &err));
	assert_int_equal(count, 2);
	assert_false(pki_directory_revoke(directory, "alpha", NOW, 7, &count, &err));
	assert_int_equal(err.category, ERROR_CONFLICT);
	bad(world, "hosts/alpha/tls.crt", ANCHOR_TLS_SERVER, NOW, "is revoked");
	bad(world, "hosts/alpha/sign.crt", ANCHOR_SIGN, NOW, "is revoked");
	good(world, "hosts/beta/tls.crt", ANCHOR_TLS_SERVER);
	pki_directory_close(TAKE_PTR(directory));
	/* kept in the index, and in the next CRL too */
	directory = opened(world);
	assert_int_equal(pki_directory_record(directory, 0)->revoked_s, NOW);
	assert_int_equal(pki_directory_record(directory, 2)->revoked_s, 0);
	assert_true(pki_directory_renew_crl(directory, NOW + 1, 7, &err));
	bad(world, "hosts/alpha/tls.crt", ANCHOR_TLS_SERVER, NOW + 1, "is revoked");
}

static void test_revoke_by_serial(void **state)
{
	const World *world = *state;
	Error err = ERROR_INIT;
	char hex[2 * PKI_SERIAL_SIZE + 1];
	size_t count = 0;

	issue(world, "alpha", false);

	AUTO_PKI_DIRECTORY PkiDirectory *directory = opened(world);

	assert_int_equal(pki_directory_record(directory, 1)->kind, PKI_KIND_HOST_SIGN);
	hex_encode(pki_directory_record(directory, 1)->serial, PKI_SERIAL_SIZE, hex);
	assert_true(pki_directory_revoke(directory, hex, NOW, 7, &count, &err));
	assert_int_equal(count, 1);
	bad(world, "hosts/alpha/sign.crt", ANCHOR_SIGN, NOW, "is revoked");
	good(world, "hosts/alpha/tls.crt", ANCHOR_TLS_SERVER);
}

static void test_crl_numbers_grow(void **state)
{
	const World *world = *state;
	AUTO_PKI_DIRECTORY PkiDirectory *directory = opened(world);
	uint64_t first = pki_directory_crl_number(directory);
	char path[2 * PATH_BYTES];
	Error err = ERROR_INIT;

	assert_int_equal(first, NOW);
	assert_true(pki_directory_renew_crl(directory, NOW, 3, &err));
	assert_int_equal(pki_directory_crl_number(directory), first + 1);
	assert_int_equal(pki_directory_crl_next_update_s(directory), NOW + 3 * DAY);
	pki_directory_close(TAKE_PTR(directory));
	directory = opened(world);
	assert_int_equal(pki_directory_crl_number(directory), first + 1);
	assert_int_equal(pki_directory_crl_next_update_s(directory), NOW + 3 * DAY);
	pki_directory_close(TAKE_PTR(directory));
	snprintf(path, sizeof(path), "%s/crl.pem", world->dir);
	assert_int_equal(unlink(path), 0);
	directory = opened(world);
	assert_int_equal(pki_directory_crl_next_update_s(directory), 0);
	assert_true(pki_directory_renew_crl(directory, NOW + 60, 3, &err));
	assert_int_equal(pki_directory_crl_number(directory), first + 60);
}

static void test_rotation(void **state)
{
	const World *world = *state;
	Error err = ERROR_INIT;
	size_t count = 0;

	issue(world, "old", false);
	issue(world, "both", false);

	AUTO_PKI_DIRECTORY PkiDirectory *directory = opened(world);

	assert_false(pki_directory_retire_roots(directory, NOW, 7, &err));
	assert_int_equal(err.category, ERROR_CONFLICT);
	assert_true(pki_directory_rotate_root(directory, NOW + 1, 3650, 7, &err));
	assert_int_equal(pki_directory_root_count(directory), 2);
	pki_directory_close(TAKE_PTR(directory));
	issue(world, "new", false);
	issue(world, "both", true);
	good(world, "hosts/old/tls.crt", ANCHOR_TLS_SERVER);
	good(world, "hosts/new/tls.crt", ANCHOR_TLS_SERVER);
	good(world, "hosts/both/tls.crt", ANCHOR_TLS_SERVER);
	directory = opened(world);
	/* revocation reaches certificates of either root */
	assert_true(pki_directory_revoke(directory, "both", NOW + 1, 7, &count, &err));
	assert_int_equal(count, 4);
	assert_false(pki_directory_retire_roots(directory, NOW, 7, &err));
	assert_non_null(strstr(err.text, "of old) of an old root is still valid"));
	assert_true(pki_directory_retire_roots(directory, NOW + 91 * DAY, 7, &err));
	assert_int_equal(pki_directory_root_count(directory), 1);
	pki_directory_close(TAKE_PTR(directory));
	directory = opened(world);
	assert_int_equal(pki_directory_root_count(directory), 1);
	bad(world, "hosts/old/tls.crt", ANCHOR_TLS_SERVER, NOW + 91 * DAY,
	    "is not issued by a root of its domain");
}

static void test_too_many_roots(void **state)
{
	const World *world = *state;
	AUTO_PKI_DIRECTORY PkiDirectory *directory = opened(world);
	Error err = ERROR_INIT;

	for (int i = 1; i < PKI_ROOTS_MAX; i++)
		assert_true(pki_directory_rotate_root(directory, NOW, 3650, 7, &err));
	assert_false(pki_directory_rotate_root(directory, NOW, 3650, 7, &err));
	assert_int_equal(err.category, ERROR_LIMIT);
	pki_directory_close(TAKE_PTR(directory));
	directory = opened(world);
	assert_int_equal(pki_directory_root_count(directory), PKI_ROOTS_MAX);
}

/* As if power had failed between the files of a rotation: the old state, or the new one. */
static void test_rotation_cut(void **state)
{
	const World *world = *state;
	AUTO_BUFFER Buffer old_key = contents(world, "root.key");
	AUTO_BUFFER Buffer old_roots = contents(world, "root.crt");
	AUTO_PKI_DIRECTORY PkiDirectory *directory = opened(world);
	char key_path[2 * PATH_BYTES], path[2 * PATH_BYTES + 32], hex[9];
	uint8_t serial[PKI_SERIAL_SIZE];
	Error err = ERROR_INIT;

	assert_true(pki_directory_rotate_root(directory, NOW, 3650, 7, &err));
	assert_true(pki_serial(pki_directory_root(directory, 0), serial, &err));
	pki_directory_close(TAKE_PTR(directory));
	hex_encode(serial, 4, hex);
	snprintf(key_path, sizeof(key_path), "%s/root.key", world->dir);
	snprintf(path, sizeof(path), "%s/root-%s.key", world->dir, hex);
	assert_int_equal(rename(key_path, path), 0);
	fixture_write(key_path, &old_key);
	directory = opened(world);
	assert_int_equal(pki_directory_root_count(directory), 2);
	pki_directory_close(TAKE_PTR(directory));
	snprintf(path, sizeof(path), "%s/root.crt", world->dir);
	fixture_write(path, &old_roots);
	directory = opened(world);
	assert_int_equal(pki_directory_root_count(directory), 1);
}

static void broken_index(const World *world, const char *text, const char *reason)
{
	AUTO_BUFFER Buffer index = BUFFER_INIT(1024);
	char path[2 * PATH_BYTES];
	Error err = ERROR_INIT;

	assert_true(buffer_put(&index, text, strlen(text), &err));
	snprintf(path, sizeof(path), "%s/index", world->dir);
	fixture_write(path, &index);
	assert_null(pki_directory_open(world->dir, &err));
	assert_int_equal(err.category, ERROR_CONFIG);
	if (!strstr(err.text, reason))
		fail_msg("\"%s\" does not say \"%s\"", err.text, reason);
}

#define HEAD   "sealift-pki 1 north.example\n"
#define SERIAL "0102030405060708090a0b0c0d0e0f10"

static void test_broken_index(void **state)
{
	const World *world = *state;

	broken_index(world, "\n", "index:1: not a line");
	broken_index(world, "sealift-pki 2 north.example\n", "index:1: not a line");
	broken_index(world, "sealift-pki 1 North\n", "index:1: not a line");
	broken_index(world, HEAD "\n", "index:2: not a line");
	broken_index(world, HEAD SERIAL " host-tls a 01020304 1", "is cut or not text");
	broken_index(world, HEAD SERIAL " host-tls a 01020304 1\n", "index:2: not a line");
	broken_index(world, HEAD SERIAL " host-tls a 01020304 1 valid \n", "index:2: not a line");
	broken_index(world, HEAD SERIAL " host-xyz a 01020304 1 valid\n", "index:2: not a line");
	broken_index(world, HEAD SERIAL " host-tls a/b 01020304 1 valid\n", "index:2: not a line");
	broken_index(world, HEAD SERIAL " host-tls a 01020304 -1 valid\n", "index:2: not a line");
	broken_index(world, HEAD SERIAL " host-tls a 01020304 1 revoked@\n", "index:2: not a line");
	broken_index(world, HEAD SERIAL "00 host-tls a 01020304 1 valid\n", "index:2: not a line");
	broken_index(world, HEAD SERIAL " host-tls a 01020304 1 valid\nx\n", "index:3: not a line");
}

static void test_wrong_root_key(void **state)
{
	const World *world = *state;
	AUTO_FIXTURE_DOMAIN FixtureDomain other = { 0 };
	AUTO_BUFFER Buffer key = BUFFER_INIT(LIMIT_PEM);
	char path[2 * PATH_BYTES];
	Error err = ERROR_INIT;

	fixture_domain_open(&other, "north.example", NOW);
	assert_true(pki_put_key(other.root.key, &key, &err));
	snprintf(path, sizeof(path), "%s/root.key", world->dir);
	fixture_write(path, &key);
	assert_null(pki_directory_open(world->dir, &err));
	assert_int_equal(err.category, ERROR_CONFIG);
	assert_non_null(strstr(err.text, "no private key of the root"));
}

/* A host's certificate does not outlive its root. */
static void test_life_is_cut(void **state)
{
	AUTO_PKI_PAIR PkiPair root = { 0 };
	AUTO_PKI_PAIR PkiPair leaf = { 0 };
	SpiffeId id;
	Error err = ERROR_INIT;

	(void)state;
	assert_true(pki_make_root("north.example", NOW, NOW + 100, &root, &err));
	assert_true(spiffe_make(SPIFFE_HOST, "north.example", "a", &id, &err));
	assert_true(pki_issue(&root, &id, PKI_USE_TLS, NOW, NOW + 1000, &leaf, &err));
	assert_int_equal(anchor_time_s(X509_get0_notAfter(leaf.certificate)), NOW + 100);
	pki_pair_clear(&leaf);
	assert_false(pki_issue(&root, &id, PKI_USE_TLS, NOW + 100, NOW + 1000, &leaf, &err));
	assert_int_equal(err.category, ERROR_USAGE);
}

#define WITH_WORLD(test) cmocka_unit_test_setup_teardown(test, open_world, close_world)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_WORLD(test_issue),
		WITH_WORLD(test_keyd),
		WITH_WORLD(test_issued_key_signs),
		WITH_WORLD(test_nothing_is_overwritten),
		WITH_WORLD(test_bad_requests),
		WITH_WORLD(test_lock),
		WITH_WORLD(test_revoke_by_name),
		WITH_WORLD(test_revoke_by_serial),
		WITH_WORLD(test_crl_numbers_grow),
		WITH_WORLD(test_rotation),
		WITH_WORLD(test_too_many_roots),
		WITH_WORLD(test_rotation_cut),
		WITH_WORLD(test_broken_index),
		WITH_WORLD(test_wrong_root_key),
		cmocka_unit_test(test_life_is_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
