/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/support.h"

#include <string.h>

#include "migration/steps.h"

enum { PATH_MAX_STEPS = 16 };

typedef struct Path {
	const char *name;
	Step steps[PATH_MAX_STEPS];
	size_t count;
	unsigned int changes; /* of "may run here" */
} Path;

#define STEPS(...) { __VA_ARGS__ }, ARRAY_SIZE(((Step[]){ __VA_ARGS__ }))

static const Path source_paths[] = {
	{ "good",
	  STEPS(SRC_NEW, SRC_DIAL, SRC_OFFER, SRC_ACCEPT, SRC_KEY, SRC_CHANNELS, SRC_TRANSFER,
		SRC_SWITCHOVER, SRC_QUESTION, SRC_COMMITTED, SRC_FINISH, SRC_DONE),
	  1 },
	{ "good, with keys and disks",
	  STEPS(SRC_CHANNELS, SRC_KEYS, SRC_DISKS, SRC_TRANSFER, SRC_DETACH, SRC_SWITCHOVER, SRC_QUESTION,
		SRC_COMMITTED, SRC_FINISH, SRC_OWES_KEYS, SRC_DONE),
	  1 },
	{ "good, offline",
	  STEPS(SRC_CHANNELS, SRC_DISKS, SRC_PAUSE, SRC_TRANSFER, SRC_DETACH, SRC_SWITCHOVER), 1 },
	{ "undone offline", STEPS(SRC_CHANNELS, SRC_PAUSE, SRC_TRANSFER, SRC_UNDO), 0 },
	{ "undone early", STEPS(SRC_NEW, SRC_DIAL, SRC_OFFER, SRC_UNDO), 0 },
	{ "undone in transfer", STEPS(SRC_CHANNELS, SRC_TRANSFER, SRC_UNDO), 0 },
	{ "undone in switchover", STEPS(SRC_TRANSFER, SRC_SWITCHOVER, SRC_UNDO, SRC_OWES_CANCEL), 2 },
	{ "undone by the answer", STEPS(SRC_TRANSFER, SRC_SWITCHOVER, SRC_QUESTION, SRC_UNDO), 2 },
	{ "declined", STEPS(SRC_TRANSFER, SRC_SWITCHOVER, SRC_QUESTION, SRC_COMMITTED, SRC_UNDO), 2 },
	{ "only copy away",
	  STEPS(SRC_TRANSFER, SRC_SWITCHOVER, SRC_ASK, SRC_QUESTION, SRC_COMMITTED, SRC_FINISH, SRC_DONE),
	  1 },
};

static const Path destination_paths[] = {
	{ "good",
	  STEPS(DST_NEW, DST_OFFER, DST_RESERVE, DST_ACCEPT, DST_KEY, DST_CHANNELS, DST_LOADING,
		DST_SIGN_READY, DST_READY, DST_COMMIT, DST_ACTIVATING, DST_ACTIVE, DST_DONE),
	  1 },
	{ "good, with keys", STEPS(DST_CHANNELS, DST_KEYS, DST_LOADING, DST_SIGN_READY), 0 },
	{ "undone", STEPS(DST_LOADING, DST_SIGN_READY, DST_READY, DST_UNDO), 0 },
	{ "declined", STEPS(DST_READY, DST_COMMIT, DST_DECLINING, DST_UNDO), 0 },
	{ "recovered", STEPS(DST_ADOPT, DST_READY, DST_COMMIT, DST_ACTIVATING, DST_ACTIVE), 1 },
	{ "asked again", STEPS(DST_ENDED_ASKED, DST_DECLINING), 0 },
};

static void check_path(const Path *path, GuestOwner here)
{
	unsigned int changes = 0;

	for (size_t i = 1; i < path->count; i++)
		changes += (step_row(path->steps[i - 1])->guest == here) !=
			   (step_row(path->steps[i])->guest == here);
	if (changes != path->changes)
		fail_msg("path \"%s\": the guest changes hands %u times, expected %u", path->name, changes,
			 path->changes);
}

static void the_guest_changes_hands_once(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(source_paths); i++)
		check_path(&source_paths[i], GUEST_AT_SOURCE);
	for (size_t i = 0; i < ARRAY_SIZE(destination_paths); i++)
		check_path(&destination_paths[i], GUEST_AT_DESTINATION);
}

/* Whatever step one side is in when the other may run the guest: never both. The pairs are those that
 * the messages allow; the replay sees the others. */
static void nobody_runs_it_between_stop_and_commit(void **state)
{
	static const Step between[] = { SRC_DETACH, SRC_SWITCHOVER, SRC_QUESTION, SRC_ASK,	 DST_SIGN_READY,
					DST_READY,	DST_COMMIT,   DST_ADOPT };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(between); i++)
		assert_int_equal(step_row(between[i])->guest, GUEST_NOWHERE);
	assert_int_equal(step_row(SRC_COMMITTED)->guest, GUEST_AT_DESTINATION);
	assert_int_equal(step_row(DST_ACTIVATING)->guest, GUEST_AT_DESTINATION);
}

static void each_step_has_a_row(void **state)
{
	(void)state;
	for (int i = 0; i < STEP_COUNT; i++) {
		const StepRow *row = step_row((Step)i);
		int from = i < DST_NEW ? SRC_NEW : DST_NEW;

		assert_non_null(row->name);
		assert_true(strlen(row->name) > 0 && strlen(row->name) < 16);
		assert_in_range(row->phase, PHASE_BEGIN, PHASE_DONE);
		/* A name is one step of a side: logs and the API tell them apart by it. */
		for (int k = from; k < i; k++)
			assert_string_not_equal(step_row((Step)k)->name, row->name);
	}
}

static void phases_only_grow_on_the_good_path(void **state)
{
	const Path *paths[] = { &source_paths[0], &destination_paths[0] };

	(void)state;
	for (size_t p = 0; p < ARRAY_SIZE(paths); p++)
		for (size_t i = 1; i < paths[p]->count; i++)
			assert_true(step_row(paths[p]->steps[i])->phase >=
				    step_row(paths[p]->steps[i - 1])->phase);
}

static void a_person_may_cancel_until_the_commit(void **state)
{
	(void)state;
	for (int i = SRC_NEW; i <= SRC_QUESTION; i++)
		assert_true(step_row((Step)i)->cancellable);
	for (int i = DST_NEW; i <= DST_SIGN_READY; i++)
		assert_true(step_row((Step)i)->cancellable);
	assert_false(step_row(SRC_COMMITTED)->cancellable);
	assert_false(step_row(SRC_FINISH)->cancellable);
	for (int i = DST_READY; i < STEP_COUNT; i++)
		assert_false(step_row((Step)i)->cancellable);
}

static void each_wait_has_a_bound(void **state)
{
	/* Those of steps.c: bound by policy, or by ticks of their own. */
	static const Step without[] = { SRC_NEW,  SRC_DISKS,	   SRC_TRANSFER,  SRC_UNDO,
					SRC_ASK,  SRC_OWES_CANCEL, SRC_OWES_KEYS, SRC_DONE,
					DST_LOADING, DST_ADOPT,	   DST_DONE };

	(void)state;
	for (int i = 0; i < STEP_COUNT; i++) {
		bool listed = false;

		for (size_t k = 0; k < ARRAY_SIZE(without); k++)
			listed |= without[k] == (Step)i;
		assert_int_equal(!step_row((Step)i)->deadline_ms, listed);
	}
}

/* Who waits for the other must be the more patient, or both give up at once. */
static void patience_fits(void **state)
{
	(void)state;
	assert_true(step_row(SRC_ACCEPT)->deadline_ms > step_row(DST_RESERVE)->deadline_ms);
	assert_true(step_row(DST_CHANNELS)->deadline_ms > step_row(SRC_CHANNELS)->deadline_ms);
	assert_true(step_row(SRC_DETACH)->deadline_ms > 0);
	assert_true(step_row(SRC_SWITCHOVER)->deadline_ms > step_row(DST_SIGN_READY)->deadline_ms);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_guest_changes_hands_once),
		cmocka_unit_test(nobody_runs_it_between_stop_and_commit),
		cmocka_unit_test(each_step_has_a_row),
		cmocka_unit_test(phases_only_grow_on_the_good_path),
		cmocka_unit_test(a_person_may_cancel_until_the_commit),
		cmocka_unit_test(each_wait_has_a_bound),
		cmocka_unit_test(patience_fits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
