/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One error object for the whole of Sealift.
 *
 * A function that can fail takes `Error *err` as its last parameter (never NULL) and returns bool
 * or a pointer. The error is set once, where it happens; callers may prepend context on the way up;
 * only main() or a dispatch loop logs it. No allocation: an error about memory can be reported.
 */
#ifndef SEALIFT_BASE_ERROR_H
#define SEALIFT_BASE_ERROR_H

#include <stdbool.h>
#include <stddef.h>

/* What a caller can act on. One table maps it to an exit status and a word (error.c). */
typedef enum ErrorCategory {
	ERROR_NONE = 0,
	ERROR_USAGE,	   /* the command line or an API request is wrong */
	ERROR_CONFIG,	   /* a configuration or VM description file is wrong */
	ERROR_NOT_FOUND,   /* no such VM, host, migration */
	ERROR_CONFLICT,	   /* the thing exists already or is in a state that forbids this */
	ERROR_DENIED,	   /* policy or permission says no */
	ERROR_AUTH,	   /* an identity, signature or record did not verify */
	ERROR_PEER,	   /* the peer broke the protocol */
	ERROR_LIMIT,	   /* a bound was reached: memory, quota, size */
	ERROR_TIMEOUT,	   /* a deadline passed */
	ERROR_CANCELLED,   /* a person cancelled */
	ERROR_UNAVAILABLE, /* a peer, program or feature cannot be reached */
	ERROR_HYPERVISOR,  /* QEMU refused, failed or died */
	ERROR_IO,	   /* the operating system refused */
	ERROR_INTERNAL,	   /* our own bug or lack of memory */
	ERROR_CATEGORY_COUNT,
} ErrorCategory;

enum { ERROR_TEXT_SIZE = 512 };

typedef struct Error {
	ErrorCategory category;
	char text[ERROR_TEXT_SIZE]; /* one phrase, printable ASCII, NUL terminated */
} Error;

#define ERROR_INIT ((Error){ .category = ERROR_NONE })

/*
 * Sets err; control bytes and bytes above 0x7e in the result are escaped as \xNN, since the
 * arguments may come from a peer. Returns false always, so that `return error_set(...)` reads well.
 */
bool error_set(Error *err, ErrorCategory category, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* As error_set, followed by ": " and the text of `saved_errno`. Returns false always. */
bool error_set_errno(Error *err, ErrorCategory category, int saved_errno, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* Prepends "context: ". The category stays. Returns false always. */
bool error_prefix(Error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The process exit status for a category, as the manual lists them: 0 for ERROR_NONE, else 1..99. */
int error_exit_status(ErrorCategory category);

/* A stable word for machines ("not-found"), used in the API and in peer refusals. */
const char *error_word(ErrorCategory category);

/* The category of a word, ERROR_INTERNAL if there is no such word. */
ErrorCategory error_category_of_word(const char *word);

#endif
