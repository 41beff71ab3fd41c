/* SPDX-License-Identifier: Apache-2.0 */
/* Numeric IP addresses: no name is ever resolved. */
#ifndef SEALIFT_BASE_ADDRESS_H
#define SEALIFT_BASE_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/error.h"

/* IPv4 or IPv6 in its text form (inet_pton(3)), without brackets or a zone. *ret_to is zeroed first,
 * so that all of it is defined. ERROR_CONFIG. */
MUST_CHECK bool address_parse(const char *text, uint16_t port, struct sockaddr_storage *ret_to,
			      socklen_t *ret_size, Error *err);

#endif
