/* SPDX-License-Identifier: Apache-2.0 */
#include "victim.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <mqueue.h>
#include <netinet/in.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

const Victim *victim_known(const Victim *set)
{
	static const Victim *known;

	if (set)
		known = set;
	return known;
}

void victim_unix_address(const Victim *victim, bool abstract, struct sockaddr_un *ret_address,
			 socklen_t *ret_size)
{
	int length;

	*ret_address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	length = snprintf(ret_address->sun_path, sizeof(ret_address->sun_path),
			  "%stmp/sealift-victim-%d", abstract ? "@" : "/", (int)victim->pid);
	*ret_size = (socklen_t)offsetof(struct sockaddr_un, sun_path) + (socklen_t)length;
	if (abstract)
		ret_address->sun_path[0] = '\0';
}

void victim_queue_name(const Victim *victim, char ret_name[32])
{
	snprintf(ret_name, 32, "/sealift-victim-%d", (int)victim->pid);
}

static bool listen_unix(Victim *victim, bool abstract)
{
	struct sockaddr_un address;
	socklen_t size;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	victim->listeners[abstract] = fd;
	victim_unix_address(victim, abstract, &address, &size);
	return fd >= 0 && !bind(fd, (const struct sockaddr *)&address, size) && !listen(fd, 4);
}

static bool listen_internet(Victim *victim)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(address);
	int tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	victim->listeners[2] = tcp;
	if (tcp < 0 || bind(tcp, (const struct sockaddr *)&address, size) || listen(tcp, 4) ||
	    getsockname(tcp, (struct sockaddr *)&address, &size))
		return false;
	victim->port = ntohs(address.sin_port);
	victim->listeners[3] = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	return !bind(victim->listeners[3], (const struct sockaddr *)&address, size);
}

static void make_queue(const Victim *victim)
{
	char name[32];
	struct mq_attr attributes = { .mq_maxmsg = 1, .mq_msgsize = 8 };
	mqd_t queue;

	victim_queue_name(victim, name);
	queue = mq_open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600, &attributes);
	/* A kernel without them is one attempt less. */
	if (queue >= 0)
		mq_close(queue);
}

bool victim_start(Victim *ret_victim)
{
	static uint8_t secret[] = "secret";
	pid_t parent = getpid();

	*ret_victim = (Victim){ .segment = shmget(IPC_PRIVATE, 4096, 0600), .secret = secret };
	memset(ret_victim->listeners, 0xff, sizeof(ret_victim->listeners));
	ret_victim->pid = fork();
	if (!ret_victim->pid) {
		if (prctl(PR_SET_PDEATHSIG, SIGKILL) || prctl(PR_SET_DUMPABLE, 1) ||
		    getppid() != parent)
			_exit(1);
		for (;;)
			pause();
	}
	make_queue(ret_victim);
	return ret_victim->pid > 0 && listen_unix(ret_victim, false) &&
	       listen_unix(ret_victim, true) && listen_internet(ret_victim);
}

void victim_end(Victim *victim)
{
	struct sockaddr_un address;
	socklen_t size;
	char name[32];

	for (int i = 0; i < 4; i++)
		if (victim->listeners[i] >= 0)
			close(victim->listeners[i]);
	victim_unix_address(victim, false, &address, &size);
	unlink(address.sun_path);
	victim_queue_name(victim, name);
	mq_unlink(name);
	if (victim->segment >= 0)
		shmctl(victim->segment, IPC_RMID, NULL);
	if (victim->pid > 0) {
		kill(victim->pid, SIGKILL);
		waitpid(victim->pid, NULL, 0);
	}
}
