/* SPDX-License-Identifier: Apache-2.0 */
#include "programs/cmd_pki.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <openssl/pem.h>

#include "base/bounds.h"
#include "base/clock.h"
#include "base/file.h"
#include "crypto/anchor.h"
#include "crypto/openssl.h"
#include "crypto/pki_directory.h"

enum {
	TIME_TEXT = 32,
	WARN_CERTIFICATE_DAYS = 14,
	WARN_ROOT_DAYS = 180,
	WARN_CRL_DAYS = 2,
	ARGUMENTS_MAX = 2,
};

typedef struct Options {
	const char *dir;
	unsigned int days; /* 0: not given */
	bool renew, finish;
	const char *arguments[ARGUMENTS_MAX];
	int n_arguments;
	int64_t now_s;
} Options;

static const char usage_text[] =
	"usage: sealift pki init DOMAIN --dir DIR [--days N]\n"
	"       sealift pki issue host NAME|authority|keyd --dir DIR [--days N] [--renew]\n"
	"       sealift pki revoke SERIAL|NAME --dir DIR [--days N]\n"
	"       sealift pki crl --dir DIR [--days N]\n"
	"       sealift pki rotate-root --dir DIR [--days N] [--finish]\n"
	"       sealift pki show FILE|--dir DIR\n"
	"\n"
	"  --days N  life of what is made: a root 3650 days, a certificate 90, a CRL 7\n"
	"            (revoke: of the CRL; rotate-root: of the new root)\n"
	"  --renew   new certificates and keys in the place of the old ones\n"
	"  --finish  drop the old roots, once no valid certificate is theirs\n";

static const char *time_text(int64_t time_s, char ret[TIME_TEXT])
{
	time_t seconds = (time_t)time_s;
	struct tm broken_down;

	if (!gmtime_r(&seconds, &broken_down) ||
	    !strftime(ret, TIME_TEXT, "%Y-%m-%dT%H:%M:%SZ", &broken_down))
		snprintf(ret, TIME_TEXT, "?");
	return ret;
}

static unsigned int days_or(const Options *options, unsigned int standard)
{
	return options->days ? options->days : standard;
}

static bool run_init(const Options *options, Error *err)
{
	if (!pki_directory_init(options->dir, options->arguments[0], options->now_s,
				days_or(options, PKI_ROOT_DAYS), err))
		return false;
	printf("%s: root of %s and empty CRL made; give %s/root.crt to other domains\n",
	       options->dir, options->arguments[0], options->dir);
	return true;
}

static bool role_of_argument(const char *word, SpiffeRole *ret_role, Error *err)
{
	for (unsigned int role = 0; role < SPIFFE_ROLE_COUNT; role++)
		if (!strcmp(spiffe_role_word((SpiffeRole)role), word)) {
			*ret_role = (SpiffeRole)role;
			return true;
		}
	return error_set(err, ERROR_USAGE,
			 "issue knows \"host NAME\", \"authority\" and \"keyd\", not \"%s\"", word);
}

static bool run_issue(const Options *options, Error *err)
{
	AUTO_PKI_DIRECTORY PkiDirectory *directory = NULL;
	const char *word = options->arguments[0];
	SpiffeRole role = SPIFFE_HOST;
	bool host;

	if (!role_of_argument(word, &role, err))
		return false;
	host = role == SPIFFE_HOST;
	if (options->n_arguments != (host ? 2 : 1))
		return error_set(err, ERROR_USAGE, "issue %s %s NAME", word,
				 host ? "needs a" : "has no");
	directory = pki_directory_open(options->dir, err);
	if (!directory || !pki_directory_issue(directory, role, host ? options->arguments[1] : NULL,
					       options->now_s, days_or(options, PKI_LEAF_DAYS),
					       options->renew, err))
		return false;
	printf("%s/%s%s: certificates of spiffe://%s/%s%s made\n", options->dir,
	       host ? "hosts/" : word, host ? options->arguments[1] : "",
	       pki_directory_domain(directory), host ? "host/" : word,
	       host ? options->arguments[1] : "");
	return true;
}

static bool print_crl_made(const PkiDirectory *directory, const Options *options)
{
	char until[TIME_TEXT];

	printf("%s/crl.pem: number %" PRIu64 ", good until %s\n", options->dir,
	       pki_directory_crl_number(directory),
	       time_text(pki_directory_crl_next_update_s(directory), until));
	return true;
}

static bool run_revoke(const Options *options, Error *err)
{
	AUTO_PKI_DIRECTORY PkiDirectory *directory = pki_directory_open(options->dir, err);
	size_t count = 0;

	if (!directory || !pki_directory_revoke(directory, options->arguments[0], options->now_s,
						days_or(options, PKI_CRL_DAYS), &count, err))
		return false;
	printf("%s: %zu certificate%s revoked\n", options->arguments[0], count,
	       count == 1 ? "" : "s");
	return print_crl_made(directory, options);
}

static bool run_crl(const Options *options, Error *err)
{
	AUTO_PKI_DIRECTORY PkiDirectory *directory = pki_directory_open(options->dir, err);

	return directory &&
	       pki_directory_renew_crl(directory, options->now_s, days_or(options, PKI_CRL_DAYS),
				       err) &&
	       print_crl_made(directory, options);
}

static bool run_rotate_root(const Options *options, Error *err)
{
	AUTO_PKI_DIRECTORY PkiDirectory *directory = pki_directory_open(options->dir, err);

	if (!directory)
		return false;
	if (options->finish) {
		if (!pki_directory_retire_roots(directory, options->now_s, PKI_CRL_DAYS, err))
			return false;
		printf("%s/root.crt: the newest root alone\n", options->dir);
		return print_crl_made(directory, options);
	}
	if (!pki_directory_rotate_root(directory, options->now_s, days_or(options, PKI_ROOT_DAYS),
				       PKI_CRL_DAYS, err))
		return false;
	printf("%s/root.crt: %zu roots, the new one first; give it to other domains, then renew the "
	       "certificates\n",
	       options->dir, pki_directory_root_count(directory));
	return print_crl_made(directory, options);
}

/* "EXPIRED", "expires soon" or nothing, for the end of a line. */
static const char *warning_of(int64_t until_s, int64_t now_s, int warn_days)
{
	if (until_s <= now_s)
		return "  EXPIRED";
	return until_s - now_s < warn_days * (int64_t)PKI_DAY_S ? "  expires soon" : "";
}

static void print_record(const PkiRecord *record, int64_t now_s)
{
	char hex[2 * PKI_SERIAL_SIZE + 1], until[TIME_TEXT], revoked[TIME_TEXT];

	hex_encode(record->serial, sizeof(record->serial), hex);
	printf("%s  %-14s  %-20s  until %s  ", hex, pki_kind_word(record->kind), record->name,
	       time_text(record->not_after_s, until));
	if (record->revoked_s)
		printf("revoked %s\n", time_text(record->revoked_s, revoked));
	else
		printf("valid%s\n", warning_of(record->not_after_s, now_s, WARN_CERTIFICATE_DAYS));
}

static bool show_directory(const Options *options, Error *err)
{
	AUTO_PKI_DIRECTORY PkiDirectory *directory = pki_directory_open(options->dir, err);
	char until[TIME_TEXT], hex[2 * PKI_SERIAL_SIZE + 1];
	int64_t next_update_s;

	if (!directory)
		return false;
	printf("domain %s\n", pki_directory_domain(directory));
	for (size_t i = 0; i < pki_directory_root_count(directory); i++) {
		const X509 *root = pki_directory_root(directory, i);
		int64_t until_s = anchor_time_s(X509_get0_notAfter(root));
		uint8_t serial[PKI_SERIAL_SIZE];

		if (!pki_serial(root, serial, err))
			return false;
		hex_encode(serial, sizeof(serial), hex);
		printf("%s  %-14s  %-20s  until %s  valid%s\n", hex, "root",
		       i ? "(older)" : "(newest)", time_text(until_s, until),
		       warning_of(until_s, options->now_s, WARN_ROOT_DAYS));
	}
	for (size_t i = 0; i < pki_directory_record_count(directory); i++)
		print_record(pki_directory_record(directory, i), options->now_s);
	next_update_s = pki_directory_crl_next_update_s(directory);
	if (!next_update_s)
		printf("crl  MISSING: make it with sealift pki crl\n");
	else
		printf("crl  number %" PRIu64 "  until %s%s\n", pki_directory_crl_number(directory),
		       time_text(next_update_s, until),
		       warning_of(next_update_s, options->now_s, WARN_CRL_DAYS));
	return true;
}

static const char *use_text(X509 *certificate)
{
	uint32_t flags = X509_get_extension_flags(certificate);

	if (flags & EXFLAG_XKUSAGE)
		return "TLS (or what its extended key usage says)";
	if (flags & EXFLAG_KUSAGE && X509_get_key_usage(certificate) == KU_KEY_AGREEMENT)
		return "sealing keys for its holder";
	return "signing statements";
}

static void print_certificate(X509 *certificate, int64_t now_s)
{
	AUTO_BIGNUM BIGNUM *serial = ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate), NULL);
	char *hex = serial ? BN_bn2hex(serial) : NULL;
	int64_t until_s = anchor_time_s(X509_get0_notAfter(certificate));
	char from[TIME_TEXT], until[TIME_TEXT], subject[256] = "";
	SpiffeId id;
	Error err = ERROR_INIT;

	for (char *c = hex; c && *c; c++)
		if (*c >= 'A' && *c <= 'F')
			*c = (char)(*c - 'A' + 'a');
	X509_NAME_oneline(X509_get_subject_name(certificate), subject, sizeof(subject));
	if (X509_check_ca(certificate))
		printf("CA certificate %s\n", subject);
	else if (anchor_certificate_id(certificate, &id, &err))
		printf("certificate of %s\n", id.text);
	else
		printf("certificate %s: %s\n", subject, err.text);
	printf("  serial %s\n  from %s until %s%s\n", hex ? hex : "?",
	       time_text(anchor_time_s(X509_get0_notBefore(certificate)), from),
	       time_text(until_s, until), warning_of(until_s, now_s, WARN_CERTIFICATE_DAYS));
	if (!X509_check_ca(certificate))
		printf("  for %s\n", use_text(certificate));
	OPENSSL_free(hex);
}

static void print_crl(const X509_CRL *crl, int64_t now_s)
{
	AUTO_ASN1_INTEGER ASN1_INTEGER *number =
		X509_CRL_get_ext_d2i(crl, NID_crl_number, NULL, NULL);
	uint64_t value = 0;
	int64_t until_s = anchor_time_s(X509_CRL_get0_nextUpdate(crl));
	char issuer[256] = "", from[TIME_TEXT], until[TIME_TEXT];

	if (number && ASN1_INTEGER_get_uint64(&value, number) != 1)
		value = 0;
	X509_NAME_oneline(X509_CRL_get_issuer(crl), issuer, sizeof(issuer));
	printf("CRL of %s\n  number %" PRIu64 "\n  from %s until %s%s\n", issuer, value,
	       time_text(anchor_time_s(X509_CRL_get0_lastUpdate(crl)), from),
	       time_text(until_s, until), warning_of(until_s, now_s, WARN_CRL_DAYS));
}

/* Whatever certificates and CRLs are in it, in their order. */
static bool show_file(const Options *options, Error *err)
{
	AUTO_BUFFER Buffer pem = BUFFER_INIT(LIMIT_CRL);
	AUTO_BIO BIO *bio = NULL;
	STACK_OF(X509_INFO) * infos;
	int shown = 0;

	if (!file_read(options->arguments[0], LIMIT_CRL, &pem, err))
		return false;
	bio = openssl_view(pem.data, pem.used, err);
	if (!bio)
		return false;
	infos = PEM_X509_INFO_read_bio(bio, NULL, openssl_no_password, NULL);
	for (int i = 0; i < sk_X509_INFO_num(infos); i++) {
		const X509_INFO *info = sk_X509_INFO_value(infos, i);

		if (info->x509)
			print_certificate(info->x509, options->now_s);
		if (info->crl)
			print_crl(info->crl, options->now_s);
		shown += info->x509 || info->crl;
	}
	sk_X509_INFO_pop_free(infos, X509_INFO_free);
	return shown || error_set(err, ERROR_CONFIG, "%s has no PEM certificate or CRL",
				  options->arguments[0]);
}

static bool run_show(const Options *options, Error *err)
{
	if (options->dir && options->n_arguments)
		return error_set(err, ERROR_USAGE, "show takes FILE or --dir DIR, not both");
	if (!options->dir && !options->n_arguments)
		return error_set(err, ERROR_USAGE, "show needs FILE or --dir DIR");
	return options->dir ? show_directory(options, err) : show_file(options, err);
}

typedef struct Subcommand {
	const char *name;
	int arguments_min, arguments_max;
	bool needs_dir, takes_days, takes_renew, takes_finish;
	bool (*run)(const Options *options, Error *err);
} Subcommand;

static const Subcommand subcommands[] = {
	{ "init", 1, 1, .needs_dir = true, .takes_days = true, .run = run_init },
	{ "issue", 1, 2, .needs_dir = true, .takes_days = true, .takes_renew = true,
	  .run = run_issue },
	{ "revoke", 1, 1, .needs_dir = true, .takes_days = true, .run = run_revoke },
	{ "crl", 0, 0, .needs_dir = true, .takes_days = true, .run = run_crl },
	{ "rotate-root", 0, 0, .needs_dir = true, .takes_days = true, .takes_finish = true,
	  .run = run_rotate_root },
	{ "show", 0, 1, .run = run_show },
};

static bool parse_days(const char *text, unsigned int *ret_days, Error *err)
{
	char *end = NULL;
	unsigned long value = *text >= '0' && *text <= '9' ? strtoul(text, &end, 10) : 0;

	if (!end || *end || value < 1 || value > PKI_DAYS_MAX)
		return error_set(err, ERROR_USAGE, "--days \"%s\" is not a number from 1 to %d",
				 text, PKI_DAYS_MAX);
	*ret_days = (unsigned int)value;
	return true;
}

static bool parse_options(int argc, char **argv, Options *options, Error *err)
{
	static const struct option table[] = {
		{ "dir", required_argument, NULL, 'd' },
		{ "days", required_argument, NULL, 'n' },
		{ "renew", no_argument, NULL, 'r' },
		{ "finish", no_argument, NULL, 'f' },
		{ NULL, 0, NULL, 0 },
	};
	int option;

	optind = 0; /* glibc: start anew, whatever was parsed before */
	opterr = 0;
	while ((option = getopt_long(argc, argv, ":", table, NULL)) != -1) {
		if (option == 'd')
			options->dir = optarg;
		else if (option == 'n' && !parse_days(optarg, &options->days, err))
			return false;
		else if (option == 'r')
			options->renew = true;
		else if (option == 'f')
			options->finish = true;
		else if (option == ':')
			return error_set(err, ERROR_USAGE, "%s needs a value", argv[optind - 1]);
		else if (option == '?')
			return error_set(err, ERROR_USAGE, "unknown option %s", argv[optind - 1]);
	}
	for (; optind < argc; optind++) {
		if (options->n_arguments == ARGUMENTS_MAX)
			return error_set(err, ERROR_USAGE, "\"%s\" is one argument too many",
					 argv[optind]);
		options->arguments[options->n_arguments++] = argv[optind];
	}
	return true;
}

static bool check_options(const Subcommand *subcommand, const Options *options, Error *err)
{
	if (options->n_arguments < subcommand->arguments_min ||
	    options->n_arguments > subcommand->arguments_max)
		return error_set(err, ERROR_USAGE, "%s has %d arguments, not %d to %d",
				 subcommand->name, options->n_arguments, subcommand->arguments_min,
				 subcommand->arguments_max);
	if (subcommand->needs_dir && !options->dir)
		return error_set(err, ERROR_USAGE, "%s needs --dir DIR", subcommand->name);
	if (options->days && !subcommand->takes_days)
		return error_set(err, ERROR_USAGE, "%s has no --days", subcommand->name);
	if (options->renew && !subcommand->takes_renew)
		return error_set(err, ERROR_USAGE, "%s has no --renew", subcommand->name);
	if (options->finish && !subcommand->takes_finish)
		return error_set(err, ERROR_USAGE, "%s has no --finish", subcommand->name);
	if (options->finish && options->days)
		return error_set(err, ERROR_USAGE, "--finish makes no root: it has no --days");
	return true;
}

static bool run(int argc, char **argv, Error *err)
{
	Options options = { .now_s = clock_wall_s(&clock_system) };
	const Subcommand *subcommand = NULL;

	if (argc < 2)
		return error_set(err, ERROR_USAGE,
				 "no subcommand: init, issue, revoke, crl, rotate-root, show");
	for (size_t i = 0; i < ARRAY_SIZE(subcommands); i++)
		if (!strcmp(subcommands[i].name, argv[1]))
			subcommand = &subcommands[i];
	if (!subcommand)
		return error_set(
			err, ERROR_USAGE,
			"no subcommand \"%s\": init, issue, revoke, crl, rotate-root, show",
			argv[1]);
	return parse_options(argc - 1, argv + 1, &options, err) &&
	       check_options(subcommand, &options, err) && subcommand->run(&options, err);
}

int cmd_pki(int argc, char **argv)
{
	Error err = ERROR_INIT;

	if (argc >= 2 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "help"))) {
		fputs(usage_text, stdout);
		return 0;
	}
	if (run(argc, argv, &err) && (!fflush(stdout) || error_set(&err, ERROR_IO, "cannot write")))
		return 0;
	fprintf(stderr, "sealift pki: %s\n", err.text);
	return error_exit_status(err.category);
}
