/* SPDX-License-Identifier: Apache-2.0 */
#include "base/address.h"

#include <arpa/inet.h>
#include <string.h>

bool address_parse(const char *text, uint16_t port, struct sockaddr_storage *ret_to,
		   socklen_t *ret_size, Error *err)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };

	memset(ret_to, 0, sizeof(*ret_to));
	if (inet_pton(AF_INET, text, &v4.sin_addr) == 1) {
		memcpy(ret_to, &v4, sizeof(v4));
		*ret_size = sizeof(v4);
		return true;
	}
	if (inet_pton(AF_INET6, text, &v6.sin6_addr) == 1) {
		memcpy(ret_to, &v6, sizeof(v6));
		*ret_size = sizeof(v6);
		return true;
	}
	return error_set(err, ERROR_CONFIG, "\"%.64s\" is not a numeric IP address", text);
}
