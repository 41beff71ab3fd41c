/* SPDX-License-Identifier: Apache-2.0 */
/* `sealift pki`: makes a domain's root, certificates and revocation lists, for those without a PKI
 * of their own. Works on files only; it needs no daemon. */
#ifndef SEALIFT_PROGRAMS_CMD_PKI_H
#define SEALIFT_PROGRAMS_CMD_PKI_H

/* argv[0] is "pki", argv[1] the subcommand. Prints results to standard output and one line to
 * standard error on failure; gives the exit status (error_exit_status). */
int cmd_pki(int argc, char **argv);

#endif
