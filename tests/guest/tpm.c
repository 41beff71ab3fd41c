/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Uses the guest's TPM 2.0 and can tell whether it is still the same: it writes a value into an NV
 * index of its own, extends a PCR over and over, and reads both back all the time. Tells, once a
 * second, on the console:
 *
 *	tpm t=<n> extends=<n> errors=<n>
 *
 * Commands as TPM 2.0 Library, part 3, has them, sent to /dev/tpm0 as they are.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
	NO_SESSIONS = 0x8001,
	SESSIONS = 0x8002,
	NV_DEFINE = 0x12a,
	NV_WRITE = 0x137,
	NV_READ = 0x14e,
	PCR_READ = 0x17e,
	PCR_EXTEND = 0x182,
	SHA256 = 0x0b,
	PCR = 16,
	VALUE_BYTES = 32,
	/* Written and read by owner and by its own (empty) password; without TPMA_NV_NO_DA a machine
	 * whose plug is pulled a few times is taken for one that is guessed at, and locked out. */
	NV_ATTRIBUTES = 0x02060006,
	HEAD_BYTES = 10,
};

/* What a capture or a file can be searched for. */
static const char nv_value[VALUE_BYTES + 1] = "SEALIFT-KNOWN-NV-PLAINTEXT-5d3f7";

static const uint32_t owner = 0x40000001, password = 0x40000009, index_handle = 0x01500016;

typedef struct Command {
	uint8_t bytes[512];
	size_t used;
} Command;

static void put(Command *command, uint64_t value, size_t size)
{
	while (size--)
		command->bytes[command->used++] = (uint8_t)(value >> (8 * size));
}

static void begin(Command *command, uint16_t tag, uint32_t code)
{
	command->used = 0;
	put(command, tag, 2);
	put(command, 0, 4);
	put(command, code, 4);
}

/* An empty password. */
static void put_session(Command *command)
{
	put(command, 9, 4);
	put(command, password, 4);
	put(command, 0, 5);
}

static void put_value(Command *command, const uint8_t value[VALUE_BYTES])
{
	memcpy(command->bytes + command->used, value, VALUE_BYTES);
	command->used += VALUE_BYTES;
}

/* The TPM's response code; the answer takes the command's place. */
static uint32_t run(int fd, Command *command)
{
	size_t size = command->used;
	ssize_t got;

	command->used = 2;
	put(command, size, 4);
	if (write(fd, command->bytes, size) != (ssize_t)size)
		return UINT32_MAX;
	got = read(fd, command->bytes, sizeof(command->bytes));
	command->used = got > 0 ? (size_t)got : 0;
	if (command->used < HEAD_BYTES)
		return UINT32_MAX;
	return (uint32_t)command->bytes[6] << 24 | (uint32_t)command->bytes[7] << 16 |
	       (uint32_t)command->bytes[8] << 8 | command->bytes[9];
}

static uint32_t define(int fd)
{
	Command command;

	begin(&command, SESSIONS, NV_DEFINE);
	put(&command, owner, 4);
	put_session(&command);
	put(&command, 0, 2); /* no password */
	put(&command, 14, 2);
	put(&command, index_handle, 4);
	put(&command, SHA256, 2);
	put(&command, NV_ATTRIBUTES, 4);
	put(&command, 0, 2); /* no policy */
	put(&command, VALUE_BYTES, 2);
	return run(fd, &command);
}

static uint32_t write_nv(int fd, const uint8_t value[VALUE_BYTES])
{
	Command command;

	begin(&command, SESSIONS, NV_WRITE);
	put(&command, index_handle, 4);
	put(&command, index_handle, 4);
	put_session(&command);
	put(&command, VALUE_BYTES, 2);
	put_value(&command, value);
	put(&command, 0, 2);
	return run(fd, &command);
}

/* The value is the last thing of the answer's parameters: size of them, its size, itself. */
static uint32_t read_nv(int fd, uint8_t ret_value[VALUE_BYTES])
{
	Command command;
	uint32_t code;

	begin(&command, SESSIONS, NV_READ);
	put(&command, index_handle, 4);
	put(&command, index_handle, 4);
	put_session(&command);
	put(&command, VALUE_BYTES, 2);
	put(&command, 0, 2);
	code = run(fd, &command);
	if (!code && command.used < HEAD_BYTES + 6 + VALUE_BYTES)
		return UINT32_MAX;
	if (!code)
		memcpy(ret_value, command.bytes + HEAD_BYTES + 6, VALUE_BYTES);
	return code;
}

static uint32_t extend(int fd, const uint8_t value[VALUE_BYTES])
{
	Command command;

	begin(&command, SESSIONS, PCR_EXTEND);
	put(&command, PCR, 4);
	put_session(&command);
	put(&command, 1, 4);
	put(&command, SHA256, 2);
	put_value(&command, value);
	return run(fd, &command);
}

/* The digest is the end of the answer. */
static uint32_t read_pcr(int fd, uint8_t ret_value[VALUE_BYTES])
{
	Command command;
	uint32_t code;

	begin(&command, NO_SESSIONS, PCR_READ);
	put(&command, 1, 4);
	put(&command, SHA256, 2);
	put(&command, 3, 1);
	put(&command, UINT64_C(1) << (8 * (2 - PCR / 8) + PCR % 8), 3);
	code = run(fd, &command);
	if (!code && command.used < HEAD_BYTES + VALUE_BYTES)
		return UINT32_MAX;
	if (!code)
		memcpy(ret_value, command.bytes + command.used - VALUE_BYTES, VALUE_BYTES);
	return code;
}

static int fatal(const char *what, uint32_t code)
{
	printf("tpm fatal: %s: 0x%x\n", what, code);
	fflush(stdout);
	return 1;
}

static int watch(int fd, const uint8_t value[VALUE_BYTES])
{
	uint8_t pcr[VALUE_BYTES], now[VALUE_BYTES], nv[VALUE_BYTES];
	unsigned int errors = 0, extends = 0;
	uint32_t code = read_pcr(fd, pcr);

	for (unsigned int t = 1; !code; t++) {
		code = read_pcr(fd, now);
		errors += code || memcmp(now, pcr, sizeof(now));
		code = read_nv(fd, nv);
		errors += code || memcmp(nv, value, sizeof(nv));
		code = extend(fd, value);
		errors += code != 0;
		extends += !code;
		code = read_pcr(fd, now);
		/* An extend always changes it. */
		errors += code || !memcmp(now, pcr, sizeof(now));
		memcpy(pcr, now, sizeof(pcr));
		printf("tpm t=%u extends=%u errors=%u\n", t, extends, errors);
		fflush(stdout);
		poll(NULL, 0, 1000);
	}
	return fatal("PCR", code);
}

int main(void)
{
	int fd = open("/dev/tpm0", O_RDWR | O_CLOEXEC);
	uint8_t value[VALUE_BYTES];
	uint32_t code;

	if (fd < 0)
		return fatal("/dev/tpm0", (uint32_t)errno);
	memcpy(value, nv_value, sizeof(value));
	/* Of an earlier life of this VM it is there. */
	if (read_nv(fd, value)) {
		code = define(fd);
		if (code)
			return fatal("define", code);
		code = write_nv(fd, value);
		if (code)
			return fatal("write", code);
		printf("tpm index=new\n");
	} else {
		printf("tpm index=kept\n");
	}
	return watch(fd, value);
}
