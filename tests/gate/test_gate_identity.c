/* SPDX-License-Identifier: Apache-2.0 */
/* Who may come in: each bad certificate or handshake is refused, the good one is served after it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/x509v3.h>

#include "gate_fixture.h"

#define ALPN "sealift/1"

/* Refused before the engine hears of it; then the good pair is connection number `id`. */
static void assert_refused(World *world, const RawOptions *options, uint64_t id)
{
	RawPeer peer;

	if (raw_open(&peer, options, world->port))
		assert_true(raw_is_ended(&peer));
	raw_close(&peer);
	/* The first message that the engine sees is that of the good peer. */
	world_assert_serves(world, id);
}

static void assert_pair_refused(PkiPair (*make)(const World *world))
{
	World *world = world_new("3000");
	AUTO_PKI_PAIR PkiPair pair = make(world);

	assert_refused(world, &(RawOptions){ .pair = &pair, .alpn = ALPN }, INBOUND + 1);
	world_free(world);
}

static PkiPair make_good(const World *world)
{
	return fixture_issue(&world->north, SPIFFE_HOST, "a", PKI_USE_TLS, world->now_s);
}

static PkiPair make_expired(const World *world)
{
	return fixture_issue(&world->north, SPIFFE_HOST, "a", PKI_USE_TLS,
			     world->now_s - 3 * PKI_DAY_S);
}

static PkiPair make_future(const World *world)
{
	return fixture_issue(&world->north, SPIFFE_HOST, "a", PKI_USE_TLS,
			     world->now_s + 3 * PKI_DAY_S);
}

static PkiPair make_authority(const World *world)
{
	return fixture_issue(&world->north, SPIFFE_AUTHORITY, NULL, PKI_USE_TLS, world->now_s);
}

static PkiPair make_signing(const World *world)
{
	return fixture_issue(&world->north, SPIFFE_HOST, "a", PKI_USE_SIGN, world->now_s);
}

/* The south's root signs a name of the north. */
static PkiPair make_foreign(const World *world)
{
	FixtureDomain forged = world->south;

	forged.name = "north.example";
	return fixture_issue(&forged, SPIFFE_HOST, "a", PKI_USE_TLS, world->now_s);
}

static PkiPair make_unknown(const World *world)
{
	AUTO_FIXTURE_DOMAIN FixtureDomain east = { 0 };

	fixture_domain_open(&east, "east.example", world->now_s);
	return fixture_issue(&east, SPIFFE_HOST, "a", PKI_USE_TLS, world->now_s);
}

/* A good certificate with a second name, signed again. */
static PkiPair make_two_names(const World *world)
{
	PkiPair pair = make_good(world);
	int at = X509_get_ext_by_NID(pair.certificate, NID_subject_alt_name, -1);
	X509_EXTENSION *names =
		X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name,
				    "URI:" NORTH_A ",URI:spiffe://north.example/host/z");

	assert_non_null(names);
	assert_true(at >= 0);
	X509_EXTENSION_free(X509_delete_ext(pair.certificate, at));
	assert_int_equal(X509_add_ext(pair.certificate, names, -1), 1);
	X509_EXTENSION_free(names);
	assert_true(X509_sign(pair.certificate, world->north.root.key, EVP_sha384()) > 0);
	return pair;
}

static void test_good(void **state)
{
	World *world = world_new("3000");

	(void)state;
	world_assert_serves(world, INBOUND);
	world_assert_serves(world, INBOUND + 1);
	world_free(world);
}

static void test_expired(void **state)
{
	(void)state;
	assert_pair_refused(make_expired);
}

static void test_future(void **state)
{
	(void)state;
	assert_pair_refused(make_future);
}

static void test_authority_is_no_host(void **state)
{
	(void)state;
	assert_pair_refused(make_authority);
}

static void test_signing_certificate_is_not_for_tls(void **state)
{
	(void)state;
	assert_pair_refused(make_signing);
}

static void test_foreign_domain(void **state)
{
	(void)state;
	assert_pair_refused(make_foreign);
}

static void test_unknown_domain(void **state)
{
	(void)state;
	assert_pair_refused(make_unknown);
}

static void test_two_names(void **state)
{
	(void)state;
	assert_pair_refused(make_two_names);
}

static void test_handshakes(void **state)
{
	World *world = world_new("3000");
	const RawOptions bad[] = {
		{ .pair = NULL, .alpn = ALPN },
		{ .pair = &world->host_a, .alpn = NULL },
		{ .pair = &world->host_a, .alpn = "h2" },
		{ .pair = &world->host_a, .alpn = "sealift/2" },
		{ .pair = &world->host_a, .alpn = ALPN, .version = TLS1_2_VERSION },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_refused(world, &bad[i], INBOUND + 2 * i + 1);
	world_free(world);
}

/* Neither ticket nor session: a second connection has to prove itself again. */
static void test_no_resumption(void **state)
{
	World *world = world_new("3000");
	RawPeer peer;
	SSL_SESSION *session;

	(void)state;
	world_open_greeted(world, &peer, INBOUND);
	session = SSL_get1_session(peer.ssl);
	assert_non_null(session);
	assert_int_equal(SSL_SESSION_is_resumable(session), 0);
	assert_int_equal(SSL_SESSION_has_ticket(session), 0);
	SSL_SESSION_free(session);
	assert_string_equal(SSL_get_cipher(peer.ssl), "TLS_AES_256_GCM_SHA384");
	raw_close(&peer);
	role_expect_failure(&world->gate, GATE_CLOSED, INBOUND, ERROR_UNAVAILABLE, "closed");
	world_free(world);
}

static void test_revoked_before(void **state)
{
	World *world = world_new("3000");
	AUTO_PKI_PAIR PkiPair other =
		fixture_issue(&world->north, SPIFFE_HOST, "r", PKI_USE_TLS, world->now_s);
	AUTO_BUFFER Buffer crl = fixture_crl(&world->north, 2, world->now_s, other.certificate);

	(void)state;
	role_send_crl(&world->gate, "north.example", &crl);
	assert_refused(world, &(RawOptions){ .pair = &other, .alpn = ALPN }, INBOUND + 1);
	world_free(world);
}

static void test_revoked_while_connected(void **state)
{
	World *world = world_new("3000");
	AUTO_PKI_PAIR PkiPair other =
		fixture_issue(&world->north, SPIFFE_HOST, "r", PKI_USE_TLS, world->now_s);
	AUTO_BUFFER Buffer crl = fixture_crl(&world->north, 2, world->now_s, other.certificate);
	RawPeer stays, goes;
	IpcMessage message;

	(void)state;
	world_open_greeted(world, &stays, INBOUND);
	assert_true(raw_open(&goes, &(RawOptions){ .pair = &other, .alpn = ALPN }, world->port));
	role_expect(&world->gate, GATE_CONNECTED, &message);
	ipc_message_clear(&message, world->gate.link);
	role_send_crl(&world->gate, "north.example", &crl);
	role_expect_failure(&world->gate, GATE_CLOSED, INBOUND + 1, ERROR_AUTH, "revoked");
	assert_true(raw_is_ended(&goes));
	raw_send_frame(&stays, GOOD_PING);
	role_expect(&world->gate, GATE_RECEIVED, &message);
	assert_int_equal(message.subject, INBOUND);
	ipc_message_clear(&message, world->gate.link);
	raw_close(&stays);
	raw_close(&goes);
	role_expect_failure(&world->gate, GATE_CLOSED, INBOUND, ERROR_UNAVAILABLE, "closed");
	world_free(world);
}

static void test_forgotten_domain(void **state)
{
	World *world = world_new("3000");
	RoleForget forget = { .domain = "north.example" };
	RawPeer stays, refused;
	IpcMessage message;

	(void)state;
	world_open_greeted(world, &stays, INBOUND);
	role_send(&world->gate, ROLE_FORGET, 0, &role_forget_schema, &forget);
	if (raw_open(&refused, &(RawOptions){ .pair = &world->host_a, .alpn = ALPN }, world->port))
		assert_true(raw_is_ended(&refused));
	raw_send_frame(&stays, GOOD_PING);
	role_expect(&world->gate, GATE_RECEIVED, &message);
	ipc_message_clear(&message, world->gate.link);
	raw_close(&stays);
	raw_close(&refused);
	role_expect_failure(&world->gate, GATE_CLOSED, INBOUND, ERROR_UNAVAILABLE, "closed");
	world_free(world);
}

/* What a person does not trust any more ends now, also where it was open before. */
static void test_distrusted_while_connected(void **state)
{
	World *world = world_new("3000");
	RoleForget north = { .domain = "north.example" };
	RawPeer goes, refused;

	(void)state;
	world_open_greeted(world, &goes, INBOUND);
	role_send(&world->gate, ROLE_FORGET, 0, &role_forget_schema, &north);
	role_send(&world->gate, GATE_JUDGE, 0, &role_forget_schema, &north);
	role_expect_failure(&world->gate, GATE_CLOSED, INBOUND, ERROR_AUTH,
			    "no root of the domain of " NORTH_A " is trusted here");
	assert_true(raw_is_ended(&goes));
	if (raw_open(&refused, &(RawOptions){ .pair = &world->host_a, .alpn = ALPN }, world->port))
		assert_true(raw_is_ended(&refused));
	raw_close(&goes);
	raw_close(&refused);
	world_free(world);
}

/* Another domain's end, and the same domain trusted anew, leave it alone. */
static void test_judged_and_found_good(void **state)
{
	World *world = world_new("3000");
	AUTO_BUFFER Buffer crl = fixture_crl(&world->north, 2, world->now_s, NULL);
	RoleForget north = { .domain = "north.example" }, south = { .domain = "south.example" };
	RawPeer stays;
	IpcMessage message;

	(void)state;
	world_open_greeted(world, &stays, INBOUND);
	role_send(&world->gate, ROLE_FORGET, 0, &role_forget_schema, &south);
	role_send(&world->gate, GATE_JUDGE, 0, &role_forget_schema, &south);
	role_send(&world->gate, ROLE_FORGET, 0, &role_forget_schema, &north);
	role_send_anchor(&world->gate, "north.example", &world->north.root_pem);
	role_send_crl(&world->gate, "north.example", &crl);
	role_send(&world->gate, GATE_JUDGE, 0, &role_forget_schema, &north);
	raw_send_frame(&stays, GOOD_PING);
	role_expect(&world->gate, GATE_RECEIVED, &message);
	assert_int_equal(message.subject, INBOUND);
	ipc_message_clear(&message, world->gate.link);
	raw_close(&stays);
	role_expect_failure(&world->gate, GATE_CLOSED, INBOUND, ERROR_UNAVAILABLE, "closed");
	world_free(world);
}

/* A domain whose CRL never came: fail closed. */
static void test_no_crl(void **state)
{
	World *world = world_new("3000");
	AUTO_FIXTURE_DOMAIN FixtureDomain east = { 0 };

	(void)state;
	fixture_domain_open(&east, "east.example", world->now_s);
	role_send_anchor(&world->gate, "east.example", &east.root_pem);

	AUTO_PKI_PAIR PkiPair pair =
		fixture_issue(&east, SPIFFE_HOST, "e", PKI_USE_TLS, world->now_s);

	assert_refused(world, &(RawOptions){ .pair = &pair, .alpn = ALPN }, INBOUND + 1);
	world_free(world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_expired),
		cmocka_unit_test(test_future),
		cmocka_unit_test(test_authority_is_no_host),
		cmocka_unit_test(test_signing_certificate_is_not_for_tls),
		cmocka_unit_test(test_foreign_domain),
		cmocka_unit_test(test_unknown_domain),
		cmocka_unit_test(test_two_names),
		cmocka_unit_test(test_handshakes),
		cmocka_unit_test(test_no_resumption),
		cmocka_unit_test(test_revoked_before),
		cmocka_unit_test(test_revoked_while_connected),
		cmocka_unit_test(test_forgotten_domain),
		cmocka_unit_test(test_distrusted_while_connected),
		cmocka_unit_test(test_judged_and_found_good),
		cmocka_unit_test(test_no_crl),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
