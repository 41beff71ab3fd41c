/* SPDX-License-Identifier: Apache-2.0 */
/* fault [SCENARIO]: all scenarios or one. SEALIFT_FAULT_VERBOSE=1 tells each error that was given.
 */
#include "tests/fault/fault.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

enum { COMPLAINTS_MAX = 8 }; /* of one class, then the scenario is given up */

typedef struct Totals {
	size_t scenarios, faults, survived, reported, complaints;
	bool leaked;
} Totals;

/* Where a run stands, for the moment when it dies. */
static struct {
	const char *scenario;
	InjectClass klass;
	size_t nth;
	bool wrong;
} now;

/* Of LeakSanitizer, if it is there (sanitizer/lsan_interface.h). */
int __lsan_do_recoverable_leak_check(void) __attribute__((weak));

bool fault_wrong(Error *err, const char *what)
{
	now.wrong = true;
	return error_set(err, ERROR_INTERNAL, "wrong outcome: %s", what);
}

void fault_must(bool ok, const Error *err)
{
	if (ok)
		return;
	fprintf(stderr, "fault: cannot prepare %s: %s\n", now.scenario ? now.scenario : "scenarios",
		err->text);
	exit(1);
}

static void on_death(int signal_number)
{
	char line[160];
	int length = snprintf(line, sizeof(line), "fault: %s dies of signal %d: %s call %zu (%s)\n",
			      now.scenario, signal_number, inject_class_words[now.klass], now.nth,
			      inject_call());
	ssize_t put = write(STDERR_FILENO, line, (size_t)length);

	(void)put;
	(void)inject_disarm();
	inject_print_callers();
	/* The default action is back: the signal comes again. */
}

static void watch_deaths(void)
{
	static const int signals[] = { SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL };
	struct sigaction action = { .sa_handler = on_death, .sa_flags = (int)SA_RESETHAND };

	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		sigaction(signals[i], &action, NULL);
}

static size_t count_fds(void)
{
	DIR *list = opendir("/proc/self/fd");
	size_t count = 0;

	while (list && readdir(list))
		count++;
	if (list)
		closedir(list);
	return count;
}

static bool complain(const char *what, const Error *err)
{
	fprintf(stderr, "fault: %s: %s call %zu (%s): %s%s%s\n", now.scenario,
		inject_class_words[now.klass], now.nth, inject_call(), what, err ? ": " : "",
		err ? err->text : "");
	inject_print_callers();
	return false;
}

/* One failure and its aftermath. Sets *ret_fired if there was such a call. */
static bool run_once(const Scenario *scenario, void *fixture, bool *ret_fired, Totals *totals)
{
	size_t fds = count_fds();
	Error err = ERROR_INIT, again = ERROR_INIT;
	bool ok;

	now.wrong = false;
	inject_arm(now.klass, now.nth);
	ok = scenario->run(fixture, &err);
	(void)inject_disarm();
	*ret_fired = inject_fired();
	if (!*ret_fired)
		return true;
	totals->faults++;
	totals->survived += ok;
	totals->reported += !ok;
	if (getenv("SEALIFT_FAULT_VERBOSE"))
		fprintf(stderr, "%s: %s call %zu (%s): %s: %s\n", scenario->name,
			inject_class_words[now.klass], now.nth, inject_call(),
			ok ? "survived" : error_word(err.category), err.text);
	if (now.wrong)
		return complain("it succeeded with", &err);
	if (!ok && (!err.category || !err.text[0]))
		return complain("it failed without an error", NULL);
	if (count_fds() != fds)
		return complain("it left a descriptor open, or closed another's", NULL);
	if (scenario->check && !scenario->check(fixture, &again))
		return complain("afterwards", &again);
	again = ERROR_INIT;
	if (!scenario->run(fixture, &again))
		return complain("it does not work again", &again);
	return true;
}

static bool run_class(const Scenario *scenario, void *fixture, Totals *totals)
{
	Error err = ERROR_INIT;
	size_t calls, stride = 1, faults = totals->faults;
	bool fired = true;
	size_t complaints = 0;

	now.nth = 0;
	inject_arm(now.klass, 0);
	if (!scenario->run(fixture, &err)) {
		(void)inject_disarm();
		return complain("it does not work without a failure", &err);
	}
	calls = inject_disarm();
	if (scenario->faults_max && calls > scenario->faults_max && !getenv("SEALIFT_FAULT_ALL"))
		stride = (calls + scenario->faults_max - 1) / scenario->faults_max;
	/* One run may need some calls less than another (SQLite tidies up now and then). Bounded: a
	 * run that made ten times the calls for a failure would never end. */
	for (now.nth = 1; (fired || now.nth <= calls) && complaints < COMPLAINTS_MAX &&
			  now.nth <= 10 * calls + 10;
	     now.nth += stride)
		complaints += !run_once(scenario, fixture, &fired, totals);
	printf("%-28s %-11s %6zu calls, %5zu failed%s", scenario->name,
	       inject_class_words[now.klass], calls, totals->faults - faults,
	       stride > 1 ? "" : "\n");
	if (stride > 1)
		printf(" (one call in %zu)\n", stride);
	return !complaints && (!fired || complain("its calls do not end", NULL));
}

/* What was lost once is told again each time, so the first scenario to lose some is the one. */
static bool has_leaks(Totals *totals)
{
	if (totals->leaked || !__lsan_do_recoverable_leak_check)
		return false;
	totals->leaked = __lsan_do_recoverable_leak_check() != 0;
	return totals->leaked;
}

static bool run_scenario(const Scenario *scenario, Totals *totals)
{
	void *fixture;
	bool good = true;
	Error err = ERROR_INIT;

	now.scenario = scenario->name;
	fixture = scenario->prepare ? scenario->prepare() : NULL;
	totals->scenarios++;
	/* What libraries make once is no part of this. */
	for (int i = 0; good && i < 2; i++)
		good = scenario->run(fixture, &err) ||
		       complain("it does not work without a failure", &err);
	for (int klass = 0; good && klass < INJECT_CLASS_COUNT; klass++) {
		now.klass = (InjectClass)klass;
		good = run_class(scenario, fixture, totals);
	}
	if (scenario->release)
		scenario->release(fixture);
	if (good && has_leaks(totals))
		good = complain("memory was lost", NULL);
	totals->complaints += !good;
	return good;
}

static void run_all(const Scenario *scenarios, const char *only, Totals *totals)
{
	for (const Scenario *s = scenarios; s->name; s++)
		if (!only || !strcmp(only, s->name))
			(void)run_scenario(s, totals);
}

/* Each broken scenario must be caught. */
static bool rules_hold(void)
{
	Totals totals = { 0 };

	printf("-- scenarios that are broken on purpose: each is complained of\n");
	run_all(scenarios_broken, NULL, &totals);
	printf("-- %zu of %zu were caught\n", totals.complaints, totals.scenarios);
	return totals.scenarios && totals.complaints == totals.scenarios;
}

int main(int argc, char **argv)
{
	static const Scenario *const layers[] = {
		scenarios_base,	 scenarios_wire,      scenarios_ipc,  scenarios_crypto,
		scenarios_store, scenarios_vmm,	      scenarios_qemu, scenarios_mover,
		scenarios_guard, scenarios_migration, scenarios_keys, scenarios_keyd,
		scenarios_package,
	};
	const char *only = argc > 1 ? argv[1] : NULL;
	Totals totals = { 0 };

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!inject_init()) {
		fprintf(stderr, "fault: a library refused its hooks\n");
		return 1;
	}
	watch_deaths();
	if (!only && !rules_hold()) {
		fprintf(stderr, "fault: a broken scenario was not caught\n");
		return 1;
	}
	for (size_t i = 0; i < ARRAY_SIZE(layers); i++)
		run_all(layers[i], only, &totals);
	printf("%zu scenarios, %zu failures: %zu survived, %zu reported; %zu complaints\n",
	       totals.scenarios, totals.faults, totals.survived, totals.reported,
	       totals.complaints);
	return totals.complaints || !totals.faults;
}
