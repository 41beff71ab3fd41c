/* SPDX-License-Identifier: Apache-2.0 */
/* The driver with real QEMUs and a guest that checks its own memory and disk. */
#include "whole_move.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct WantBytes {
	World *world;
	uint64_t bytes;
} WantBytes;

static bool has_transferred(const void *context)
{
	const WantBytes *want = context;

	return host_migration(&want->world->source).ram_transferred_bytes >= want->bytes;
}

static void test_vm_migrates_with_multifd(void **state)
{
	World *world = *state;
	VmmMigration figures;

	host_start(&world->source);
	host_check_guest(&world->source, 2, 60);
	assert_int_equal(host_run_state(&world->source), VMM_RUN_RUNNING);
	host_prepare(&world->destination);
	assert_true(vmm_features(world->source.vm)->multifd);
	assert_true(vmm_features(world->source.vm)->late_block_activate);
	world_move_whole(world, 2);
	assert_int_equal(world->relays_count, 3);
	figures = host_migration(&world->source);
	assert_int_equal(figures.status, VMM_MIGRATION_COMPLETED);
	assert_true(figures.ram_transferred_bytes > 96 << 20);
	assert_true(figures.iteration >= 2);
	assert_string_equal(figures.error, "");
	host_end(&world->source);
	host_check_guest(&world->destination, 2, 30);
	assert_true(world->destination.walker_disk > 0);
	host_end(&world->destination);
}

static void test_destination_killed_leaves_source_running(void **state)
{
	World *world = *state;
	WantBytes some = { .world = world, .bytes = 16 << 20 };

	host_start(&world->source);
	host_check_guest(&world->source, 2, 60);
	host_prepare(&world->destination);
	world_migrate(world, 2, 20 << 20);
	host_wait_status(&world->source, VMM_MIGRATION_ACTIVE, 30);
	world_wait(world, has_transferred, &some, 30, "16 MiB went over");
	host_kill(&world->destination);
	host_wait_status(&world->source, VMM_MIGRATION_FAILED, 30);
	assert_int_equal(host_run_state(&world->source), VMM_RUN_RUNNING);
	assert_string_not_equal(host_migration(&world->source).error, "");
	host_check_guest(&world->source, 3, 30);
	host_end(&world->source);
}

static void test_vm_outlives_its_engine(void **state)
{
	World *world = *state;
	Host *host = &world->source;
	Call adopted = { 0 }, again = { 0 };
	Error err = ERROR_INIT;
	AUTO_RESOLVED_VM ResolvedVm vm = RESOLVED_VM_INIT;
	VmmStart start = {
		.resources = world->resources, .instance = "source", .vm = &vm, .deadline_ms = 10000
	};
	int64_t cpu_us = 0;
	pid_t pid;

	host_start(host);
	pid = vmm_pid(host->vm);
	assert_int_equal(getsid(pid), pid);
	vmm_free(host->vm);
	world_resolve(world, NULL, &vm);
	assert_null(vmm_start(&vmm_driver_qemu, world->base, &start, &host_events, host, on_done,
			      &again, &err));
	assert_int_equal(err.category, ERROR_CONFLICT);
	host->vm = vmm_adopt(&vmm_driver_qemu, world->base, world->resources, "source",
			     &host_events, host, on_run_state, &adopted, &err);
	assert_non_null(host->vm);
	world_wait(world, call_is_over, &adopted, 15, "the VM is adopted");
	assert_true(adopted.ok);
	assert_int_equal(adopted.state, VMM_RUN_RUNNING);
	assert_int_equal(vmm_pid(host->vm), pid);
	assert_true(vmm_features(host->vm)->multifd);
	assert_true(vmm_cpu_us(host->vm, &cpu_us, &err) && cpu_us > 0);
	host_check_guest(host, 2, 60);

	assert_true(vmm_kill(host->vm, &err));
	world_wait(world, host_has_exited, host, 15, "the VM is gone");
	/* Let go of by an engine that did not see the end. */
	assert_false(vmm_query_run_state(host->vm, on_run_state, &again, &err));
	host_kill(host);
	assert_null(vmm_adopt(&vmm_driver_qemu, world->base, world->resources, "source",
			      &host_events, host, on_run_state, &again, &err));
	assert_int_equal(err.category, ERROR_NOT_FOUND);
	assert_false(again.called);
}

static void test_qemu_refuses(void **state)
{
	World *world = *state;
	Host *host = &world->source;
	AUTO_RESOLVED_VM ResolvedVm vm;
	Call call = { 0 };
	Error err = ERROR_INIT;
	VmmStart start = {
		.resources = world->resources, .instance = "source", .vm = &vm, .deadline_ms = 10000
	};

	strcpy(world->file.manifest.cpu, "no-such-model");
	world_resolve(world, NULL, &vm);
	host->vm = vmm_start(&vmm_driver_qemu, world->base, &start, &host_events, host, on_done,
			     &call, &err);
	assert_non_null(host->vm);
	world_wait(world, host_has_exited, host, 15, "QEMU refuses");
	assert_true(call.called && !call.ok);
	assert_int_equal(call.err.category, ERROR_HYPERVISOR);
	assert_non_null(strstr(call.err.text, "no-such-model"));
	assert_non_null(strstr(host->cause.text, "ended with status 1"));
}

/* QEMU's own locks are the last line of "never two": they must hold on descriptors that we pass. */
static void test_volume_in_use_is_refused(void **state)
{
	World *world = *state;
	Host *host = &world->destination;
	AUTO_RESOLVED_VM ResolvedVm vm;
	Call call = { 0 };
	Error err = ERROR_INIT;
	VmmStart start = { .resources = world->resources,
			   .instance = "destination",
			   .vm = &vm,
			   .deadline_ms = 10000 };

	/* The raw one alone: qcow2 locks on a way of its own. */
	world->file.manifest.disks_count = 1;
	host_start(&world->source);
	world_resolve(world, NULL, &vm);
	host->vm = vmm_start(&vmm_driver_qemu, world->base, &start, &host_events, host, on_done,
			     &call, &err);
	assert_non_null(host->vm);
	world_wait(world, host_has_exited, host, 15, "QEMU refuses");
	assert_true(call.called && !call.ok);
	if (!strstr(call.err.text, "Failed to get \"write\" lock"))
		fail_msg("%s", call.err.text);
	assert_int_equal(host_run_state(&world->source), VMM_RUN_RUNNING);
}

static void test_qemu_is_missing(void **state)
{
	World *world = *state;
	Host *host = &world->source;
	AUTO_RESOLVED_VM ResolvedVm vm;
	Call call = { 0 };
	Error err = ERROR_INIT;
	VmmStart start = {
		.resources = world->resources, .instance = "source", .vm = &vm, .deadline_ms = 10000
	};

	strcpy(world->resources->qemu_path, "/nonexistent/qemu");
	world_resolve(world, NULL, &vm);
	assert_null(vmm_start(&vmm_driver_qemu, world->base, &start, &host_events, host, on_done,
			      &call, &err));
	assert_int_equal(err.category, ERROR_CONFIG);
	assert_non_null(strstr(err.text, "/nonexistent/qemu"));
	assert_false(call.called);
}

static bool vnc_has_spoken(const void *context)
{
	char text[4] = "";

	return recv(*(const int *)context, text, 3, MSG_PEEK | MSG_DONTWAIT) == 3 &&
	       !strcmp(text, "RFB");
}

/* RFC 6143: the server speaks first. */
static void test_vnc_is_on_its_socket(void **state)
{
	World *world = *state;
	AUTO_FD int fd = -1;
	Error err = ERROR_INIT;

	host_start(&world->source);
	assert_true(vmm_connect(world->source.vm, "vnc.sock", &fd, &err));
	world_wait(world, vnc_has_spoken, &fd, 10, "VNC speaks");
	assert_false(vmm_connect(world->source.vm, "other.sock", &fd, &err));
	assert_false(vmm_connect(world->source.vm, "../qmp.sock", &fd, &err));
	assert_int_equal(err.category, ERROR_USAGE);
}

/* --- a TCP session through the move, on a bridge of a network namespace of our own ---------------
 */

static void set_up_bridge(const char *name)
{
	AUTO_FD int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq request = { 0 };
	struct sockaddr_in address = { .sin_family = AF_INET };

	assert_int_equal(ioctl(fd, SIOCBRADDBR, name), 0);
	strcpy(request.ifr_name, name);
	inet_pton(AF_INET, "10.0.0.1", &address.sin_addr);
	memcpy(&request.ifr_addr, &address, sizeof(address));
	assert_int_equal(ioctl(fd, SIOCSIFADDR, &request), 0);
	inet_pton(AF_INET, "255.255.255.0", &address.sin_addr);
	memcpy(&request.ifr_netmask, &address, sizeof(address));
	assert_int_equal(ioctl(fd, SIOCSIFNETMASK, &request), 0);
	request.ifr_flags = IFF_UP;
	assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &request), 0);
}

static bool has_connected(const void *context)
{
	struct pollfd ready = { .fd = *(const int *)context, .events = POLLOUT };

	return poll(&ready, 1, 0) == 1;
}

static bool has_pong(const void *context)
{
	char text[128] = "";

	recv(*(const int *)context, text, sizeof(text) - 1, MSG_PEEK | MSG_DONTWAIT);
	return !strncmp(text, "pong ", 5) && strchr(text, '\n');
}

static void ping(World *world, int fd)
{
	char text[128];

	assert_int_equal(send(fd, "ping x\n", 7, MSG_NOSIGNAL), 7);
	world_wait(world, has_pong, &fd, 20, "the guest answers");
	assert_true(recv(fd, text, sizeof(text), MSG_DONTWAIT) > 0);
}

static void test_tcp_session_survives(void **state)
{
	World *world = *state;
	struct sockaddr_in guest = { .sin_family = AF_INET, .sin_port = htons(7777) };
	NetworkResource *lan = &world->resources->networks[0];
	AUTO_FD int fd = -1;

	if (geteuid() || unshare(CLONE_NEWNET))
		skip();
	set_up_bridge("br-test");
	lan->kind = NETWORK_BRIDGE;
	strcpy(lan->bridge, "br-test");
	host_start(&world->source);
	host_check_guest(&world->source, 1, 60);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	inet_pton(AF_INET, "10.0.0.5", &guest.sin_addr);
	assert_true(connect(fd, (struct sockaddr *)&guest, sizeof(guest)) && errno == EINPROGRESS);
	world_wait(world, has_connected, &fd, 20, "a connection to the guest");
	ping(world, fd);
	host_prepare(&world->destination);
	world_move_whole(world, 2);
	ping(world, fd);
	host_end(&world->source);
	assert_int_equal(if_nametoindex("slift0"), 0);
	ping(world, fd);
	host_end(&world->destination);
	assert_int_equal(if_nametoindex("slift1"), 0);
}

/* Whoever lets go in the middle hears of everything that was pending, once. */
static void test_free_tells_what_is_pending(void **state)
{
	World *world = *state;
	Host *host = &world->source;
	AUTO_RESOLVED_VM ResolvedVm vm;
	Call call = { 0 }, adopted = { 0 };
	Error err = ERROR_INIT;
	VmmStart start = {
		.resources = world->resources, .instance = "source", .vm = &vm, .deadline_ms = 10000
	};

	world_resolve(world, NULL, &vm);
	host->vm = vmm_start(&vmm_driver_qemu, world->base, &start, &host_events, host, on_done,
			     &call, &err);
	assert_non_null(host->vm);
	vmm_free(host->vm);
	assert_true(call.called && !call.ok);
	assert_int_equal(call.err.category, ERROR_CANCELLED);
	host->vm = vmm_adopt(&vmm_driver_qemu, world->base, world->resources, "source",
			     &host_events, host, on_run_state, &adopted, &err);
	assert_non_null(host->vm);
	world_wait(world, call_is_over, &adopted, 15, "the VM is adopted");
	assert_true(adopted.ok);
	assert_int_equal(adopted.state, VMM_RUN_PRELAUNCH);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_vm_migrates_with_multifd, world_setup,
						world_teardown),
		cmocka_unit_test_setup_teardown(test_destination_killed_leaves_source_running,
						world_setup, world_teardown),
		cmocka_unit_test_setup_teardown(test_vm_outlives_its_engine, world_setup,
						world_teardown),
		cmocka_unit_test_setup_teardown(test_qemu_refuses, world_setup, world_teardown),
		cmocka_unit_test_setup_teardown(test_volume_in_use_is_refused, world_setup,
						world_teardown),
		cmocka_unit_test_setup_teardown(test_qemu_is_missing, world_setup, world_teardown),
		cmocka_unit_test_setup_teardown(test_free_tells_what_is_pending, world_setup,
						world_teardown),
		cmocka_unit_test_setup_teardown(test_vnc_is_on_its_socket, world_setup,
						world_teardown),
		/* Last: it leaves the network namespace. */
		cmocka_unit_test_setup_teardown(test_tcp_session_survives, world_setup,
						world_teardown),
	};

	if (world_is_impossible())
		return 77;
	/* The relay writes to QEMUs that were killed. */
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
