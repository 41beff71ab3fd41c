/* SPDX-License-Identifier: Apache-2.0 */
/* The real notary in both roles: good statements pass, each bad one is refused with its reason, and
 * the notary goes on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "attempts.h"
#include "crypto/digest.h"
#include "notary_fixture.h"
#include "programs/notary/judge.h"
#include "programs/notary/policy.h"

static int make_world(void **state)
{
	*state = world_new();
	return 0;
}

static int drop_world(void **state)
{
	world_free(*state);
	return 0;
}

/* What a cheating host with a good key of its own can make. */
typedef struct Forger {
	CmsSigner *signer;
	NotarySigned *made;
} Forger;

static void forger_close(Forger *forger)
{
	cms_signer_free(forger->signer);
	free(forger->made);
}
#define AUTO_FORGER CLEANUP(forger_close)

static Forger forger_open(const World *world, const FixtureDomain *domain, const char *host)
{
	Forger forger = { fixture_signer(domain, SPIFFE_HOST, host, world->now_s),
			  calloc(1, sizeof(NotarySigned)) };

	assert_non_null(forger.made);
	return forger;
}

static void forge(Forger *forger, const RoleStatement *statement)
{
	AUTO_BUFFER Buffer json = BUFFER_INIT(LIMIT_STATEMENT_JSON);

	statement_json(statement, &json);
	world_forge(forger->signer, (CmsContentType)statement->kind, json.data, json.used,
		    forger->made);
}

static void test_offer_is_signed_and_verified(void **state)
{
	World *world = *state;
	AUTO_FREE RoleStatement *offer = statement_new(world, STATEMENT_OFFER);
	AUTO_FREE NotarySigned *cms = world_sign(world, offer);
	AUTO_FREE NotaryVerified *verified = world_verify(world, STATEMENT_OFFER, NORTH_A, cms);
	AUTO_BUFFER Buffer json = BUFFER_INIT(LIMIT_STATEMENT_JSON);
	uint8_t digest[DIGEST_SHA384_SIZE];
	Error err = ERROR_INIT;

	assert_int_equal(verified->kind, STATEMENT_OFFER);
	assert_string_equal(verified->statement.source, NORTH_A);
	assert_string_equal(verified->statement.manifest.machine, "pc-q35-7.2");
	assert_memory_equal(verified->digest, cms->digest, sizeof(cms->digest));
	statement_json(offer, &json);
	assert_true(digest_sha384(json.data, json.used, digest, &err));
	assert_memory_equal(digest, cms->digest, sizeof(digest));
}

/* The source signs its kinds and no others; the destination the rest. */
static void test_each_side_signs_its_kinds(void **state)
{
	static const bool by_source[STATEMENT_KIND_COUNT] = {
		[STATEMENT_OFFER] = true,
		[STATEMENT_COMMIT] = true,
		[STATEMENT_DESTROYED] = true,
	};
	World *world = *state;

	for (StatementKind kind = 0; kind < STATEMENT_KIND_COUNT; kind++) {
		AUTO_FREE RoleStatement *statement = statement_new(world, kind);

		if (!by_source[kind]) {
			world_expect_unsigned(world, statement, ERROR_AUTH, "as its destination");
			snprintf(statement->statement.source, LIMIT_SPIFFE_ID, "%s", SOUTH_B);
			snprintf(statement->statement.destination, LIMIT_SPIFFE_ID, "%s", NORTH_A);
		}

		AUTO_FREE NotarySigned *cms = world_sign(world, statement);
		AUTO_FREE NotaryVerified *verified = world_verify(world, kind, NORTH_A, cms);

		assert_int_equal(verified->kind, kind);
		if (by_source[kind]) {
			snprintf(statement->statement.source, LIMIT_SPIFFE_ID, "%s", SOUTH_B);
			snprintf(statement->statement.destination, LIMIT_SPIFFE_ID, "%s", NORTH_A);
			world_expect_unsigned(world, statement, ERROR_AUTH, "as its source");
		}
	}
}

static void test_never_signs_what_peers_refuse(void **state)
{
	World *world = *state;
	AUTO_FREE RoleStatement *offer = statement_new(world, STATEMENT_OFFER);

	offer->statement.expires_s = offer->statement.issued_s + LIMIT_STATEMENT_AGE_S + 1;
	world_expect_unsigned(world, offer, ERROR_PEER, "301");
	offer->statement.expires_s = offer->statement.issued_s + 1;
	snprintf(offer->statement.manifest.machine, LIMIT_NAME, "q35");
	world_expect_unsigned(world, offer, ERROR_PEER, "q35");
	snprintf(offer->statement.manifest.machine, LIMIT_NAME, "pc-q35-7.2");
	snprintf(offer->statement.destination, LIMIT_SPIFFE_ID, "%s", NORTH_A);
	world_expect_unsigned(world, offer, ERROR_AUTH, "both");
	snprintf(offer->statement.destination, LIMIT_SPIFFE_ID, "spiffe://south.example/authority");
	world_expect_unsigned(world, offer, ERROR_AUTH, "not a host");
	snprintf(offer->statement.destination, LIMIT_SPIFFE_ID, "%s", SOUTH_B);

	AUTO_FREE NotarySigned *cms = world_sign(world, offer);

	assert_true(cms->cms_size > 0);
}

static void test_wrong_signer_or_kind(void **state)
{
	World *world = *state;
	AUTO_FREE RoleStatement *offer = statement_new(world, STATEMENT_OFFER);
	AUTO_FREE NotarySigned *cms = world_sign(world, offer);

	world_expect_unverified(world, STATEMENT_OFFER, "spiffe://north.example/host/z", cms,
				ERROR_AUTH, "expected spiffe://north.example/host/z");
	world_expect_unverified(world, STATEMENT_OFFER, SOUTH_B, cms, ERROR_AUTH,
				"is signed by " NORTH_A);
	world_expect_unverified(world, STATEMENT_COMMIT, NORTH_A, cms, ERROR_AUTH, "content type");
	free(world_verify(world, STATEMENT_OFFER, NORTH_A, cms));
}

static void test_tampered(void **state)
{
	World *world = *state;
	AUTO_FREE RoleStatement *offer = statement_new(world, STATEMENT_OFFER);
	AUTO_FREE NotarySigned *cms = world_sign(world, offer);

	for (size_t at = 0; at < cms->cms_size; at += 97) {
		cms->cms[at] ^= 0x40;
		world_expect_unverified(world, STATEMENT_OFFER, NORTH_A, cms, ERROR_AUTH, "");
		cms->cms[at] ^= 0x40;
	}
	cms->cms[cms->cms_size++] = 0;
	world_expect_unverified(world, STATEMENT_OFFER, NORTH_A, cms, ERROR_AUTH,
				"after the CMS message");
	cms->cms_size -= 2;
	world_expect_unverified(world, STATEMENT_OFFER, NORTH_A, cms, ERROR_AUTH, "");
	cms->cms_size++;
	free(world_verify(world, STATEMENT_OFFER, NORTH_A, cms));
}

/* Well signed by a trusted host, but speaking for another one. */
static void test_speaks_for_another(void **state)
{
	World *world = *state;
	AUTO_FREE RoleStatement *offer = statement_new(world, STATEMENT_OFFER);
	AUTO_FORGER Forger z = forger_open(world, &world->north, "z");

	forge(&z, offer);
	world_expect_unverified(world, STATEMENT_OFFER, "spiffe://north.example/host/z", z.made,
				ERROR_AUTH, "as its source");
	snprintf(offer->statement.source, LIMIT_SPIFFE_ID, "spiffe://north.example/host/z");
	forge(&z, offer);
	free(world_verify(world, STATEMENT_OFFER, "spiffe://north.example/host/z", z.made));
}

static void test_foreign_and_unknown_roots(void **state)
{
	World *world = *state;
	AUTO_FREE RoleStatement *offer = statement_new(world, STATEMENT_OFFER);
	FixtureDomain forged = world->south;
	AUTO_FIXTURE_DOMAIN FixtureDomain east = { 0 };

	forged.name = "north.example";
	fixture_domain_open(&east, "north.example", world->now_s);

	AUTO_FORGER Forger foreign = forger_open(world, &forged, "a");
	AUTO_FORGER Forger twin = forger_open(world, &east, "a");

	forge(&foreign, offer);
	world_expect_unverified(world, STATEMENT_OFFER, NORTH_A, foreign.made, ERROR_AUTH,
				"of south.example");
	forge(&twin, offer);
	world_expect_unverified(world, STATEMENT_OFFER, NORTH_A, twin.made, ERROR_AUTH,
				"root of its domain");
}

static void test_an_authority_is_no_host(void **state)
{
	World *world = *state;
	AUTO_FREE RoleStatement *offer = statement_new(world, STATEMENT_OFFER);
	AUTO_FORGER Forger authority = { fixture_signer(&world->north, SPIFFE_AUTHORITY, NULL,
							world->now_s),
					 calloc(1, sizeof(NotarySigned)) };

	forge(&authority, offer);
	world_expect_unverified(world, STATEMENT_OFFER, "spiffe://north.example/authority",
				authority.made, ERROR_AUTH, "host");
}

static void test_times(void **state)
{
	World *world = *state;
	uint64_t now = (uint64_t)world->now_s;
	AUTO_FREE RoleStatement *offer = statement_new(world, STATEMENT_OFFER);
	AUTO_FREE RoleStatement *commit = statement_new(world, STATEMENT_COMMIT);
	AUTO_FORGER Forger a = forger_open(world, &world->north, "a");

	offer->statement.issued_s = now - 200;
	offer->statement.expires_s = now - 100;
	forge(&a, offer);
	world_expect_unverified(world, STATEMENT_OFFER, NORTH_A, a.made, ERROR_AUTH,
				"offer expired");
	offer->statement.issued_s = now + 200;
	offer->statement.expires_s = now + 300;
	forge(&a, offer);
	world_expect_unverified(world, STATEMENT_OFFER, NORTH_A, a.made, ERROR_AUTH,
				"in the future");
	offer->statement.issued_s = now + 30;
	forge(&a, offer);
	free(world_verify(world, STATEMENT_OFFER, NORTH_A, a.made));
	/* A commit is evidence: it verifies when both hosts come back after a long night. */
	commit->statement.issued_s = now - 9000;
	commit->statement.expires_s = now - 8000;
	forge(&a, commit);
	free(world_verify(world, STATEMENT_COMMIT, NORTH_A, a.made));
}

/* Rightly signed bytes that are no statement. */
static void test_signed_nonsense(void **state)
{
	static const char *const bad[] = { "{}", "x", "{\"statement\":\"offer\"}", "[]" };
	World *world = *state;
	AUTO_FREE RoleStatement *commit = statement_new(world, STATEMENT_COMMIT);
	AUTO_FORGER Forger a = forger_open(world, &world->north, "a");
	AUTO_BUFFER Buffer json = BUFFER_INIT(LIMIT_STATEMENT_JSON);
	Error err = ERROR_INIT;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		world_forge(a.signer, CMS_CONTENT_OFFER, bad[i], strlen(bad[i]), a.made);
		world_expect_unverified(world, STATEMENT_OFFER, NORTH_A, a.made, ERROR_PEER, "");
	}
	statement_json(commit, &json);
	world_forge(a.signer, CMS_CONTENT_OFFER, json.data, json.used, a.made);
	world_expect_unverified(world, STATEMENT_OFFER, NORTH_A, a.made, ERROR_AUTH,
				"the content says commit, expected offer");
	json.used--;
	assert_true(buffer_put(&json, ",\"extra\":1}", 11, &err));
	world_forge(a.signer, CMS_CONTENT_COMMIT, json.data, json.used, a.made);
	world_expect_unverified(world, STATEMENT_COMMIT, NORTH_A, a.made, ERROR_PEER, "extra");
}

static void check_crl(World *world, const char *domain, const Buffer *pem)
{
	RoleCrl *request = calloc(1, sizeof(*request));

	assert_non_null(request);
	snprintf(request->domain, sizeof(request->domain), "%s", domain);
	memcpy(request->crl, pem->data, pem->used);
	request->crl_size = pem->used;
	role_send(&world->verifier, NOTARY_CHECK_CRL, 31, &role_crl_schema, request);
	free(request);
}

static void expect_crl(World *world, bool newer, uint64_t number)
{
	const NotaryCrl *crl;
	IpcMessage message;

	role_expect(&world->verifier, NOTARY_CRL, &message);
	crl = message.payload;
	assert_int_equal(message.subject, 31);
	assert_int_equal(crl->newer, newer);
	assert_int_equal(crl->number, number);
	assert_int_equal(crl->next_update_s, world->now_s + PKI_DAY_S);
	ipc_message_clear(&message, world->verifier.link);
}

static void test_crls(void **state)
{
	World *world = *state;
	AUTO_BUFFER Buffer same = fixture_crl(&world->north, 1, world->now_s, NULL);
	AUTO_BUFFER Buffer newer = fixture_crl(&world->north, 5, world->now_s, NULL);
	AUTO_BUFFER Buffer foreign = fixture_crl(&world->south, 9, world->now_s, NULL);
	AUTO_BUFFER Buffer stale =
		fixture_crl(&world->north, 6, world->now_s - 3 * PKI_DAY_S, NULL);

	check_crl(world, "north.example", &same);
	expect_crl(world, false, 1);
	check_crl(world, "north.example", &newer);
	expect_crl(world, true, 5);
	role_send_crl(&world->verifier, "north.example", &newer);
	check_crl(world, "north.example", &newer);
	expect_crl(world, false, 5);
	check_crl(world, "north.example", &same);
	role_expect_failure(&world->verifier, ROLE_FAILED, 31, ERROR_AUTH, "");
	check_crl(world, "north.example", &foreign);
	role_expect_failure(&world->verifier, ROLE_FAILED, 31, ERROR_AUTH, "");
	check_crl(world, "north.example", &stale);
	role_expect_failure(&world->verifier, ROLE_FAILED, 31, ERROR_AUTH, "stale");
	check_crl(world, "east.example", &newer);
	role_expect_failure(&world->verifier, ROLE_FAILED, 31, ERROR_NOT_FOUND, "");
}

static void test_revoked_signer(void **state)
{
	World *world = *state;
	AUTO_PKI_PAIR PkiPair pair =
		fixture_issue(&world->north, SPIFFE_HOST, "a", PKI_USE_SIGN, world->now_s);
	AUTO_BUFFER Buffer certificate = BUFFER_INIT(LIMIT_PEM);
	AUTO_BUFFER Buffer key = BUFFER_INIT(LIMIT_PEM);
	AUTO_BUFFER Buffer crl = fixture_crl(&world->north, 2, world->now_s, pair.certificate);
	AUTO_FREE RoleStatement *offer = statement_new(world, STATEMENT_OFFER);
	Error err = ERROR_INIT;

	assert_true(pki_put_certificate(pair.certificate, &certificate, &err));
	assert_true(pki_put_key(pair.key, &key, &err));

	AUTO_FORGER Forger a = { cms_signer_load(certificate.data, certificate.used, key.data,
						 key.used, &err),
				 calloc(1, sizeof(NotarySigned)) };

	forge(&a, offer);
	free(world_verify(world, STATEMENT_OFFER, NORTH_A, a.made));
	role_send_crl(&world->verifier, "north.example", &crl);
	world_expect_unverified(world, STATEMENT_OFFER, NORTH_A, a.made, ERROR_AUTH, "revoked");
}

static void test_forgotten_domain(void **state)
{
	World *world = *state;
	RoleForget forget = { .domain = "north.example" };
	AUTO_FREE RoleStatement *offer = statement_new(world, STATEMENT_OFFER);
	AUTO_FREE NotarySigned *cms = world_sign(world, offer);

	free(world_verify(world, STATEMENT_OFFER, NORTH_A, cms));
	role_send(&world->verifier, ROLE_FORGET, 0, &role_forget_schema, &forget);
	world_expect_unverified(world, STATEMENT_OFFER, NORTH_A, cms, ERROR_AUTH, "no root");
}

/* A broken rule of the link ends the notary; a signer does not even know how to verify. */
static void test_broken_rules(void **state)
{
	static const char *const args[] = { "--verify", NULL };
	World *world = world_new();
	AUTO_BUFFER Buffer crl = fixture_crl(&world->north, 1, world->now_s, NULL);
	Role early;

	(void)state;
	check_crl(world, "north.example", &crl);
	expect_crl(world, false, 1);
	role_start(&early, NOTARY_PATH, args, NULL, 0, engine_notary_rules);
	role_send(&early, NOTARY_CHECK_CRL, 1, NULL, NULL);
	role_expect_exit(&early, error_exit_status(ERROR_PEER));
	role_send(&world->signer, ROLE_FORGET, 0, &role_forget_schema,
		  &(RoleForget){ .domain = "north.example" });
	role_expect_exit(&world->signer, error_exit_status(ERROR_PEER));
	role_stop(&world->verifier, 0);
	fixture_domain_close(&world->north);
	fixture_domain_close(&world->south);
	free(world);
}

static void test_usage(void **state)
{
	static const char *const none[] = { NULL };
	static const char *const both[] = { "--sign", "--verify", NULL };
	static const char *const user[] = { "--verify", "--user", "0:0", NULL };
	const char *const *const bad[] = { none, both, user };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		Role role;

		role_start(&role, NOTARY_PATH, bad[i], NULL, 0, engine_notary_rules);
		role_expect_exit(&role, error_exit_status(ERROR_USAGE));
	}
}

/* A TLS certificate must not sign, nor anybody but a host. */
static void test_wrong_key_material(void **state)
{
	static const char *const args[] = { "--sign", NULL };
	World *world = *state;
	FixturePem pems[] = {
		fixture_issue_pem(&world->north, SPIFFE_HOST, "a", PKI_USE_TLS, world->now_s),
		fixture_issue_pem(&world->north, SPIFFE_AUTHORITY, NULL, PKI_USE_SIGN,
				  world->now_s),
	};

	for (size_t i = 0; i < ARRAY_SIZE(pems); i++) {
		AUTO_FD int chain = role_memory_fd(&pems[i].certificate);
		AUTO_FD int key = role_memory_fd(&pems[i].key);
		const int fds[] = { chain, key };
		Role role;

		role_start(&role, NOTARY_PATH, args, fds, 2, engine_notary_rules);
		role_expect_exit(&role, error_exit_status(ERROR_CONFIG));
		fixture_pem_clear(&pems[i]);
	}
}

static void test_sandbox(void **state)
{
	(void)state;
	attempts_assert_refused(&notary_policy);
}

#define WITH_WORLD(test) cmocka_unit_test_setup_teardown(test, make_world, drop_world)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_WORLD(test_offer_is_signed_and_verified),
		WITH_WORLD(test_each_side_signs_its_kinds),
		WITH_WORLD(test_never_signs_what_peers_refuse),
		WITH_WORLD(test_wrong_signer_or_kind),
		WITH_WORLD(test_tampered),
		WITH_WORLD(test_speaks_for_another),
		WITH_WORLD(test_foreign_and_unknown_roots),
		WITH_WORLD(test_an_authority_is_no_host),
		WITH_WORLD(test_times),
		WITH_WORLD(test_signed_nonsense),
		WITH_WORLD(test_crls),
		WITH_WORLD(test_revoked_signer),
		WITH_WORLD(test_forgotten_domain),
		cmocka_unit_test(test_broken_rules),
		cmocka_unit_test(test_usage),
		WITH_WORLD(test_wrong_key_material),
		cmocka_unit_test(test_sandbox),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
