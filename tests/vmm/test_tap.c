/* SPDX-License-Identifier: Apache-2.0 */
/* Taps on a bridge of a network namespace of the test's own; needs root. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "vmm/tap.h"

enum { BRIDGE_MTU = 1400 };

static void make_bridge(const char *name)
{
	AUTO_FD int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq request = { .ifr_mtu = BRIDGE_MTU };

	assert_int_equal(ioctl(fd, SIOCBRADDBR, name), 0);
	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
	assert_int_equal(ioctl(fd, SIOCSIFMTU, &request), 0);
}

static void test_tap_lives_as_long_as_its_descriptor(void **state)
{
	AUTO_FD int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq request = { .ifr_name = "slift0" };
	Error err = ERROR_INIT;
	int first = -1, second = -1;

	(void)state;
	make_bridge("br-test");
	assert_true(tap_check_bridge("br-test", &err));
	if (!tap_open("br-test", &first, &err))
		fail_msg("%s", err.text);
	assert_true(tap_open("br-test", &second, &err));
	assert_true(if_nametoindex("slift0") && if_nametoindex("slift1"));
	assert_int_equal(ioctl(control, SIOCGIFFLAGS, &request), 0);
	assert_true(request.ifr_flags & IFF_UP);
	assert_int_equal(ioctl(control, SIOCGIFMTU, &request), 0);
	assert_int_equal(request.ifr_mtu, BRIDGE_MTU);
	close(first);
	assert_int_equal(if_nametoindex("slift0"), 0);
	assert_true(if_nametoindex("slift1"));
	close(second);
}

static void test_no_bridge(void **state)
{
	Error err = ERROR_INIT;
	int fd = -1;

	(void)state;
	assert_false(tap_open("br-none", &fd, &err));
	assert_int_equal(err.category, ERROR_UNAVAILABLE);
	assert_string_equal(err.text, "there is no bridge br-none");
	assert_false(tap_open("lo", &fd, &err));
	assert_string_equal(err.text, "lo is not a bridge");
	assert_false(tap_check_bridge("a-name-that-is-too-long", &err));
	assert_int_equal(err.category, ERROR_CONFIG);
	assert_int_equal(fd, -1);
	assert_int_equal(if_nametoindex("slift0"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tap_lives_as_long_as_its_descriptor),
		cmocka_unit_test(test_no_bridge),
	};

	if (access("/dev/net/tun", R_OK | W_OK) || unshare(CLONE_NEWNET)) {
		fprintf(stderr, "skipped: needs /dev/net/tun and a network namespace\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
