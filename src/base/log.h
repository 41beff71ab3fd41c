/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log: one line an event, `level program: text key=value...` on standard error, which the
 * service manager keeps. Values are escaped, so a line is always one line. Only programs log;
 * library code returns an Error. Never secrets, never guest memory.
 */
#ifndef SEALIFT_BASE_LOG_H
#define SEALIFT_BASE_LOG_H

#include <stdbool.h>

typedef enum LogLevel {
	LOG_LEVEL_ERROR,   /* somebody must act */
	LOG_LEVEL_WARNING, /* degraded, goes on */
	LOG_LEVEL_INFO,	   /* the life of a migration in a handful of lines */
	LOG_LEVEL_DEBUG,
} LogLevel;

/* The one log context of a process, made in main(). */
typedef struct Log {
	const char *program;
	LogLevel level;
	int fd;
	int process; /* to be named in each line; 0: what getpid(2) says */
} Log;

/* Writes one line; `format` gives text and fields, at most 1023 bytes. Safe for NULL log (drops). */
void log_write(const Log *log, LogLevel level, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#define log_error(log, ...) log_write(log, LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(log, ...) log_write(log, LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(log, ...) log_write(log, LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(log, ...) log_write(log, LOG_LEVEL_DEBUG, __VA_ARGS__)

/* "error", "warning", "info", "debug"; false if unknown. */
bool log_level_of_word(const char *word, LogLevel *ret_level);

#endif
