/* SPDX-License-Identifier: Apache-2.0 */
/* A hypervisor that refuses its stream waits for its mover's word, and not for ever. The mover here
 * is a program that says nothing. */
#include "tests/support/support.h"

#include <event2/event.h>

#include "base/clock.h"
#include "engine/engine.h"

enum { PATIENCE_US = 1000000, LATE_US = 20 * PATIENCE_US };

typedef struct Fixture {
	Engine engine;
	Job *job;
} Fixture;

static void no_message(void *context, Child *child, IpcMessage *message)
{
	(void)context;
	(void)child;
	(void)message;
}

static void not_gone(void *context, Child *child, const Error *cause)
{
	(void)context;
	(void)child;
	fail_msg("%s", cause->text);
}

static int setup(void **state)
{
	static const ChildEvents events = { no_message, not_gone };
	static const char *const arguments[] = { "60", NULL };
	const ChildSpec spec = { .path = "/bin/sleep",
				 .args = arguments,
				 .rules = engine_mover_rules };
	Fixture *f = test_calloc(1, sizeof(*f));
	Error err = ERROR_INIT;
	Migration *m;

	f->engine.base = event_base_new();
	ports_init(&f->engine);
	m = migration_new_destination(&f->engine.ports, "spiffe://south.example/host/b", &err);
	assert_non_null(m);
	f->job = job_new(&f->engine, m, NULL);
	assert_non_null(f->job);
	f->job->mover = child_new(f->engine.base, &spec, &events, f->job, &err);
	if (!f->job->mover)
		fail_msg("%s", err.text);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	Fixture *f = *state;

	job_free(f->job);
	event_base_free(f->engine.base);
	test_free(f);
	return 0;
}

static void without_a_mover_nothing_waits(void **state)
{
	Fixture *f = *state;
	Child *mover = TAKE_PTR(f->job->mover);
	Error end = ERROR_INIT;

	assert_false(fate_wait_for_mover(f->job));
	assert_false(fate_keep_end(f->job, &end));
	f->job->mover = mover;
}

static void its_answer_ends_the_waiting(void **state)
{
	Fixture *f = *state;
	Error end = ERROR_INIT;

	error_set(&end, ERROR_HYPERVISOR, "QEMU ended with status 1");
	assert_true(fate_wait_for_mover(f->job));
	assert_true(fate_wait_for_mover(f->job));
	assert_true(fate_keep_end(f->job, &end));
	/* To a question of before. */
	fate_on_mover_answer(f->job, 0);
	assert_true(f->job->fate_waits);
	fate_on_mover_answer(f->job, 1);
	assert_false(f->job->fate_waits);
	assert_int_equal(f->job->hypervisor_end.category, ERROR_NONE);
	/* And what was kept was told. */
	assert_true(migration_ended(f->job->migration));
	assert_false(fate_keep_end(f->job, &end));
	/* A second answer has nothing to end. */
	fate_on_mover_answer(f->job, 1);
}

static void its_failure_ends_the_waiting(void **state)
{
	Fixture *f = *state;

	assert_true(fate_wait_for_mover(f->job));
	fate_tell(f->job);
	assert_false(f->job->fate_waits);
	fate_tell(f->job);
}

static void silence_ends_the_waiting(void **state)
{
	Fixture *f = *state;
	int64_t begun_us = clock_monotonic_us(&clock_system);

	assert_true(fate_wait_for_mover(f->job));
	while (f->job->fate_waits && clock_monotonic_us(&clock_system) - begun_us < LATE_US)
		assert_int_equal(event_base_loop(f->engine.base, EVLOOP_ONCE), 0);
	assert_false(f->job->fate_waits);
	assert_true(clock_monotonic_us(&clock_system) - begun_us >= PATIENCE_US / 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(without_a_mover_nothing_waits, setup, teardown),
		cmocka_unit_test_setup_teardown(its_answer_ends_the_waiting, setup, teardown),
		cmocka_unit_test_setup_teardown(its_failure_ends_the_waiting, setup, teardown),
		cmocka_unit_test_setup_teardown(silence_ends_the_waiting, setup, teardown),
	};

	return cmocka_run_group_tests_name("engine/fate", tests, NULL, NULL);
}
