/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `sealift` is a table of commands. A row says how a command is called, what it understands and
 * which function does it; reading the command line, help and the checks that all commands share are
 * done once, from the table. sealift(1) is the manual.
 */
#ifndef SEALIFT_PROGRAMS_CLI_COMMAND_H
#define SEALIFT_PROGRAMS_CLI_COMMAND_H

#include <stdbool.h>
#include <stddef.h>

#include "base/cleanup.h"
#include "base/error.h"

enum {
	CLI_OPTIONS_MAX = 12,   /* of one command */
	CLI_STATUS_LEFT = 130, /* exit status after Ctrl-C, as shells give it for SIGINT */
};

/* Asked for before or after the command's name; lives in main(). */
typedef struct CliContext {
	const char *socket_path;
	bool json;
	int status; /* exit status of a command that succeeded; 0 unless it says otherwise */
} CliContext;

/* One long option; value names its argument and is NULL for a flag. */
typedef struct CliOption {
	const char *name; /* NULL ends a table */
	const char *value;
	const char *help;
} CliOption;

/* What was given: words that are no options, and for each row of the option table its argument (""
 * for a flag) or NULL. All owned by argv. */
typedef struct CliInput {
	char *const *words;
	size_t words_count;
	const char *values[CLI_OPTIONS_MAX];
} CliInput;

typedef struct CliCommand {
	const char *name;	  /* one word or two */
	const char *args;	  /* for the usage line */
	const char *help;	  /* one line */
	const CliOption *options; /* NULL: none of its own */
	size_t words_min, words_max;
	/* Does the command; on failure err is printed and its category gives the exit status. */
	bool (*run)(CliContext *context, const CliInput *input, Error *err);
	/* Instead of run: reads the rest of the command line itself and gives the exit status. */
	int (*run_raw)(int argc, char **argv);
} CliCommand;

extern const CliCommand cli_commands[];
extern const size_t cli_commands_count;

/* The row for argv[0] or argv[0] argv[1], and how many words its name took. ERROR_USAGE names what
 * was not understood. */
MUST_CHECK const CliCommand *cli_command_find(int argc, char *const *argv, int *ret_words,
					      Error *err);

/* Reads argv[0..argc), argv[0] being the last word of the command's name; --json and --socket are
 * understood here too. *ret_help: the user asked for help. ERROR_USAGE. */
MUST_CHECK bool cli_input_read(const CliCommand *command, int argc, char **argv,
			       CliContext *context, CliInput *ret_input, bool *ret_help,
			       Error *err);

/* The functions of the table, one group a file. */
bool cmd_host_add(CliContext *context, const CliInput *input, Error *err);
bool cmd_host_remove(CliContext *context, const CliInput *input, Error *err);
bool cmd_host_trust(CliContext *context, const CliInput *input, Error *err);
bool cmd_host_distrust(CliContext *context, const CliInput *input, Error *err);
bool cmd_hosts(CliContext *context, const CliInput *input, Error *err);
bool cmd_vm_create(CliContext *context, const CliInput *input, Error *err);
bool cmd_vm_start(CliContext *context, const CliInput *input, Error *err);
bool cmd_vm_list(CliContext *context, const CliInput *input, Error *err);
bool cmd_vm_show(CliContext *context, const CliInput *input, Error *err);
bool cmd_vm_rekey(CliContext *context, const CliInput *input, Error *err);
bool cmd_vm_stop(CliContext *context, const CliInput *input, Error *err);
bool cmd_migrate(CliContext *context, const CliInput *input, Error *err);
bool cmd_evidence(CliContext *context, const CliInput *input, Error *err);
bool cmd_status(CliContext *context, const CliInput *input, Error *err);
bool cmd_cancel(CliContext *context, const CliInput *input, Error *err);
bool cmd_resolve(CliContext *context, const CliInput *input, Error *err);
bool cmd_key_create(CliContext *context, const CliInput *input, Error *err);
bool cmd_key_list(CliContext *context, const CliInput *input, Error *err);
bool cmd_key_show(CliContext *context, const CliInput *input, Error *err);
bool cmd_key_rotate(CliContext *context, const CliInput *input, Error *err);
bool cmd_key_destroy(CliContext *context, const CliInput *input, Error *err);
bool cmd_key_abandon(CliContext *context, const CliInput *input, Error *err);
bool cmd_key_backends(CliContext *context, const CliInput *input, Error *err);
bool cmd_key_audit(CliContext *context, const CliInput *input, Error *err);
bool cmd_key_root(CliContext *context, const CliInput *input, Error *err);
bool cmd_events(CliContext *context, const CliInput *input, Error *err);
bool cmd_inspect(CliContext *context, const CliInput *input, Error *err);
bool cmd_doctor(CliContext *context, const CliInput *input, Error *err);
bool cmd_version(CliContext *context, const CliInput *input, Error *err);
bool cmd_help(CliContext *context, const CliInput *input, Error *err);

/* The option tables, beside their functions. */
extern const CliOption cmd_host_add_options[];
extern const CliOption cmd_host_trust_options[];
extern const CliOption cmd_vm_create_options[];
extern const CliOption cmd_vm_rekey_options[];
extern const CliOption cmd_migrate_options[];
extern const CliOption cmd_status_options[];
extern const CliOption cmd_resolve_options[];
extern const CliOption cmd_inspect_options[];
extern const CliOption cmd_key_create_options[];
extern const CliOption cmd_key_show_options[];
extern const CliOption cmd_key_destroy_options[];
extern const CliOption cmd_key_abandon_options[];
extern const CliOption cmd_key_audit_options[];
extern const CliOption cmd_doctor_options[];

#endif
