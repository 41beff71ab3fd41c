/* SPDX-License-Identifier: Apache-2.0 */
/* For fuzz_guard.c and fuzz_guard_agreed.c. The first: no pieces, its choice of side, mode and
 * channel, the channel. */
#include <stdio.h>

#include "tests/fuzz/make_seeds.h"
#include "tests/guard/cases.h"
#include "tests/qemustream/multifd_samples.h"

static void write_seed(const char *root, const char *name, uint8_t choice, const Buffer *bytes)
{
	AUTO_BUILD Build seed = BUILD_INIT;

	put_u8(&seed, 0);
	put_u8(&seed, choice);
	put_bytes(&seed, bytes->data, bytes->used);
	seeds_write(root, "guard", name, seed.bytes.data, seed.bytes.used);
}

static void write_main(const char *root)
{
	AUTO_BUILD Build build = BUILD_INIT;

	put_sample_main(&build);
	write_seed(root, "main", 0x08, &build.bytes);
	build.bytes.used = 0;
	put_begin(&build);
	put_subsection(&build, "configuration/uuid", 1);
	put_bytes(&build, sample_uuid, sizeof(sample_uuid));
	put_sample_ram_start(&build, SAMPLE_ACPI_PAGES + 1);
	put_part(&build, RAM_ID);
	put_zero(&build, "pc.ram", 0);
	put_eos(&build);
	put_footer(&build, RAM_ID);
	put_sample_finish(&build);
	write_seed(root, "main-small", 0x00, &build.bytes);
	write_seed(root, "main-warn", 0x02, &build.bytes);
	build.bytes.data[13] ^= 1; /* of the machine's name */
	write_seed(root, "machine", 0x00, &build.bytes);
	write_seed(root, "machine-warn", 0x02, &build.bytes);
	write_seed(root, "no-stream", 0x00, &(Buffer){ .data = build.bytes.data + 1, .used = 8 });
}

static void write_channels(const char *root)
{
	static const uint8_t answers[] = { 0, 2, 0, 4, 0, 0, 0, 1, 0, 1, 0, 4, 0, 0, 0, 0 };
	AUTO_BUFFER Buffer bytes = BUFFER_INIT(1 << 20);
	AUTO_BUILD Build back = BUILD_INIT;

	sample_multifd_initial(&bytes, 1);
	sample_multifd_sync(&bytes, 0);
	sample_multifd_pages(&bytes, "pc.ram", 1, 2, 1);
	sample_multifd_sync(&bytes, 2);
	write_seed(root, "multifd", 0x0c, &bytes);
	put_bytes(&back, answers, sizeof(answers));
	write_seed(root, "return", 0x01, &back.bytes);
}

/* --- fuzz_guard_agreed.c: one byte more, what was agreed --- */

enum { CHOICE_SOURCE = 0x01, CHANNEL_SHIFT = 2, CHOICE_BEFORE = 0x10, CHOICE_RESUME = 0x20 };

static void write_agreed(const char *root, const char *name, unsigned int choice, uint32_t agreed,
			 const Buffer *bytes)
{
	AUTO_BUILD Build seed = BUILD_INIT;

	put_u8(&seed, 0);
	put_u8(&seed, (uint8_t)choice);
	put_u8(&seed, (uint8_t)agreed);
	put_bytes(&seed, bytes->data, bytes->used);
	seeds_write(root, "guard_agreed", name, seed.bytes.data, seed.bytes.used);
}

static void write_case(const char *root, const Case *c, size_t number, bool is_good)
{
	const unsigned int choice = (c->side == GUARD_SOURCE ? CHOICE_SOURCE : 0) |
				    c->channel << CHANNEL_SHIFT | (c->before ? CHOICE_BEFORE : 0) |
				    (c->resumes ? CHOICE_RESUME : 0);
	AUTO_BUILD Build build = BUILD_INIT;
	char name[32];

	(is_good ? c->good : c->bad)(&build);
	snprintf(name, sizeof(name), "case-%02zu-%s", number, is_good ? "good" : "bad");
	write_agreed(root, name, choice, c->agreed, &build.bytes);
}

static bool is_new(size_t number)
{
	const Case *c = &agreed_cases[number];

	for (size_t i = 0; i < number; i++)
		if (agreed_cases[i].good == c->good && agreed_cases[i].agreed == c->agreed &&
		    agreed_cases[i].before == c->before)
			return false;
	return true;
}

/* The streams that the rules are tested with: what breaks one, and what does not. */
static void write_cases(const char *root)
{
	for (size_t i = 0; i < agreed_cases_count; i++) {
		write_case(root, &agreed_cases[i], i, false);
		if (is_new(i))
			write_case(root, &agreed_cases[i], i, true);
	}
}

static void write_resumed(const char *root)
{
	AUTO_BUILD Build build = BUILD_INIT;

	put_command(&build, COMMAND_RECV_BITMAP, "\6pc.ram", 7);
	put_command(&build, COMMAND_POSTCOPY_RESUME, NULL, 0);
	put_part(&build, RAM_ID);
	put_zero(&build, "pc.ram", 0);
	put_eos(&build);
	put_footer(&build, RAM_ID);
	put_end(&build, RAM_ID);
	put_eos(&build);
	put_footer(&build, RAM_ID);
	put_eof(&build);
	write_agreed(root, "resumed", CHOICE_BEFORE | CHOICE_RESUME,
		     GUARD_AGREED(GUARD_POSTCOPY) | GUARD_AGREED(GUARD_RECOVERY), &build.bytes);
}

void seeds_write_guard(const char *root)
{
	write_cases(root);
	write_resumed(root);
	write_main(root);
	write_channels(root);
}
