/* SPDX-License-Identifier: Apache-2.0 */
#include "attempts.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <linux/capability.h>
#include <sched.h>

#include <cmocka.h>

#include "victim.h"

enum { STATUS_BROKEN = 100 };

static void become_nobody(void)
{
	if (geteuid() == 0 && (setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534)))
		_exit(STATUS_BROKEN);
}

static void run_actor(const SandboxPolicy *policy, const SandboxUser *user, bool filtered,
		      bool (*act)(void))
{
	Error err = ERROR_INIT;
	SandboxReport report;

	if (!policy) {
		/* For what changes mounts and names. */
		if (!unshare(CLONE_NEWNS | CLONE_NEWUTS) &&
		    mount("", "/", "", MS_PRIVATE | MS_REC, NULL))
			_exit(STATUS_BROKEN);
		_exit(act() ? 0 : 1);
	}
	if (!sandbox_enter(policy, user, NULL, 0, &report, &err) ||
	    (filtered && !sandbox_filter(policy, false, &report, &err))) {
		(void)!write(2, err.text, strlen(err.text));
		_exit(STATUS_BROKEN);
	}
	_exit(act() ? 0 : 1);
}

static Outcome outcome_of(int status)
{
	if (WIFSIGNALED(status))
		return WTERMSIG(status) == SIGSYS ? OUTCOME_KILLED : OUTCOME_BROKEN;
	if (WEXITSTATUS(status) > 1)
		return OUTCOME_BROKEN;
	return WEXITSTATUS(status) ? OUTCOME_REFUSED : OUTCOME_WORKED;
}

/* In a process of its own, which becomes nobody with all that it makes. */
static Outcome stage(const SandboxPolicy *policy, const SandboxUser *user, bool filtered,
		     bool (*act)(void))
{
	Victim victim;
	int status = -1;
	Outcome outcome = OUTCOME_BROKEN;

	if (victim_start(&victim)) {
		pid_t child;

		victim_known(&victim);
		child = policy ? sandbox_fork() : fork();
		if (!child)
			run_actor(policy, user, filtered, act);
		if (child > 0 && waitpid(child, &status, 0) == child)
			outcome = outcome_of(status);
	}
	victim_end(&victim);
	return outcome;
}

Outcome attempt_in(const SandboxPolicy *policy, const SandboxUser *user, bool as_nobody,
		   bool filtered, bool (*act)(void))
{
	int status;
	pid_t child = fork();

	if (!child) {
		if (as_nobody)
			become_nobody();
		_exit((int)stage(policy, user, filtered, act));
	}
	if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status) ||
	    WEXITSTATUS(status) >= OUTCOME_COUNT)
		return OUTCOME_BROKEN;
	return (Outcome)WEXITSTATUS(status);
}

static void assert_outcome(const char *what, Outcome found, Outcome expected)
{
	if (found != expected)
		print_error("attempt to %s: outcome %d, expected %d\n", what, (int)found,
			    (int)expected);
	assert_int_equal(found, expected);
}

static uint32_t measures_of(const SandboxPolicy *policy)
{
	const SandboxUser none = { 0 };
	SandboxReport report;
	Error err = ERROR_INIT;

	assert_true(sandbox_probe(&none, &report, &err));
	if (policy->keep_network)
		report.active &= ~(UINT32_C(1) << SANDBOX_NETWORK_NAMESPACE);
	return report.active;
}

void attempts_assert_refused(const SandboxPolicy *policy)
{
	const SandboxUser none = { 0 };
	uint32_t measures = measures_of(policy);

	for (const Attempt *a = attempts; a->name; a++) {
		assert_outcome(a->name, attempt_in(policy, &none, false, true, a->act),
			       OUTCOME_KILLED);
		if (a->early & measures)
			assert_outcome(a->name, attempt_in(policy, &none, false, false, a->act),
				       OUTCOME_REFUSED);
	}
}

void attempts_assert_possible(void)
{
	bool is_root = geteuid() == 0 && prctl(PR_CAPBSET_READ, CAP_SYS_ADMIN) == 1;

	for (const Attempt *a = attempts; a->name; a++) {
		Outcome outcome = attempt_in(NULL, NULL, false, false, a->act);

		if (a->possible == POSSIBLE_FOR_ANYONE ||
		    (a->possible == POSSIBLE_FOR_ROOT && is_root))
			assert_outcome(a->name, outcome, OUTCOME_WORKED);
		else if (outcome != OUTCOME_WORKED)
			print_message("not possible here without a sandbox either: %s\n", a->name);
	}
}
