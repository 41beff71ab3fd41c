/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/sandbox.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

#include "base/secret.h"
#include "sandbox/stages.h"

const char *const sandbox_measure_words[SANDBOX_MEASURE_COUNT] = {
	"no-new-privileges", "not-dumpable",  "seccomp",	 "landlock", "empty-root",
	"network-namespace", "ipc-namespace", "no-capabilities", "own-user", "pid-namespace",
};

#if SANDBOX_SANITIZED
int __lsan_is_turned_off(void);

/* The leak checker attaches to the process from outside, which the sandbox forbids. */
int __lsan_is_turned_off(void)
{
	return prctl(PR_GET_DUMPABLE) == 0;
}
#endif

/* What sandbox_enter_with_files has more than sandbox_enter. */
typedef struct Files {
	bool wanted;
	const SandboxPath *paths;
	size_t n_paths;
	const char *const *variables; /* NULL: none */
} Files;

static void note(SandboxReport *report, SandboxMeasure measure, bool active)
{
	uint32_t bit = UINT32_C(1) << measure;

	if (active)
		report->active |= bit;
	else
		report->missing |= bit;
}

static bool parse_number(const char **text, char end, uint32_t *ret_number)
{
	uint64_t number = 0;
	const char *start = *text;

	for (; **text >= '0' && **text <= '9' && *text - start < 10; (*text)++)
		number = number * 10 + (uint64_t)(**text - '0');
	if (*text == start || **text != end || !number || number >= UINT32_MAX)
		return false;
	*ret_number = (uint32_t)number;
	return true;
}

bool sandbox_user_parse(const char *text, SandboxUser *ret_user, Error *err)
{
	const char *at = text;
	SandboxUser user = { .given = true };

	if (!parse_number(&at, ':', &user.uid))
		return error_set(err, ERROR_USAGE, "user \"%.40s\" is not UID:GID, both above 0",
				 text);
	at++;
	if (!parse_number(&at, '\0', &user.gid))
		return error_set(err, ERROR_USAGE, "user \"%.40s\" is not UID:GID, both above 0",
				 text);
	*ret_user = user;
	return true;
}

void sandbox_report_missing(const SandboxReport *report, char ret_text[SANDBOX_TEXT_SIZE])
{
	size_t used = 0;

	ret_text[0] = '\0';
	for (size_t i = 0; i < SANDBOX_MEASURE_COUNT; i++) {
		if (!(report->missing & (UINT32_C(1) << i)))
			continue;
		int put = snprintf(ret_text + used, SANDBOX_TEXT_SIZE - used, "%s%s",
				   used ? ", " : "", sandbox_measure_words[i]);

		assert(put > 0 && (size_t)put < SANDBOX_TEXT_SIZE - used);
		used += (size_t)put;
	}
}

static bool set_variable(const char *text, Error *err)
{
	const char *equals = strchr(text, '=');
	AUTO_FREE char *name = equals ? strndup(text, (size_t)(equals - text)) : NULL;

	return (name && name[0] && !setenv(name, equals + 1, 1)) ||
	       error_set(err, ERROR_CONFIG, "\"%.100s\" is not NAME=VALUE", text);
}

/*
 * Should: leave no variable that could steer a library but those that were asked for, and the time
 * zone read (the C library opens a file for it with the first conversion, even of UTC).
 * Mustn't: run when there are secrets in the environment that somebody still needs: there are none.
 */
static bool stage_environment(const Files *files, Error *err)
{
	if (clearenv() || setenv("TZ", "UTC0", 1))
		return error_set(err, ERROR_INTERNAL, "cannot clear the environment");
	for (const char *const *at = files->variables; at && *at; at++)
		if (!set_variable(*at, err))
			return false;
	tzset();
	return true;
}

static bool keeps(const int *keep, size_t n_keep, int fd)
{
	for (size_t i = 0; i < n_keep; i++)
		if (keep[i] == fd)
			return true;
	return false;
}

/*
 * Should: leave 2 and the kept descriptors open, and /dev/null as 0 and 1 (and as 2 if that was
 * closed, so that no later descriptor becomes the one that is logged to).
 * Mustn't: leave any other open, wherever it came from.
 */
static bool stage_descriptors(const int *keep, size_t n_keep, Error *err)
{
	int null = open("/dev/null", O_RDWR);

	if (null < 0)
		return error_set_errno(err, ERROR_IO, errno, "cannot open /dev/null");
	for (int fd = 0; fd <= 2; fd++)
		if ((fd < 2 || fcntl(fd, F_GETFD) < 0) && dup2(null, fd) < 0)
			return error_set_errno(err, ERROR_IO, errno, "cannot replace descriptor %d",
					       fd);
	for (int low = 3;;) {
		int next = INT_MAX;

		while (keeps(keep, n_keep, low))
			low++;
		for (size_t i = 0; i < n_keep; i++)
			if (keep[i] > low && keep[i] < next)
				next = keep[i];
		if (close_range((unsigned int)low,
				next == INT_MAX ? UINT_MAX : (unsigned int)next - 1, 0))
			return error_set_errno(err, ERROR_IO, errno,
					       "cannot close other descriptors");
		if (next == INT_MAX)
			return true;
		low = next;
	}
}

static bool limit(int resource, rlim_t value, const char *what, Error *err)
{
	const struct rlimit both = { value, value };

	return !setrlimit((__rlimit_resource_t)resource, &both) ||
	       error_set_errno(err, ERROR_IO, errno, "cannot set the limit of %s to %llu", what,
			       (unsigned long long)value);
}

/* Secrets are locked in memory: after root is gone, only this limit lets them be. */
static void raise_locked_memory(void)
{
	const struct rlimit wanted = { 4 << 20, 4 << 20 };
	struct rlimit present;

	if (getrlimit(RLIMIT_MEMLOCK, &present) || present.rlim_cur >= wanted.rlim_cur)
		return;
	if (setrlimit(RLIMIT_MEMLOCK, &wanted)) {
		present.rlim_cur = present.rlim_max;
		(void)setrlimit(RLIMIT_MEMLOCK, &present);
	}
}

/*
 * Should: bound what the role can use up.
 * Mustn't: bound threads yet, nor cut off a log that is a regular file.
 */
static bool stage_limits(const SandboxPolicy *policy, Error *err)
{
	struct stat log;

	raise_locked_memory();
	if (!limit(RLIMIT_CORE, 0, "core dumps", err) ||
	    !limit(RLIMIT_NOFILE, policy->nofile_max, "descriptors", err))
		return false;
	if ((fstat(2, &log) || !S_ISREG(log.st_mode)) &&
	    !limit(RLIMIT_FSIZE, policy->file_bytes_max, "file sizes", err))
		return false;
	if (policy->memory_bytes_max && !SANDBOX_SANITIZED)
		return limit(RLIMIT_AS, policy->memory_bytes_max, "memory", err);
	return true;
}

/*
 * Should: become the user of this role alone, without any group but its own.
 * Mustn't: be able to go back.
 */
static bool stage_user(const SandboxUser *user, Error *err)
{
	if (!user->given || (geteuid() == user->uid && getegid() == user->gid))
		return true;
	if (geteuid() != 0)
		return error_set(err, ERROR_CONFIG, "only root can become user %u:%u", user->uid,
				 user->gid);
	if (setgroups(0, NULL) || setresgid(user->gid, user->gid, user->gid) ||
	    setresuid(user->uid, user->uid, user->uid))
		return error_set_errno(err, ERROR_IO, errno, "cannot become user %u:%u", user->uid,
				       user->gid);
	if (!setresuid(0, 0, 0) || geteuid() != user->uid || getegid() != user->gid)
		return error_set(err, ERROR_IO, "still root after becoming user %u:%u", user->uid,
				 user->gid);
	return true;
}

/*
 * Should: stand in the role's one directory, if it has one, before there is a mount namespace,
 * which takes the present directory along but no descriptor. Mustn't: leave the descriptor open:
 * whoever had it could go on from there.
 */
static bool stage_directory(const SandboxPolicy *policy, Error *err)
{
	if (!policy->directory_fd)
		return true;
	if (fchdir(policy->directory_fd))
		return error_set_errno(err, ERROR_IO, errno, "cannot enter its directory");
	close(policy->directory_fd);
	return true;
}

/*
 * Should: leave the namespaces of the host, by privilege or else by an own user namespace, for
 * which the switch of user must come first, since only one user can be mapped. Mustn't: make a PID
 * namespace: it would hold only children, which there will be none of, and after it no thread could
 * be made. Whoever is process 1 was put into one by its parent.
 */
static bool stage_namespaces(const SandboxPolicy *policy, const SandboxUser *user,
			     const Files *files, SandboxReport *report, Error *err)
{
	bool mount_own = !unshare(CLONE_NEWNS);

	if (!mount_own) {
		if (!stage_user(user, err))
			return false;
		mount_own = namespace_enter_user() && !unshare(CLONE_NEWNS);
	}
	note(report, SANDBOX_PID_NAMESPACE, getpid() == 1);
	note(report, SANDBOX_IPC_NAMESPACE, !unshare(CLONE_NEWIPC | CLONE_NEWUTS));
	if (!policy->keep_network)
		note(report, SANDBOX_NETWORK_NAMESPACE, !unshare(CLONE_NEWNET));
	if (policy->directory_fd)
		note(report, SANDBOX_EMPTY_ROOT, mount_own && root_make_directory());
	else if (!files->wanted)
		note(report, SANDBOX_EMPTY_ROOT, mount_own && root_make_empty());
	return true;
}

/*
 * Should: be the point after which no privilege comes back, and prove it to the caller.
 * Mustn't: let a role run that lacks the floor.
 */
static bool stage_floor(const SandboxPolicy *policy, const Files *files, SandboxReport *report,
			Error *err)
{
	static const SandboxPath here = { ".", true };
	const SandboxPath *paths = policy->directory_fd ? &here : files->paths;
	size_t n_paths = policy->directory_fd ? 1 : files->n_paths;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
		return error_set_errno(err, ERROR_IO, errno, "cannot forbid new privileges");
	note(report, SANDBOX_NO_NEW_PRIVILEGES, true);
	report->landlock_abi = landlock_abi();
	note(report, SANDBOX_LANDLOCK,
	     landlock_forbid_all_but(report->landlock_abi, policy, paths, n_paths));
	if (!secret_harden_process(err) || prctl(PR_GET_DUMPABLE) != 0)
		return error_prefix(err, "not dumpable");
	note(report, SANDBOX_NOT_DUMPABLE, true);
	if (!(report->active &
	      (UINT32_C(1) << SANDBOX_LANDLOCK | UINT32_C(1) << SANDBOX_EMPTY_ROOT)))
		return error_set(
			err, ERROR_IO,
			"this kernel gives neither Landlock nor an empty root: %s will not run",
			policy->role);
	return true;
}

static bool enter(const SandboxPolicy *policy, const SandboxUser *user, const int *keep,
		  size_t n_keep, const Files *files, SandboxReport *ret_report, Error *err)
{
	SandboxReport report = { 0 };
	bool root = geteuid() == 0;

	assert(n_keep <= SANDBOX_KEEP_MAX);
	if (!stage_environment(files, err) || !stage_descriptors(keep, n_keep, err) ||
	    !stage_limits(policy, err) || !stage_directory(policy, err) ||
	    !stage_namespaces(policy, user, files, &report, err))
		return false;
	sandbox_drop_bounding_set();
	if (!stage_user(user, err))
		return false;
	note(&report, SANDBOX_OWN_USER, root && user->given);
	note(&report, SANDBOX_NO_CAPABILITIES, sandbox_drop_capabilities());
	if (!stage_floor(policy, files, &report, err))
		return false;
	*ret_report = report;
	return true;
}

bool sandbox_enter(const SandboxPolicy *policy, const SandboxUser *user, const int *keep,
		   size_t n_keep, SandboxReport *ret_report, Error *err)
{
	return enter(policy, user, keep, n_keep, &(Files){ 0 }, ret_report, err) ||
	       error_prefix(err, "sandbox of %s", policy->role);
}

bool sandbox_enter_with_files(const SandboxPolicy *policy, const SandboxUser *user, const int *keep,
			      size_t n_keep, const SandboxPath *paths, size_t n_paths,
			      const char *const *variables, SandboxReport *ret_report, Error *err)
{
	const Files files = { true, paths, n_paths, variables };

	for (size_t i = 0; i < n_paths; i++)
		if (paths[i].path[0] != '/')
			return error_set(err, ERROR_CONFIG, "\"%.100s\" is not an absolute path",
					 paths[i].path);
	return enter(policy, user, keep, n_keep, &files, ret_report, err) ||
	       error_prefix(err, "sandbox of %s", policy->role);
}
