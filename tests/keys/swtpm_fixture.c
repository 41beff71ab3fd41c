/* SPDX-License-Identifier: Apache-2.0 */
#include "swtpm_fixture.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buffer.h"

#define PROGRAM "/usr/bin/swtpm"

enum { TPM_FD = 20 };

bool swtpm_is_here(void)
{
	return access(PROGRAM, X_OK) == 0;
}

void swtpm_begin(Swtpm *tpm)
{
	snprintf(tpm->folder, sizeof(tpm->folder), "/tmp/sealift-tpm.XXXXXX");
	assert_non_null(mkdtemp(tpm->folder));
	swtpm_start(tpm);
}

void swtpm_start(Swtpm *tpm)
{
	char state[64], number[16];
	int ends[2];

	snprintf(state, sizeof(state), "dir=%s", tpm->folder);
	snprintf(number, sizeof(number), "%d", TPM_FD);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	tpm->pid = fork();
	assert_true(tpm->pid >= 0);
	if (!tpm->pid) {
		if (dup2(ends[1], TPM_FD) < 0)
			_exit(126);
		execl(PROGRAM, PROGRAM, "socket", "--tpm2", "--tpmstate", state, "--fd", number,
		      "--flags", "not-need-init,startup-clear", "--log", "level=0", (char *)NULL);
		_exit(127);
	}
	close(ends[1]);
	tpm->fd = ends[0];
}

void swtpm_stop(Swtpm *tpm)
{
	int status;

	/* Its state is on disk after each command; it ends with its connection. */
	close(tpm->fd);
	kill(tpm->pid, SIGTERM);
	assert_int_equal(waitpid(tpm->pid, &status, 0), tpm->pid);
}

void swtpm_end(Swtpm *tpm)
{
	char command[64];

	swtpm_stop(tpm);
	snprintf(command, sizeof(command), "rm -rf %s", tpm->folder);
	assert_int_equal(system(command), 0);
}

void swtpm_extend(const Swtpm *tpm, uint32_t pcr)
{
	/* TPM2_PCR_Extend, part 3, 22.2: an empty password, one digest of SHA-256. */
	static const uint8_t middle[] = { 0, 0, 0, 9, 0x40, 0, 0, 9, 0,	  0,
					  0, 0, 0, 0, 0,    0, 1, 0, 0x0b };
	uint8_t command[14 + sizeof(middle) + 32] = { 0x80, 0x02 };
	uint8_t answer[256];

	store_be32(command + 2, sizeof(command));
	store_be32(command + 6, 0x182);
	store_be32(command + 10, pcr);
	memcpy(command + 14, middle, sizeof(middle));
	memset(command + 14 + sizeof(middle), 0x5a, 32);
	assert_int_equal(write(tpm->fd, command, sizeof(command)), sizeof(command));
	assert_true(read(tpm->fd, answer, sizeof(answer)) >= 10);
	assert_int_equal(load_be32(answer + 6), 0);
}
