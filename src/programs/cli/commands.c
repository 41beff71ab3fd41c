/* SPDX-License-Identifier: Apache-2.0 */
#include "programs/cli/command.h"
#include "programs/cmd_pki.h"

const CliCommand cli_commands[] = {
	{ "pki", "init|issue|revoke|... [ARGUMENT...]",
	  "make a domain's root, certificates and revocation lists", NULL, 0, 0, NULL, cmd_pki },
	{ "host add", "NAME --address HOST[:PORT] --id SPIFFE-ID", "make another host known",
	  cmd_host_add_options, 1, 1, cmd_host_add, NULL },
	{ "host remove", "NAME", "forget a host", NULL, 1, 1, cmd_host_remove, NULL },
	{ "host trust", "DOMAIN --root FILE [--crl FILE]",
	  "accept the hosts whose certificates a domain's root signed", cmd_host_trust_options, 1,
	  1, cmd_host_trust, NULL },
	{ "host distrust", "DOMAIN", "accept no host of a domain any more", NULL, 1, 1,
	  cmd_host_distrust, NULL },
	{ "hosts", "", "list the known hosts and trusted domains", NULL, 0, 0, cmd_hosts, NULL },
	{ "vm start", "FILE", "start a VM from its description, sealift-vm(5)", NULL, 1, 1,
	  cmd_vm_start, NULL },
	{ "vm list", "", "list the VMs of this host", NULL, 0, 0, cmd_vm_list, NULL },
	{ "vm show", "VM", "show one VM and its manifest", NULL, 1, 1, cmd_vm_show, NULL },
	{ "vm stop", "VM", "end a VM at once, as by pulling its plug", NULL, 1, 1, cmd_vm_stop,
	  NULL },
	{ "migrate", "VM DESTINATION [OPTION...]", "move a running VM to another host",
	  cmd_migrate_options, 2, 2, cmd_migrate, NULL },
	{ "status", "[MIGRATION] [--watch]", "show migrations, ended ones included",
	  cmd_status_options, 0, 1, cmd_status, NULL },
	{ "cancel", "[MIGRATION]", "cancel a migration; without a name the only active one", NULL,
	  0, 1, cmd_cancel, NULL },
	{ "resolve", "MIGRATION --run-here|--discard [--yes]", "decide a stuck migration",
	  cmd_resolve_options, 1, 1, cmd_resolve, NULL },
	{ "events", "", "print what happens until interrupted", NULL, 0, 0, cmd_events, NULL },
	{ "doctor", "[OPTION...]", "say what this host can do and what is missing",
	  cmd_doctor_options, 0, 0, cmd_doctor, NULL },
	{ "version", "", "print the versions of this program and of the engine", NULL, 0, 0,
	  cmd_version, NULL },
	{ "help", "[COMMAND]", "explain a command", NULL, 0, 2, cmd_help, NULL },
};
const size_t cli_commands_count = ARRAY_SIZE(cli_commands);
