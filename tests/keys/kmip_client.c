/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The KMIP back-end as a program, for tests that bring the server:
 *
 *   kmip-client ADDRESS PORT NAME CA CERTIFICATE KEY DEADLINE_MS [weak] [user=U] [password=P]
 * [crl=FILE] [link=MS]
 *
 * Reads commands, a line each, and answers each with one line, "ok ..." or "error CATEGORY TEXT":
 * put LABEL HEX, get REFERENCE, destroy REFERENCE, check, describe, time COUNT REFERENCE
 * (microseconds of each get), forget HEX (how often these bytes stand in this process's memory).
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "keys/kmip.h"

enum { LINE_MAX_BYTES = 2048 };

static void read_file(const char *path, Buffer *content)
{
	AUTO_FILE FILE *file = fopen(path, "re");
	char chunk[1024];
	size_t got;
	Error err = ERROR_INIT;

	while (file && (got = fread(chunk, 1, sizeof(chunk), file)) > 0)
		if (!buffer_put(content, chunk, got, &err))
			break;
	explicit_bzero(chunk, sizeof(chunk));
}

static void say_error(const Error *err)
{
	printf("error %s %s\n", error_word(err->category), err->text);
}

static Secret *parse_hex(const char *hex, Error *err)
{
	size_t size = strlen(hex) / 2;
	Secret *secret;

	if (!size || size > SECRET_MAX_BYTES) {
		error_set(err, ERROR_USAGE, "%zu bytes", size);
		return NULL;
	}
	secret = secret_new(size, err);
	if (secret && !hex_decode(hex, secret_bytes(secret), size)) {
		error_set(err, ERROR_USAGE, "no hex");
		secret_free(secret);
		return NULL;
	}
	return secret;
}

static void do_put(KeyProvider *provider, char *label, const char *hex)
{
	Error err = ERROR_INIT;
	char reference[LIMIT_KEY_REFERENCE];
	AUTO_SECRET Secret *blob = parse_hex(hex, &err);

	if (blob && key_provider_put(provider, label, blob, reference, &err))
		printf("ok %s\n", reference);
	else
		say_error(&err);
}

static void do_get(KeyProvider *provider, const char *reference)
{
	Error err = ERROR_INIT;
	char hex[2 * SECRET_MAX_BYTES + 1];
	AUTO_SECRET Secret *blob = key_provider_get(provider, reference, &err);

	if (!blob) {
		say_error(&err);
		return;
	}
	hex_encode(secret_peek(blob), secret_size(blob), hex);
	printf("ok %s\n", hex);
	explicit_bzero(hex, sizeof(hex));
}

static void do_time(KeyProvider *provider, unsigned long count, const char *reference)
{
	Error err = ERROR_INIT;

	fputs("ok", stdout);
	for (unsigned long i = 0; i < count; i++) {
		int64_t start = clock_monotonic_us(&clock_system);
		AUTO_SECRET Secret *blob = key_provider_get(provider, reference, &err);

		if (!blob)
			break;
		printf(" %lld", (long long)(clock_monotonic_us(&clock_system) - start));
	}
	putchar('\n');
}

#if defined(__SANITIZE_ADDRESS__)
/* It keeps what was freed, and reads of its own shadow would stop us. */
static void do_forget(const char *hex)
{
	(void)hex;
	puts("error unavailable built with a sanitizer");
}
#else
/* Bytes arrive inverted, so that the question is not itself an answer. */
static size_t count_in(const uint8_t *bytes, size_t size, const uint8_t *inverted, size_t wanted)
{
	size_t found = 0;

	for (size_t i = 0; i + wanted <= size; i++) {
		size_t same = 0;

		while (same < wanted && (bytes[i + same] ^ inverted[same]) == 0xff)
			same++;
		found += same == wanted;
	}
	return found;
}

/* All writable memory of this process, stack and heap included. */
static void do_forget(const char *hex)
{
	AUTO_FILE FILE *maps = fopen("/proc/self/maps", "re");
	uint8_t inverted[16];
	char line[512], rights[8];
	unsigned long start, end;
	size_t found = 0;

	if (!maps || !hex_decode(hex, inverted, sizeof(inverted))) {
		puts("error usage 16 bytes of hex");
		return;
	}
	while (fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%lx-%lx %7s", &start, &end, rights) != 3 ||
		    strncmp(rights, "rw", 2))
			continue;
		/* The kernel told us where our memory is. */
		found += count_in((const uint8_t *)start, end - start, inverted, sizeof(inverted));
	}
	printf("ok %zu\n", found);
}
#endif

static bool do_command(KeyProvider *provider, char *line)
{
	Error err = ERROR_INIT;
	char *words[3] = { NULL }, *rest = line;
	char text[KMIP_DESCRIPTION_SIZE];

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		words[i] = rest ? strsep(&rest, " ") : NULL;
	if (!strcmp(words[0], "put") && words[2]) {
		do_put(provider, words[1], words[2]);
	} else if (!strcmp(words[0], "get") && words[1]) {
		do_get(provider, words[1]);
	} else if (!strcmp(words[0], "time") && words[2]) {
		do_time(provider, strtoul(words[1], NULL, 10), words[2]);
	} else if (!strcmp(words[0], "forget") && words[1]) {
		do_forget(words[1]);
	} else if (!strcmp(words[0], "describe")) {
		kmip_provider_describe(provider, text);
		printf("ok %s\n", text);
	} else if (!strcmp(words[0], "destroy") && words[1]) {
		if (key_provider_destroy(provider, words[1], &err))
			puts("ok");
		else
			say_error(&err);
	} else if (!strcmp(words[0], "check")) {
		if (key_provider_check(provider, &err))
			puts("ok");
		else
			say_error(&err);
	} else {
		return false;
	}
	return true;
}

static void take_options(KmipConfig *config, char **options, Secret **password, Buffer *crl)
{
	Error err = ERROR_INIT;

	for (; *options; options++) {
		char *value = strchr(*options, '=');

		if (!strcmp(*options, "weak"))
			config->weak_ciphers = true;
		else if (!strncmp(*options, "user=", 5))
			config->username = value + 1;
		else if (!strncmp(*options, "password=", 9) && value[1])
			*password = secret_new_from(value + 1, strlen(value + 1), &err);
		else if (!strncmp(*options, "crl=", 4)) {
			config->check_revocation = true;
			read_file(value + 1, crl);
		} else if (!strncmp(*options, "link=", 5))
			config->link_ms = strtoul(value + 1, NULL, 10);
	}
	config->crl_pem = crl->data;
	config->crl_size = crl->used;
	config->password = *password;
}

int main(int argc, char **argv)
{
	AUTO_BUFFER Buffer ca = BUFFER_INIT(LIMIT_PEM), certificate = BUFFER_INIT(LIMIT_PEM),
			   key = BUFFER_INIT(LIMIT_PEM), crl = BUFFER_INIT(LIMIT_CRL);
	AUTO_SECRET Secret *password = NULL;
	AUTO_KEY_PROVIDER KeyProvider *provider = NULL;
	char line[LINE_MAX_BYTES];
	Error err = ERROR_INIT;

	if (argc < 8)
		return 2;
	signal(SIGPIPE, SIG_IGN);
	setvbuf(stdout, NULL, _IOLBF, 0);
	read_file(argv[4], &ca);
	read_file(argv[5], &certificate);
	read_file(argv[6], &key);

	KmipConfig config = {
		.address = argv[1],
		.port = (uint16_t)strtoul(argv[2], NULL, 10),
		.server_name = argv[3],
		.ca_pem = ca.data,
		.ca_size = ca.used,
		.certificate_pem = certificate.data,
		.certificate_size = certificate.used,
		.key_pem = key.data,
		.key_size = key.used,
		.deadline_ms = strtoul(argv[7], NULL, 10),
	};

	take_options(&config, argv + 8, &password, &crl);
	provider = kmip_provider_new(&config, &err);
	if (!provider) {
		say_error(&err);
		return 1;
	}
	buffer_clear(&key);
	puts("ok");
	while (fgets(line, sizeof(line), stdin)) {
		line[strcspn(line, "\n")] = '\0';
		if (!do_command(provider, line))
			puts("error usage no such command");
		explicit_bzero(line, sizeof(line));
	}
	return 0;
}
