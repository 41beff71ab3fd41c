/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <sys/wait.h>

#include "sandbox/stages.h"

/* Stricter than any role, so that nothing is missing from the answer. */
static const SandboxPolicy probe_policy = {
	.role = "probe",
	.syscalls = (const char *const[]){ NULL },
	.nofile_max = 16,
};

/* Does not return. No exec comes: more than async-signal-safe calls are fine, since nobody who asks
 * has a second thread. */
static void probe_child(const SandboxUser *user, int fd)
{
	Error err = ERROR_INIT;
	SandboxReport report;

	if (!sandbox_enter(&probe_policy, user, &fd, 1, &report, &err) ||
	    !sandbox_filter(&probe_policy, false, &report, &err))
		_exit(1);
	_exit(write(fd, &report, sizeof(report)) == sizeof(report) ? 0 : 1);
}

/* The floor is not reached: says what there is of it, one by one. */
static void report_parts(SandboxReport *ret_report)
{
	*ret_report = (SandboxReport){ .landlock_abi = landlock_abi() };
	ret_report->missing = (UINT32_C(1) << SANDBOX_MEASURE_COUNT) - 1;
	if (ret_report->landlock_abi)
		ret_report->missing &= ~(UINT32_C(1) << SANDBOX_LANDLOCK);
	ret_report->active = ((UINT32_C(1) << SANDBOX_MEASURE_COUNT) - 1) & ~ret_report->missing;
}

bool sandbox_probe(const SandboxUser *user, SandboxReport *ret_report, Error *err)
{
	int ends[2];
	SandboxReport report;
	pid_t child;
	ssize_t got;

	if (pipe2(ends, O_CLOEXEC))
		return error_set_errno(err, ERROR_IO, errno, "cannot make a pipe");
	AUTO_FD int reader = ends[0];
	AUTO_FD int writer = ends[1];

	child = sandbox_fork();
	if (child < 0)
		return error_set_errno(err, ERROR_IO, errno, "cannot fork");
	if (!child)
		probe_child(user, writer);
	close(TAKE_FD(writer));
	do
		got = read(reader, &report, sizeof(report));
	while (got < 0 && errno == EINTR);
	while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
		;
	if (got == sizeof(report))
		*ret_report = report;
	else
		report_parts(ret_report);
	return true;
}
