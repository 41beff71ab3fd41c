/* SPDX-License-Identifier: Apache-2.0 */
#include "programs/cli/parse.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <netdb.h>
#include <string.h>
#include <sys/socket.h>

typedef struct RateUnit {
	const char *suffix;
	uint64_t multiplier;
	uint64_t divisor; /* 8 for bits */
} RateUnit;

static const RateUnit rate_units[] = {
	{ "", 1, 1 },
	{ "k", 1000, 1 },
	{ "K", 1000, 1 },
	{ "M", 1000000, 1 },
	{ "G", 1000000000, 1 },
	{ "T", UINT64_C(1000000000000), 1 },
	{ "Ki", UINT64_C(1) << 10, 1 },
	{ "Mi", UINT64_C(1) << 20, 1 },
	{ "Gi", UINT64_C(1) << 30, 1 },
	{ "Ti", UINT64_C(1) << 40, 1 },
	{ "bit", 1, 8 },
	{ "kbit", 1000, 8 },
	{ "Kbit", 1000, 8 },
	{ "Mbit", 1000000, 8 },
	{ "Gbit", 1000000000, 8 },
	{ "Tbit", UINT64_C(1000000000000), 8 },
};

/* Reads up to max_digits decimal digits; false if there is none or there are more. */
static bool read_digits(const char **text, unsigned int max_digits, uint64_t *ret_value,
			unsigned int *ret_digits)
{
	uint64_t value = 0;
	unsigned int digits = 0;

	for (; isdigit((unsigned char)**text); (*text)++) {
		if (++digits > max_digits)
			return false;
		value = value * 10 + (uint64_t)(**text - '0');
	}
	*ret_value = value;
	*ret_digits = digits;
	return digits > 0;
}

bool parse_u64(const char *text, const char *what, uint64_t min, uint64_t max, uint64_t *ret_value,
	       Error *err)
{
	const char *end = text;
	unsigned int digits;
	uint64_t value;

	/* 19 digits always fit 64 bits. */
	if (!read_digits(&end, 19, &value, &digits) || *end || value < min || value > max)
		return error_set(err, ERROR_USAGE,
				 "%s is \"%.40s\"; it must be a number from %llu to %llu", what,
				 text, (unsigned long long)min, (unsigned long long)max);
	*ret_value = value;
	return true;
}

/* The number in thousandths. */
static bool read_thousandths(const char **text, uint64_t *ret_value)
{
	uint64_t whole, fraction = 0;
	unsigned int digits = 0;

	if (!read_digits(text, 12, &whole, &digits))
		return false;
	digits = 0;
	if (**text == '.') {
		(*text)++;
		if (!read_digits(text, 3, &fraction, &digits))
			return false;
	}
	for (; digits < 3; digits++)
		fraction *= 10;
	*ret_value = whole * 1000 + fraction;
	return true;
}

static const RateUnit *find_unit(const char *suffix)
{
	size_t length = strlen(suffix);

	if (length >= 2 && !strcmp(suffix + length - 2, "/s"))
		length -= 2;
	/* "100MB/s" and "100MiB/s" are what people write for 100M and 100Mi. */
	if (length >= 1 && suffix[length - 1] == 'B')
		length--;
	for (size_t i = 0; i < ARRAY_SIZE(rate_units); i++)
		if (strlen(rate_units[i].suffix) == length &&
		    !strncmp(rate_units[i].suffix, suffix, length))
			return &rate_units[i];
	return NULL;
}

bool parse_rate(const char *text, uint64_t *ret_bytes_per_second, Error *err)
{
	const char *rest = text;
	const RateUnit *unit = NULL;
	uint64_t thousandths = 0;
	double rate = 0;

	if (read_thousandths(&rest, &thousandths))
		unit = find_unit(rest);
	if (!unit)
		return error_set(
			err, ERROR_USAGE,
			"the bandwidth is \"%.40s\"; write it like 100M (bytes a second) or 10Gbit",
			text);
	rate = (double)thousandths / 1000 * (double)unit->multiplier / (double)unit->divisor;
	if (rate < (double)PARSE_RATE_MIN || rate > (double)PARSE_RATE_MAX)
		return error_set(
			err, ERROR_USAGE,
			"the bandwidth is \"%.40s\"; it must be from 1k to 1T bytes a second",
			text);
	*ret_bytes_per_second = (uint64_t)rate;
	return true;
}

static bool split_brackets(const char *text, const char **ret_host, size_t *ret_length,
			   const char **ret_port, Error *err)
{
	const char *end = strchr(text, ']');

	if (!end || (end[1] && end[1] != ':'))
		return error_set(err, ERROR_USAGE,
				 "the address is \"%.80s\"; write [IPV6] or [IPV6]:PORT", text);
	*ret_host = text + 1;
	*ret_length = (size_t)(end - text - 1);
	*ret_port = end[1] ? end + 2 : NULL;
	return true;
}

static bool split_plain(const char *text, const char **ret_host, size_t *ret_length,
			const char **ret_port, Error *err)
{
	const char *colon = strchr(text, ':');

	if (colon && strchr(colon + 1, ':'))
		return error_set(
			err, ERROR_USAGE,
			"the address is \"%.80s\"; put an IPv6 address in brackets: [%.80s]", text,
			text);
	*ret_host = text;
	*ret_length = colon ? (size_t)(colon - text) : strlen(text);
	*ret_port = colon ? colon + 1 : NULL;
	return true;
}

bool parse_address(const char *text, char ret_host[PARSE_HOST_SIZE], uint16_t *ret_port, Error *err)
{
	const char *host = NULL, *port = NULL;
	uint64_t number = PARSE_PORT_DEFAULT;
	size_t length = 0;

	if (!(text[0] == '[' ? split_brackets : split_plain)(text, &host, &length, &port, err))
		return false;
	if (!length || length >= PARSE_HOST_SIZE)
		return error_set(err, ERROR_USAGE,
				 "the host name has %zu bytes; 1 to %d are possible", length,
				 PARSE_HOST_SIZE - 1);
	if (port && !parse_u64(port, "the port", 1, UINT16_MAX, &number, err))
		return false;
	memcpy(ret_host, host, length);
	ret_host[length] = '\0';
	*ret_port = (uint16_t)number;
	return true;
}

static bool format_address(const struct addrinfo *info, char ret_address[LIMIT_ADDRESS], Error *err)
{
	char text[LIMIT_ADDRESS];
	int failure = getnameinfo(info->ai_addr, info->ai_addrlen, text, sizeof(text), NULL, 0,
				  NI_NUMERICHOST);

	if (failure)
		return error_set(err, ERROR_IO, "cannot write an address: %s",
				 gai_strerror(failure));
	if (strchr(text, '%'))
		return error_set(err, ERROR_USAGE,
				 "%s is a link-local address, which cannot be used", text);
	memcpy(ret_address, text, sizeof(text));
	return true;
}

bool parse_resolve(const char *host, char ret_address[LIMIT_ADDRESS], unsigned int *ret_count,
		   Error *err)
{
	struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
	struct addrinfo *list = NULL;
	unsigned int count = 0;
	int failure = getaddrinfo(host, NULL, &hints, &list);
	bool formatted;

	if (failure)
		return error_set(err, ERROR_NOT_FOUND, "cannot resolve \"%.80s\": %s", host,
				 gai_strerror(failure));
	for (const struct addrinfo *info = list; info; info = info->ai_next)
		count++;
	formatted = format_address(list, ret_address, err);
	freeaddrinfo(list);
	*ret_count = count;
	return formatted;
}
