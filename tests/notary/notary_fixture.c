/* SPDX-License-Identifier: Apache-2.0 */
#include "notary_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define OWN_USER "65534:65534"

/* As the engine does it: with a user of its own where that is possible; else the list ends here. */
static const char *own_user(void)
{
	return geteuid() == 0 ? "--user" : NULL;
}

static void start_signer(World *world)
{
	const char *const args[] = { "--sign", own_user(), OWN_USER, NULL };
	AUTO_FIXTURE_PEM FixturePem pem =
		fixture_issue_pem(&world->north, SPIFFE_HOST, "a", PKI_USE_SIGN, world->now_s);
	AUTO_FD int chain = role_memory_fd(&pem.certificate);
	AUTO_FD int key = role_memory_fd(&pem.key);
	const int fds[] = { chain, key };
	const GateIdentity *identity;
	IpcMessage message;

	role_start(&world->signer, NOTARY_PATH, args, fds, 2, engine_notary_rules);
	role_send(&world->signer, ROLE_START, 0, NULL, NULL);
	role_expect(&world->signer, NOTARY_IDENTITY, &message);
	identity = message.payload;
	assert_string_equal(identity->peer_id, NORTH_A);
	assert_string_equal(identity->address, "");
	assert_int_equal(identity->not_after_s, world->now_s + PKI_DAY_S);
	ipc_message_clear(&message, world->signer.link);
	role_expect(&world->signer, ROLE_READY, &message);
	ipc_message_clear(&message, world->signer.link);
}

static void start_verifier(World *world)
{
	const char *const args[] = { "--verify", own_user(), OWN_USER, NULL };
	const FixtureDomain *const domains[] = { &world->north, &world->south };
	IpcMessage message;

	role_start(&world->verifier, NOTARY_PATH, args, NULL, 0, engine_notary_rules);
	for (size_t i = 0; i < ARRAY_SIZE(domains); i++) {
		AUTO_BUFFER Buffer crl = fixture_crl(domains[i], 1, world->now_s, NULL);

		role_send_anchor(&world->verifier, domains[i]->name, &domains[i]->root_pem);
		role_send_crl(&world->verifier, domains[i]->name, &crl);
	}
	role_send(&world->verifier, ROLE_START, 0, NULL, NULL);
	role_expect(&world->verifier, ROLE_READY, &message);
	ipc_message_clear(&message, world->verifier.link);
}

World *world_new(void)
{
	World *world = calloc(1, sizeof(*world));

	assert_non_null(world);
	world->now_s = time(NULL);
	fixture_domain_open(&world->north, "north.example", world->now_s);
	fixture_domain_open(&world->south, "south.example", world->now_s);
	start_signer(world);
	start_verifier(world);
	return world;
}

void world_free(World *world)
{
	role_stop(&world->signer, 0);
	role_stop(&world->verifier, 0);
	fixture_domain_close(&world->north);
	fixture_domain_close(&world->south);
	free(world);
}

static void fill_manifest(Manifest *manifest)
{
	*manifest = (Manifest){ .name = "vm1",
				.uuid = "11111111-2222-3333-4444-555555555555",
				.machine = "pc-q35-7.2",
				.cpu = "qemu64",
				.cpus = 2,
				.memory_bytes = 64 << 20 };
}

RoleStatement *statement_new(const World *world, StatementKind kind)
{
	RoleStatement *role = calloc(1, sizeof(*role));
	Statement *statement;

	assert_non_null(role);
	role->kind = kind;
	statement = &role->statement;
	*statement = (Statement){ .kind = kind,
				  .id = { 1 },
				  .migration = { 2 },
				  .vm = "11111111-2222-3333-4444-555555555555",
				  .owner = "north.example",
				  .epoch = 1,
				  .source = NORTH_A,
				  .destination = SOUTH_B,
				  .issued_s = (uint64_t)world->now_s,
				  .expires_s = (uint64_t)world->now_s + LIMIT_STATEMENT_AGE_S,
				  .channels = 2,
				  .lease_s = 60,
				  .memory_bytes = 64 << 20,
				  .reason = "none" };
	if (kind == STATEMENT_OFFER)
		fill_manifest(&statement->manifest);
	return role;
}

void statement_json(const RoleStatement *statement, Buffer *json)
{
	Error err = ERROR_INIT;

	if (!statement_encode_json(&statement->statement, json, &err))
		fail_msg("%s", err.text);
}

NotarySigned *world_sign(World *world, const RoleStatement *statement)
{
	NotarySigned *answer = calloc(1, sizeof(*answer));
	IpcMessage message;

	assert_non_null(answer);
	role_send(&world->signer, NOTARY_SIGN, 11, &role_statement_schema, statement);
	role_expect(&world->signer, NOTARY_SIGNED, &message);
	assert_int_equal(message.subject, 11);
	memcpy(answer, message.payload, sizeof(*answer));
	ipc_message_clear(&message, world->signer.link);
	return answer;
}

void world_expect_unsigned(World *world, const RoleStatement *statement, ErrorCategory category,
			   const char *words)
{
	role_send(&world->signer, NOTARY_SIGN, 12, &role_statement_schema, statement);
	role_expect_failure(&world->signer, ROLE_FAILED, 12, category, words);
}

void world_forge(const CmsSigner *signer, CmsContentType type, const void *json, size_t size,
		 NotarySigned *ret_signed)
{
	AUTO_BUFFER Buffer der = BUFFER_INIT(LIMIT_STATEMENT);
	Error err = ERROR_INIT;

	if (!cms_sign(signer, type, json, size, &der, &err))
		fail_msg("%s", err.text);
	memcpy(ret_signed->cms, der.data, der.used);
	ret_signed->cms_size = der.used;
}

static void ask(World *world, StatementKind kind, const char *signer, const NotarySigned *cms)
{
	NotaryVerify *request = calloc(1, sizeof(*request));

	assert_non_null(request);
	request->kind = kind;
	snprintf(request->signer, sizeof(request->signer), "%s", signer);
	memcpy(request->cms, cms->cms, cms->cms_size);
	request->cms_size = cms->cms_size;
	role_send(&world->verifier, NOTARY_VERIFY, 21, &notary_verify_schema, request);
	free(request);
}

NotaryVerified *world_verify(World *world, StatementKind kind, const char *signer,
			     const NotarySigned *cms)
{
	NotaryVerified *answer = calloc(1, sizeof(*answer));
	IpcMessage message;

	assert_non_null(answer);
	ask(world, kind, signer, cms);
	role_expect(&world->verifier, NOTARY_VERIFIED, &message);
	assert_int_equal(message.subject, 21);
	memcpy(answer, message.payload, sizeof(*answer));
	ipc_message_clear(&message, world->verifier.link);
	return answer;
}

void world_expect_unverified(World *world, StatementKind kind, const char *signer,
			     const NotarySigned *cms, ErrorCategory category, const char *words)
{
	ask(world, kind, signer, cms);
	role_expect_failure(&world->verifier, ROLE_FAILED, 21, category, words);
}
