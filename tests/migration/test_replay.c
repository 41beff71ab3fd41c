/* SPDX-License-Identifier: Apache-2.0 */
/* Orders of events that have a name; each that is here for a bug says which. */
#include "tests/migration/fault.h"

#include <string.h>

#define BIT(number) (1U << (number))

static World *begin(void **state, uint64_t seed)
{
	const WorldOptions options = { .seed = seed };
	World *world = world_new(*state, &options);

	world_begin(world);
	return world;
}

static void run_until_loaded(World *world)
{
	while (!world->hosts[DESTINATION].hv.loaded)
		assert_true(world_step(world));
}

static void read_record(const World *world, HostName name, MigrationRecord *ret_record)
{
	assert_true(watch_record(&world->hosts[name], ret_record));
}

static void expect_error(const World *world, HostName name, ErrorCategory category, const char *part)
{
	MigrationRecord record;

	read_record(world, name, &record);
	if (record.category != (uint64_t)category || !strstr(record.error, part))
		fail_msg("the record says %s: %s, expected \"%s\"", error_word((ErrorCategory)record.category),
			 record.error, part);
}

/* --- the good run --- */

typedef struct Good {
	SealMode mode;
	uint64_t channels;
	bool forbid;
	SealMode outcome;
	uint64_t outcome_channels;
} Good;

static const Good goods[] = {
	{ SEAL_REQUIRED, 1, false, SEAL_REQUIRED, 1 },
	{ SEAL_REQUIRED, 3, false, SEAL_REQUIRED, 3 },
	/* One multifd channel beside main brings nothing. */
	{ SEAL_REQUIRED, 2, false, SEAL_REQUIRED, 1 },
	{ SEAL_OPPORTUNISTIC, 1, false, SEAL_REQUIRED, 1 },
	{ SEAL_OPPORTUNISTIC, 3, false, SEAL_REQUIRED, 3 },
	{ SEAL_OPPORTUNISTIC, 3, true, SEAL_DISABLED, 3 },
	{ SEAL_DISABLED, 1, false, SEAL_DISABLED, 1 },
	{ SEAL_DISABLED, 3, false, SEAL_DISABLED, 3 },
};

static void check_good(const World *world, const Good *good)
{
	MigrationRecord record;

	for (int i = 0; i < HOSTS; i++) {
		read_record(world, (HostName)i, &record);
		assert_int_equal(record.state, MIGRATION_OK);
		assert_int_equal(record.phase, PHASE_DONE);
		assert_int_equal(record.mode, good->outcome);
		assert_int_equal(record.channels, good->outcome_channels);
		assert_int_equal(record.epoch, 4);
		assert_int_equal(record.category, ERROR_NONE);
		assert_string_equal(record.error, "");
		/* Who may run the guest changed once, on each side. */
		assert_int_equal(world->hosts[i].handovers, 1);
		assert_int_equal(world->hosts[i].vm.epoch, 4);
	}
	read_record(world, SOURCE, &record);
	assert_true(record.report.downtime_us > 0);
	assert_true(record.report.downtime_us < record.report.total_us);
	assert_true(record.report.resume_us < record.report.downtime_us);
}

static void a_good_run_in_each_mode(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(goods); i++) {
		const WorldOptions options = { .seed = 20 + i,
					       .mode = goods[i].mode,
					       .channels = goods[i].channels,
					       .forbid_encryption = goods[i].forbid,
					       .allow_disabled = { true, true } };
		World *world = world_new(*state, &options);

		world_begin(world);
		world_expect_end(world, AT_DESTINATION);
		check_good(world, &goods[i]);
		assert_int_equal(strstr(world->warnings[SOURCE], "NOT ENCRYPTED") != NULL,
				 goods[i].outcome == SEAL_DISABLED);
		world_free(world);
	}
}

static void expect_evidence(const Host *host, const uint8_t *migration)
{
	static const StatementKind statements[] = { STATEMENT_OFFER,  STATEMENT_ACCEPT,
						    STATEMENT_READY,  STATEMENT_COMMIT,
						    STATEMENT_ACTIVATED, STATEMENT_DESTROYED };
	static const KeyDocument documents[] = { KEY_DOCUMENT_OFFER, KEY_DOCUMENT_IMPORTED,
						 KEY_DOCUMENT_ACTIVATED, KEY_DOCUMENT_DESTROYED };
	uint8_t digest[DIGEST_SHA384_BYTES];
	Error err = ERROR_INIT;

	for (size_t i = 0; i < ARRAY_SIZE(statements); i++) {
		AUTO_BUFFER Buffer cms = BUFFER_INIT(LIMIT_STATEMENT);

		if (!store_statement(host->store, migration, statements[i], &cms, digest, &err))
			fail_msg("host %d: %s: %s", (int)host->name, statement_words[statements[i]], err.text);
	}
	for (size_t i = 0; i < ARRAY_SIZE(documents); i++) {
		AUTO_BUFFER Buffer cms = BUFFER_INIT(LIMIT_PACKAGE);

		if (!store_document(host->store, migration, documents[i], &cms, &err))
			fail_msg("host %d: keys-%s: %s", (int)host->name, key_document_words[documents[i]],
				 err.text);
	}
}

/* The source hangs up right behind its last words, which are still being judged then: they were lost,
 * and with them the proof that its keys are destroyed. */
static void each_side_keeps_what_both_signed(void **state)
{
	for (uint64_t seed = 300; seed < 340; seed++) {
		const WorldOptions options = { .seed = seed, .keys = true };
		World *world = world_new(*state, &options);
		MigrationRecord record;

		world_begin(world);
		world_expect_end(world, AT_DESTINATION);
		read_record(world, SOURCE, &record);
		for (int i = 0; i < HOSTS; i++)
			expect_evidence(&world->hosts[i], record.id);
		world_free(world);
	}
}

static void many_seeds_many_orders(void **state)
{
	for (uint64_t seed = 1000; seed < 1100; seed++) {
		World *world = begin(state, seed);

		world_expect_end(world, AT_DESTINATION);
		world_free(world);
	}
}

static void a_refused_vm_can_come_later(void **state)
{
	const WorldOptions options = { .seed = 2 };
	World *world = world_new(*state, &options);
	Host *destination = &world->hosts[DESTINATION];

	error_set(&destination->manifest_refusal, ERROR_NOT_FOUND, "no network \"red\" here");
	world_begin(world);
	world_expect_end(world, AT_SOURCE);
	expect_error(world, SOURCE, ERROR_NOT_FOUND, "no network \"red\" here");
	destination->manifest_refusal = ERROR_INIT;
	destination->prepare_fails = true;
	world_begin(world);
	world_expect_end(world, AT_SOURCE);
	expect_error(world, SOURCE, ERROR_HYPERVISOR, "cannot allocate memory");
	expect_error(world, DESTINATION, ERROR_HYPERVISOR, "cannot allocate memory");
	destination->prepare_fails = false;
	world_begin(world);
	world_expect_end(world, AT_DESTINATION);
	world_free(world);
}

/* --- the stream breaks after the destination has loaded --- */

/* QEMU at the source lets the guest run by itself; the loaded copy must go. */
static void exactly_one_when_the_stream_breaks_late(void **state)
{
	static const FaultKind kinds[] = { CUT_LINK, CUT_DATA };

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		for (uint64_t seed = 30; seed < 40; seed++) {
			World *world = begin(state, seed);

			run_until_loaded(world);
			assert_int_equal(world->hosts[SOURCE].hv.status, HV_DEVICE);
			assert_true(fault_happens(world, kinds[i], 20 * SECOND));
			world_expect_end(world, AT_SOURCE);
			assert_false(world->hosts[DESTINATION].hv.ran);
			world_free(world);
		}
}

/* The cancel of a source that undid itself was sent into a cut link: the destination, ready, waited
 * for ever. It is owed until it is answered. */
static void a_cancel_arrives_in_the_end(void **state)
{
	World *world = begin(state, 41);
	MigrationRecord record;

	world_run_until(world, DESTINATION, "wait-commit");
	assert_true(fault_happens(world, CUT_LINK, 400 * SECOND));
	world_run(world, 100 * SECOND);
	assert_int_equal(watch_outcome(world), AT_SOURCE);
	assert_true(world->hosts[DESTINATION].hv.alive);
	read_record(world, SOURCE, &record);
	assert_true(record.cancel_owed);
	world_expect_end(world, AT_SOURCE);
	world_free(world);
}

/* A source that was restarted while it owed a cancel took its hypervisor for dead, asked for the
 * destination's copy and committed it: two guests. */
static void a_debtor_that_restarts_keeps_its_guest(void **state)
{
	World *world = begin(state, 42);

	world_run_until(world, DESTINATION, "wait-commit");
	assert_true(fault_happens(world, CUT_LINK, 300 * SECOND));
	world_run(world, 60 * SECOND);
	assert_int_equal(watch_outcome(world), AT_SOURCE);
	assert_true(fault_happens(world, CRASH_SOURCE, SECOND));
	world_expect_end(world, AT_SOURCE);
	assert_int_equal(world->said[STATEMENT_COMMIT], 0);
	world_free(world);
}

/* The source hears the refuse and forgets; then the destination's power goes before its end is written.
 * It came back as ready, and waited for somebody who had nothing to say any more. */
static void a_refused_cancel_is_written_before_it_is_said(void **state)
{
	for (unsigned int action = 1; action <= 8; action++) {
		World *world = begin(state, 43);

		world_run_until(world, DESTINATION, "wait-commit");
		/* Its ready is in the journal now. */
		assert_true(fault_happens(world, CANCEL_SOURCE, 0));
		fault_arm_power(world, DESTINATION, action);
		world_expect_end(world, AT_SOURCE);
		world_free(world);
	}
}

/* The source had let its guest run again when it crashed a second time, and then the guest ended: what
 * the destination holds is older than the guest's disks. */
static void a_source_that_ran_on_does_not_ask_for_the_old_copy(void **state)
{
	World *world = begin(state, 44);

	world_run_until(world, DESTINATION, "wait-commit");
	assert_true(fault_happens(world, CUT_CONTROL, 100 * SECOND));
	assert_true(fault_happens(world, CRASH_SOURCE, SECOND));
	while (watch_outcome(world) != AT_SOURCE)
		assert_true(world_step(world));
	assert_true(fault_happens(world, CRASH_SOURCE, SECOND));
	hypervisor_die(&world->hosts[SOURCE]);
	world_expect_end(world, LOST);
	assert_false(world->hosts[DESTINATION].hv.ran);
	world_free(world);
}

/* Ready was sent and could not be written: asked again, the destination had nothing to say. */
static void a_ready_that_was_not_written_is_signed_again(void **state)
{
	World *world = begin(state, 45);

	world->swallowed_statements = BIT(STATEMENT_READY);
	world_run_until(world, DESTINATION, "sign-ready");
	assert_true(fault_happens(world, DISK_FULL_DESTINATION, SECOND));
	world_run_until(world, DESTINATION, "wait-commit");
	assert_true(fault_happens(world, KILL_SOURCE, 0));
	assert_true(fault_happens(world, CUT_CONTROL, 5 * SECOND));
	world_run(world, 5 * SECOND);
	world->swallowed_statements = 0;
	world_expect_end(world, AT_DESTINATION);
	assert_int_equal(world->said[STATEMENT_READY], 2);
	world_free(world);
}

/* --- commit --- */

static void a_late_commit_is_declined(void **state)
{
	World *world = begin(state, 50);

	world_run_until(world, SOURCE, "wait-activated");
	assert_true(fault_happens(world, CUT_LINK, 100 * SECOND));
	world_run(world, 20 * SECOND);
	assert_true(fault_happens(world, KILL_DESTINATION, 0));
	world_run(world, 10 * SECOND);
	assert_null(host_only_job(&world->hosts[DESTINATION]));
	world_expect_end(world, AT_SOURCE);
	assert_int_equal(world->said[STATEMENT_DECLINED], 1);
	assert_int_equal(world->said[STATEMENT_ACTIVATED], 0);
	expect_error(world, SOURCE, ERROR_PEER, "the destination declined: QEMU was killed");
	world_free(world);
}

/* The destination's hypervisor died while the commit was being verified: it declined before it knew
 * the commit, so the declined answered nothing that the source had said, for ever. */
static void a_death_under_the_commit_is_declined_well(void **state)
{
	for (uint64_t seed = 500; seed < 520; seed++) {
		World *world = begin(state, seed);

		/* The news take as long as the commit's way. */
		world_run_until(world, SOURCE, "wait-activated");
		assert_true(fault_happens(world, KILL_DESTINATION, 0));
		world_run_until(world, DESTINATION, "commit");
		world_expect_end(world, AT_SOURCE);
		assert_int_equal(world->said[STATEMENT_DECLINED], 1);
		world_free(world);
	}
}

/* A moment later the activation stands in the journal: it may have run, so it is not handed back, and a
 * person must say so. */
static void a_death_under_the_activation_is_a_persons_case(void **state)
{
	World *world = begin(state, 51);
	MigrationRecord record;

	world_run_until(world, DESTINATION, "activating");
	hypervisor_die(&world->hosts[DESTINATION]);
	world_run(world, 100 * SECOND);
	assert_int_equal(watch_outcome(world), HELD);
	read_record(world, SOURCE, &record);
	assert_int_equal(record.state, MIGRATION_STUCK);
	expect_error(world, SOURCE, ERROR_HYPERVISOR, "activation began here and its end is not known");
	expect_error(world, DESTINATION, ERROR_HYPERVISOR, "the VM ended here");
	assert_int_equal(world->said[STATEMENT_DECLINED], 0);
	world_free(world);
}

static void a_full_disk_under_the_commit_is_declined(void **state)
{
	World *world = begin(state, 52);

	world_run_until(world, DESTINATION, "commit");
	assert_true(fault_happens(world, DISK_FULL_DESTINATION, 20 * SECOND));
	world_expect_end(world, AT_SOURCE);
	assert_false(world->hosts[DESTINATION].hv.ran);
	assert_true(world->said[STATEMENT_DECLINED] >= 1);
	world_free(world);
}

static void a_full_disk_at_the_source_keeps_the_guest(void **state)
{
	World *world = begin(state, 53);

	world_run_until(world, SOURCE, "question");
	assert_true(fault_happens(world, DISK_FULL_SOURCE, 20 * SECOND));
	world_expect_end(world, AT_SOURCE);
	assert_int_equal(world->said[STATEMENT_ACTIVATED], 0);
	world_expect_warning(world, SOURCE, "journal: store:");
	world_free(world);
}

/* Said twice, run once. */
static void a_commit_said_again_gets_the_same_answer(void **state)
{
	/* While the destination still waits for destroyed, and long after it ended. */
	static const int64_t lost_us[] = { 10 * SECOND, 200 * SECOND };

	for (size_t i = 0; i < ARRAY_SIZE(lost_us); i++) {
		World *world = begin(state, 54 + i);

		world->swallowed_statements = BIT(STATEMENT_ACTIVATED);
		world_run(world, lost_us[i]);
		assert_int_equal(watch_outcome(world), AT_DESTINATION);
		assert_true(world->hosts[SOURCE].hv.alive);
		world->swallowed_statements = 0;
		world_expect_end(world, AT_DESTINATION);
		assert_int_equal(world->said[STATEMENT_ACTIVATED], 1);
		assert_true(world->sent[PEER_STATEMENT] > 7);
		world_free(world);
	}
}

static void a_source_without_hypervisor_commits(void **state)
{
	static const char *const steps[] = { "sign-ready", "wait-commit" };

	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		World *world = begin(state, 56);

		world_run_until(world, DESTINATION, steps[i]);
		assert_true(fault_happens(world, KILL_SOURCE, 0));
		world_expect_end(world, AT_DESTINATION);
		world_free(world);
	}
}

/* The driver answers pending questions with a failure before it says that the process is gone: the
 * source cancelled the only copy in between. */
static void a_death_under_the_question_is_no_refusal(void **state)
{
	for (uint64_t seed = 60; seed < 80; seed++) {
		World *world = begin(state, seed);

		world_run_until(world, SOURCE, "question");
		assert_true(fault_happens(world, KILL_SOURCE, 0));
		world_expect_end(world, AT_DESTINATION);
		world_free(world);
	}
}

/* Engine and hypervisor of the source die after ready: recovery had no digest of the accept, and took
 * no ready for an answer to it. */
static void a_recovering_source_asks_for_the_only_copy(void **state)
{
	World *world = begin(state, 57);

	world_run_until(world, DESTINATION, "wait-commit");
	hypervisor_die(&world->hosts[SOURCE]);
	assert_true(fault_happens(world, CRASH_SOURCE, 5 * SECOND));
	world_expect_end(world, AT_DESTINATION);
	world_free(world);
}

/* The guest had run on at the source before its hypervisor died: the loaded copy is old. */
static void an_old_copy_is_not_run(void **state)
{
	for (uint64_t seed = 80; seed < 100; seed++) {
		World *world = begin(state, seed);

		run_until_loaded(world);
		stream_cut(world);
		while (!world->hosts[SOURCE].hv.ran_after_sending)
			assert_true(world_step(world));
		world_run(world, 3 * MS);
		assert_true(fault_happens(world, KILL_SOURCE, 0));
		world->data_up = true;
		world_run(world, 300 * SECOND);
		watch_end(world, true);
		assert_string_equal(world->violation, "");
		assert_int_equal(watch_outcome(world), LOST);
		expect_error(world, SOURCE, ERROR_HYPERVISOR, "");
		world_free(world);
	}
}

/* An entry that was reported as failed may stand on the disk all the same (a sync that failed). The
 * journal then gives away a guest that runs here. */
static void a_running_guest_outweighs_the_journal(void **state)
{
	World *world = begin(state, 58);
	Host *source = &world->hosts[SOURCE];
	MigrationRecord record;
	Error err = ERROR_INIT;

	world_run_until(world, DESTINATION, "wait-commit");
	assert_true(fault_happens(world, CUT_LINK, 300 * SECOND));
	world_run(world, 60 * SECOND);
	assert_int_equal(watch_outcome(world), AT_SOURCE);
	host_crash(source, 0);
	read_record(world, SOURCE, &record);
	record.state = MIGRATION_ACTIVE;
	record.phase = PHASE_COMMIT;
	record.committed = true;
	record.cancel_owed = false;
	assert_works(store_journal(source->store, &record, NULL, &err), &err);
	host_restart(source);
	world_expect_end(world, AT_SOURCE);
	world_expect_warning(world, SOURCE, "the guest runs here, though the journal gave it away");
	world_free(world);
}

static void both_copies_gone_is_said(void **state)
{
	World *world = begin(state, 59);

	world_run_until(world, DESTINATION, "wait-commit");
	assert_true(fault_happens(world, KILL_SOURCE, 0));
	world_run_until(world, DESTINATION, "activating");
	assert_true(fault_happens(world, KILL_DESTINATION, 0));
	world_expect_end(world, LOST);
	expect_error(world, DESTINATION, ERROR_HYPERVISOR, "the VM ended here");
	expect_error(world, SOURCE, ERROR_HYPERVISOR, "activation began here");
	assert_int_equal(world->hosts[SOURCE].vm.state, VM_MOVED);
	world_free(world);
}

/* --- people --- */

static bool cancel_at(World *world, HostName name, Error *err)
{
	return migration_cancel(host_only_job(&world->hosts[name])->migration, err);
}

static void a_cancel_is_refused_with_its_reason(void **state)
{
	World *world = begin(state, 110);
	Error err = ERROR_INIT;

	world_run_until(world, DESTINATION, "wait-commit");
	assert_fails(cancel_at(world, DESTINATION, &err), ERROR_CONFLICT, "the other side decides now", &err);
	world_run_until(world, SOURCE, "wait-activated");
	assert_fails(cancel_at(world, SOURCE, &err), ERROR_CONFLICT,
		     "cannot cancel in phase commit: the VM is already given to the destination", &err);
	world_expect_end(world, AT_DESTINATION);
	world_free(world);
}

static void a_cancel_works_until_then(void **state)
{
	static const struct {
		HostName name;
		const char *step;
	} rows[] = {
		{ SOURCE, "dial" },	 { SOURCE, "offer" },	     { SOURCE, "wait-accept" },
		{ SOURCE, "key" },	 { SOURCE, "channels" },     { SOURCE, "transfer" },
		{ SOURCE, "switchover" }, { SOURCE, "question" },     { DESTINATION, "judge" },
		{ DESTINATION, "reserve" }, { DESTINATION, "accept" }, { DESTINATION, "wait-key" },
		{ DESTINATION, "wait-channels" }, { DESTINATION, "loading" }, { DESTINATION, "sign-ready" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		World *world = begin(state, 111);

		world_run_until(world, rows[i].name, rows[i].step);
		assert_true(fault_happens(world, rows[i].name == SOURCE ? CANCEL_SOURCE : CANCEL_DESTINATION, 0));
		world_expect_end(world, AT_SOURCE);
		assert_int_equal(world->hosts[SOURCE].last_state, MIGRATION_CANCELLED);
		expect_error(world, SOURCE, ERROR_CANCELLED, "cancelled by a person");
		world_free(world);
	}
}

static bool resolve(World *world, Error *err)
{
	bool ok = migration_resolve_run_here(host_only_job(&world->hosts[SOURCE])->migration, err);

	world->resolved |= ok;
	return ok;
}

/* The destination burns down with the guest in it. */
static void a_person_brings_the_guest_back(void **state)
{
	World *world = begin(state, 120);
	Error err = ERROR_INIT;

	world_run_until(world, SOURCE, "transfer");
	assert_fails(resolve(world, &err), ERROR_CONFLICT, "nothing to resolve", &err);
	world_run_until(world, SOURCE, "wait-activated");
	host_crash(&world->hosts[DESTINATION], 400 * SECOND);
	hypervisor_die(&world->hosts[DESTINATION]);
	world_run(world, 10 * SECOND);
	assert_fails(resolve(world, &err), ERROR_CONFLICT, "wait until the state is stuck", &err);
	world_run(world, 100 * SECOND);
	assert_int_equal(watch_outcome(world), HELD);
	assert_works(resolve(world, &err), &err);
	world_expect_end(world, AT_SOURCE);
	expect_error(world, SOURCE, ERROR_CANCELLED, "resolved by a person: runs here");
	world_free(world);
}

/* The commit never arrived, a person resolved: once the link is back the loaded copy must go, not run. */
static void a_resolved_guest_is_not_run_by_the_other(void **state)
{
	World *world = begin(state, 121);
	Error err = ERROR_INIT;

	world_run_until(world, SOURCE, "wait-activated");
	assert_true(fault_happens(world, CUT_LINK, 300 * SECOND));
	world_run(world, 100 * SECOND);
	assert_works(resolve(world, &err), &err);
	/* And a restart does not forget what the person said. */
	world_run(world, 5 * SECOND);
	assert_true(fault_happens(world, CRASH_SOURCE, SECOND));
	world_expect_end(world, AT_SOURCE);
	assert_false(world->hosts[DESTINATION].hv.ran);
	world_free(world);
}

/* Commit and cancel on one connection, a moment apart: the cancel came while the commit was being
 * verified, was ignored, and both ran. */
static void a_cancel_overtakes_a_commit_that_is_judged(void **state)
{
	World *world = begin(state, 122);
	PeerMessage *message = test_calloc(1, sizeof(*message));

	world_run_until(world, DESTINATION, "commit");
	message->kind = PEER_CANCEL;
	strcpy(message->category, "cancelled");
	strcpy(message->text, "resolved by a person: runs here");
	link_inject(&world->hosts[DESTINATION], message);
	world_run(world, 30 * SECOND);
	assert_false(world->hosts[DESTINATION].hv.ran);
	/* The source of this run knows nothing of it, and hears a declined. */
	world_expect_end(world, AT_SOURCE);
	test_free(message);
	world_free(world);
}

static void a_cancel_after_activation_is_refused(void **state)
{
	World *world = begin(state, 123);
	PeerMessage *message = test_calloc(1, sizeof(*message));

	world_run_until(world, DESTINATION, "active");
	message->kind = PEER_CANCEL;
	strcpy(message->category, "cancelled");
	strcpy(message->text, "made up");
	link_inject(&world->hosts[DESTINATION], message);
	assert_int_equal(world->sent[PEER_REFUSE], 1);
	world_expect_end(world, AT_DESTINATION);
	test_free(message);
	world_free(world);
}

/* The source never comes back, says a person at the destination; and then it does, with a commit. */
static void a_discarded_copy_is_declined(void **state)
{
	World *world = begin(state, 130);
	Error err = ERROR_INIT;
	Job *job;

	world_run_until(world, SOURCE, "wait-activated");
	assert_true(fault_happens(world, CUT_LINK, 200 * SECOND));
	job = host_only_job(&world->hosts[DESTINATION]);
	assert_fails(migration_resolve_discard(job->migration, &err), ERROR_CONFLICT, "stuck", &err);
	world_run(world, 100 * SECOND);
	assert_works(migration_resolve_discard(job->migration, &err), &err);
	world_expect_end(world, AT_SOURCE);
	assert_int_equal(world->said[STATEMENT_DECLINED], 1);
	world_free(world);
}

static Migration *migration_at(World *world, HostName name)
{
	return host_only_job(&world->hosts[name])->migration;
}

/* A broken channel waits for a better word; what our own guard refused is the word. */
static void what_our_guard_refuses_is_the_reason(void **state)
{
	static const char *const steps[] = { "channels", "transfer", "switchover" };
	Error broken = ERROR_INIT;

	error_set(&broken, ERROR_PEER, "channel main: guard refuses: guard-return-count: 2");
	for (size_t i = 0; i < 2 * ARRAY_SIZE(steps); i++) {
		World *world = begin(state, 120 + i);

		world_run_until(world, SOURCE, steps[i / 2]);
		if (i % 2) {
			migration_on_guard_refusal(migration_at(world, SOURCE), &broken);
			assert_string_not_equal(migration_step_name(migration_at(world, SOURCE)), steps[i / 2]);
		} else {
			migration_on_mover_failed(migration_at(world, SOURCE), &broken);
			assert_string_equal(migration_step_name(migration_at(world, SOURCE)), steps[i / 2]);
		}
		if (i % 2) {
			world_expect_end(world, AT_SOURCE);
			expect_error(world, SOURCE, ERROR_PEER, "guard-return-count");
		}
		world_free(world);
	}
}

/* After ready the hypervisor decides; if it fails, because its return path ended there, that is why. */
static void a_refusal_after_ready_is_said_with_the_failure(void **state)
{
	const HvState failed = { .status = HV_FAILED, .run_state = HV_RUNNING };
	Error broken = ERROR_INIT;
	World *world = begin(state, 130);

	error_set(&broken, ERROR_PEER, "channel main: guard refuses: guard-return-message: 6");
	world_run_until(world, SOURCE, "question");
	migration_on_guard_refusal(migration_at(world, SOURCE), &broken);
	assert_string_equal(migration_step_name(migration_at(world, SOURCE)), "question");
	migration_on_hv_state(migration_at(world, SOURCE), &failed, NULL);
	assert_string_equal(migration_step_name(migration_at(world, SOURCE)), "undo");
	assert_int_equal(migration_record(migration_at(world, SOURCE))->category, ERROR_PEER);
	assert_string_equal(migration_record(migration_at(world, SOURCE))->error,
			    "the destination is ready, but our hypervisor's migration failed: channel main: "
			    "guard refuses: guard-return-message: 6");
	world_free(world);
}

/* Each is counted when it comes, and what the mover counts in the end is not less. */
static void warnings_of_the_guard_are_counted(void **state)
{
	MoverStats stats = { .guard_warnings = 1 };
	MigrationRecord record;
	World *world = begin(state, 131);

	world_run_until(world, DESTINATION, "loading");
	for (unsigned int i = 1; i <= 2; i++) {
		migration_on_guard_warning(migration_at(world, DESTINATION));
		assert_int_equal(migration_record(migration_at(world, DESTINATION))->report.guard_warnings, i);
	}
	migration_on_mover_stats(migration_at(world, DESTINATION), &stats, false);
	world_expect_end(world, AT_DESTINATION);
	read_record(world, DESTINATION, &record);
	assert_int_equal(record.report.guard_warnings, 2);
	read_record(world, SOURCE, &record);
	assert_int_equal(record.report.guard_warnings, 0);
	world_free(world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_good_run_in_each_mode),
		cmocka_unit_test(each_side_keeps_what_both_signed),
		cmocka_unit_test(many_seeds_many_orders),
		cmocka_unit_test(a_refused_vm_can_come_later),
		cmocka_unit_test(exactly_one_when_the_stream_breaks_late),
		cmocka_unit_test(a_cancel_arrives_in_the_end),
		cmocka_unit_test(a_debtor_that_restarts_keeps_its_guest),
		cmocka_unit_test(a_refused_cancel_is_written_before_it_is_said),
		cmocka_unit_test(a_source_that_ran_on_does_not_ask_for_the_old_copy),
		cmocka_unit_test(a_ready_that_was_not_written_is_signed_again),
		cmocka_unit_test(a_late_commit_is_declined),
		cmocka_unit_test(a_death_under_the_commit_is_declined_well),
		cmocka_unit_test(a_death_under_the_activation_is_a_persons_case),
		cmocka_unit_test(a_full_disk_under_the_commit_is_declined),
		cmocka_unit_test(a_full_disk_at_the_source_keeps_the_guest),
		cmocka_unit_test(a_commit_said_again_gets_the_same_answer),
		cmocka_unit_test(a_source_without_hypervisor_commits),
		cmocka_unit_test(a_death_under_the_question_is_no_refusal),
		cmocka_unit_test(a_recovering_source_asks_for_the_only_copy),
		cmocka_unit_test(an_old_copy_is_not_run),
		cmocka_unit_test(a_running_guest_outweighs_the_journal),
		cmocka_unit_test(both_copies_gone_is_said),
		cmocka_unit_test(a_cancel_is_refused_with_its_reason),
		cmocka_unit_test(a_cancel_works_until_then),
		cmocka_unit_test(a_person_brings_the_guest_back),
		cmocka_unit_test(a_resolved_guest_is_not_run_by_the_other),
		cmocka_unit_test(a_cancel_overtakes_a_commit_that_is_judged),
		cmocka_unit_test(a_cancel_after_activation_is_refused),
		cmocka_unit_test(a_discarded_copy_is_declined),
		cmocka_unit_test(what_our_guard_refuses_is_the_reason),
		cmocka_unit_test(a_refusal_after_ready_is_said_with_the_failure),
		cmocka_unit_test(warnings_of_the_guard_are_counted),
	};

	return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
