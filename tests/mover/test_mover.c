/* SPDX-License-Identifier: Apache-2.0 */
/* Two real movers, wired as the engines would: does everything arrive, byte by byte? */
#include "tests/support/support.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "crypto/aead.h"
#include "tests/mover/rig.h"

enum { MIB = 1 << 20 };

static RigOptions plain_options(void)
{
	return (RigOptions){ .path = rig_program(), .aead = "openssl", .sealed = true, .channels = 1 };
}

static void start_streams(Rig *rig, RigStream *writers, RigStream *readers, uint64_t bytes,
			  MoverSide from)
{
	for (unsigned int i = 0; i < rig->options.channels; i++) {
		uint64_t seed = 77 + 1000 * (uint64_t)from + i;

		writers[i] = (RigStream){ .fd = rig->qemu[from][i], .seed = seed, .bytes = bytes };
		readers[i] = (RigStream){ .fd = rig->qemu[!from][i], .seed = seed, .bytes = bytes };
		rig_read_start(&readers[i]);
		rig_write_start(&writers[i]);
	}
}

static void check_streams(const Rig *rig, RigStream *writers, RigStream *readers)
{
	for (unsigned int i = 0; i < rig->options.channels; i++) {
		rig_stream_join(&writers[i]);
		rig_stream_join(&readers[i]);
		assert_true(writers[i].clean);
		assert_true(readers[i].clean);
		assert_true(readers[i].same);
		assert_int_equal(readers[i].moved, writers[i].bytes);
	}
}

static void check_accounts(const Rig *rig, uint64_t forth, uint64_t back)
{
	const MoverStats *s = &rig->movers[MOVER_SOURCE].stats;
	const MoverStats *d = &rig->movers[MOVER_DESTINATION].stats;

	assert_int_equal(s->stream_out_bytes, forth);
	assert_int_equal(d->stream_in_bytes, forth);
	assert_int_equal(s->stream_in_bytes, back);
	assert_int_equal(d->stream_out_bytes, back);
	assert_int_equal(s->wire_out_bytes, d->wire_in_bytes);
	assert_int_equal(s->wire_in_bytes, d->wire_out_bytes);
	assert_int_equal(s->records_out, d->records_in);
	assert_true(s->wire_out_bytes > forth && s->wire_out_bytes < forth + forth / 50 + 4096);
	assert_true(s->first_byte_us && s->last_byte_us >= s->first_byte_us);
	assert_true(s->cpu_us > 0 && d->cpu_us > 0);
	assert_true(s->peak_memory_bytes > 0);
#ifndef __SANITIZE_ADDRESS__
	assert_true(s->peak_memory_bytes < (32 + 2 * (uint64_t)rig->options.channels) * MIB);
	assert_true(d->peak_memory_bytes < (32 + 2 * (uint64_t)rig->options.channels) * MIB);
#endif
}

static void move_both_ways(const RigOptions *options, uint64_t forth, uint64_t back)
{
	Rig rig;
	RigStream writers[LIMIT_CHANNELS], readers[LIMIT_CHANNELS];
	RigStream back_writers[LIMIT_CHANNELS], back_readers[LIMIT_CHANNELS];

	rig_start(&rig, options);
	rig_connect_all(&rig);
	start_streams(&rig, writers, readers, forth, MOVER_SOURCE);
	start_streams(&rig, back_writers, back_readers, back, MOVER_DESTINATION);
	check_streams(&rig, writers, readers);
	check_streams(&rig, back_writers, back_readers);
	for (int side = 0; side < RIG_SIDES; side++) {
		rig_wait(&rig, (MoverSide)side, &rig.movers[side].done);
		for (unsigned int i = 0; i < options->channels; i++) {
			bool out = side == MOVER_SOURCE;

			assert_true(rig.movers[side].ended[0][i] && rig.movers[side].ended[1][i]);
			assert_int_equal(rig.movers[side].ended_bytes[out][i], forth);
			assert_int_equal(rig.movers[side].ended_bytes[!out][i], back);
		}
	}
	check_accounts(&rig, forth * options->channels, back * options->channels);
	rig_stop(&rig);
}

static void test_moves_everything(void **state)
{
	static const char *const names[] = { "openssl", "ipsec-mb" };

	(void)state;
	for (size_t p = 0; p < ARRAY_SIZE(names); p++) {
		for (int sealed = 0; sealed < 2; sealed++) {
			RigOptions options = plain_options();

			if (!aead_provider_by_name(names[p]))
				continue;
			options.aead = names[p];
			options.sealed = sealed;
			options.channels = 3;
			move_both_ways(&options, 20 * MIB + 4104, 1 * MIB + 24);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_moves_everything),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
