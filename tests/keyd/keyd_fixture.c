/* SPDX-License-Identifier: Apache-2.0 */
#include "keyd_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"

#define OWN_USER "65534:65534"
enum { OWN_UID = 65534 };

static const char root_text[] = "00112233445566778899aabbccddeeff"
				"0f1e2d3c4b5a69788796a5b4c3d2e1f0\n";

KeydWorld *keyd_world_new(void)
{
	KeydWorld *world = calloc(1, sizeof(*world));
	Error err = ERROR_INIT;

	assert_non_null(world);
	snprintf(world->folder, sizeof(world->folder), "/tmp/sealift-keyd-XXXXXX");
	assert_non_null(mkdtemp(world->folder));
	snprintf(world->root, sizeof(world->root), "%s/root.key", world->folder);
	snprintf(world->store, sizeof(world->store), "%s/store", world->folder);
	snprintf(world->log, sizeof(world->log), "%s/log", world->folder);
	snprintf(world->database, sizeof(world->database), "%s/" KEYD_STORE_NAME, world->store);
	assert_true(file_replace(world->root, root_text, strlen(root_text), 0600, &err));
	assert_int_equal(mkdir(world->store, 0700), 0);
	if (geteuid() == 0)
		assert_int_equal(chown(world->store, OWN_UID, OWN_UID), 0);
	world->log_fd = open(world->log, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	assert_true(world->log_fd >= 0);
	return world;
}

void keyd_world_free(KeydWorld *world)
{
	static const char *const left[] = {
		"root.key", "log", "store/keys.db", "store/keys.db.old", "store/keys.db-journal",
		"store",    ""
	};
	char path[160];

	for (size_t i = 0; i < ARRAY_SIZE(left); i++) {
		snprintf(path, sizeof(path), "%s/%s", world->folder, left[i]);
		(void)remove(path);
	}
	close(world->log_fd);
	free(world);
}

void keyd_run(KeydWorld *world)
{
	const bool is_root = geteuid() == 0;
	const char *args[4] = { NULL };
	size_t n_args = 0, n_fds = 2;
	AUTO_FD int root = open(world->root, O_RDONLY | O_CLOEXEC);
	AUTO_FD int store = open(world->store, O_PATH | O_DIRECTORY | O_CLOEXEC);
	AUTO_FD int stderr_fd = fcntl(2, F_DUPFD_CLOEXEC, 10);
	int fds[2 + KEYD_PEM_FILES] = { root, store };

	if (is_root) {
		args[n_args++] = "--user";
		args[n_args++] = OWN_USER;
	}
	if (world->pem[0])
		args[n_args] = KEYD_CERTIFICATES_OPTION;
	for (size_t i = 0; i < KEYD_PEM_FILES && world->pem[i]; i++)
		fds[n_fds++] = role_memory_fd(world->pem[i]);
	assert_true(root >= 0 && store >= 0 && stderr_fd >= 0);
	assert_int_equal(dup2(world->log_fd, 2), 2);
	role_start(&world->keyd, KEYD_PATH, args, fds, n_fds, engine_keyd_rules);
	for (size_t i = 2; i < n_fds; i++)
		close(fds[i]);
	assert_int_equal(dup2(stderr_fd, 2), 2);
}

void keyd_next(KeydWorld *world, IpcMessage *ret_message)
{
	struct pollfd waits = { .fd = ipc_link_fd(world->keyd.link), .events = POLLIN };
	Error err = ERROR_INIT;

	for (;;) {
		IpcReceived got;

		if (poll(&waits, 1, ROLE_WAIT_MS) != 1)
			fail_msg("no message within %d ms", ROLE_WAIT_MS);
		got = ipc_receive(world->keyd.link, ret_message, &err);

		if (got != IPC_MESSAGE)
			fail_msg("no message: received %d: %s", (int)got, err.text);
		if (ret_message->type != KEYD_HEAD && ret_message->type != KEYD_PROGRESS)
			break;
		if (ret_message->type == KEYD_HEAD)
			world->head = *(const KeydHead *)ret_message->payload;
		ipc_message_clear(ret_message, world->keyd.link);
	}
}

static void expect(KeydWorld *world, uint16_t type, IpcMessage *ret_message)
{
	keyd_next(world, ret_message);
	if (ret_message->type == ROLE_FAILED && type != ROLE_FAILED)
		fail_msg("expected %u: %s", type,
			 ((const RoleFailure *)ret_message->payload)->text);
	assert_int_equal(ret_message->type, type);
}

void keyd_expect_ready(KeydWorld *world)
{
	IpcMessage message;

	expect(world, ROLE_READY, &message);
	ipc_message_clear(&message, world->keyd.link);
}

void keyd_expect_refusal(KeydWorld *world, uint64_t subject, ErrorCategory category,
			 const char *words)
{
	const RoleFailure *failure;
	IpcMessage message;

	expect(world, ROLE_FAILED, &message);
	failure = message.payload;
	assert_int_equal(message.subject, subject);
	if (!strstr(failure->text, words))
		fail_msg("\"%s\" does not say \"%s\"", failure->text, words);
	assert_int_equal(failure->category, category);
	ipc_message_clear(&message, world->keyd.link);
}

void keyd_start(KeydWorld *world)
{
	keyd_run(world);
	role_send(&world->keyd, KEYD_START, 0, &keyd_head_schema, &world->head);
	keyd_expect_ready(world);
}

void keyd_stop(KeydWorld *world)
{
	role_stop(&world->keyd, 0);
}

void keyd_ask(KeydWorld *world, uint16_t type, const Schema *schema, const void *request,
	      uint16_t answer, IpcMessage *ret_message)
{
	role_send(&world->keyd, type, ++world->subject, schema, request);
	expect(world, answer, ret_message);
	assert_int_equal(ret_message->subject, world->subject);
}

void keyd_refused(KeydWorld *world, uint16_t type, const Schema *schema, const void *request,
		  ErrorCategory category, const char *words)
{
	role_send(&world->keyd, type, ++world->subject, schema, request);
	keyd_expect_refusal(world, world->subject, category, words);
}

KeydCreate keyd_wanted(const char *vm, const char *slot)
{
	KeydCreate create = { .who = KEYD_WHO,
			      .purpose = KEY_IMAGE,
			      .owner = "north.example",
			      .backend = KEY_BACKEND_EMBEDDED,
			      .epoch = 3 };

	snprintf(create.vm, sizeof(create.vm), "%s", vm);
	snprintf(create.slot, sizeof(create.slot), "%s", slot);
	return create;
}

KeydName keyd_name(const KeyRecord *key, uint64_t version)
{
	KeydName name = { .who = KEYD_WHO, .version = version };

	memcpy(name.id, key->id, sizeof(name.id));
	return name;
}

KeydChange keyd_change(const KeyRecord *key, uint64_t version, KeydChangeKind kind)
{
	KeydChange change = { .who = KEYD_WHO, .version = version, .kind = kind };

	memcpy(change.id, key->id, sizeof(change.id));
	return change;
}

KeydOpen keyd_opening(const KeyRecord *key)
{
	KeydOpen request = { .who = KEYD_WHO, .version = key->version, .epoch = key->epoch };

	memcpy(request.id, key->id, sizeof(request.id));
	snprintf(request.vm, sizeof(request.vm), "%s", key->vm);
	return request;
}

static KeyRecord take_key(KeydWorld *world, IpcMessage *message)
{
	KeyRecord key = *(const KeyRecord *)message->payload;

	ipc_message_clear(message, world->keyd.link);
	return key;
}

KeyRecord keyd_create(KeydWorld *world, const char *vm, const char *slot)
{
	KeydCreate create = keyd_wanted(vm, slot);
	IpcMessage message;

	keyd_ask(world, KEYD_CREATE, &keyd_create_schema, &create, KEYD_KEY, &message);
	return take_key(world, &message);
}

KeyRecord keyd_show(KeydWorld *world, const KeyRecord *key, uint64_t version)
{
	KeydName name = keyd_name(key, version);
	IpcMessage message;

	keyd_ask(world, KEYD_SHOW, &keyd_name_schema, &name, KEYD_KEY, &message);
	return take_key(world, &message);
}

KeyRecord keyd_rotate(KeydWorld *world, const KeyRecord *key)
{
	KeydName name = keyd_name(key, 0);
	IpcMessage message;

	keyd_ask(world, KEYD_ROTATE, &keyd_name_schema, &name, KEYD_KEY, &message);
	return take_key(world, &message);
}

uint64_t keyd_changed(KeydWorld *world, const KeyRecord *key, uint64_t version, KeydChangeKind kind)
{
	KeydChange change = keyd_change(key, version, kind);
	IpcMessage message;
	uint64_t keys;

	keyd_ask(world, KEYD_CHANGE, &keyd_change_schema, &change, KEYD_CHANGED, &message);
	keys = ((const KeydChanged *)message.payload)->keys;
	ipc_message_clear(&message, world->keyd.link);
	return keys;
}

int keyd_open(KeydWorld *world, const KeyRecord *key)
{
	KeydOpen request = keyd_opening(key);
	IpcMessage message;
	int fd;

	keyd_ask(world, KEYD_OPEN, &keyd_open_schema, &request, KEYD_OPENED, &message);
	fd = TAKE_FD(message.fds[0]);
	ipc_message_clear(&message, world->keyd.link);
	return fd;
}

void keyd_log_words(KeydWorld *world, char *ret_words, size_t size)
{
	KeydLog request = { .who = KEYD_WHO, .first = 1 };
	const KeydEntries *entries;
	IpcMessage message;
	size_t used = 0;

	do {
		keyd_ask(world, KEYD_LOG, &keyd_log_schema, &request, KEYD_ENTRIES, &message);
		entries = message.payload;
		for (size_t i = 0; i < entries->entries_count && used < size; i++)
			used += (size_t)snprintf(ret_words + used, size - used, "%s%s",
						 used ? " " : "",
						 key_action_words[entries->entries[i].action]);
		request.first += entries->entries_count;
	} while (request.first <= entries->total);
	ipc_message_clear(&message, world->keyd.link);
}

KeydVerified keyd_verify(KeydWorld *world)
{
	KeydVerify request = { .who = KEYD_WHO, .begin = true };
	KeydVerified answer;
	IpcMessage message;

	do {
		keyd_ask(world, KEYD_VERIFY, &keyd_verify_schema, &request, KEYD_VERIFIED,
			 &message);
		answer = *(const KeydVerified *)message.payload;
		ipc_message_clear(&message, world->keyd.link);
		request.begin = false;
	} while (!answer.done);
	return answer;
}
