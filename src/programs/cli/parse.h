/* SPDX-License-Identifier: Apache-2.0 */
/* What people type as numbers, rates and addresses. Every refusal is ERROR_USAGE and names the
 * value and its bounds. */
#ifndef SEALIFT_PROGRAMS_CLI_PARSE_H
#define SEALIFT_PROGRAMS_CLI_PARSE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bounds.h"
#include "base/cleanup.h"
#include "base/error.h"

enum { PARSE_HOST_SIZE = 256, PARSE_PORT_DEFAULT = 7468 };

/* Bytes a second that --bandwidth takes. */
#define PARSE_RATE_MIN UINT64_C(1000)
#define PARSE_RATE_MAX UINT64_C(1000000000000)

/* Decimal digits only. `what` names the value in the error. */
MUST_CHECK bool parse_u64(const char *text, const char *what, uint64_t min, uint64_t max,
			  uint64_t *ret_value, Error *err);

/* "100M" is 100,000,000 bytes a second; k, M, G, T are decimal, Ki, Mi, Gi, Ti binary, and kbit,
 * Mbit, Gbit, Tbit count bits. Up to three decimals; "/s" may follow. */
MUST_CHECK bool parse_rate(const char *text, uint64_t *ret_bytes_per_second, Error *err);

/* "HOST", "HOST:PORT", "[IPV6]" or "[IPV6]:PORT". */
MUST_CHECK bool parse_address(const char *text, char ret_host[PARSE_HOST_SIZE], uint16_t *ret_port,
			      Error *err);

/* The first numeric address of a host by getaddrinfo(3), and how many there are. ERROR_NOT_FOUND
 * if the name does not resolve; link-local addresses are ERROR_USAGE, since they need an interface
 * that the API has no place for. */
MUST_CHECK bool parse_resolve(const char *host, char ret_address[LIMIT_ADDRESS],
			      unsigned int *ret_count, Error *err);

#endif
