/* SPDX-License-Identifier: Apache-2.0 */
/* What people type and what they read: parse, text and progress of the command line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "programs/cli/api.h"
#include "programs/cli/parse.h"
#include "programs/cli/progress.h"
#include "programs/cli/text.h"

static void test_u64(void **state)
{
	static const char *const bad[] = { "",
					   " 1",
					   "1 ",
					   "+1",
					   "-1",
					   "0x1",
					   "1.0",
					   "2",
					   "101",
					   "18446744073709551616",
					   "99999999999999999999999" };
	uint64_t value = 0;
	Error err = ERROR_INIT;

	(void)state;
	assert_true(parse_u64("3", "it", 3, 100, &value, &err));
	assert_int_equal(value, 3);
	assert_true(parse_u64("0100", "it", 3, 100, &value, &err));
	assert_int_equal(value, 100);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		value = 42;
		assert_false(parse_u64(bad[i], "it", 3, 100, &value, &err));
		assert_int_equal(err.category, ERROR_USAGE);
		assert_non_null(strstr(err.text, "from 3 to 100"));
		assert_int_equal(value, 42);
	}
}

static void test_rate_good(void **state)
{
	static const struct {
		const char *text;
		uint64_t rate;
	} rows[] = {
		{ "1000", 1000 },	  { "100M", 100000000 },
		{ "100MB/s", 100000000 }, { "100M/s", 100000000 },
		{ "100Mi", 104857600 },	  { "100MiB", 104857600 },
		{ "1.5G", 1500000000 },	  { "0.125M", 125000 },
		{ "10Gbit", 1250000000 }, { "10Gbit/s", 1250000000 },
		{ "8kbit", 1000 },	  { "1T", UINT64_C(1000000000000) },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		uint64_t rate = 0;
		Error err = ERROR_INIT;

		assert_true(parse_rate(rows[i].text, &rate, &err));
		assert_int_equal(rate, rows[i].rate);
	}
}

static void test_rate_bad(void **state)
{
	static const char *const bad[] = {
		"",	 "M",	    "100m",  "100 M", "-1M",	       "1.M",
		".5M",	 "1.2345M", "1e6",   "999",   "1.1T",	       "7kbit",
		"100Mx", "100/s/s", "100BB", "nan",   "9999999999999", "100MBit"
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		uint64_t rate = 7;
		Error err = ERROR_INIT;

		assert_false(parse_rate(bad[i], &rate, &err));
		assert_int_equal(err.category, ERROR_USAGE);
		assert_int_equal(rate, 7);
	}
}

static void test_address(void **state)
{
	char host[PARSE_HOST_SIZE];
	uint16_t port = 0;
	Error err = ERROR_INIT;

	(void)state;
	assert_true(parse_address("south.example:70", host, &port, &err));
	assert_string_equal(host, "south.example");
	assert_int_equal(port, 70);
	assert_true(parse_address("[2001:db8::1]", host, &port, &err));
	assert_string_equal(host, "2001:db8::1");
	assert_int_equal(port, PARSE_PORT_DEFAULT);
	assert_false(parse_address("[]:70", host, &port, &err));
	assert_false(parse_address("", host, &port, &err));
	assert_false(parse_address("a:70:", host, &port, &err));
	assert_false(parse_address("[::1]:", host, &port, &err));
}

static void test_resolve(void **state)
{
	char address[LIMIT_ADDRESS];
	unsigned int count = 0;
	Error err = ERROR_INIT;

	(void)state;
	assert_true(parse_resolve("2001:DB8:0::1", address, &count, &err));
	assert_string_equal(address, "2001:db8::1");
	assert_int_equal(count, 1);
	assert_false(parse_resolve("fe80::1%lo", address, &count, &err));
	assert_int_equal(err.category, ERROR_USAGE);
	assert_false(parse_resolve("", address, &count, &err));
	assert_int_equal(err.category, ERROR_NOT_FOUND);
}

static void test_escape(void **state)
{
	char out[9];

	(void)state;
	text_escape("plain", out, sizeof(out));
	assert_string_equal(out, "plain");
	text_escape("a\x1b"
		    "b\n\x7f",
		    out, sizeof(out));
	assert_string_equal(out, "a\\x1bb");
	text_escape("123456\xc3", out, sizeof(out));
	assert_string_equal(out, "123456");
	text_escape("123456789", out, sizeof(out));
	assert_string_equal(out, "12345678");
	text_escape(NULL, out, sizeof(out));
	assert_string_equal(out, "-");
	text_escape("x", out, 1);
	assert_string_equal(out, "");
}

static void assert_duration(double milliseconds, const char *expected)
{
	char text[TEXT_NUMBER_SIZE];

	text_duration(milliseconds, text);
	assert_string_equal(text, expected);
}

static void test_numbers(void **state)
{
	char text[TEXT_NUMBER_SIZE];

	(void)state;
	assert_duration(0, "0 ms");
	assert_duration(0.43, "0.43 ms");
	assert_duration(41.6, "42 ms");
	assert_duration(999.7, "1.00 s");
	assert_duration(12340, "12.3 s");
	assert_duration(119000, "119 s");
	assert_duration(200000, "3 min 20 s");
	assert_duration(7260000, "2 h 1 min");
	assert_duration(1e300, "5124095576030 h 25 min");
	text_bytes(1023, text);
	assert_string_equal(text, "1023 bytes");
	text_bytes(UINT64_C(1536) << 20, text);
	assert_string_equal(text, "1.50 GiB");
	text_bytes(UINT64_MAX, text);
	assert_string_equal(text, "16384 PiB");
	text_rate(118000000, text);
	assert_string_equal(text, "118 MB/s");
	text_time(0, text);
	assert_string_equal(text, "1970-01-01 00:00:00");
	text_time(UINT64_MAX, text);
	assert_string_equal(text, "-");
}

static json_t *sample(const char *phase, json_t *percent, json_int_t iteration)
{
	json_t *migration =
		json_pack("{s:s, s:o, s:I, s:I, s:f, s:I}", "phase", phase, "percent", percent,
			  "iteration", iteration, "rate_bytes_s", (json_int_t)1200000000,
			  "forecast_total_ms", 90000.5, "forecast_downtime_ms", (json_int_t)40);

	assert_non_null(migration);
	return migration;
}

static void update(Progress *progress, json_t *migration)
{
	progress_update(progress, migration);
	json_decref(migration);
}

static void test_progress_grows_only(void **state)
{
	Progress progress = { 0 };

	(void)state;
	update(&progress, sample("transfer", json_integer(50), 3));
	update(&progress, sample("prepare", json_integer(10), 1));
	assert_int_equal(progress.phase, 2);
	assert_int_equal(progress.percent, 50);
	assert_int_equal(progress.iteration, 3);
	update(&progress, sample("nonsense", json_real(1e300), -1));
	assert_int_equal(progress.phase, 2);
	assert_int_equal(progress.percent, 100);
	assert_int_equal(progress.iteration, 3);
	update(&progress, json_object());
	assert_int_equal(progress.percent, 100);
	assert_false(progress.has_total);
}

static json_t *disks(json_int_t done, json_int_t total)
{
	return json_pack("{s:s, s:[{s:I, s:I}, {s:I, s:I}]}", "phase", "transfer", "disks", "done_bytes",
			 done, "total_bytes", total, "done_bytes", (json_int_t)0, "total_bytes",
			 (json_int_t)300);
}

static void test_progress_of_disks(void **state)
{
	Progress progress = { 0 };
	char line[PROGRESS_LINE_SIZE];

	(void)state;
	update(&progress, sample("prepare", json_integer(0), 0));
	progress_format(&progress, 80, line);
	assert_null(strstr(line, "disks"));
	update(&progress, disks(50, 100));
	progress_format(&progress, 80, line);
	assert_non_null(strstr(line, "disks  12 %"));
	/* The guest writes: the total grows. What is odd does not count. */
	update(&progress, disks(60, 500));
	update(&progress, disks(600, 500));
	update(&progress, disks(-1, -1));
	assert_int_equal(progress.disks_percent, 12);
	update(&progress, disks(100, 100));
	assert_int_equal(progress.disks_percent, 25);
}

static void test_progress_ends(void **state)
{
	Progress progress = { 0 };
	char line[PROGRESS_LINE_SIZE];

	(void)state;
	update(&progress, sample("transfer", json_integer(50), 3));
	update(&progress, json_pack("{s:s, s:s}", "phase", "done", "state", "done"));
	progress_format(&progress, 80, line);
	assert_int_equal(strncmp(line, "done        100 %", 17), 0);
	update(&progress, json_pack("{s:s}", "state", "cancelled"));
	progress_format(&progress, 80, line);
	assert_int_equal(strncmp(line, "cancelled   100 %", 17), 0);
	update(&progress, json_pack("{s:s}", "state", "\x1b[2J"));
	progress_format(&progress, 80, line);
	assert_int_equal(strncmp(line, "cancelled   100 %", 17), 0);
}

static void test_progress_fits(void **state)
{
	Progress progress = { 0 };
	char line[PROGRESS_LINE_SIZE];

	(void)state;
	update(&progress, sample("switchover", json_integer(100), INT64_MAX));
	for (unsigned int columns = 0; columns < 400; columns++) {
		progress_format(&progress, columns, line);
		assert_true(strlen(line) < (columns < 20 ? 20 : columns));
		assert_non_null(strstr(line, "switchover  100 %"));
	}
	assert_non_null(strstr(line, "[==============================]"));
	assert_non_null(strstr(line, "total ~90.0 s  downtime ~40 ms"));
	progress_format(&progress, 40, line);
	assert_null(strstr(line, "["));
	assert_non_null(strstr(line, "GB/s"));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_u64),	      cmocka_unit_test(test_rate_good),
		cmocka_unit_test(test_rate_bad),      cmocka_unit_test(test_address),
		cmocka_unit_test(test_resolve),	      cmocka_unit_test(test_escape),
		cmocka_unit_test(test_numbers),	      cmocka_unit_test(test_progress_grows_only),
		cmocka_unit_test(test_progress_ends), cmocka_unit_test(test_progress_fits),
		cmocka_unit_test(test_progress_of_disks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
