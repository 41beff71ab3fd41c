/* SPDX-License-Identifier: Apache-2.0 */
#include "programs/gate/tcp.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>

void tcp_tune(int fd)
{
	const struct {
		int level, name, value;
	} options[] = {
		{ IPPROTO_TCP, TCP_NODELAY, 1 },
		{ SOL_SOCKET, SO_KEEPALIVE, 1 },
		{ IPPROTO_TCP, TCP_KEEPIDLE, 5 },
		{ IPPROTO_TCP, TCP_KEEPINTVL, 5 },
		{ IPPROTO_TCP, TCP_KEEPCNT, 2 },
		{ IPPROTO_TCP, TCP_USER_TIMEOUT, LIMIT_SILENCE_MS },
	};

	for (size_t i = 0; i < ARRAY_SIZE(options); i++)
		(void)setsockopt(fd, options[i].level, options[i].name, &options[i].value,
				 sizeof(int));
}

uint64_t tcp_rtt_us(int fd)
{
	struct tcp_info info = { 0 };
	socklen_t size = sizeof(info);

	return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) ? 0 : info.tcpi_rtt;
}

bool tcp_address(const struct sockaddr_storage *from, PeerAddress *ret_address)
{
	PeerAddress address = { .key = { [10] = 0xff, [11] = 0xff } };

	if (from->ss_family == AF_INET) {
		struct sockaddr_in v4;

		memcpy(&v4, from, sizeof(v4));
		memcpy(address.key + 12, &v4.sin_addr, 4);
	} else if (from->ss_family == AF_INET6) {
		struct sockaddr_in6 v6;

		memcpy(&v6, from, sizeof(v6));
		memcpy(address.key, &v6.sin6_addr, 16);
	} else {
		return false;
	}
	if (!memcmp(address.key, (const uint8_t[12]){ [10] = 0xff, [11] = 0xff }, 12)) {
		inet_ntop(AF_INET, address.key + 12, address.text, sizeof(address.text));
	} else {
		inet_ntop(AF_INET6, address.key, address.text, sizeof(address.text));
		/* One who has a /64 has all its addresses: they count as one. */
		memset(address.key + 8, 0, 8);
	}
	*ret_address = address;
	return true;
}

