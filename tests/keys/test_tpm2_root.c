/* SPDX-License-Identifier: Apache-2.0 */
/* A root key that a TPM sealed, with swtpm for a chip; without it, skipped. */
#include "tests/support/support.h"

#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "keys/tpm2_root.h"
#include "swtpm_fixture.h"

enum { PCR7 = 1 << 7, PCR23 = 1 << 23, DEADLINE_MS = 20000 };

static Tpm2Config config_of(int fd)
{
	return (Tpm2Config){ .fd = fd, .deadline_ms = DEADLINE_MS };
}

static void make(int fd, uint32_t pcrs, Buffer *blob)
{
	const Tpm2Config config = config_of(fd);
	Error err = ERROR_INIT;

	if (!tpm2_root_create(&config, pcrs, blob, &err))
		fail_msg("%s", err.text);
	assert_in_range(blob->used, 100, TPM2_BLOB_MAX);
}

static Secret *open_blob(int fd, const Buffer *blob)
{
	const Tpm2Config config = config_of(fd);
	Error err = ERROR_INIT;
	Secret *key = tpm2_root_unseal(&config, blob->data, blob->used, &err);

	if (!key)
		fail_msg("%s", err.text);
	assert_int_equal(secret_size(key), KEY_BYTES);
	return key;
}

static void refuse(int fd, const void *blob, size_t size, ErrorCategory category, const char *words)
{
	const Tpm2Config config = config_of(fd);
	Error err = ERROR_INIT;

	assert_null(tpm2_root_unseal(&config, blob, size, &err));
	if (!strstr(err.text, words))
		fail_msg("\"%s\" does not say \"%s\"", err.text, words);
	assert_int_equal(err.category, category);
}

static void what_was_sealed_opens(void **state)
{
	Swtpm *tpm = *state;
	AUTO_BUFFER Buffer first = BUFFER_INIT(TPM2_BLOB_MAX), second = BUFFER_INIT(TPM2_BLOB_MAX);
	AUTO_SECRET Secret *key = NULL, *again = NULL, *other = NULL;

	make(tpm->fd, PCR7, &first);
	make(tpm->fd, PCR7, &second);
	key = open_blob(tpm->fd, &first);
	other = open_blob(tpm->fd, &second);
	assert_false(secret_equal(key, other));
	/* Nothing is left behind in the chip, which has room for three or so. */
	for (int i = 0; i < 8; i++)
		secret_free(open_blob(tpm->fd, &first));
	swtpm_stop(tpm);
	swtpm_start(tpm);
	again = open_blob(tpm->fd, &first);
	assert_true(secret_equal(key, again));
}

static void a_pcr_that_changed_keeps_it_shut(void **state)
{
	Swtpm *tpm = *state;
	AUTO_BUFFER Buffer blob = BUFFER_INIT(TPM2_BLOB_MAX);
	AUTO_SECRET Secret *key = NULL, *again = NULL;

	make(tpm->fd, PCR7 | PCR23, &blob);
	key = open_blob(tpm->fd, &blob);
	swtpm_extend(tpm, 8);
	secret_free(open_blob(tpm->fd, &blob));
	swtpm_extend(tpm, 7);
	refuse(tpm->fd, blob.data, blob.used, ERROR_AUTH, "PCRs are not what they were");
	swtpm_stop(tpm);
	swtpm_start(tpm);
	again = open_blob(tpm->fd, &blob);
	assert_true(secret_equal(key, again));
	swtpm_extend(tpm, 23);
	refuse(tpm->fd, blob.data, blob.used, ERROR_AUTH, "PCRs are not what they were");
}

/* One of each byte of the selection. */
static void each_pcr_counts(void **state)
{
	static const uint32_t pcrs[] = { 0, 12, 23 };
	Swtpm *tpm = *state;

	for (size_t i = 0; i < ARRAY_SIZE(pcrs); i++) {
		AUTO_BUFFER Buffer blob = BUFFER_INIT(TPM2_BLOB_MAX);

		make(tpm->fd, UINT32_C(1) << pcrs[i], &blob);
		secret_free(open_blob(tpm->fd, &blob));
		swtpm_extend(tpm, pcrs[i]);
		refuse(tpm->fd, blob.data, blob.used, ERROR_AUTH, "PCRs are not what they were");
	}
}

/* Who takes PCRs out of the mask meets the policy. */
static void a_weaker_mask_keeps_it_shut(void **state)
{
	Swtpm *tpm = *state;
	AUTO_BUFFER Buffer blob = BUFFER_INIT(TPM2_BLOB_MAX);

	make(tpm->fd, PCR7 | PCR23, &blob);
	store_be32(blob.data + 8, PCR23);
	refuse(tpm->fd, blob.data, blob.used, ERROR_AUTH, "PCRs");
}

static void another_tpm_does_not_open_it(void **state)
{
	Swtpm *tpm = *state, other;
	AUTO_BUFFER Buffer blob = BUFFER_INIT(TPM2_BLOB_MAX), forged = BUFFER_INIT(TPM2_BLOB_MAX);

	swtpm_begin(&other);
	make(tpm->fd, PCR7, &blob);
	make(other.fd, PCR7, &forged);
	refuse(other.fd, blob.data, blob.used, ERROR_AUTH, "another TPM");
	/* With its own name in place it meets the chip, which knows its own. */
	memcpy(blob.data + 12, forged.data + 12, 34);
	refuse(other.fd, blob.data, blob.used, ERROR_AUTH, "blob was changed");
	swtpm_end(&other);
}

static void a_blob_that_was_cut_is_none(void **state)
{
	Swtpm *tpm = *state;
	AUTO_BUFFER Buffer blob = BUFFER_INIT(TPM2_BLOB_MAX + 1);
	Error err = ERROR_INIT;

	make(tpm->fd, PCR7, &blob);
	for (size_t i = 0; i < blob.used; i++)
		refuse(tpm->fd, blob.data, i, ERROR_CONFIG, "not a root key");
	assert_true(buffer_put_u8(&blob, 0, &err));
	refuse(tpm->fd, blob.data, blob.used, ERROR_CONFIG, "not a root key");
	memset(blob.data, 0xff, blob.used);
	refuse(tpm->fd, blob.data, blob.used, ERROR_CONFIG, "not a root key");
}

static void a_blob_that_was_changed_does_not_open(void **state)
{
	Swtpm *tpm = *state;
	const Tpm2Config config = config_of(tpm->fd);
	AUTO_BUFFER Buffer blob = BUFFER_INIT(TPM2_BLOB_MAX);

	make(tpm->fd, PCR7, &blob);
	for (size_t i = 0; i < blob.used; i++) {
		Error err = ERROR_INIT;

		blob.data[i] ^= 1;
		assert_null(tpm2_root_unseal(&config, blob.data, blob.used, &err));
		if (err.category != ERROR_CONFIG && err.category != ERROR_AUTH &&
		    err.category != ERROR_PEER)
			fail_msg("byte %zu: %s", i, err.text);
		blob.data[i] ^= 1;
	}
	secret_free(open_blob(tpm->fd, &blob));
}

static void masks_have_bounds(void **state)
{
	static const uint32_t bad[] = { 0, 1 << 24, UINT32_MAX };
	Swtpm *tpm = *state;
	const Tpm2Config config = config_of(tpm->fd);
	AUTO_BUFFER Buffer blob = BUFFER_INIT(TPM2_BLOB_MAX);

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		Error err = ERROR_INIT;

		assert_false(tpm2_root_create(&config, bad[i], &blob, &err));
		assert_int_equal(err.category, ERROR_USAGE);
	}
	make(tpm->fd, (1 << 24) - 1, &blob);
	secret_free(open_blob(tpm->fd, &blob));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		store_be32(blob.data + 8, bad[i]);
		refuse(tpm->fd, blob.data, blob.used, ERROR_CONFIG, "not a root key");
	}
}

/* --- the way to it --- */

typedef struct Wire {
	size_t used;
	uint8_t bytes[1 << 20];
} Wire;

static bool copy(int from, int to, Wire *wire)
{
	uint8_t chunk[4096];
	ssize_t got = read(from, chunk, sizeof(chunk));

	if (got <= 0 || (size_t)got > sizeof(wire->bytes) - wire->used)
		return false;
	memcpy(wire->bytes + wire->used, chunk, (size_t)got);
	wire->used += (size_t)got;
	return write(to, chunk, (size_t)got) == got;
}

/* A child that listens between the library and the chip. */
static pid_t listen_between(const int ends[2], int chip, Wire *wire)
{
	pid_t pid = fork();
	int ours = ends[1];

	assert_true(pid >= 0);
	if (pid)
		return pid;
	/* Else it would never see the end. */
	close(ends[0]);
	for (;;) {
		struct pollfd waits[] = { { .fd = ours, .events = POLLIN },
					  { .fd = chip, .events = POLLIN } };

		if (poll(waits, 2, DEADLINE_MS) < 1 ||
		    (waits[0].revents && !copy(ours, chip, wire)) ||
		    (waits[1].revents && !copy(chip, ours, wire)))
			_exit(0);
	}
}

static void who_listens_does_not_hear_the_key(void **state)
{
	Swtpm *tpm = *state;
	AUTO_BUFFER Buffer blob = BUFFER_INIT(TPM2_BLOB_MAX);
	AUTO_SECRET Secret *key = NULL;
	Wire *wire = mmap(NULL, sizeof(*wire), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			  -1, 0);
	int ends[2], status;
	pid_t listener;

	assert_true(wire != MAP_FAILED);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	listener = listen_between(ends, tpm->fd, wire);
	close(ends[1]);
	make(ends[0], PCR7, &blob);
	key = open_blob(ends[0], &blob);
	close(ends[0]);
	assert_int_equal(waitpid(listener, &status, 0), listener);
	/* It did listen: the blob's private part went by. */
	assert_non_null(memmem(wire->bytes, wire->used, blob.data + blob.used - 32, 32));
	assert_null(memmem(wire->bytes, wire->used, secret_peek(key), KEY_BYTES));
	munmap(wire, sizeof(*wire));
}

static void a_tpm_that_is_gone(void **state)
{
	Swtpm *tpm = *state;
	const Tpm2Config config = config_of(tpm->fd);
	AUTO_BUFFER Buffer blob = BUFFER_INIT(TPM2_BLOB_MAX), none = BUFFER_INIT(TPM2_BLOB_MAX);
	Error err = ERROR_INIT;
	int status;

	make(tpm->fd, PCR7, &blob);
	kill(tpm->pid, SIGKILL);
	assert_int_equal(waitpid(tpm->pid, &status, 0), tpm->pid);
	refuse(tpm->fd, blob.data, blob.used, ERROR_UNAVAILABLE, "TPM");
	assert_false(tpm2_root_create(&config, PCR7, &none, &err));
	assert_int_equal(err.category, ERROR_UNAVAILABLE);
	assert_int_equal(none.used, 0);
	close(tpm->fd);
	swtpm_start(tpm);
	secret_free(open_blob(tpm->fd, &blob));
}

static void a_tpm_that_is_silent(void **state)
{
	Swtpm *tpm = *state;
	AUTO_BUFFER Buffer blob = BUFFER_INIT(TPM2_BLOB_MAX);
	int64_t begin_us;
	int ends[2];
	Error err = ERROR_INIT;

	make(tpm->fd, PCR7, &blob);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	begin_us = clock_monotonic_us(&clock_system);
	assert_null(tpm2_root_unseal(&(Tpm2Config){ ends[0], 100 }, blob.data, blob.used, &err));
	assert_int_equal(err.category, ERROR_TIMEOUT);
	assert_in_range(clock_monotonic_us(&clock_system) - begin_us, 90000, 5000000);
	close(ends[0]);
	close(ends[1]);
}

/* Answers that were there before the question, from a chip that is none. */
static void a_tpm_that_lies(void **state)
{
	static const struct {
		uint8_t bytes[16];
		size_t size;
	} answers[] = {
		{ { 0x80, 0x01, 0, 0, 0, 9, 0, 0, 0, 0 }, 10 },	   /* too short */
		{ { 0x80, 0x01, 0, 0, 0x10, 1, 0, 0, 0, 0 }, 10 }, /* too long */
		{ { 0x80, 0x01, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0 }, 10 },
		{ { 0x80, 0x01, 0, 0, 0, 10, 0, 0, 0, 0, 1 }, 11 }, /* more behind it */
		{ { 0x80, 0x01, 0, 0, 0, 10, 0, 0, 0, 0 }, 10 },    /* success, and nothing */
		{ { 0, 0, 0, 0, 0, 10, 0, 0, 0, 0 }, 10 },	    /* no tag */
		{ { 0x80, 0x01, 0, 0, 0, 10, 0, 0, 1, 0x01 }, 10 }, /* a failure */
	};
	Swtpm *tpm = *state;
	AUTO_BUFFER Buffer blob = BUFFER_INIT(TPM2_BLOB_MAX);

	make(tpm->fd, PCR7, &blob);
	for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
		Error err = ERROR_INIT;
		int ends[2];

		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
		assert_int_equal(write(ends[1], answers[i].bytes, answers[i].size),
				 answers[i].size);
		assert_null(tpm2_root_unseal(&(Tpm2Config){ ends[0], 100 }, blob.data, blob.used,
					     &err));
		if (err.category != ERROR_PEER)
			fail_msg("answer %zu: %s: %s", i, error_word(err.category), err.text);
		close(ends[0]);
		close(ends[1]);
	}
}

static int begin(void **state)
{
	Swtpm *tpm = calloc(1, sizeof(*tpm));

	assert_non_null(tpm);
	swtpm_begin(tpm);
	*state = tpm;
	return 0;
}

static int end(void **state)
{
	swtpm_end(*state);
	free(*state);
	return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_was_sealed_opens),
		TEST(a_pcr_that_changed_keeps_it_shut),
		TEST(each_pcr_counts),
		TEST(a_weaker_mask_keeps_it_shut),
		TEST(another_tpm_does_not_open_it),
		TEST(a_blob_that_was_cut_is_none),
		TEST(a_blob_that_was_changed_does_not_open),
		TEST(masks_have_bounds),
		TEST(who_listens_does_not_hear_the_key),
		TEST(a_tpm_that_is_gone),
		TEST(a_tpm_that_is_silent),
		TEST(a_tpm_that_lies),
	};

	if (!swtpm_is_here()) {
		puts("skipped: swtpm is not installed");
		return 77;
	}
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
