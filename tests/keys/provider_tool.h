/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A back-end of keys as a program, for tests that bring the server. Reads commands, a line each,
 * and answers each with one line, "ok ..." or "error CATEGORY TEXT": put LABEL HEX, get REFERENCE,
 * destroy REFERENCE, check, describe, time COUNT REFERENCE (microseconds of each get), forget HEX
 * (how often these 16 bytes, given inverted, stand in this process's memory).
 */
#ifndef SEALIFT_TESTS_KEYS_PROVIDER_TOOL_H
#define SEALIFT_TESTS_KEYS_PROVIDER_TOOL_H

#include "base/buffer.h"
#include "keys/provider.h"

enum { PROVIDER_TOOL_DESCRIPTION = 1024 };

typedef void ProviderDescribe(const KeyProvider *provider, char *ret_text);

/* First thing in main(): no buffers of stdio in which values would stay, and no SIGPIPE. */
void provider_tool_start(void);

/* Appends what a file has, nothing if it cannot be read. */
void provider_tool_read(const char *path, Buffer *content);

/* Until the end of standard input. A put that fails tells what may be there: "error CATEGORY
 * stored=nothing|unknown|REFERENCE TEXT". describe writes up to PROVIDER_TOOL_DESCRIPTION bytes. */
void provider_tool_serve(KeyProvider *provider, ProviderDescribe *describe);

/* Prints an error as an answer. */
void provider_tool_say_error(const Error *err);

#endif
