/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/guard/cases.h"

#include <string.h>

enum { PIECE = 5000, HELD_MAX = 4096 };

/* At the source its own QEMU has begun; `before` is what came back. At the destination it is
 * main's, or, of a case of multifd, that of the channel before it. */
static void prepare(const Case *c, Guard *guard)
{
	AUTO_BUILD Build build = BUILD_INIT, own = BUILD_INIT;
	AUTO_SINK Sink sink = SINK_INIT;
	const bool source = c->side == GUARD_SOURCE;
	const bool preempt = c->agreed & GUARD_AGREED(GUARD_PREEMPT);
	bool done = false;
	Error err;

	if (source) {
		put_sample_main(&own);
		assert_works(guard_learn(guard, own.bytes.data, own.bytes.used, &done, &err), &err);
		assert_true(done);
	}
	if (!c->before)
		return;
	c->before(&build);
	assert_works(sample_feed(guard, source || preempt || !c->channel ? 0 : 1, build.bytes.data,
				 build.bytes.used, PIECE, false, &sink, &err),
		     &err);
	if (c->resumes)
		assert_works(guard_resume(guard, &err), &err);
}

static Guard *guard_of(const Case *c, const GuardOptions *options)
{
	GuardOptions these = *options;
	Guard *guard;

	these.side = c->side;
	these.held_max_bytes = HELD_MAX;
	guard = sample_guard_agreed(&these, c->agreed);
	prepare(c, guard);
	return guard;
}

static void judge_good_case(const Case *c, size_t piece)
{
	static const GuardOptions options = { .mode = GUARD_ENFORCE };
	AUTO_GUARD Guard *guard = guard_of(c, &options);
	AUTO_BUILD Build build = BUILD_INIT;
	AUTO_SINK Sink sink = SINK_INIT;
	Error err = ERROR_INIT;

	c->good(&build);
	if (!sample_feed(guard, c->channel, build.bytes.data, build.bytes.used, piece, true, &sink,
			 &err))
		fail_msg("%s, %s: %s", guard_rule_text(c->rule)->name, c->what, err.text);
	assert_int_equal(sink.bytes.used, build.bytes.used);
	if (build.bytes.used)
		assert_memory_equal(sink.bytes.data, build.bytes.data, build.bytes.used);
}

static void judge_bad_case(const Case *c, size_t piece)
{
	static const GuardOptions options = { .mode = GUARD_ENFORCE };
	AUTO_GUARD Guard *guard = guard_of(c, &options);
	AUTO_BUILD Build build = BUILD_INIT;
	AUTO_SINK Sink sink = SINK_INIT;
	const GuardRuleText *rule = guard_rule_text(c->rule);
	Error err = ERROR_INIT;

	c->bad(&build);
	if (sample_feed(guard, c->channel, build.bytes.data, build.bytes.used, piece, true, &sink,
			&err))
		fail_msg("%s, %s: passed", rule->name, c->what);
	support_check_error(&err, ERROR_PEER, c->text, __FILE__, __LINE__);
	if (strncmp(err.text, rule->name, strlen(rule->name)) != 0 ||
	    err.text[strlen(rule->name)] != ':')
		fail_msg("%s, %s: %s", rule->name, c->what, err.text);
	assert_true(sink.bytes.used <= build.bytes.used);
	if (sink.bytes.used)
		assert_memory_equal(sink.bytes.data, build.bytes.data, sink.bytes.used);
	/* It stays refused, on every channel. */
	assert_fails(sample_feed(guard, 0, (const uint8_t *)"Q", 1, 1, false, &sink, &err),
		     ERROR_PEER, "was refused", &err);
}

void case_run_pair(const Case *c)
{
	static const size_t pieces[] = { 1, 7, PIECE, SAMPLE_SINK_MAX };

	for (size_t i = 0; i < ARRAY_SIZE(pieces); i++) {
		judge_good_case(c, pieces[i]);
		judge_bad_case(c, pieces[i]);
	}
}

static void count_warning(void *context, const char *text)
{
	assert_memory_equal(text, "guard-", 6);
	++*(int *)context;
}

void case_run_warn(const Case *c)
{
	int warnings = 0;
	const GuardOptions options = { .mode = GUARD_WARN,
				       .on_warning = count_warning,
				       .context = &warnings };
	AUTO_GUARD Guard *guard = guard_of(c, &options);
	AUTO_BUILD Build build = BUILD_INIT;
	AUTO_SINK Sink sink = SINK_INIT;
	GuardCounters counters;
	Error err;

	c->bad(&build);
	assert_works(sample_feed(guard, c->channel, build.bytes.data, build.bytes.used, PIECE, true,
				 &sink, &err),
		     &err);
	if (warnings != 1)
		fail_msg("%s, %s: %d warnings", guard_rule_text(c->rule)->name, c->what, warnings);
	guard_counters(guard, &counters);
	assert_int_equal(counters.warnings, 1);
	/* What is not there when a channel ends never comes. */
	if (c->rule == GUARD_RULE_CLOSED)
		return;
	assert_int_equal(sink.bytes.used, build.bytes.used);
	assert_memory_equal(sink.bytes.data, build.bytes.data, build.bytes.used);
}
