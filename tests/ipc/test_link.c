/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/support.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ipc/link.h"

enum { TYPE_START = 1, TYPE_TEXT, TYPE_FDS, TYPE_KEY, TYPE_BIG };
enum { STATE_NEW, STATE_OPEN };

typedef struct Text {
	char text[16];
} Text;
typedef struct Key {
	uint8_t key[32];
	uint64_t number;
} Key;
typedef struct Big {
	uint8_t blob[70000];
	size_t blob_size;
} Big;

static const Field text_fields[] = { SCHEMA_TEXT(Text, text, TEXT_NAME, 1) };
static SCHEMA_DEFINE(text_schema, "text", Text, text_fields);
static const Field key_fields[] = { SCHEMA_HEX(Key, key), SCHEMA_U64(Key, number, 0, 9) };
static SCHEMA_DEFINE(key_schema, "key", Key, key_fields);
static const Field big_fields[] = { SCHEMA_BYTES(Big, blob, 0) };
static SCHEMA_DEFINE(big_schema, "big", Big, big_fields);

static const IpcRule rules[] = {
	{ TYPE_START, NULL, 0, 0, IPC_IN(STATE_NEW), STATE_OPEN, "start" },
	{ TYPE_TEXT, &text_schema, 0, 0, IPC_IN(STATE_OPEN), IPC_KEEP, "text" },
	{ TYPE_FDS, NULL, 1, 2, IPC_ANY, IPC_KEEP, "fds" },
	{ TYPE_KEY, &key_schema, 0, 0, IPC_ANY, IPC_KEEP, "key" },
	{ TYPE_BIG, &big_schema, 0, 0, IPC_ANY, IPC_KEEP, "big" },
	{ 0 },
};

typedef struct Fixture {
	IpcLink *near, *far; /* near receives by the rules */
	int raw;	     /* far's descriptor, for what ipc_send would not send */
	size_t fds_before;
	Error err;
} Fixture;

static int setup(void **state)
{
	Fixture *f = test_calloc(1, sizeof(*f));
	int pair[2];

	f->fds_before = support_count_fds();
	assert_works(ipc_pair(pair, &f->err), &f->err);
	f->near = ipc_link_new(pair[0], rules, &f->err);
	f->far = ipc_link_new(pair[1], rules, &f->err);
	assert_true(f->near && f->far);
	f->raw = pair[1];
	assert_int_equal(fcntl(pair[0], F_SETFL, O_NONBLOCK), 0);
	*state = f;
	return 0;
}

/* Whatever a test did, no descriptor may be left behind. */
static int teardown(void **state)
{
	Fixture *f = *state;

	ipc_link_free(f->near);
	ipc_link_free(f->far);
	assert_int_equal(support_count_fds(), f->fds_before);
	test_free(f);
	return 0;
}

static void send_raw(const Fixture *f, const void *data, size_t size, size_t n_fds)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int) * 8)];
		struct cmsghdr align;
	} control = { 0 };
	struct iovec part = { .iov_base = (void *)(uintptr_t)data, .iov_len = size };
	struct msghdr header = { .msg_iov = &part, .msg_iovlen = 1 };

	if (n_fds) {
		int fds[8] = { 0 }; /* standard input, as often as wanted */
		struct cmsghdr *c;

		header.msg_control = control.bytes;
		header.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
		c = CMSG_FIRSTHDR(&header);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * n_fds);
	}
	assert_int_equal(sendmsg(f->raw, &header, 0), size);
}

static size_t put_header(uint8_t *out, uint16_t type, uint16_t zero)
{
	store_be16(out, type);
	store_be16(out + 2, zero);
	store_be64(out + 4, 77);
	return IPC_HEADER_BYTES;
}

static void expect_message(Fixture *f, uint16_t type, IpcMessage *message)
{
	f->err = ERROR_INIT;
	if (ipc_receive(f->near, message, &f->err) != IPC_MESSAGE)
		fail_msg("no message: %s", f->err.text);
	assert_int_equal(message->type, type);
}

/* The rule is named, and the link is dead from then on, for both directions. */
static void expect_broken(Fixture *f, const char *part)
{
	IpcMessage message;
	Error err = ERROR_INIT;

	assert_int_equal(ipc_receive(f->near, &message, &err), IPC_BROKEN);
	support_check_error(&err, ERROR_PEER, part, __FILE__, __LINE__);
	assert_int_equal(message.fds_count, 0);
	assert_int_equal(ipc_receive(f->near, &message, &err), IPC_CLOSED);
	assert_fails(ipc_send(f->near, TYPE_START, 0, NULL, NULL, NULL, 0, &err), ERROR_UNAVAILABLE,
		     "closed", &err);
}

static void messages_arrive_in_order_with_their_subjects(void **state)
{
	Fixture *f = *state;
	Text text = { "hello" };
	IpcMessage message;

	assert_int_equal(ipc_receive(f->near, &message, &f->err), IPC_NOTHING);
	assert_works(ipc_send(f->far, TYPE_START, 5, NULL, NULL, NULL, 0, &f->err), &f->err);
	assert_works(ipc_send(f->far, TYPE_TEXT, UINT64_MAX, &text_schema, &text, NULL, 0, &f->err),
		     &f->err);
	assert_int_equal(ipc_link_state(f->near), STATE_NEW);
	expect_message(f, TYPE_START, &message);
	assert_int_equal(message.subject, 5);
	assert_null(message.payload);
	assert_int_equal(ipc_link_state(f->near), STATE_OPEN);
	expect_message(f, TYPE_TEXT, &message);
	assert_true(message.subject == UINT64_MAX);
	assert_string_equal(((Text *)message.payload)->text, "hello");
	ipc_message_clear(&message, f->near);
	assert_int_equal(ipc_receive(f->near, &message, &f->err), IPC_NOTHING);
}

static void unknown_types_break_the_link(void **state)
{
	Fixture *f = *state;

	assert_works(ipc_send(f->far, 99, 0, NULL, NULL, NULL, 0, &f->err), &f->err);
	expect_broken(f, "message type 99 is not permitted");
}

static void the_table_end_is_no_type(void **state)
{
	Fixture *f = *state;

	assert_works(ipc_send(f->far, 0, 0, NULL, NULL, NULL, 0, &f->err), &f->err);
	expect_broken(f, "message type 0 is not permitted");
}

static void untimely_messages_break_the_link(void **state)
{
	Fixture *f = *state;
	Text text = { "hello" };

	assert_works(ipc_send(f->far, TYPE_TEXT, 0, &text_schema, &text, NULL, 0, &f->err),
		     &f->err);
	expect_broken(f, "message text is not permitted in state 0");
}

static void a_start_comes_once(void **state)
{
	Fixture *f = *state;
	IpcMessage message;

	assert_works(ipc_send(f->far, TYPE_START, 0, NULL, NULL, NULL, 0, &f->err), &f->err);
	assert_works(ipc_send(f->far, TYPE_START, 0, NULL, NULL, NULL, 0, &f->err), &f->err);
	expect_message(f, TYPE_START, &message);
	expect_broken(f, "message start is not permitted in state 1");
}

static void half_headers_break_the_link(void **state)
{
	Fixture *f = *state;
	uint8_t bytes[IPC_HEADER_BYTES];

	put_header(bytes, TYPE_START, 0);
	send_raw(f, bytes, IPC_HEADER_BYTES - 1, 0);
	expect_broken(f, "a message of 11 bytes has no valid header");
}

static void a_reserved_field_that_is_not_zero_breaks_the_link(void **state)
{
	Fixture *f = *state;
	uint8_t bytes[IPC_HEADER_BYTES];

	send_raw(f, bytes, put_header(bytes, TYPE_START, 1), 0);
	expect_broken(f, "no valid header");
}

static void payloads_cut_short_break_the_link(void **state)
{
	Fixture *f = *state;
	uint8_t bytes[64] = { 0 };

	put_header(bytes, TYPE_KEY, 0);
	send_raw(f, bytes, IPC_HEADER_BYTES + 39, 0);
	expect_broken(f, "message key: key: malformed after 32 of 39 bytes");
}

static void payloads_with_a_tail_break_the_link(void **state)
{
	Fixture *f = *state;
	uint8_t bytes[64] = { 0 };

	put_header(bytes, TYPE_KEY, 0);
	send_raw(f, bytes, IPC_HEADER_BYTES + 41, 0);
	expect_broken(f, "message key: key: 1 bytes too many");
}

static void a_payload_where_none_belongs_breaks_the_link(void **state)
{
	Fixture *f = *state;
	uint8_t bytes[64] = { 0 };

	put_header(bytes, TYPE_START, 0);
	send_raw(f, bytes, IPC_HEADER_BYTES + 1, 0);
	expect_broken(f, "message start with 1 bytes too many");
}

static void values_out_of_bounds_break_the_link(void **state)
{
	Fixture *f = *state;
	uint8_t bytes[64] = { 0 };

	put_header(bytes, TYPE_KEY, 0);
	bytes[IPC_HEADER_BYTES + 39] = 10;
	send_raw(f, bytes, IPC_HEADER_BYTES + 40, 0);
	expect_broken(f, "message key: key: number is 10, outside 0..9");
}

static void messages_up_to_the_bound_pass(void **state)
{
	Fixture *f = *state;
	Big *big = test_calloc(1, sizeof(*big));
	IpcMessage message;

	big->blob_size = LIMIT_IPC_MESSAGE - IPC_HEADER_BYTES - 4;
	assert_works(ipc_send(f->far, TYPE_BIG, 0, &big_schema, big, NULL, 0, &f->err), &f->err);
	expect_message(f, TYPE_BIG, &message);
	assert_int_equal(((Big *)message.payload)->blob_size, big->blob_size);
	big->blob_size++;
	assert_fails(ipc_send(f->far, TYPE_BIG, 0, &big_schema, big, NULL, 0, &f->err), ERROR_LIMIT,
		     "65536", &f->err);
	test_free(big);
}

static void oversize_messages_break_the_link(void **state)
{
	Fixture *f = *state;
	uint8_t *bytes = test_calloc(1, LIMIT_IPC_MESSAGE + 1);

	put_header(bytes, TYPE_BIG, 0);
	store_be32(bytes + IPC_HEADER_BYTES, LIMIT_IPC_MESSAGE - IPC_HEADER_BYTES - 4);
	send_raw(f, bytes, LIMIT_IPC_MESSAGE + 1, 0);
	test_free(bytes);
	expect_broken(f, "longer than 65536 bytes");
}

static void descriptors_arrive_close_on_exec(void **state)
{
	Fixture *f = *state;
	IpcMessage message;
	const int fds[2] = { 0, 0 };

	assert_works(ipc_send(f->far, TYPE_FDS, 0, NULL, NULL, fds, 2, &f->err), &f->err);
	expect_message(f, TYPE_FDS, &message);
	assert_int_equal(message.fds_count, 2);

	AUTO_FD int taken = TAKE_FD(message.fds[1]);
	int other = message.fds[0];

	assert_true(fcntl(taken, F_GETFD) & FD_CLOEXEC);
	ipc_message_clear(&message, f->near);
	assert_true(fcntl(taken, F_GETFD) >= 0);
	assert_int_equal(fcntl(other, F_GETFD), -1);
	assert_int_equal(message.fds_count, 0);
}

static void too_few_descriptors_break_the_link(void **state)
{
	Fixture *f = *state;

	assert_works(ipc_send(f->far, TYPE_FDS, 0, NULL, NULL, NULL, 0, &f->err), &f->err);
	expect_broken(f, "message fds with 0 descriptors, expected 1..2");
}

static void too_many_descriptors_break_the_link(void **state)
{
	Fixture *f = *state;
	const int fds[3] = { 0, 0, 0 };

	assert_works(ipc_send(f->far, TYPE_FDS, 0, NULL, NULL, fds, 3, &f->err), &f->err);
	expect_broken(f, "message fds with 3 descriptors, expected 1..2");
}

static void descriptors_where_none_belong_break_the_link(void **state)
{
	Fixture *f = *state;
	const int fds[1] = { 0 };

	assert_works(ipc_send(f->far, TYPE_START, 0, NULL, NULL, fds, 1, &f->err), &f->err);
	expect_broken(f, "message start with 1 descriptors, expected 0..0");
}

static void more_descriptors_than_fit_break_the_link(void **state)
{
	Fixture *f = *state;
	uint8_t bytes[IPC_HEADER_BYTES];

	send_raw(f, bytes, put_header(bytes, TYPE_FDS, 0), LIMIT_IPC_FDS + 1);
	expect_broken(f, "more than 4 descriptors");
}

/* recvmsg says 0 for an empty message as for an end of file; its descriptors came all the same. */
static void an_empty_message_with_descriptors_leaks_none(void **state)
{
	Fixture *f = *state;
	IpcMessage message;

	send_raw(f, "", 0, 2);
	assert_int_equal(ipc_receive(f->near, &message, &f->err), IPC_CLOSED);
	assert_int_equal(message.fds_count, 0);
}

static void a_closed_peer_is_told(void **state)
{
	Fixture *f = *state;
	IpcMessage message;

	assert_works(ipc_send(f->far, TYPE_START, 0, NULL, NULL, NULL, 0, &f->err), &f->err);
	ipc_link_free(f->far);
	f->far = NULL;
	expect_message(f, TYPE_START, &message);
	assert_fails(ipc_send(f->near, TYPE_START, 0, NULL, NULL, NULL, 0, &f->err),
		     ERROR_UNAVAILABLE, "Broken pipe", &f->err);
	assert_int_equal(ipc_receive(f->near, &message, &f->err), IPC_CLOSED);
}

static void a_peer_that_reads_no_more_is_still_heard(void **state)
{
	Fixture *f = *state;
	IpcMessage message;

	assert_works(ipc_send(f->far, TYPE_START, 0, NULL, NULL, NULL, 0, &f->err), &f->err);
	assert_works(ipc_send(f->near, TYPE_START, 0, NULL, NULL, NULL, 0, &f->err), &f->err);
	ipc_link_free(f->far);
	f->far = NULL;
	expect_message(f, TYPE_START, &message);
	assert_int_equal(ipc_receive(f->near, &message, &f->err), IPC_CLOSED);
}

static void a_full_queue_is_a_limit(void **state)
{
	Fixture *f = *state;
	size_t sent = 0;

	f->err = ERROR_INIT;
	while (sent < 100000 && ipc_send(f->near, TYPE_START, 0, NULL, NULL, NULL, 0, &f->err))
		sent++;
	assert_in_range(sent, 1, 99999);
	support_check_error(&f->err, ERROR_LIMIT, "cannot send 12 bytes", __FILE__, __LINE__);
}

static void send_key(Fixture *f, Key *key)
{
	memset(key->key, 0xc7, sizeof(key->key));
	key->number = 3;
	assert_works(ipc_send(f->far, TYPE_KEY, 0, &key_schema, key, NULL, 0, &f->err), &f->err);
}

static void a_cleared_payload_is_wiped(void **state)
{
	static const Key zeros;
	Fixture *f = *state;
	IpcMessage message;
	Key *payload, key;

	send_key(f, &key);
	expect_message(f, TYPE_KEY, &message);
	payload = message.payload;
	assert_memory_equal(payload->key, key.key, sizeof(key.key));
	ipc_message_clear(&message, f->near);
	assert_null(message.payload);
	assert_memory_equal(payload, &zeros, sizeof(zeros));
}

/* The key decodes, the number behind it does not: nothing of either may stay. */
static void a_refused_payload_is_wiped(void **state)
{
	static const Key zeros;
	Fixture *f = *state;
	uint8_t bytes[64];
	IpcMessage message;
	Key *payload, key;

	send_key(f, &key);
	expect_message(f, TYPE_KEY, &message);
	payload = message.payload;
	ipc_message_clear(&message, f->near);
	memset(bytes, 0xc7, sizeof(bytes));
	put_header(bytes, TYPE_KEY, 0);
	send_raw(f, bytes, IPC_HEADER_BYTES + 40, 0);
	expect_broken(f, "number is");
	assert_memory_equal(payload, &zeros, sizeof(zeros));
}

static void pairs_are_close_on_exec(void **state)
{
	Fixture *f = *state;

	assert_true(fcntl(ipc_link_fd(f->near), F_GETFD) & FD_CLOEXEC);
	assert_true(fcntl(f->raw, F_GETFD) & FD_CLOEXEC);
}

static void a_descriptor_goes_over_a_stream(void **state)
{
	Error err = ERROR_INIT;
	int pair[2];
	char byte;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_works(ipc_send_fd(pair[0], 0, &err), &err);
	assert_int_equal(recv(pair[1], &byte, 1, 0), 1);
	assert_fails(ipc_send_fd(pair[0], -1, &err), ERROR_UNAVAILABLE, "Bad file descriptor",
		     &err);
	close(pair[0]);
	close(pair[1]);
}

#define LINK_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		LINK_TEST(messages_arrive_in_order_with_their_subjects),
		LINK_TEST(unknown_types_break_the_link),
		LINK_TEST(the_table_end_is_no_type),
		LINK_TEST(untimely_messages_break_the_link),
		LINK_TEST(a_start_comes_once),
		LINK_TEST(half_headers_break_the_link),
		LINK_TEST(a_reserved_field_that_is_not_zero_breaks_the_link),
		LINK_TEST(payloads_cut_short_break_the_link),
		LINK_TEST(payloads_with_a_tail_break_the_link),
		LINK_TEST(a_payload_where_none_belongs_breaks_the_link),
		LINK_TEST(values_out_of_bounds_break_the_link),
		LINK_TEST(messages_up_to_the_bound_pass),
		LINK_TEST(oversize_messages_break_the_link),
		LINK_TEST(descriptors_arrive_close_on_exec),
		LINK_TEST(too_few_descriptors_break_the_link),
		LINK_TEST(too_many_descriptors_break_the_link),
		LINK_TEST(descriptors_where_none_belong_break_the_link),
		LINK_TEST(more_descriptors_than_fit_break_the_link),
		LINK_TEST(an_empty_message_with_descriptors_leaks_none),
		LINK_TEST(a_closed_peer_is_told),
		LINK_TEST(a_peer_that_reads_no_more_is_still_heard),
		LINK_TEST(a_full_queue_is_a_limit),
		LINK_TEST(a_cleared_payload_is_wiped),
		LINK_TEST(a_refused_payload_is_wiped),
		LINK_TEST(pairs_are_close_on_exec),
		cmocka_unit_test(a_descriptor_goes_over_a_stream),
	};

	return cmocka_run_group_tests_name("ipc/link", tests, NULL, NULL);
}
