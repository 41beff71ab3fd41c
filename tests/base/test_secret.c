/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/support.h"

#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/secret.h"

/* The address sanitizer makes mlock do nothing, so that there is nothing to see. */
#ifdef __SANITIZE_ADDRESS__
enum { LOCKS_ARE_REAL = 0 };
#else
enum { LOCKS_ARE_REAL = 1 };
#endif

static void a_new_secret_is_zero_and_of_its_size(void **state)
{
	static const uint8_t zeros[SECRET_MAX_BYTES];
	Error err = ERROR_INIT;
	AUTO_SECRET Secret *secret = secret_new(SECRET_MAX_BYTES, &err);

	(void)state;
	assert_non_null(secret);
	assert_int_equal(secret_size(secret), SECRET_MAX_BYTES);
	assert_memory_equal(secret_peek(secret), zeros, SECRET_MAX_BYTES);
	secret_bytes(secret)[0] = 7;
	assert_int_equal(secret_peek(secret)[0], 7);
	secret_free(NULL);
}

static void equal_compares_all_bytes_and_the_size(void **state)
{
	uint8_t bytes[32] = { 0 };
	Error err = ERROR_INIT;
	AUTO_SECRET Secret *a = secret_new_from(bytes, 32, &err);
	AUTO_SECRET Secret *b = secret_new_from(bytes, 32, &err);
	AUTO_SECRET Secret *shorter = secret_new_from(bytes, 31, &err);

	(void)state;
	assert_true(a && b && shorter);
	assert_true(secret_equal(a, b));
	assert_false(secret_equal(a, shorter));
	for (size_t bit = 0; bit < 256; bit++) {
		secret_bytes(b)[bit / 8] ^= (uint8_t)(1U << (bit & 7));
		assert_false(secret_equal(a, b));
		secret_bytes(b)[bit / 8] ^= (uint8_t)(1U << (bit & 7));
	}
	assert_true(secret_equal(b, a));
}

/* Asks the kernel for the flags of the mapping at this address. */
static void read_flags(const void *address, char flags[static 256])
{
	AUTO_FILE FILE *maps = fopen("/proc/self/smaps", "re");
	unsigned long wanted = (unsigned long)(uintptr_t)address, low, high;
	bool inside = false;
	char line[512];

	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%lx-%lx ", &low, &high) == 2)
			inside = wanted >= low && wanted < high;
		if (inside && !strncmp(line, "VmFlags:", 8)) {
			snprintf(flags, 256, "%.240s", line);
			return;
		}
	}
	fail_msg("no mapping at %p", address);
}

static void pages_are_locked_and_not_dumped(void **state)
{
	Error err = ERROR_INIT;
	AUTO_SECRET Secret *secret = secret_new(32, &err);
	char flags[256];

	(void)state;
	assert_non_null(secret);
	read_flags(secret_peek(secret), flags);
	assert_non_null(strstr(flags, " dd "));
	if (LOCKS_ARE_REAL)
		assert_non_null(strstr(flags, " lo "));
}

static bool child_sees_zeros(void *context)
{
	static const uint8_t zeros[32];

	return !memcmp(secret_peek(context), zeros, sizeof(zeros));
}

static void a_forked_child_has_no_copy(void **state)
{
	Error err = ERROR_INIT;
	AUTO_SECRET Secret *secret = secret_new_from("0123456789abcdef0123456789abcdef", 32, &err);

	(void)state;
	assert_non_null(secret);
	assert_true(support_in_child(child_sees_zeros, secret));
	assert_memory_equal(secret_peek(secret), "0123456789abcdef", 16);
}

/* Without the right to lock memory; root has it whatever its limit, so it becomes nobody. */
static bool cannot_lock(void *context)
{
	const struct rlimit none = { 0, 0 };
	Error err = ERROR_INIT;

	(void)context;
	if (setrlimit(RLIMIT_MEMLOCK, &none) || (!getuid() && setuid(65534)))
		return false;
	return !secret_new(32, &err) && err.category == ERROR_IO && strstr(err.text, "lock");
}

static void what_cannot_be_locked_is_refused(void **state)
{
	(void)state;
	if (!LOCKS_ARE_REAL)
		skip();
	assert_true(support_in_child(cannot_lock, NULL));
}

static bool hardened(void *context)
{
	struct rlimit limit;
	Error err = ERROR_INIT;

	(void)context;
	return secret_harden_process(&err) && !getrlimit(RLIMIT_CORE, &limit) && !limit.rlim_max &&
	       !limit.rlim_cur && prctl(PR_GET_DUMPABLE) == 0;
}

static void hardening_forbids_core_dumps(void **state)
{
	(void)state;
	assert_true(support_in_child(hardened, NULL));
	assert_int_not_equal(prctl(PR_GET_DUMPABLE), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_new_secret_is_zero_and_of_its_size),
		cmocka_unit_test(equal_compares_all_bytes_and_the_size),
		cmocka_unit_test(pages_are_locked_and_not_dumped),
		cmocka_unit_test(a_forked_child_has_no_copy),
		cmocka_unit_test(what_cannot_be_locked_is_refused),
		cmocka_unit_test(hardening_forbids_core_dumps),
	};

	return cmocka_run_group_tests_name("base/secret", tests, NULL, NULL);
}
