/* SPDX-License-Identifier: Apache-2.0 */
/* One host signs something that is not so, in each step: refused with the cause, and one guest runs. */
#include "tests/migration/world.h"

#include <stdio.h>
#include <string.h>

#define SET(member, ...) snprintf(member, sizeof(member), __VA_ARGS__)

typedef struct Lie {
	const char *name;
	StatementKind kind;
	Tamper *tamper;
	const char *part; /* of the warning where it is found out */
	HostName finder;
	Outcome outcome;
} Lie;

/* --- lies about anything --- */

static void other_migration(World *world, Host *host, Statement *s, char signer[LIMIT_SPIFFE_ID])
{
	(void)world;
	(void)host;
	(void)signer;
	s->migration[3] ^= 1;
}

static void other_epoch(World *world, Host *host, Statement *s, char signer[LIMIT_SPIFFE_ID])
{
	(void)world;
	(void)host;
	(void)signer;
	s->epoch++;
}

static void other_previous(World *world, Host *host, Statement *s, char signer[LIMIT_SPIFFE_ID])
{
	(void)world;
	(void)host;
	(void)signer;
	s->previous[47] ^= 0x80;
}

static void other_vm(World *world, Host *host, Statement *s, char signer[LIMIT_SPIFFE_ID])
{
	(void)world;
	(void)host;
	(void)signer;
	SET(s->vm, "00000000-0f64-4d0e-9d6c-6d2f5a1b2c3d");
}

static void other_owner(World *world, Host *host, Statement *s, char signer[LIMIT_SPIFFE_ID])
{
	(void)world;
	(void)host;
	(void)signer;
	SET(s->owner, "west.example");
}

static void other_signer(World *world, Host *host, Statement *s, char signer[LIMIT_SPIFFE_ID])
{
	(void)world;
	(void)host;
	(void)s;
	strcpy(signer, "spiffe://west.example/host/w1");
}

/* Signed by the right host, which speaks as if it were another. */
static void other_destination(World *world, Host *host, Statement *s, char signer[LIMIT_SPIFFE_ID])
{
	(void)world;
	(void)host;
	(void)signer;
	SET(s->destination, "spiffe://south.example/host/s2");
}

static void other_source(World *world, Host *host, Statement *s, char signer[LIMIT_SPIFFE_ID])
{
	(void)world;
	(void)host;
	(void)signer;
	SET(s->source, "spiffe://north.example/host/n2");
}

static void old(World *world, Host *host, Statement *s, char signer[LIMIT_SPIFFE_ID])
{
	(void)world;
	(void)host;
	(void)signer;
	s->issued_s -= 3600;
	s->expires_s = s->issued_s + 300;
}

static void too_long_lived(World *world, Host *host, Statement *s, char signer[LIMIT_SPIFFE_ID])
{
	(void)world;
	(void)host;
	(void)signer;
	s->expires_s = s->issued_s + LIMIT_STATEMENT_AGE_S + 1;
}

/* --- lies of an accept --- */

static void less_memory(World *world, Host *host, Statement *s, char signer[LIMIT_SPIFFE_ID])
{
	(void)world;
	(void)host;
	(void)signer;
	s->memory_bytes -= 2 << 20;
}

static void not_populated(World *world, Host *host, Statement *s, char signer[LIMIT_SPIFFE_ID])
{
	(void)world;
	(void)host;
	(void)signer;
	s->populated = false;
}

static void more_channels(World *world, Host *host, Statement *s, char signer[LIMIT_SPIFFE_ID])
{
	(void)world;
	(void)host;
	(void)signer;
	s->channels++;
}

static void not_sealed(World *world, Host *host, Statement *s, char signer[LIMIT_SPIFFE_ID])
{
	(void)world;
	(void)host;
	(void)signer;
	s->mode = SEAL_DISABLED;
}

static void open_mode(World *world, Host *host, Statement *s, char signer[LIMIT_SPIFFE_ID])
{
	(void)world;
	(void)host;
	(void)signer;
	s->mode = SEAL_OPPORTUNISTIC;
}

static void other_version(World *world, Host *host, Statement *s, char signer[LIMIT_SPIFFE_ID])
{
	(void)world;
	(void)host;
	(void)signer;
	s->version_min = s->version_max = 900;
}

static void own_share(World *world, Host *host, Statement *s, char signer[LIMIT_SPIFFE_ID])
{
	(void)world;
	(void)host;
	(void)signer;
	memset(s->share + 1, 7, sizeof(s->share) - 1);
}

#define BEFORE AT_SOURCE
static const Lie lies[] = {
	{ "offer: signer", STATEMENT_OFFER, other_signer, "signed by spiffe://west.example", DESTINATION, BEFORE },
	{ "offer: destination", STATEMENT_OFFER, other_destination, "offer is for spiffe://south.example/host/s2",
	  DESTINATION, BEFORE },
	{ "offer: source", STATEMENT_OFFER, other_source, "offer names spiffe://north.example/host/n2",
	  DESTINATION, BEFORE },
	{ "offer: vm", STATEMENT_OFFER, other_vm, "its manifest for", DESTINATION, BEFORE },
	{ "offer: old", STATEMENT_OFFER, old, "offer expired 3300 s ago", DESTINATION, BEFORE },
	{ "offer: life", STATEMENT_OFFER, too_long_lived, "offer is good for 301 s, more than 300", DESTINATION,
	  BEFORE },
	{ "offer: version", STATEMENT_OFFER, other_version, "offer speaks versions 900 to 900", DESTINATION,
	  BEFORE },
	{ "accept: signer", STATEMENT_ACCEPT, other_signer, "signed by spiffe://west.example", SOURCE, BEFORE },
	{ "accept: migration", STATEMENT_ACCEPT, other_migration, "accept is of another migration", SOURCE,
	  BEFORE },
	{ "accept: epoch", STATEMENT_ACCEPT, other_epoch, "accept has epoch 5, expected 4", SOURCE, BEFORE },
	{ "accept: previous", STATEMENT_ACCEPT, other_previous, "accept does not answer our last statement",
	  SOURCE, BEFORE },
	{ "accept: vm", STATEMENT_ACCEPT, other_vm, "accept: vm is", SOURCE, BEFORE },
	{ "accept: owner", STATEMENT_ACCEPT, other_owner, "accept: owner is \"west.example\"", SOURCE, BEFORE },
	{ "accept: source", STATEMENT_ACCEPT, other_source, "accept: source is", SOURCE, BEFORE },
	{ "accept: destination", STATEMENT_ACCEPT, other_destination,
	  "accept names spiffe://south.example/host/s2 as its destination", SOURCE, BEFORE },
	{ "accept: old", STATEMENT_ACCEPT, old, "accept expired 3300 s ago", SOURCE, BEFORE },
	{ "accept: version", STATEMENT_ACCEPT, other_version, "accept speaks versions 900 to 900", SOURCE,
	  BEFORE },
	{ "accept: memory", STATEMENT_ACCEPT, less_memory, "accept reserves 534773760 bytes, the VM has 536870912",
	  SOURCE, BEFORE },
	{ "accept: populated", STATEMENT_ACCEPT, not_populated, "accept without populated memory", SOURCE,
	  BEFORE },
	{ "accept: channels", STATEMENT_ACCEPT, more_channels, "accept has 4 channels, offered were 3", SOURCE,
	  BEFORE },
	{ "accept: not sealed", STATEMENT_ACCEPT, not_sealed, "would not encrypt, mode is required", SOURCE,
	  BEFORE },
	{ "accept: mode open", STATEMENT_ACCEPT, open_mode, "accept leaves the mode open", SOURCE, BEFORE },
	{ "accept: share", STATEMENT_ACCEPT, own_share, "share", SOURCE, BEFORE },
	{ "ready: signer", STATEMENT_READY, other_signer, "signed by spiffe://west.example", SOURCE, BEFORE },
	{ "ready: migration", STATEMENT_READY, other_migration, "ready is of another migration", SOURCE, BEFORE },
	{ "ready: epoch", STATEMENT_READY, other_epoch, "ready has epoch 5, expected 4", SOURCE, BEFORE },
	{ "ready: previous", STATEMENT_READY, other_previous, "ready does not answer our last statement", SOURCE,
	  BEFORE },
	/* From here on the guest is given away: nothing brings it back but a declined. */
	{ "commit: signer", STATEMENT_COMMIT, other_signer, "signed by spiffe://west.example", DESTINATION, HELD },
	{ "commit: migration", STATEMENT_COMMIT, other_migration, "commit is of another migration", DESTINATION,
	  HELD },
	{ "commit: epoch", STATEMENT_COMMIT, other_epoch, "commit has epoch 5, expected 4", DESTINATION, HELD },
	{ "commit: previous", STATEMENT_COMMIT, other_previous, "commit does not answer our last statement",
	  DESTINATION, HELD },
	{ "activated: signer", STATEMENT_ACTIVATED, other_signer, "signed by spiffe://west.example", SOURCE,
	  AT_DESTINATION },
	{ "activated: migration", STATEMENT_ACTIVATED, other_migration, "activated is of another migration",
	  SOURCE, AT_DESTINATION },
	{ "activated: epoch", STATEMENT_ACTIVATED, other_epoch, "activated has epoch 5, expected 4", SOURCE,
	  AT_DESTINATION },
	{ "activated: previous", STATEMENT_ACTIVATED, other_previous,
	  "activated does not answer our last statement", SOURCE, AT_DESTINATION },
	{ "destroyed: previous", STATEMENT_DESTROYED, other_previous,
	  "destroyed does not answer our last statement", DESTINATION, AT_DESTINATION },
};

/* Where the liar's own journal holds the lie, the migration stays as it is until a person looks. */
static bool stays_open(const Lie *lie)
{
	return lie->kind == STATEMENT_COMMIT || lie->kind == STATEMENT_ACTIVATED;
}

static void tell(void **state, const Lie *lie)
{
	const WorldOptions options = { .seed = 5 };
	World *world = world_new(*state, &options);

	world->tamper = lie->tamper;
	world->tampered = lie->kind;
	world_begin(world);
	if (stays_open(lie))
		world_run(world, 200 * SECOND);
	else
		world_expect_end(world, lie->outcome);
	if (watch_outcome(world) != lie->outcome || world->violation[0]) {
		world_print_trace(world);
		fail_msg("%s: outcome %d, expected %d; %s", lie->name, watch_outcome(world), lie->outcome,
			 world->violation);
	}
	world_expect_warning(world, lie->finder, lie->part);
	/* A destination that got no valid commit has not run anything. */
	if (lie->outcome == HELD)
		assert_false(world->hosts[DESTINATION].hv.ran);
	if (stays_open(lie)) {
		Job *job = host_only_job(&world->hosts[SOURCE]);

		assert_non_null(job);
		assert_int_equal(migration_record(job->migration)->state, MIGRATION_STUCK);
		world_expect_warning(world, SOURCE, "resolve --run-here");
	}
	world_free(world);
}

static void each_lie_is_found_out(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(lies); i++)
		tell(state, &lies[i]);
}

/* The pair of each: the truth, by the same way. */
static void the_truth_is_taken(void **state)
{
	const WorldOptions options = { .seed = 5 };
	World *world = world_new(*state, &options);

	world_begin(world);
	world_expect_end(world, AT_DESTINATION);
	for (int kind = 0; kind < STATEMENT_KIND_COUNT; kind++)
		assert_int_equal(world->said[kind], kind != STATEMENT_DECLINED);
	assert_string_equal(world->warnings[DESTINATION], "");
	assert_string_equal(world->warnings[SOURCE], "");
	world_free(world);
}

/* --- messages in the wrong step --- */

typedef struct Stray {
	HostName to;
	const char *step;
	PeerKind kind;
	StatementKind statement;
	Outcome outcome;
	const char *part;
} Stray;

static const Stray strays[] = {
	{ SOURCE, "wait-accept", PEER_KEYED, 0, AT_SOURCE, "message keyed does not belong into step wait-accept" },
	{ SOURCE, "transfer", PEER_KEYED, 0, AT_SOURCE, "message keyed does not belong into step transfer" },
	{ SOURCE, "transfer", PEER_QUERY, 0, AT_SOURCE, "message query does not belong" },
	{ SOURCE, "transfer", PEER_STATEMENT, STATEMENT_READY, AT_SOURCE,
	  "statement ready does not belong into step transfer" },
	{ SOURCE, "transfer", PEER_STATEMENT, STATEMENT_ACTIVATED, AT_SOURCE, "statement activated does not" },
	{ SOURCE, "switchover", PEER_STATEMENT, STATEMENT_DECLINED, AT_SOURCE, "statement declined does not" },
	{ SOURCE, "wait-activated", PEER_STATEMENT, STATEMENT_READY, AT_DESTINATION, "statement ready does not" },
	{ SOURCE, "wait-activated", PEER_REFUSE, 0, AT_DESTINATION, "spiffe://south.example/host/s1: made up" },
	{ DESTINATION, "reserve", PEER_KEY, 0, AT_SOURCE, "message key does not belong into step reserve" },
	{ DESTINATION, "loading", PEER_KEY, 0, AT_SOURCE, "message key does not belong into step loading" },
	{ DESTINATION, "loading", PEER_STATEMENT, STATEMENT_COMMIT, AT_SOURCE,
	  "statement commit does not belong into step loading" },
	{ DESTINATION, "loading", PEER_STATEMENT, STATEMENT_OFFER, AT_SOURCE, "statement offer does not" },
	{ DESTINATION, "wait-commit", PEER_STATEMENT, STATEMENT_DESTROYED, AT_DESTINATION,
	  "statement destroyed does not" },
	{ DESTINATION, "wait-commit", PEER_STATEMENT, STATEMENT_OFFER, AT_DESTINATION, "statement offer does not" },
};

static void a_message_belongs_into_its_step(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(strays); i++) {
		const WorldOptions options = { .seed = 7 };
		World *world = world_new(*state, &options);
		PeerMessage *message = test_calloc(1, sizeof(*message));

		world_begin(world);
		world_run_until(world, strays[i].to, strays[i].step);
		message->kind = strays[i].kind;
		message->statement = strays[i].statement;
		message->cms_size = 1;
		strcpy(message->category, "peer");
		strcpy(message->text, "made up");
		link_inject(&world->hosts[strays[i].to], message);
		world_expect_end(world, strays[i].outcome);
		world_expect_warning(world, strays[i].to, strays[i].part);
		test_free(message);
		world_free(world);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_truth_is_taken),
		cmocka_unit_test(each_lie_is_found_out),
		cmocka_unit_test(a_message_belongs_into_its_step),
	};

	return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
