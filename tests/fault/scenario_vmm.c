/* SPDX-License-Identifier: Apache-2.0 */
#include <event2/event.h>
#include <string.h>
#include <sys/socket.h>

#include "base/file.h"
#include "tests/fault/fault.h"
#include "tests/fault/folder.h"
#include "vmm/qemu_command.h"
#include "vmm/qmp.h"
#include "vmm/vm_file.h"

/* --- a VM's file, its disks, its command line --- */

static const char vm_text[] =
	"name = \"vm1\"; uuid = \"6f1c0f3e-2f0b-4f4e-9d58-1f0f8a1b2c3d\";\n"
	"machine = \"pc-q35-10.0\"; cpu = \"max\"; cpus = 2; memory = \"512M\";\n"
	"kernel = \"vmlinuz\"; append = \"console=ttyS0\";\n"
	"disks = ( { pool = \"shared\"; volume = \"vm1.raw\"; format = \"raw\"; } );\n"
	"nics = ( { network = \"lan\"; mac = \"52:54:00:00:00:01\"; } );\n";

typedef struct VmFixture {
	FaultFolder *folder;
	Resources resources;
	VmFile file, known;
	char kernel[LIMIT_PATH], path[LIMIT_PATH];
	Buffer command; /* as it is to be, one argument a line */
} VmFixture;

static void write_file(VmFixture *f, const char *name, const char *text)
{
	char path[LIMIT_PATH];
	Error err = ERROR_INIT;

	fault_must(file_replace(fault_path(f->folder, name, path), text, strlen(text), 0600, &err),
		   &err);
}

static bool write_down(const QemuCommand *command, Buffer *text, Error *err)
{
	for (size_t i = 0; i < command->argc; i++)
		if (!buffer_put(text, command->argv[i], strlen(command->argv[i]), err) ||
		    !buffer_put_u8(text, '\n', err))
			return false;
	return true;
}

static bool build_command(const VmFixture *f, Buffer *text, Error *err)
{
	const LocalBoot boot = { .kernel_path = f->kernel };
	AUTO_RESOLVED_VM ResolvedVm vm = RESOLVED_VM_INIT;
	AUTO_QEMU_COMMAND QemuCommand command = { 0 };
	QemuCommandInput input = {
		.resources = &f->resources, .vm = &vm, .incoming = true, .tap_fds = { -1 }
	};

	return resources_resolve(&f->resources, &f->known.manifest, NULL, &boot, &vm, err) &&
	       qemu_command_build(&input, &command, err) && write_down(&command, text, err);
}

static void *vm_fixture_new(void)
{
	VmFixture *f = calloc(1, sizeof(*f));
	char disk[513];
	Error err = ERROR_INIT;

	fault_must(f, &err);
	f->folder = fault_folder_new();
	memset(disk, 'd', sizeof(disk) - 1);
	disk[sizeof(disk) - 1] = '\0';
	write_file(f, "vm1.raw", disk);
	write_file(f, "vmlinuz", "a kernel");
	write_file(f, "vm1.conf", vm_text);
	fault_path(f->folder, "vmlinuz", f->kernel);
	fault_path(f->folder, "vm1.conf", f->path);
	f->resources = (Resources){ .pools_count = 1, .networks_count = 1 };
	f->resources.pools[0] = (PoolResource){ .name = "shared", .access = { .local = true } };
	memcpy(f->resources.pools[0].directory, f->folder->path, sizeof(f->folder->path));
	f->resources.networks[0] = (NetworkResource){ .name = "lan",
						      .kind = NETWORK_USER,
						      .access = { .local = true } };
	/* Whatever may be added to a command line. */
	f->resources.memory = MEMORY_HUGE_2M;
	memcpy(f->resources.networks[0].subnet, "10.0.0.0/24", sizeof("10.0.0.0/24"));
	f->resources.networks[0].forwards[0] =
		(ForwardResource){ "127.0.0.1", 7777, "10.0.0.5", 7777 };
	f->resources.networks[0].forwards_count = 1;
	memcpy(f->resources.qemu_path, "/usr/bin/qemu", sizeof("/usr/bin/qemu"));
	fault_must(vm_file_load(f->path, &f->known, &err), &err);
	fault_must(resources_complete(&f->resources, &f->known.manifest, &err), &err);
	f->command = BUFFER_INIT(LIMIT_FRAME);
	fault_must(build_command(f, &f->command, &err), &err);
	return f;
}

static void vm_fixture_free(void *fixture)
{
	VmFixture *f = fixture;

	buffer_clear(&f->command);
	fault_folder_free(f->folder);
	free(f);
}

static bool load_vm(void *fixture, Error *err)
{
	VmFixture *f = fixture;

	if (!vm_file_load(f->path, &f->file, err))
		return false;
	return (f->file.manifest.cpus == 2 &&
		!memcmp(f->file.manifest.kernel_sha256, f->known.manifest.kernel_sha256,
			sizeof(f->known.manifest.kernel_sha256))) ||
	       fault_wrong(err, "another VM");
}

static bool resolve_vm(void *fixture, Error *err)
{
	const VmFixture *f = fixture;
	AUTO_BUFFER Buffer text = BUFFER_INIT(LIMIT_FRAME);

	if (!build_command(f, &text, err))
		return false;
	return (text.used == f->command.used && !memcmp(text.data, f->command.data, text.used)) ||
	       fault_wrong(err, "another command line");
}

/* --- QMP: all that QEMU says is there, then silence --- */

static const char qemu_says[] =
	"{\"QMP\":{\"version\":{\"qemu\":{\"micro\":2,\"minor\":0,\"major\":10},\"package\":\"\"},"
	"\"capabilities\":[\"oob\"]}}\r\n"
	"{\"return\":{},\"id\":1}\r\n"
	"{\"timestamp\":{\"seconds\":1700000000,\"microseconds\":5},\"event\":\"STOP\"}\r\n"
	"{\"return\":{\"status\":\"running\",\"running\":true},\"id\":2}\r\n";

typedef struct QmpRun {
	QmpClient *client;
	unsigned int accepted, replies, closed;
	bool good_reply;
	Error cause, refused;
} QmpRun;

static void on_reply(void *context, json_t *ret, const Error *err)
{
	QmpRun *run = context;

	run->replies++;
	run->good_reply = ret && !err && json_object_get(ret, "running");
}

static void on_ready(void *context)
{
	QmpRun *run = context;
	json_t *arguments = json_pack("{s:s}", "with", "arguments");

	if (!arguments)
		error_set(&run->refused, ERROR_INTERNAL, "no memory for the test's own arguments");
	else if (qmp_execute(run->client, "query-status", arguments, 1000, on_reply, run,
			     &run->refused))
		run->accepted++;
}

static void on_event(void *context, const char *name, json_t *data, int64_t wall_us)
{
	(void)context;
	(void)name;
	(void)data;
	(void)wall_us;
}

static void on_closed(void *context, const Error *cause)
{
	QmpRun *run = context;

	run->closed++;
	run->cause = *cause;
}

/* The command that an engine sent is whole, or nothing of it was sent. */
static bool judge_sent(int qemu_fd, Error *err)
{
	static const char whole[] =
		"{\"execute\":\"qmp_capabilities\",\"id\":1}\n"
		"{\"execute\":\"query-status\",\"id\":2,\"arguments\":{\"with\":\"arguments\"}}\n";
	char sent[sizeof(whole) + 1] = "";
	ssize_t got;
	size_t length;

	inject_pause();
	got = recv(qemu_fd, sent, sizeof(sent) - 1, MSG_DONTWAIT);
	inject_resume();
	length = got > 0 ? (size_t)got : 0;
	return !strncmp(sent, whole, length) || fault_wrong(err, sent);
}

/* What must hold whatever failed. */
static bool judge_qmp(const QmpRun *run, Error *err)
{
	if (run->replies != run->accepted)
		return fault_wrong(err, "a command was not answered exactly once");
	if (run->closed > 1)
		return fault_wrong(err, "closed twice");
	if (run->good_reply)
		return true;
	*err = run->refused.category ? run->refused : run->cause;
	return false;
}

static bool play_qmp(struct event_base *base, int qemu_fd, int client_fd, Error *err)
{
	static const QmpEvents events = { on_ready, on_event, on_closed };
	enum { TURNS_MAX = 64, GREETING_MS = 200 };
	QmpRun run = { 0 };

	run.client = qmp_open_fd(base, client_fd, GREETING_MS, &events, &run, err);
	if (!run.client)
		return false;
	if (send(qemu_fd, qemu_says, sizeof(qemu_says) - 1, MSG_NOSIGNAL) < 0 ||
	    shutdown(qemu_fd, SHUT_WR)) {
		qmp_free(run.client);
		return error_set(err, ERROR_IO, "the scripted QEMU cannot speak");
	}
	for (int i = 0; i < TURNS_MAX && !run.closed; i++)
		if (event_base_loop(base, EVLOOP_ONCE))
			break;
	qmp_free(run.client);
	return judge_sent(qemu_fd, err) && judge_qmp(&run, err);
}

static bool talk_qmp(void *fixture, Error *err)
{
	struct event_base *base = fixture;
	AUTO_FD int qemu_fd = -1;
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds))
		return error_set(err, ERROR_IO, "no socket pair");
	qemu_fd = fds[0];
	return play_qmp(base, qemu_fd, fds[1], err);
}

static void *base_new(void)
{
	struct event_base *base = event_base_new();
	Error err = ERROR_INIT;

	fault_must(base, &err);
	return base;
}

static void base_free(void *base)
{
	event_base_free(base);
}

const Scenario scenarios_vmm[] = {
	{ "vmm file loaded", vm_fixture_new, load_vm, NULL, vm_fixture_free, 0 },
	{ "vmm VM resolved", vm_fixture_new, resolve_vm, NULL, vm_fixture_free, 0 },
	{ "vmm QMP", base_new, talk_qmp, NULL, base_free, 0 },
	{ 0 },
};
