/* SPDX-License-Identifier: Apache-2.0 */
/* Channels of copied disks, beside those of the stream: real NBD ends, lying ones, cuts. */
#include "tests/support/support.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "tests/mover/nbd_mirror.h"
#include "tests/mover/nbd_peer.h"
#include "tests/mover/rig.h"

enum {
	MIB = 1 << 20,
	IMAGE_BYTES = 24 * MIB,
	LARGE_BYTES = 64 * MIB,
	DISK = LIMIT_STREAM_CHANNELS
};

static const char *guarded_program(void)
{
	const char *path = getenv("SEALIFT_TEST_GUARDED_MOVER");

	assert_non_null(path);
	return path;
}

static RigOptions one_disk(const char *path)
{
	return (RigOptions){ .path = path,
			     .aead = "openssl",
			     .sealed = true,
			     .channels = 1,
			     .disks = 1,
			     .disk_size_bytes = IMAGE_BYTES };
}

/* --- images --- */

/* Bytes that do not repeat, with holes between. */
static void make_image(const char *path)
{
	AUTO_FD int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	uint32_t words[1024], number = 0;

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, IMAGE_BYTES), 0);
	for (off_t at = 0; at < IMAGE_BYTES; at += (off_t)sizeof(words)) {
		if (at / MIB % 3 == 1)
			continue;
		for (size_t i = 0; i < ARRAY_SIZE(words); i++)
			words[i] = number++ * UINT32_C(2654435761);
		assert_int_equal(pwrite(fd, words, sizeof(words), at), sizeof(words));
	}
}

/* What stood on it before must go, also under the holes. */
static void make_used_image(const char *path)
{
	AUTO_FD int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	uint8_t bytes[65536];

	assert_true(fd >= 0);
	memset(bytes, 0xa5, sizeof(bytes));
	for (off_t at = 0; at < IMAGE_BYTES; at += (off_t)sizeof(bytes))
		assert_int_equal(pwrite(fd, bytes, sizeof(bytes), at), sizeof(bytes));
}

static void assert_same_images(const char *one, const char *other)
{
	AUTO_BUFFER Buffer a = BUFFER_INIT(IMAGE_BYTES + 1), b = BUFFER_INIT(IMAGE_BYTES + 1);
	Error err;

	assert_works(file_read(one, IMAGE_BYTES, &a, &err), &err);
	assert_works(file_read(other, IMAGE_BYTES, &b, &err), &err);
	assert_int_equal(a.used, IMAGE_BYTES);
	assert_int_equal(b.used, IMAGE_BYTES);
	assert_memory_equal(a.data, b.data, a.used);
}

/* --- real ends --- */

typedef struct Copy {
	char from[128], to[128];
	pid_t server, client;
} Copy;

static void copy_start(Rig *rig, const TestFolder *folder, unsigned int disk, Copy *copy)
{
	char name[32], path[128];
	int fd;

	snprintf(name, sizeof(name), "from-%u", disk);
	make_image(support_path(folder, name, copy->from));
	snprintf(name, sizeof(name), "to-%u", disk);
	make_used_image(support_path(folder, name, copy->to));
	snprintf(name, sizeof(name), "disk-%u", disk);
	copy->server = nbd_start_server(copy->to, name, &fd);
	rig_give_local(rig, MOVER_DESTINATION, DISK + disk, fd);
	/* the socket's name too */
	copy->client = nbd_start_client(copy->from, name, support_path(folder, name, path), &fd);
	rig_give_local(rig, MOVER_SOURCE, DISK + disk, fd);
}

static void wait_for_ends(Rig *rig, unsigned int channel)
{
	for (int side = 0; side < RIG_SIDES; side++)
		for (int out = 0; out < 2; out++)
			rig_wait(rig, (MoverSide)side, &rig->movers[side].ended[out][channel]);
}

static void copy_finish(Rig *rig, unsigned int disk, const Copy *copy)
{
	assert_true(nbd_is_well(copy->client));
	wait_for_ends(rig, DISK + disk);
	assert_true(nbd_is_well(copy->server));
	assert_same_images(copy->from, copy->to);
}

typedef struct Memory {
	RigStream writer, reader;
} Memory;

static void memory_start(const Rig *rig, Memory *memory, uint64_t bytes)
{
	memory->writer = (RigStream){ .fd = rig->qemu[MOVER_SOURCE][0], .seed = 6, .bytes = bytes };
	memory->reader = (RigStream){ .fd = rig->qemu[MOVER_DESTINATION][0], .seed = 6 };
	rig_read_start(&memory->reader);
	rig_write_start(&memory->writer);
}

static void memory_finish(Memory *memory)
{
	rig_stream_join(&memory->writer);
	rig_stream_join(&memory->reader);
	assert_true(memory->writer.clean && memory->reader.clean && memory->reader.same);
	assert_int_equal(memory->reader.moved, memory->writer.bytes);
}

static void query(Rig *rig, MoverSide side)
{
	rig->movers[side].have_stats = false;
	rig_send(rig, side, MOVER_QUERY, 0, NULL, NULL);
	rig_wait(rig, side, &rig->movers[side].have_stats);
}

/* The disks come late and end early; the memory moves before, meanwhile and after. */
static void move_with_disks(const RigOptions *options, uint64_t memory_bytes)
{
	Copy copies[LIMIT_DISKS];
	TestFolder folder;
	Memory memory;
	Rig rig;

	support_make_folder(&folder);
	rig_start(&rig, options);
	rig_connect_all(&rig);
	nbd_pass(rig.qemu[MOVER_SOURCE][0], rig.qemu[MOVER_DESTINATION][0], "first", 5);
	for (unsigned int i = 0; i < options->disks; i++)
		copy_start(&rig, &folder, i, &copies[i]);
	for (unsigned int i = 0; i < options->disks; i++)
		copy_finish(&rig, i, &copies[i]);
	for (int side = 0; side < RIG_SIDES; side++)
		assert_false(rig.movers[side].done);
	memory_start(&rig, &memory, memory_bytes);
	memory_finish(&memory);
	shutdown(rig.qemu[MOVER_DESTINATION][0], SHUT_WR);
	for (int side = 0; side < RIG_SIDES; side++) {
		const MoverStats *stats = &rig.movers[side].stats;

		rig_wait(&rig, (MoverSide)side, &rig.movers[side].done);
		for (unsigned int i = 0; i < LIMIT_DISKS; i++) {
			assert_int_equal(stats->disk_bytes[i],
					 rig.movers[MOVER_SOURCE].stats.disk_bytes[i]);
			/* Two thirds of an image are no holes. */
			assert_true(i < options->disks ? stats->disk_bytes[i] >= IMAGE_BYTES / 3 * 2
						       : !stats->disk_bytes[i]);
		}
	}
	assert_int_equal(rig.movers[MOVER_SOURCE].stats.stream_out_bytes, memory_bytes + 5);
	rig_stop(&rig);
	support_remove_folder(&folder);
}

/* Judged on both sides. */
static void test_images_arrive_through_the_guard(void **state)
{
	RigOptions options = one_disk(guarded_program());

	(void)state;
	options.disks_late = true;
	options.disks = 2;
	move_with_disks(&options, 3 * MIB + 8);
	options.disks = 1;
	options.sealed = false;
	move_with_disks(&options, MIB);
}

static void test_images_arrive_without_a_guard(void **state)
{
	RigOptions options = one_disk(rig_program());

	(void)state;
	options.disks_late = true;
	move_with_disks(&options, MIB);
}

/* Copy and memory at once, in both orders of their ends. */
static void test_memory_moves_beside_a_disk(void **state)
{
	RigOptions options = one_disk(guarded_program());
	TestFolder folder;
	Memory memory;
	Copy copy;
	Rig rig;

	(void)state;
	options.disks_late = true;
	support_make_folder(&folder);
	rig_start(&rig, &options);
	rig_connect_all(&rig);
	memory_start(&rig, &memory, 8 * MIB);
	copy_start(&rig, &folder, 0, &copy);
	memory_finish(&memory);
	copy_finish(&rig, 0, &copy);
	shutdown(rig.qemu[MOVER_DESTINATION][0], SHUT_WR);
	for (int side = 0; side < RIG_SIDES; side++)
		rig_wait(&rig, (MoverSide)side, &rig.movers[side].done);
	rig_stop(&rig);
	support_remove_folder(&folder);
}

/* As a migration has it: a mirror that stays until the guest is stopped, then is detached, and only
 * then the rest of the memory. */
static void test_a_mirror_copies_a_disk(void **state)
{
	RigOptions options = one_disk(guarded_program());
	char from[128], to[128], path[128];
	TestFolder folder;
	NbdMirror *mirror = test_calloc(1, sizeof(*mirror));
	Memory memory;
	pid_t server;
	int fd;
	Rig rig;

	(void)state;
	options.disks_late = true;
	support_make_folder(&folder);
	rig_start(&rig, &options);
	rig_connect_all(&rig);
	make_image(support_path(&folder, "from", from));
	make_used_image(support_path(&folder, "to", to));
	server = nbd_start_server(to, "disk-0", &fd);
	rig_give_local(&rig, MOVER_DESTINATION, DISK, fd);
	nbd_mirror_start(mirror, from, "disk-0", support_path(&folder, "mirror", path), &fd);
	rig_give_local(&rig, MOVER_SOURCE, DISK, fd);
	nbd_mirror_copy(mirror);
	nbd_pass(rig.qemu[MOVER_SOURCE][0], rig.qemu[MOVER_DESTINATION][0], "memory", 6);
	assert_false(rig.movers[MOVER_DESTINATION].ended[false][DISK]);
	nbd_mirror_detach(mirror);
	wait_for_ends(&rig, DISK);
	assert_true(nbd_is_well(server));
	assert_same_images(from, to);
	memory_start(&rig, &memory, MIB);
	memory_finish(&memory);
	shutdown(rig.qemu[MOVER_DESTINATION][0], SHUT_WR);
	for (int side = 0; side < RIG_SIDES; side++)
		rig_wait(&rig, (MoverSide)side, &rig.movers[side].done);
	nbd_mirror_stop(mirror);
	rig_stop(&rig);
	support_remove_folder(&folder);
	test_free(mirror);
}

/* --- lying ends --- */

static NbdTalk talk_of(const Rig *rig)
{
	return (NbdTalk){ .client = rig->qemu[MOVER_SOURCE][DISK],
			  .server = rig->qemu[MOVER_DESTINATION][DISK],
			  .size_bytes = rig->options.disk_size_bytes };
}

static void assert_refused(Rig *rig, MoverSide side, const char *text)
{
	RigMover *mover = &rig->movers[side];

	rig_wait(rig, side, &mover->failed);
	if (!strstr(mover->failure.text, text))
		fail_msg("\"%s\" without \"%s\"", mover->failure.text, text);
	assert_null(strchr(mover->failure.text, '\n'));
	assert_int_equal(mover->failed_subject, VIOLATION_REFUSED | DISK);
	/* What the network does to the other side is nobody's violation. */
	rig_wait(rig, (MoverSide)!side, &rig->movers[!side].failed);
	assert_int_equal(rig->movers[!side].failed_subject & ~(uint64_t)VIOLATION_CHANNEL, 0);
	assert_false(rig->movers[MOVER_SOURCE].done || rig->movers[MOVER_DESTINATION].done);
}

/* What the memory's channel brought before is whole, and its end was not told. */
static void assert_memory_is_unharmed(Rig *rig)
{
	char got[64] = "";

	assert_int_equal(recv(rig->qemu[MOVER_DESTINATION][0], got, sizeof(got), MSG_WAITALL), 6);
	assert_string_equal(got, "memory");
	assert_false(rig->movers[MOVER_DESTINATION].ended[false][0]);
}

static void say_memory(const Rig *rig)
{
	struct pollfd row = { .fd = rig->qemu[MOVER_DESTINATION][0], .events = POLLIN };

	nbd_say(rig->qemu[MOVER_SOURCE][0], "memory", 6);
	assert_int_equal(poll(&row, 1, RIG_DEADLINE_MS), 1);
}

/* The source's own mover is as bad as its QEMU. */
static void test_hostile_client_is_refused(void **state)
{
	static const struct {
		uint16_t type;
		uint64_t offset;
		uint32_t length;
		const char *text;
	} rows[] = {
		{ NBD_WRITE, LARGE_BYTES - 512, 4096,
		  "channel disk-0: guard refuses: nbd-range: client" },
		{ NBD_WRITE, UINT64_MAX - 511, 512,
		  "channel disk-0: guard refuses: nbd-range: client" },
		{ NBD_WRITE, 0, (32 << 20) + 512,
		  "channel disk-0: guard refuses: nbd-length: client" },
		/* READ: what stood there before is not the source's to see. */
		{ 0, 0, 512, "channel disk-0: guard refuses: nbd-command: client" },
	};
	RigOptions options = one_disk(rig_program());

	(void)state;
	options.other_path = guarded_program();
	options.disk_size_bytes = LARGE_BYTES;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		uint8_t request[NBD_REQUEST_BYTES];
		NbdTalk talk;
		Rig rig;

		rig_start(&rig, &options);
		rig_connect_all(&rig);
		talk = talk_of(&rig);
		say_memory(&rig);
		nbd_handshake(&talk);
		nbd_make_request(request, rows[i].type, 7, rows[i].offset, rows[i].length);
		nbd_say(talk.client, request, sizeof(request));
		assert_refused(&rig, MOVER_DESTINATION, rows[i].text);
		/* Not one byte of it. */
		assert_true(nbd_is_closed(talk.server));
		assert_memory_is_unharmed(&rig);
		rig_stop(&rig);
	}
}

static void test_hostile_server_is_refused(void **state)
{
	RigOptions options = one_disk(rig_program());
	uint8_t request[NBD_REQUEST_BYTES], reply[NBD_SIMPLE_REPLY_BYTES];
	uint8_t payload[512] = { 1 };
	NbdTalk talk;
	Rig rig;

	(void)state;
	options.source_guard = MOVER_GUARD_ENFORCE;
	rig_start(&rig, &options);
	rig_connect_all(&rig);
	talk = talk_of(&rig);
	say_memory(&rig);
	nbd_handshake(&talk);
	nbd_make_request(request, NBD_WRITE, 7, 0, sizeof(payload));
	nbd_pass(talk.client, talk.server, request, sizeof(request));
	nbd_pass(talk.client, talk.server, payload, sizeof(payload));
	nbd_make_reply(reply, 8);
	nbd_say(talk.server, reply, sizeof(reply));
	assert_refused(&rig, MOVER_SOURCE,
		       "channel disk-0: guard refuses: nbd-reply-cookie: server");
	/* At once, before the engine says anything: who copies a disk must not wait. */
	assert_true(nbd_is_closed(talk.client));
	assert_memory_is_unharmed(&rig);
	rig_stop(&rig);
}

/* A volume that is not what was agreed on. */
static void test_another_size_is_refused(void **state)
{
	RigOptions options = one_disk(rig_program());
	NbdTalk talk;
	Rig rig;

	(void)state;
	options.source_guard = MOVER_GUARD_ENFORCE;
	rig_start(&rig, &options);
	rig_connect_all(&rig);
	talk = talk_of(&rig);
	talk.size_bytes -= 512;
	say_memory(&rig);
	nbd_ask(&talk);
	nbd_say_export(&talk);
	assert_refused(&rig, MOVER_SOURCE, "channel disk-0: guard refuses: nbd-export: server");
	assert_true(nbd_is_closed(talk.client));
	assert_memory_is_unharmed(&rig);
	rig_stop(&rig);
}

/* QEMU does nothing else meanwhile: it is freed after MoverConfig.handshake_us. A disk whose handshake
 * is behind it may be silent for as long as it likes. */
static void test_handshake_that_hangs_is_ended(void **state)
{
	RigOptions options = one_disk(rig_program());

	(void)state;
	options.disks = 2;
	options.source_guard = MOVER_GUARD_ENFORCE;
	for (int greets = 0; greets < 2; greets++) {
		const RigMover *source;
		NbdTalk good, hanging;
		Rig rig;

		rig_start(&rig, &options);
		source = &rig.movers[MOVER_SOURCE];
		rig_connect_all(&rig);
		good = talk_of(&rig);
		hanging = (NbdTalk){ .client = rig.qemu[MOVER_SOURCE][DISK + 1],
				     .server = rig.qemu[MOVER_DESTINATION][DISK + 1] };
		say_memory(&rig);
		nbd_handshake(&good);
		if (greets) {
			nbd_pass(hanging.server, hanging.client, "NBDMAGICIHAVEOPT\0\3", 18);
			nbd_pass(hanging.client, hanging.server, "\0\0\0\3", 4);
		}
		rig_wait(&rig, MOVER_SOURCE, &source->failed);
		assert_string_equal(source->failure.text,
				    "channel disk-1: the NBD handshake is not over within 5000 ms");
		assert_int_equal(source->failure.category, ERROR_TIMEOUT);
		assert_int_equal(source->failed_subject, DISK + 1);
		assert_true(nbd_is_closed(hanging.client));
		assert_memory_is_unharmed(&rig);
		rig_stop(&rig);
	}
}

/* Mode warn: told once, and what follows passes, both ways. */
static void test_a_warned_server_goes_on(void **state)
{
	RigOptions options = one_disk(rig_program());
	uint8_t greeting[] = "NBDMAGICIHAVEOPT\0\1";
	NbdTalk talk;
	Rig rig;

	(void)state;
	options.source_guard = MOVER_GUARD_WARN;
	rig_start(&rig, &options);
	rig_connect_all(&rig);
	talk = talk_of(&rig);
	nbd_pass(talk.server, talk.client, greeting, sizeof(greeting) - 1);
	nbd_pass(talk.client, talk.server, "anything", 8);
	nbd_pass(talk.server, talk.client, "at all", 6);
	for (int side = 0; side < RIG_SIDES; side++) {
		shutdown(rig.qemu[side][DISK], SHUT_WR);
		shutdown(rig.qemu[side][0], SHUT_WR);
	}
	rig_wait(&rig, MOVER_SOURCE, &rig.movers[MOVER_SOURCE].done);
	assert_int_equal(rig.movers[MOVER_SOURCE].warned, 1);
	assert_int_equal(rig.movers[MOVER_SOURCE].failed_subject, VIOLATION_WARNED | DISK);
	assert_non_null(strstr(rig.movers[MOVER_SOURCE].failure.text, "nbd-greeting: server"));
	assert_int_equal(rig.movers[MOVER_SOURCE].stats.guard_warnings, 1);
	rig_stop(&rig);
}

/* --- ends that are none --- */

/* QEMU dies, or its job was cancelled: no `end` may say that the disk is whole. */
static void test_client_that_leaves_without_a_word(void **state)
{
	RigOptions options = one_disk(guarded_program());
	NbdTalk talk;
	Rig rig;

	(void)state;
	rig_start(&rig, &options);
	rig_connect_all(&rig);
	talk = talk_of(&rig);
	say_memory(&rig);
	nbd_handshake(&talk);
	close(talk.client);
	rig.qemu[MOVER_SOURCE][DISK] = -1;
	rig_wait(&rig, MOVER_SOURCE, &rig.movers[MOVER_SOURCE].failed);
	assert_non_null(strstr(rig.movers[MOVER_SOURCE].failure.text,
			       "channel disk-0: nbd-closed: client"));
	assert_int_equal(rig.movers[MOVER_SOURCE].failure.category, ERROR_HYPERVISOR);
	assert_int_equal(rig.movers[MOVER_SOURCE].failed_subject, DISK);
	rig_wait(&rig, MOVER_DESTINATION, &rig.movers[MOVER_DESTINATION].failed);
	assert_false(rig.movers[MOVER_DESTINATION].ended[false][DISK]);
	assert_memory_is_unharmed(&rig);
	rig_stop(&rig);
}

static void test_server_that_leaves_without_a_word(void **state)
{
	RigOptions options = one_disk(guarded_program());
	NbdTalk talk;
	Rig rig;

	(void)state;
	rig_start(&rig, &options);
	rig_connect_all(&rig);
	talk = talk_of(&rig);
	nbd_handshake(&talk);
	close(talk.server);
	rig.qemu[MOVER_DESTINATION][DISK] = -1;
	rig_wait(&rig, MOVER_DESTINATION, &rig.movers[MOVER_DESTINATION].failed);
	assert_non_null(strstr(rig.movers[MOVER_DESTINATION].failure.text,
			       "channel disk-0: nbd-closed: server"));
	rig_wait(&rig, MOVER_SOURCE, &rig.movers[MOVER_SOURCE].failed);
	assert_true(nbd_is_closed(talk.client));
	rig_stop(&rig);
}

/* The reverse of the memory's channels, whose source is drained until the engine has cancelled it.
 */
static void test_a_cut_frees_who_copies_a_disk(void **state)
{
	RigOptions options = one_disk(rig_program());
	Rig rig;

	(void)state;
	options.disks = 2;
	options.disks_late = true;
	rig_start(&rig, &options);
	rig.relays[0].fault = RIG_CUT;
	rig.relays[0].record = 1;
	rig_connect_all(&rig);
	rig_connect_local(&rig, MOVER_SOURCE, DISK);
	nbd_say(rig.qemu[MOVER_SOURCE][0], "cut", 3);
	rig_wait(&rig, MOVER_SOURCE, &rig.movers[MOVER_SOURCE].failed);
	assert_true(nbd_is_closed(rig.qemu[MOVER_SOURCE][DISK]));
	/* One that comes now is told at once too. */
	rig_connect_local(&rig, MOVER_SOURCE, DISK + 1);
	assert_true(nbd_is_closed(rig.qemu[MOVER_SOURCE][DISK + 1]));
	/* The stream's is listened to still. */
	nbd_say(rig.qemu[MOVER_SOURCE][0], "more", 4);
	rig_send(&rig, MOVER_SOURCE, MOVER_ABORT, 0, NULL, NULL);
	assert_true(nbd_is_closed(rig.qemu[MOVER_SOURCE][0]));
	rig_stop(&rig);
}

/* A disk's channel that is cut ends all, and nobody takes it for a disk that is whole. */
static void test_a_cut_of_a_disk_ends_all(void **state)
{
	RigOptions options = one_disk(rig_program());
	Rig rig;

	(void)state;
	rig_start(&rig, &options);
	rig.relays[DISK].fault = RIG_CUT;
	rig.relays[DISK].record = 1;
	rig_connect_all(&rig);
	say_memory(&rig);
	nbd_say(rig.qemu[MOVER_SOURCE][DISK], "cut", 3);
	rig_wait(&rig, MOVER_DESTINATION, &rig.movers[MOVER_DESTINATION].failed);
	rig_wait(&rig, MOVER_SOURCE, &rig.movers[MOVER_SOURCE].failed);
	/* Whichever side is the second may see another channel close first. */
	assert_true(rig.movers[MOVER_SOURCE].failed_channel == DISK ||
		    rig.movers[MOVER_DESTINATION].failed_channel == DISK);
	assert_memory_is_unharmed(&rig);
	assert_false(rig.movers[MOVER_DESTINATION].ended[false][DISK]);
	rig_stop(&rig);
}

/* --- bandwidth --- */

typedef struct Shares {
	double all, memory, disk; /* bytes a second of the wire, of the two streams */
} Shares;

/* Both have more to say than the time of the shorter one allows. */
static Shares measure_shares(uint64_t limit)
{
	enum { ENOUGH = 48 * MIB };
	RigOptions options = one_disk(rig_program());
	RigStream writers[2], readers[2];
	const MoverStats *stats;
	int64_t start_us;
	double seconds;
	Shares shares;
	Rig rig;

	options.bandwidth_bytes_s = limit;
	rig_start(&rig, &options);
	rig_connect_all(&rig);
	stats = &rig.movers[MOVER_DESTINATION].stats;
	start_us = clock_monotonic_us(&clock_system);
	for (unsigned int i = 0; i < 2; i++) {
		unsigned int channel = rig_channel(&rig, i);

		writers[i] = (RigStream){ .fd = rig.qemu[MOVER_SOURCE][channel],
					  .bytes = UINT64_C(1) << 40,
					  .seed = 5,
					  .constant = true };
		readers[i] =
			(RigStream){ .fd = rig.qemu[MOVER_DESTINATION][channel], .constant = true };
		rig_read_start(&readers[i]);
		rig_write_start(&writers[i]);
	}
	do
		query(&rig, MOVER_DESTINATION);
	while (stats->stream_in_bytes + stats->disk_bytes[0] < ENOUGH);
	seconds = (double)(clock_monotonic_us(&clock_system) - start_us) / 1e6;
	shares = (Shares){ (double)stats->wire_in_bytes / seconds,
			   (double)stats->stream_in_bytes / seconds,
			   (double)stats->disk_bytes[0] / seconds };
	rig_stop(&rig);
	for (unsigned int i = 0; i < 2; i++) {
		rig_stream_join(&writers[i]);
		rig_stream_join(&readers[i]);
	}
	return shares;
}

/* One bound for all, and neither starves. Other work on the machine can slow a reading, so what is
 * a lower bound holds for the best of three. */
static void test_disks_and_memory_share_the_bandwidth(void **state)
{
	const double limit = 40e6;
	Shares shares = { 0 };
	bool good = false;

	(void)state;
	for (int i = 0; i < 3 && !good; i++) {
		shares = measure_shares((uint64_t)limit);
		print_message("%.1f MB/s: memory %.1f, disk %.1f\n", shares.all / 1e6,
			      shares.memory / 1e6, shares.disk / 1e6);
		assert_true(shares.all < 1.05 * limit);
		good = shares.all > 0.85 * limit && shares.memory > 0.25 * limit &&
		       shares.disk > 0.25 * limit;
	}
	assert_true(good);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_images_arrive_through_the_guard),
		cmocka_unit_test(test_images_arrive_without_a_guard),
		cmocka_unit_test(test_memory_moves_beside_a_disk),
		cmocka_unit_test(test_a_mirror_copies_a_disk),
		cmocka_unit_test(test_hostile_client_is_refused),
		cmocka_unit_test(test_hostile_server_is_refused),
		cmocka_unit_test(test_another_size_is_refused),
		cmocka_unit_test(test_handshake_that_hangs_is_ended),
		cmocka_unit_test(test_a_warned_server_goes_on),
		cmocka_unit_test(test_client_that_leaves_without_a_word),
		cmocka_unit_test(test_server_that_leaves_without_a_word),
		cmocka_unit_test(test_a_cut_frees_who_copies_a_disk),
		cmocka_unit_test(test_a_cut_of_a_disk_ends_all),
		cmocka_unit_test(test_disks_and_memory_share_the_bandwidth),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
