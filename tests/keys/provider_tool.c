/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/keys/provider_tool.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"

enum { LINE_MAX_BYTES = 2048, SOUGHT_BYTES = 16 };

void provider_tool_read(const char *path, Buffer *content)
{
	AUTO_FILE FILE *file = fopen(path, "re");
	char chunk[1024];
	size_t got;
	Error err = ERROR_INIT;

	if (!file)
		return;
	setvbuf(file, NULL, _IONBF, 0);
	while ((got = fread(chunk, 1, sizeof(chunk), file)) > 0)
		if (!buffer_put(content, chunk, got, &err))
			break;
	explicit_bzero(chunk, sizeof(chunk));
}

void provider_tool_say_error(const Error *err)
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

static void do_put(KeyProvider *provider, char **words)
{
	Error err = ERROR_INIT;
	char reference[LIMIT_KEY_REFERENCE] = "";
	AUTO_SECRET Secret *blob = parse_hex(words[2], &err);

	if (blob && key_provider_put(provider, words[1], blob, reference, &err))
		printf("ok %s\n", reference);
	else
		printf("error %s stored=%s %s\n", error_word(err.category),
		       provider->nothing_stored ? "nothing"
		       : reference[0]		? reference
						: "unknown",
		       err.text);
}

static void do_get(KeyProvider *provider, char **words)
{
	Error err = ERROR_INIT;
	char hex[2 * SECRET_MAX_BYTES + 1];
	AUTO_SECRET Secret *blob = key_provider_get(provider, words[1], &err);

	if (!blob) {
		provider_tool_say_error(&err);
		return;
	}
	hex_encode(secret_peek(blob), secret_size(blob), hex);
	printf("ok %s\n", hex);
	explicit_bzero(hex, sizeof(hex));
}

static void do_time(KeyProvider *provider, char **words)
{
	Error err = ERROR_INIT;

	fputs("ok", stdout);
	for (unsigned long left = strtoul(words[1], NULL, 10); left; left--) {
		int64_t start = clock_monotonic_us(&clock_system);
		AUTO_SECRET Secret *blob = key_provider_get(provider, words[2], &err);

		if (!blob)
			break;
		printf(" %lld", (long long)(clock_monotonic_us(&clock_system) - start));
	}
	putchar('\n');
}

static void do_destroy(KeyProvider *provider, char **words)
{
	Error err = ERROR_INIT;

	if (key_provider_destroy(provider, words[1], &err))
		puts("ok");
	else
		provider_tool_say_error(&err);
}

static void do_check(KeyProvider *provider, char **words)
{
	Error err = ERROR_INIT;

	(void)words;
	if (key_provider_check(provider, &err))
		puts("ok");
	else
		provider_tool_say_error(&err);
}

#if defined(__SANITIZE_ADDRESS__)
/* It keeps what was freed, and reads of its own shadow would stop us. */
static void do_forget(KeyProvider *provider, char **words)
{
	(void)provider;
	(void)words;
	puts("error unavailable built with a sanitizer");
}
#else
/* Bytes arrive inverted, so that the question is not itself an answer. */
static size_t count_in(const uint8_t *bytes, size_t size, const uint8_t *inverted)
{
	size_t found = 0;

	for (size_t i = 0; i + SOUGHT_BYTES <= size; i++) {
		size_t same = 0;

		while (same < SOUGHT_BYTES && (bytes[i + same] ^ inverted[same]) == 0xff)
			same++;
		found += same == SOUGHT_BYTES;
	}
	return found;
}

/* All writable memory of this process, stack and heap included. */
static void do_forget(KeyProvider *provider, char **words)
{
	AUTO_FILE FILE *maps = fopen("/proc/self/maps", "re");
	uint8_t inverted[SOUGHT_BYTES];
	char line[512], rights[8];
	unsigned long start, end;
	size_t found = 0;

	(void)provider;
	if (!maps || strlen(words[1]) != 2 * SOUGHT_BYTES ||
	    !hex_decode(words[1], inverted, sizeof(inverted))) {
		puts("error usage 16 bytes of hex");
		return;
	}
	while (fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%lx-%lx %7s", &start, &end, rights) != 3 ||
		    strncmp(rights, "rw", 2) != 0)
			continue;
		/* The kernel told us where our memory is. */
		found += count_in((const uint8_t *)start, end - start, inverted);
	}
	printf("ok %zu\n", found);
}
#endif

static const struct {
	const char *word;
	size_t words;
	void (*run)(KeyProvider *provider, char **words);
} commands[] = {
	{ "put", 3, do_put },	      { "get", 2, do_get },	{ "time", 3, do_time },
	{ "destroy", 2, do_destroy }, { "check", 1, do_check }, { "forget", 2, do_forget },
};

static void do_line(KeyProvider *provider, ProviderDescribe *describe, char *line)
{
	char *words[3] = { NULL }, *rest = line;
	char text[PROVIDER_TOOL_DESCRIPTION];

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		words[i] = rest ? strsep(&rest, " ") : NULL;
	if (!strcmp(words[0], "describe")) {
		describe(provider, text);
		printf("ok %s\n", text);
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (!strcmp(words[0], commands[i].word) && words[commands[i].words - 1]) {
			commands[i].run(provider, words);
			return;
		}
	puts("error usage no such command");
}

void provider_tool_start(void)
{
	signal(SIGPIPE, SIG_IGN);
	setvbuf(stdin, NULL, _IONBF, 0);
	setvbuf(stdout, NULL, _IOLBF, 0);
}

void provider_tool_serve(KeyProvider *provider, ProviderDescribe *describe)
{
	char line[LINE_MAX_BYTES];

	while (fgets(line, sizeof(line), stdin)) {
		line[strcspn(line, "\n")] = '\0';
		do_line(provider, describe, line);
		explicit_bzero(line, sizeof(line));
	}
}
