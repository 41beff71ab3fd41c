/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

static bool set_name(struct ifreq *request, const char *name, Error *err)
{
	*request = (struct ifreq){ 0 };
	if (strlen(name) >= IFNAMSIZ)
		return error_set(err, ERROR_CONFIG,
				 "interface name %s is longer than %d characters", name,
				 IFNAMSIZ - 1);
	memcpy(request->ifr_name, name, strlen(name) + 1);
	return true;
}

static bool check_bridge(int control_fd, const char *bridge, Error *err)
{
	struct ethtool_drvinfo info = { .cmd = ETHTOOL_GDRVINFO };
	struct ifreq request;

	if (!set_name(&request, bridge, err))
		return false;
	request.ifr_data = (char *)&info;
	if (ioctl(control_fd, SIOCETHTOOL, &request) && errno == ENODEV)
		return error_set(err, ERROR_UNAVAILABLE, "there is no bridge %s", bridge);
	if (strcmp(info.driver, "bridge"))
		return error_set(err, ERROR_UNAVAILABLE, "%s is not a bridge", bridge);
	return true;
}

/* A bridge without an address of its own takes the lowest of its ports': a random one of ours would
 * often be the lowest, and the host's own connections through the bridge would stall until every
 * neighbour has asked again. 0xfe in front is above all that are handed out, and 0xff behind it above
 * nearly all of those that other virtual interfaces draw. */
static bool raise_address(int control_fd, const char *tap, Error *err)
{
	struct ifreq request;

	if (!set_name(&request, tap, err))
		return false;
	if (ioctl(control_fd, SIOCGIFHWADDR, &request))
		return error_set_errno(err, ERROR_IO, errno, "cannot ask the address of %s", tap);
	request.ifr_hwaddr.sa_data[0] = (char)0xfe;
	request.ifr_hwaddr.sa_data[1] = (char)0xff;
	if (ioctl(control_fd, SIOCSIFHWADDR, &request))
		return error_set_errno(err, ERROR_IO, errno, "cannot set the address of %s", tap);
	return true;
}

static int open_control(void)
{
	return socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
}

bool tap_check_bridge(const char *bridge, Error *err)
{
	AUTO_FD int control_fd = open_control();

	if (control_fd < 0)
		return error_set_errno(err, ERROR_IO, errno, "cannot make a socket");
	return check_bridge(control_fd, bridge, err);
}

static bool copy_mtu(int control_fd, const char *bridge, const char *tap, Error *err)
{
	struct ifreq request;

	if (!set_name(&request, bridge, err))
		return false;
	if (ioctl(control_fd, SIOCGIFMTU, &request))
		return error_set_errno(err, ERROR_IO, errno, "cannot ask the MTU of %s", bridge);
	memcpy(request.ifr_name, tap, IFNAMSIZ);
	if (ioctl(control_fd, SIOCSIFMTU, &request))
		return error_set_errno(err, ERROR_IO, errno, "cannot set the MTU of %s", tap);
	return true;
}

static bool join_bridge(int control_fd, const char *bridge, const char *tap, Error *err)
{
	struct ifreq request;

	if (!set_name(&request, bridge, err))
		return false;
	request.ifr_ifindex = (int)if_nametoindex(tap);
	if (!request.ifr_ifindex || ioctl(control_fd, SIOCBRADDIF, &request))
		return error_set_errno(err, ERROR_IO, errno, "cannot put %s on bridge %s", tap,
				       bridge);
	return true;
}

static bool bring_up(int control_fd, const char *tap, Error *err)
{
	struct ifreq request;

	if (!set_name(&request, tap, err))
		return false;
	if (ioctl(control_fd, SIOCGIFFLAGS, &request))
		return error_set_errno(err, ERROR_IO, errno, "cannot ask the flags of %s", tap);
	request.ifr_flags = (short)(request.ifr_flags | IFF_UP);
	if (ioctl(control_fd, SIOCSIFFLAGS, &request))
		return error_set_errno(err, ERROR_IO, errno, "cannot bring up %s", tap);
	return true;
}

bool tap_open(const char *bridge, int *ret_fd, Error *err)
{
	AUTO_FD int control_fd = open_control();
	AUTO_FD int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	struct ifreq request;

	if (control_fd < 0)
		return error_set_errno(err, ERROR_IO, errno, "cannot make a socket");
	if (fd < 0)
		return error_set_errno(err, ERROR_UNAVAILABLE, errno, "cannot open /dev/net/tun");
	if (!check_bridge(control_fd, bridge, err) || !set_name(&request, "slift%d", err))
		return false;
	request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
	if (ioctl(fd, TUNSETIFF, &request))
		return error_set_errno(err, errno == EPERM ? ERROR_DENIED : ERROR_IO, errno,
				       "cannot make a tap");
	/* The kernel has put the name that it chose into the request. */
	if (!raise_address(control_fd, request.ifr_name, err) ||
	    !copy_mtu(control_fd, bridge, request.ifr_name, err) ||
	    !join_bridge(control_fd, bridge, request.ifr_name, err) ||
	    !bring_up(control_fd, request.ifr_name, err))
		return false;
	*ret_fd = TAKE_FD(fd);
	return true;
}
