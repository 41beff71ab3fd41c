/* SPDX-License-Identifier: Apache-2.0 */
/* Somebody on the network, or something at an end, does harm: is it noticed, said clearly, and does
 * nothing wrong reach QEMU? */
#include "tests/support/support.h"

#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/mover/rig.h"

enum { MIB = 1 << 20, VICTIM = 1 };

static RigOptions two_channels(void)
{
	return (RigOptions){
		.path = rig_program(), .aead = "openssl", .sealed = true, .channels = 2
	};
}

/* What the receiving side says. */
typedef struct FaultRow {
	RigFault fault;
	ErrorCategory category;
	const char *text;
} FaultRow;

static const FaultRow rows[] = {
	{ RIG_FLIP, ERROR_AUTH, "channel multifd-0: record 2 " },
	{ RIG_FLIP_TAG, ERROR_AUTH, "channel multifd-0: record 2 " },
	{ RIG_LENGTH, ERROR_AUTH, "channel multifd-0: record 2 " },
	{ RIG_OVERSIZE, ERROR_PEER,
	  "channel multifd-0: a record of 524305 bytes, expected 17 to 524304" },
	{ RIG_DROP, ERROR_AUTH, "channel multifd-0: record 2 " },
	{ RIG_REPEAT, ERROR_AUTH, "channel multifd-0: record 3 " },
	{ RIG_SWAP, ERROR_AUTH, "channel multifd-0: record 2 " },
	/* Both ends of a cut see it; the first to do so closes the other channels too. */
	{ RIG_TRUNCATE, ERROR_NONE, "the connection " },
	{ RIG_CUT, ERROR_NONE, "the connection " },
};

static void assert_failure(const RigMover *mover, ErrorCategory category, const char *text)
{
	if ((category && mover->failure.category != (uint64_t)category) ||
	    !strstr(mover->failure.text, text))
		fail_msg("expected %s \"%s\", got %llu: %s", error_word(category), text,
			 (unsigned long long)mover->failure.category, mover->failure.text);
}

/* Both of a mover's QEMU sockets end, so that QEMU knows. */
static void assert_cut_off(const Rig *rig, MoverSide side)
{
	for (unsigned int i = 0; i < rig->options.channels; i++) {
		struct pollfd row = { .fd = rig->qemu[side][i], .events = POLLHUP };

		assert_int_equal(poll(&row, 1, RIG_DEADLINE_MS), 1);
		assert_true(row.revents & POLLHUP);
	}
}

/* The source's QEMU is listened to until the engine has cancelled it, and no longer. */
static void release_source(Rig *rig)
{
	static const uint8_t more[256 * 1024];
	struct pollfd row = { .fd = rig->qemu[MOVER_SOURCE][0], .events = POLLHUP };

	assert_int_equal(poll(&row, 1, 0), 0);
	/* More than the socket holds. */
	for (size_t sent = 0; sent < sizeof(more);) {
		ssize_t got = send(row.fd, more + sent, sizeof(more) - sent, MSG_NOSIGNAL);

		assert_true(got > 0);
		sent += (size_t)got;
	}
	rig_send(rig, MOVER_SOURCE, MOVER_ABORT, 0, NULL, NULL);
	assert_cut_off(rig, MOVER_SOURCE);
}

static void move_with_fault(const FaultRow *row, bool sealed, bool to_source)
{
	MoverSide from = to_source ? MOVER_DESTINATION : MOVER_SOURCE;
	MoverSide to = to_source ? MOVER_SOURCE : MOVER_DESTINATION;
	RigOptions options = two_channels();
	RigStream writer, reader;
	Rig rig;

	options.sealed = sealed;
	rig_start(&rig, &options);
	rig.relays[VICTIM].fault = row->fault;
	rig.relays[VICTIM].to_source = to_source;
	rig.relays[VICTIM].record = 2;
	rig_connect_all(&rig);
	writer = (RigStream){ .fd = rig.qemu[from][VICTIM], .seed = 5, .bytes = 8 * MIB };
	reader = (RigStream){ .fd = rig.qemu[to][VICTIM], .seed = 5 };
	rig_read_start(&reader);
	rig_write_start(&writer);
	rig_wait(&rig, to, &rig.movers[to].failed);
	rig_wait(&rig, from, &rig.movers[from].failed);
	release_source(&rig);
	rig_stream_join(&writer);
	rig_stream_join(&reader);
	assert_failure(&rig.movers[to], row->category, row->text);
	if (row->category)
		assert_int_equal(rig.movers[to].failed_channel, VICTIM);
	/* The other side sees all its channels close; which one first is chance. */
	assert_failure(&rig.movers[from], ERROR_NONE, "channel ");
	/* Only whole good records arrived, and no end was told. */
	assert_true(reader.same);
	assert_true(reader.moved < 8 * MIB);
	assert_false(rig.movers[to].ended[false][VICTIM]);
	assert_cut_off(&rig, MOVER_DESTINATION);
	rig_stop(&rig);
}

static void test_harm_on_the_way_is_noticed(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		for (int variant = 0; variant < 4; variant++)
			move_with_fault(&rows[i], variant & 1, variant & 2);
}

/* An empty stream: its end is the record behind the ping. */
static void end_with_fault(RigFault fault, ErrorCategory category, const char *text)
{
	RigOptions options = two_channels();
	Rig rig;

	rig_start(&rig, &options);
	rig.relays[VICTIM].fault = fault;
	rig.relays[VICTIM].record = 1;
	rig_connect_all(&rig);
	shutdown(rig.qemu[MOVER_SOURCE][VICTIM], SHUT_WR);
	rig_wait(&rig, MOVER_DESTINATION, &rig.movers[MOVER_DESTINATION].failed);
	assert_failure(&rig.movers[MOVER_DESTINATION], category, text);
	assert_false(rig.movers[MOVER_DESTINATION].ended[false][VICTIM]);
	rig_stop(&rig);
}

static void test_harm_to_the_end_is_noticed(void **state)
{
	(void)state;
	end_with_fault(RIG_FLIP, ERROR_AUTH, "record 1 of 9 bytes is not authentic");
	end_with_fault(RIG_CUT, ERROR_PEER, "closed after 0 bytes without an end record");
	end_with_fault(RIG_TRUNCATE, ERROR_PEER, "closed after 0 bytes without an end record");
}

/* The source has nothing but this connection; the destination waits for a better one. */
static void ping_with_fault(RigFault fault, bool to_source, ErrorCategory category,
			    const char *text)
{
	RigOptions options = two_channels();
	Rig rig;

	rig_start(&rig, &options);
	rig.relays[VICTIM].fault = fault;
	rig.relays[VICTIM].to_source = to_source;
	rig_connect_network(&rig, VICTIM);
	rig_wait(&rig, MOVER_SOURCE, &rig.movers[MOVER_SOURCE].failed);
	assert_failure(&rig.movers[MOVER_SOURCE], category, text);
	assert_int_equal(rig.movers[MOVER_DESTINATION].proven, 0);
	assert_false(rig.movers[MOVER_DESTINATION].failed);
	rig_stop(&rig);
}

static void test_harm_to_the_proof_is_noticed(void **state)
{
	(void)state;
	ping_with_fault(RIG_FLIP, true, ERROR_AUTH, "channel multifd-0: record 0 of 1 bytes");
	ping_with_fault(RIG_LENGTH, true, ERROR_PEER,
			"a record of 16 bytes, expected 17 to 524304");
	ping_with_fault(RIG_CUT, true, ERROR_PEER, "closed the connection before its proof");
	ping_with_fault(RIG_FLIP, false, ERROR_NONE, "channel multifd-0: the connection");
}

static void start_flood(const Rig *rig, RigStream *writer)
{
	*writer = (RigStream){ .fd = rig->qemu[MOVER_SOURCE][0],
			       .seed = 9,
			       .bytes = UINT64_C(1) << 40,
			       .constant = true };
	rig_write_start(writer);
}

static void wait_for_stream(Rig *rig, MoverSide side, uint64_t bytes)
{
	RigMover *mover = &rig->movers[side];

	do {
		mover->have_stats = false;
		rig_send(rig, side, MOVER_QUERY, 0, NULL, NULL);
		rig_wait(rig, side, &mover->have_stats);
	} while (mover->stats.stream_in_bytes + mover->stats.stream_out_bytes < bytes);
}

static void test_killed_peer(void **state)
{
	RigOptions options = two_channels();
	RigStream writer, reader;
	Rig rig;

	(void)state;
	rig_start(&rig, &options);
	rig_connect_all(&rig);
	reader = (RigStream){ .fd = rig.qemu[MOVER_DESTINATION][0], .constant = true };
	rig_read_start(&reader);
	start_flood(&rig, &writer);
	wait_for_stream(&rig, MOVER_DESTINATION, 4 * MIB);
	kill(rig.movers[MOVER_SOURCE].pid, SIGKILL);
	rig_wait(&rig, MOVER_SOURCE, &rig.movers[MOVER_SOURCE].gone);
	rig_wait(&rig, MOVER_DESTINATION, &rig.movers[MOVER_DESTINATION].failed);
	assert_failure(&rig.movers[MOVER_DESTINATION], ERROR_NONE, "the connection ");
	rig_stream_join(&writer);
	rig_stream_join(&reader);
	assert_false(writer.clean);
	assert_cut_off(&rig, MOVER_DESTINATION);
	rig_stop(&rig);
}

/* The peer dies when its stream has ended already and only the way back is open. */
static void test_killed_peer_after_its_end(void **state)
{
	RigOptions options = two_channels();
	Rig rig;

	(void)state;
	rig_start(&rig, &options);
	rig_connect_all(&rig);
	shutdown(rig.qemu[MOVER_SOURCE][0], SHUT_WR);
	rig_wait(&rig, MOVER_DESTINATION, &rig.movers[MOVER_DESTINATION].ended[false][0]);
	kill(rig.movers[MOVER_SOURCE].pid, SIGKILL);
	rig_wait(&rig, MOVER_SOURCE, &rig.movers[MOVER_SOURCE].gone);
	rig_wait(&rig, MOVER_DESTINATION, &rig.movers[MOVER_DESTINATION].failed);
	assert_cut_off(&rig, MOVER_DESTINATION);
	rig_stop(&rig);
}

static void test_abort_frees_who_is_blocked(void **state)
{
	RigOptions options = two_channels();
	RigStream writer;
	Rig rig;

	(void)state;
	rig_start(&rig, &options);
	rig_connect_all(&rig);
	/* Nobody reads at the destination: the whole chain fills up and stands. */
	start_flood(&rig, &writer);
	wait_for_stream(&rig, MOVER_DESTINATION, 100000);
	rig_send(&rig, MOVER_DESTINATION, MOVER_ABORT, 0, NULL, NULL);
	assert_cut_off(&rig, MOVER_DESTINATION);
	rig_wait(&rig, MOVER_SOURCE, &rig.movers[MOVER_SOURCE].failed);
	rig_send(&rig, MOVER_SOURCE, MOVER_ABORT, 0, NULL, NULL);
	rig_stream_join(&writer);
	assert_false(writer.clean);
	assert_false(rig.movers[MOVER_DESTINATION].ended[false][0]);
	/* An abort is no failure of the mover, and no end. */
	assert_false(rig.movers[MOVER_DESTINATION].failed);
	rig_stop(&rig);
}

static void test_abort_at_the_source_sends_no_end(void **state)
{
	RigOptions options = two_channels();
	Rig rig;

	(void)state;
	rig_start(&rig, &options);
	rig_connect_all(&rig);
	rig_send(&rig, MOVER_SOURCE, MOVER_ABORT, 0, NULL, NULL);
	rig_wait(&rig, MOVER_DESTINATION, &rig.movers[MOVER_DESTINATION].failed);
	assert_failure(&rig.movers[MOVER_DESTINATION], ERROR_PEER,
		       "closed after 0 bytes without an end record");
	assert_false(rig.movers[MOVER_DESTINATION].ended[false][0]);
	assert_false(rig.movers[MOVER_DESTINATION].ended[false][1]);
	assert_cut_off(&rig, MOVER_SOURCE);
	rig_stop(&rig);
}

static void test_closed_link_ends_it_while_blocked(void **state)
{
	RigOptions options = two_channels();
	RigStream writer;
	Rig rig;

	(void)state;
	rig_start(&rig, &options);
	rig_connect_all(&rig);
	start_flood(&rig, &writer);
	wait_for_stream(&rig, MOVER_DESTINATION, 100000);
	rig_stop(&rig); /* asserts status 0 of both */
	rig_stream_join(&writer);
	assert_false(writer.clean);
}

static void test_destination_qemu_dies(void **state)
{
	RigOptions options = two_channels();
	RigStream writer;
	Rig rig;

	(void)state;
	rig_start(&rig, &options);
	rig_connect_all(&rig);
	start_flood(&rig, &writer);
	wait_for_stream(&rig, MOVER_DESTINATION, 100000);
	close(rig.qemu[MOVER_DESTINATION][0]);
	rig.qemu[MOVER_DESTINATION][0] = -1;
	rig_wait(&rig, MOVER_DESTINATION, &rig.movers[MOVER_DESTINATION].failed);
	assert_failure(&rig.movers[MOVER_DESTINATION], ERROR_HYPERVISOR, "channel main: QEMU");
	rig_wait(&rig, MOVER_SOURCE, &rig.movers[MOVER_SOURCE].failed);
	rig_send(&rig, MOVER_SOURCE, MOVER_ABORT, 0, NULL, NULL);
	rig_stream_join(&writer);
	assert_false(writer.clean);
	rig_stop(&rig);
}

static void test_different_keys_never_prove(void **state)
{
	RigOptions options = two_channels();
	Rig rig;

	(void)state;
	options.wrong_key = true;
	rig_start(&rig, &options);
	rig_connect_network(&rig, 0);
	rig_wait(&rig, MOVER_SOURCE, &rig.movers[MOVER_SOURCE].failed);
	assert_failure(&rig.movers[MOVER_SOURCE], ERROR_AUTH, "channel main: record 0");
	assert_int_equal(rig.movers[MOVER_SOURCE].proven, 0);
	rig_stop(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_harm_on_the_way_is_noticed),
		cmocka_unit_test(test_harm_to_the_end_is_noticed),
		cmocka_unit_test(test_harm_to_the_proof_is_noticed),
		cmocka_unit_test(test_killed_peer),
		cmocka_unit_test(test_killed_peer_after_its_end),
		cmocka_unit_test(test_abort_frees_who_is_blocked),
		cmocka_unit_test(test_abort_at_the_source_sends_no_end),
		cmocka_unit_test(test_closed_link_ends_it_while_blocked),
		cmocka_unit_test(test_destination_qemu_dies),
		cmocka_unit_test(test_different_keys_never_prove),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
