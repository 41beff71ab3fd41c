/* SPDX-License-Identifier: Apache-2.0 */
/* The commands of the local API, as a table: docs/API.md. */
#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "crypto/aead.h"
#include "crypto/spiffe.h"
#include "engine/engine.h"
#include "engine/evidence.h"
#include "engine/job_disks.h"
#include "engine/key_transfer.h"
#include "engine/keys.h"
#include "engine/ledger.h"
#include "engine/sealed_disks.h"
#include "engine/vm_rekey.h"
#include "wire/json.h"
#include "vmm/vtpm.h"

enum { ENDED_SHOWN = 64, DEFAULT_CHANNELS = 2, DEFAULT_DOWNTIME_MS = 100, MAX_DOWNTIME_MS = 2000000 };

typedef struct Argument {
	const char *name;
	json_type type; /* JSON_TRUE: of both truth values */
	bool optional;
} Argument;

/* True: the command has answered or will. False: the error is the answer. */
typedef bool Handler(Engine *engine, ApiRequest *request, json_t *arguments, Error *err);

typedef struct Command {
	const char *name;
	Handler *handler;
	Argument arguments[8]; /* and one more without a name, at least */
} Command;

static const char *text_of(json_t *arguments, const char *name)
{
	return json_string_value(json_object_get(arguments, name));
}

static uint64_t number_of(json_t *arguments, const char *name, uint64_t otherwise)
{
	json_t *value = json_object_get(arguments, name);

	return value ? (uint64_t)json_integer_value(value) : otherwise;
}

static bool do_version(Engine *engine, ApiRequest *request, json_t *arguments, Error *err)
{
	(void)arguments;
	(void)err;
	api_return(request, json_pack("{s:s, s:s, s:s, s:s, s:i}", "version", SEALIFT_VERSION, "protocol",
				      "sealift/1.0", "host", engine->host_id, "domain", engine->domain,
				      "pid", (int)getpid()));
	return true;
}

/* --- VMs --- */

static Vm *require_vm(Engine *engine, json_t *arguments, Error *err)
{
	const char *name = text_of(arguments, "vm");
	Vm *vm = vm_find(engine, name);

	if (!vm)
		error_set(err, ERROR_NOT_FOUND, "no VM \"%.64s\" on this host", name);
	return vm;
}

static bool do_vm_start(Engine *engine, ApiRequest *request, json_t *arguments, Error *err)
{
	if (!engine->host_id[0])
		return error_set(err, ERROR_UNAVAILABLE, "the engine is still starting");
	return vm_start_text(engine, text_of(arguments, "file"), text_of(arguments, "text"), request, err);
}

static bool do_vm_create(Engine *engine, ApiRequest *request, json_t *arguments, Error *err)
{
	const CreateOptions options = {
		.encrypted = json_is_true(json_object_get(arguments, "encrypted")),
		.sparse = json_is_true(json_object_get(arguments, "sparse")),
	};

	if (!engine->host_id[0])
		return error_set(err, ERROR_UNAVAILABLE, "the engine is still starting");
	return vm_create_text(engine, text_of(arguments, "file"), text_of(arguments, "text"), &options,
			      request, err);
}

static bool do_vm_list(Engine *engine, ApiRequest *request, json_t *arguments, Error *err)
{
	json_t *list = json_array();
	Vm *vm;

	(void)arguments;
	(void)err;
	LIST_FOREACH(vm, &engine->vms, link)
		(void)json_array_append_new(list, view_vm(vm));
	api_return(request, json_pack("{s:o}", "vms", list));
	return true;
}

static json_t *manifest_json(const Manifest *manifest)
{
	AUTO_BUFFER Buffer text = BUFFER_INIT(LIMIT_FRAME);
	Error ignored = ERROR_INIT;

	if (!json_encode_plain(&manifest_schema, manifest, &text, &ignored))
		return json_null();
	return json_loadb((const char *)text.data, text.used, 0, NULL);
}

static bool do_vm_show(Engine *engine, ApiRequest *request, json_t *arguments, Error *err)
{
	Vm *vm = require_vm(engine, arguments, err);

	if (!vm)
		return false;
	api_return(request, json_pack("{s:o, s:o}", "vm", view_vm(vm), "manifest",
				      manifest_json(&vm->record.manifest)));
	return true;
}

static bool do_vm_stop(Engine *engine, ApiRequest *request, json_t *arguments, Error *err)
{
	Vm *vm = require_vm(engine, arguments, err);

	return vm && vm_stop(vm, request, err);
}

static bool do_vm_rekey(Engine *engine, ApiRequest *request, json_t *arguments, Error *err)
{
	Vm *vm = require_vm(engine, arguments, err);

	if (!vm)
		return false;
	if (!json_is_true(json_object_get(arguments, "cancel")))
		return vm_rekey_begin(vm, text_of(arguments, "disk"), request, err);
	if (!vm_rekey_cancel(vm, err))
		return false;
	api_return(request, NULL);
	return true;
}

/* --- hosts and domains --- */

static bool is_numeric_address(const char *text)
{
	struct in6_addr binary;

	return inet_pton(AF_INET, text, &binary) == 1 || inet_pton(AF_INET6, text, &binary) == 1;
}

static bool do_host_add(Engine *engine, ApiRequest *request, json_t *arguments, Error *err)
{
	HostRecord host;
	SpiffeId id;
	const char *name = text_of(arguments, "name"), *address = text_of(arguments, "address");
	const char *spiffe = text_of(arguments, "id");

	memset(&host, 0, sizeof(host));
	host.port = number_of(arguments, "port", 0);
	if (strlen(name) >= sizeof(host.name) || !text_is(TEXT_NAME, name, 1))
		return error_set(err, ERROR_USAGE, "name \"%.80s\" is not 1..%d of [A-Za-z0-9._-]", name,
				 LIMIT_NAME - 1);
	if (strlen(address) >= sizeof(host.address) || !is_numeric_address(address))
		return error_set(err, ERROR_USAGE, "address \"%.80s\" is not a numeric IP address", address);
	if (host.port < 1 || host.port > 65535)
		return error_set(err, ERROR_USAGE, "port %llu is outside 1..65535",
				 (unsigned long long)host.port);
	if (!spiffe_parse(spiffe, strlen(spiffe), &id, err))
		return false;
	if (id.role != SPIFFE_HOST)
		return error_set(err, ERROR_USAGE, "%s is not a host's name", id.text);
	snprintf(host.name, sizeof(host.name), "%s", name);
	snprintf(host.address, sizeof(host.address), "%s", address);
	snprintf(host.id, sizeof(host.id), "%s", id.text);
	if (!store_put(engine->store, STORE_HOSTS, host.name, &host, err))
		return false;
	api_return(request, NULL);
	return true;
}

static bool do_host_remove(Engine *engine, ApiRequest *request, json_t *arguments, Error *err)
{
	if (!store_delete(engine->store, STORE_HOSTS, text_of(arguments, "name"), err))
		return false;
	api_return(request, NULL);
	return true;
}

static bool fill_domain(json_t *arguments, DomainRecord *domain, Error *err)
{
	const char *name = text_of(arguments, "domain"), *root = text_of(arguments, "root");
	const char *crl = text_of(arguments, "crl");

	if (strlen(name) >= sizeof(domain->domain) || !text_is(TEXT_DOMAIN, name, 1))
		return error_set(err, ERROR_USAGE, "\"%.80s\" is not a domain", name);
	if (strlen(root) > sizeof(domain->root) || !*root)
		return error_set(err, ERROR_USAGE, "root has %zu bytes, outside 1..%zu", strlen(root),
				 sizeof(domain->root));
	if (crl && strlen(crl) > sizeof(domain->crl))
		return error_set(err, ERROR_USAGE, "crl has %zu bytes, more than %zu", strlen(crl),
				 sizeof(domain->crl));
	snprintf(domain->domain, sizeof(domain->domain), "%s", name);
	domain->root_size = strlen(root);
	memcpy(domain->root, root, domain->root_size);
	domain->crl_size = crl ? strlen(crl) : 0;
	if (crl)
		memcpy(domain->crl, crl, domain->crl_size);
	return true;
}

static bool do_host_trust(Engine *engine, ApiRequest *request, json_t *arguments, Error *err)
{
	AUTO_FREE DomainRecord *domain = calloc(1, sizeof(*domain));

	if (!domain || !fill_domain(arguments, domain, err))
		return false;
	log_info(engine->log, "trusts domain=%s", domain->domain);
	if (domain->crl_size)
		return children_replace_trust(engine, domain, request, err);
	if (!store_put(engine->store, STORE_DOMAINS, domain->domain, domain, err) ||
	    !children_retrust(engine, domain, err))
		return false;
	engine_warn(engine, "domain %s has no CRL: every peer of it is refused until it is trusted with one",
		    domain->domain);
	api_return(request, NULL);
	return true;
}

static bool do_host_distrust(Engine *engine, ApiRequest *request, json_t *arguments, Error *err)
{
	const char *domain = text_of(arguments, "domain");

	if (!store_delete(engine->store, STORE_DOMAINS, domain, err))
		return false;
	children_distrust(engine, domain);
	log_info(engine->log, "no longer trusts domain=%.128s", domain);
	api_return(request, NULL);
	return true;
}

static bool list_host(void *context, const void *object, Error *err)
{
	const HostRecord *host = object;

	(void)err;
	(void)json_array_append_new(context, json_pack("{s:s, s:s, s:I, s:s}", "name", host->name, "address",
						       host->address, "port", (json_int_t)host->port, "id",
						       host->id));
	return true;
}

static bool list_domain(void *context, const void *object, Error *err)
{
	const DomainRecord *domain = object;

	(void)err;
	(void)json_array_append_new(context, json_pack("{s:s, s:I}", "domain", domain->domain,
						       "crl_next_update",
						       (json_int_t)domain->crl_next_update_s));
	return true;
}

static bool do_host_list(Engine *engine, ApiRequest *request, json_t *arguments, Error *err)
{
	json_t *hosts = json_array(), *domains = json_array();

	(void)arguments;
	if (!store_each(engine->store, STORE_HOSTS, list_host, hosts, err) ||
	    !store_each(engine->store, STORE_DOMAINS, list_domain, domains, err)) {
		json_decref(hosts);
		json_decref(domains);
		return false;
	}
	api_return(request, json_pack("{s:o, s:o}", "hosts", hosts, "domains", domains));
	return true;
}

/* --- migrations --- */

/* One that stands and is moved cold, or runs and is moved otherwise. */
static bool check_state(const Vm *vm, MoveManner manner, Error *err)
{
	const VmRecord *record = &vm->record;
	bool runs = record->state == VM_RUNNING && vm->handle;
	bool stopped = (record->state == VM_STOPPED || record->state == VM_FAILED) && !vm->handle;

	if (stopped && manner != MANNER_COLD)
		return error_set(err, ERROR_CONFLICT, "VM %s is stopped here: --cold moves it so",
				 record->name);
	if (runs && manner == MANNER_COLD)
		return error_set(err, ERROR_CONFLICT,
				 "VM %s runs: --offline suspends it for the move, "
				 "--cold is for a stopped one",
				 record->name);
	if (vm->stopping)
		return error_set(err, ERROR_CONFLICT, "VM %s is being stopped", record->name);
	if (stopped)
		return sealed_disks_check_ended(vm, err);
	return runs || error_set(err, ERROR_CONFLICT, "VM %s is not running here, state %s", record->name,
				 vm_state_words[record->state]);
}

static bool check_migrate(const Vm *vm, const MigrationOptions *options, Error *err)
{
	if (vm->job)
		return error_set(err, ERROR_CONFLICT, "VM %s is being migrated already", vm->record.name);
	if (!vm_rekey_check_leaving(vm, err))
		return false;
	if (vm->record.mode == SEAL_DISABLED && !vm->engine->config.policy.allow_disabled)
		return error_set(err, ERROR_DENIED, "VM %s has mode disabled, which this host does not allow",
				 vm->record.name);
	if (!check_state(vm, options->manner, err))
		return false;
	if (options->max_downtime_ms < 1 || options->max_downtime_ms > MAX_DOWNTIME_MS)
		return error_set(err, ERROR_USAGE, "max_downtime_ms %llu is outside 1..%d",
				 (unsigned long long)options->max_downtime_ms, MAX_DOWNTIME_MS);
	if (options->bandwidth_bytes_s && options->bandwidth_bytes_s < 1 << 20)
		return error_set(err, ERROR_USAGE, "bandwidth %llu is below 1 MiB a second",
				 (unsigned long long)options->bandwidth_bytes_s);
	return true;
}

static bool manner_of(json_t *arguments, MoveManner *ret_manner, Error *err)
{
	const char *word = text_of(arguments, "manner");

	*ret_manner = MANNER_LIVE;
	for (int i = 0; word && i < MANNER_COUNT; i++)
		if (!strcmp(word, move_manner_words[i])) {
			*ret_manner = (MoveManner)i;
			return true;
		}
	return !word || error_set(err, ERROR_USAGE, "manner \"%.64s\" is not live, offline or cold", word);
}

static bool do_migrate(Engine *engine, ApiRequest *request, json_t *arguments, Error *err)
{
	Vm *vm = require_vm(engine, arguments, err);
	HostRecord host;
	uint64_t channels = number_of(arguments, "channels", DEFAULT_CHANNELS);
	MigrationOptions options = {
		/* One is main alone; from two on they are multifd channels beside it. */
		.channels = channels == 1 ? 1 : channels + 1,
		.bandwidth_bytes_s = number_of(arguments, "bandwidth", 0),
		.max_downtime_ms = number_of(arguments, "max_downtime_ms", DEFAULT_DOWNTIME_MS),
		.keep_keys = json_is_true(json_object_get(arguments, "keep_keys")),
	};
	char id[2 * MIGRATION_ID_BYTES + 1];
	Migration *migration;
	Job *job;

	if (!vm || !manner_of(arguments, &options.manner, err) || !check_migrate(vm, &options, err) ||
	    !store_get(engine->store, STORE_HOSTS, text_of(arguments, "destination"), &host, err))
		return false;
	if (channels < 1 || channels > LIMIT_STREAM_CHANNELS - 1)
		return error_set(err, ERROR_USAGE, "channels %llu is outside 1..%d",
				 (unsigned long long)channels, LIMIT_STREAM_CHANNELS - 1);
	if (!strcmp(host.id, engine->host_id))
		return error_set(err, ERROR_USAGE, "%s is this host", host.id);
	/* What a life that ended left of a change of key: as before a start. */
	if (options.manner == MANNER_COLD &&
	    !vm_rekey_before_start(engine, &vm->record.manifest, vm, err))
		return false;
	/* Into its row with the first entry of the migration, so that a restart knows it. */
	disks_out_choose(engine, &vm->record);
	/* With a TPM a copy would be a second one, and its state older by the time it is used. */
	if (options.keep_keys && vm->record.manifest.tpm)
		return error_set(err, ERROR_USAGE, "VM %s has a TPM: its keys cannot be kept here too",
				 vm->record.name);
	if (!disks_out_check(vm, host.id, err) || !key_transfer_check_leaving(engine, vm, err))
		return false;
	migration = migration_new_source(&engine->ports, &vm->record, &host, &options, err);
	job = migration ? job_new(engine, migration, vm) : NULL;
	if (!job) {
		migration_free(migration);
		return err->category ? false : error_set(err, ERROR_INTERNAL, "no memory");
	}
	hex_encode(migration_record(migration)->id, MIGRATION_ID_BYTES, id);
	api_return(request, json_pack("{s:s}", "migration", id));
	migration_start(migration);
	job_settle(job);
	return true;
}

typedef struct Listing {
	Engine *engine;
	const char *prefix;
	json_t *list;
} Listing;

static bool list_migration(void *context, const void *object, Error *err)
{
	Listing *listing = context;
	const MigrationRecord *record = object;
	Job *job = job_of_migration(listing->engine, record->id);
	char id[2 * MIGRATION_ID_BYTES + 1];

	(void)err;
	hex_encode(record->id, sizeof(record->id), id);
	if (listing->prefix && strncmp(id, listing->prefix, strlen(listing->prefix)))
		return true;
	(void)json_array_insert_new(listing->list, 0,
				    job ? view_migration(migration_record(job->migration), job) :
					  view_migration(record, NULL));
	if (json_array_size(listing->list) > ENDED_SHOWN)
		(void)json_array_remove(listing->list, ENDED_SHOWN);
	return true;
}

static bool do_status(Engine *engine, ApiRequest *request, json_t *arguments, Error *err)
{
	Listing listing = { .engine = engine,
			    .prefix = text_of(arguments, "migration"),
			    .list = json_array() };

	if (!store_each(engine->store, STORE_MIGRATIONS, list_migration, &listing, err)) {
		json_decref(listing.list);
		return false;
	}
	if (listing.prefix && !json_array_size(listing.list)) {
		json_decref(listing.list);
		return error_set(err, ERROR_NOT_FOUND, "no migration \"%.64s\"", listing.prefix);
	}
	api_return(request, json_pack("{s:o}", "migrations", listing.list));
	return true;
}

static Job *require_job(Engine *engine, json_t *arguments, Error *err)
{
	const char *prefix = text_of(arguments, "migration");
	Job *job, *found = NULL;

	LIST_FOREACH(job, &engine->jobs, link) {
		char id[2 * MIGRATION_ID_BYTES + 1];

		hex_encode(migration_record(job->migration)->id, MIGRATION_ID_BYTES, id);
		if (!*prefix || strncmp(id, prefix, strlen(prefix)))
			continue;
		if (found) {
			error_set(err, ERROR_CONFLICT, "\"%.64s\" names several migrations", prefix);
			return NULL;
		}
		found = job;
	}
	if (!found)
		error_set(err, ERROR_NOT_FOUND, "no migration \"%.64s\" is under way here", prefix);
	return found;
}

static bool do_cancel(Engine *engine, ApiRequest *request, json_t *arguments, Error *err)
{
	Job *job = require_job(engine, arguments, err);

	if (!job || !migration_cancel(job->migration, err))
		return false;
	api_return(request, NULL);
	job_settle(job);
	return true;
}

typedef bool Resolution(Migration *m, Error *err);

static Resolution *resolution_of(const char *action, Error *err)
{
	if (!strcmp(action, "run-here"))
		return migration_resolve_run_here;
	if (!strcmp(action, "discard"))
		return migration_resolve_discard;
	error_set(err, ERROR_USAGE, "action \"%.32s\" is neither \"run-here\" nor \"discard\"", action);
	return NULL;
}

static bool do_resolve(Engine *engine, ApiRequest *request, json_t *arguments, Error *err)
{
	const char *action = text_of(arguments, "action"), *place = engine->config.state_directory;
	Resolution *resolve = resolution_of(action, err);
	Job *job = resolve ? require_job(engine, arguments, err) : NULL;
	MigrationRecord record;
	LedgerEntry entry = { .time_s = clock_wall_s(&clock_system),
			      .uid = api_uid(request),
			      .action = action,
			      .migration = &record };
	Error ignored = ERROR_INIT;

	if (!job)
		return false;
	record = *migration_record(job->migration);
	/* On the disk before it is done: nobody may run a second copy without a trace. */
	if (!ledger_append(place, &entry, err))
		return false;
	if (!resolve(job->migration, err)) {
		entry.refused = err;
		if (!ledger_append(place, &entry, &ignored))
			log_warning(engine->log, "%s", ignored.text);
		return false;
	}
	api_return(request, NULL);
	job_settle(job);
	return true;
}

static bool do_events(Engine *engine, ApiRequest *request, json_t *arguments, Error *err)
{
	(void)engine;
	(void)arguments;
	(void)err;
	api_subscribe(request);
	api_return(request, NULL);
	return true;
}

/* --- doctor --- */

static void check(json_t *list, const char *name, bool ok, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

static void check(json_t *list, const char *name, bool ok, const char *format, ...)
{
	char text[LIMIT_TEXT];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	(void)json_array_append_new(list,
				    json_pack("{s:s, s:b, s:s}", "name", name, "ok", ok, "text", text));
}

static bool check_domain(void *context, const void *object, Error *err)
{
	const DomainRecord *domain = object;
	int64_t left_s = (int64_t)domain->crl_next_update_s - clock_wall_s(&clock_system);

	(void)err;
	if (!domain->crl_size)
		check(context, "crl", false, "%s has no CRL: every peer of it is refused", domain->domain);
	else if (domain->crl_next_update_s && left_s < 86400)
		check(context, "crl", false, "CRL of %s goes stale in %lld s", domain->domain,
		      (long long)left_s);
	return true;
}

static bool do_doctor(Engine *engine, ApiRequest *request, json_t *arguments, Error *err)
{
	json_t *list = json_array();
	const Config *config = &engine->config;
	int64_t left_s = (int64_t)engine->certificate_not_after_s - clock_wall_s(&clock_system);
	bool own_users = config->gate_user[0] && config->notary_user[0] && config->mover_user[0] &&
			 (config->keyd_user[0] || !config->keys.wanted);
	char keys[LIMIT_TEXT];
	bool keys_ok;

	(void)arguments;
	check(list, "children", engine->serving, "gate and notaries %s",
	      engine->serving ? "serve" : "do not all serve");
	check(list, "identity", left_s > 86400, "%s, certificate good for %lld h", engine->host_id,
	      (long long)left_s / 3600);
	check(list, "users", own_users && !geteuid() && config->resources.user.set,
	      geteuid() ? "not root: every role runs as the engine's own user" :
	      own_users && config->resources.user.set ?
			  "each role and QEMU have users of their own" :
			  "users are not all configured: roles run as root inside their sandbox");
	check(list, "aead", true, "provider %s", config->policy.aead);
	check(list, "encryption", !config->policy.allow_disabled && !config->policy.forbid_encryption,
	      config->policy.forbid_encryption ? "this domain FORBIDS encryption" :
	      config->policy.allow_disabled    ? "mode disabled is ALLOWED on this host" :
						 "required everywhere");
	check(list, "guard", config->policy.guard == MOVER_GUARD_ENFORCE,
	      config->policy.guard == MOVER_GUARD_ENFORCE ?
		      "refuses streams that break its rules" :
		      "ONLY WARNS of streams that break its rules");
	if (keys_describe(engine, &keys_ok, keys))
		check(list, "keys", keys_ok, "%s", keys);
	/* Of no concern to a host without a key manager: its VMs can have no TPM anyway. */
	if (config->keys.wanted) {
		Error why = ERROR_INIT;
		bool tpm_ok = vtpm_check_program(&config->resources, &why);

		check(list, "tpm", tpm_ok, "%s", tpm_ok ? "VMs may have a TPM" : why.text);
	}
	if (!store_each(engine->store, STORE_DOMAINS, check_domain, list, err)) {
		json_decref(list);
		return false;
	}
	api_return(request, json_pack("{s:o}", "checks", list));
	return true;
}

static const Command commands[] = {
	{ "version", do_version, { { 0 } } },
	{ "vm-create",
	  do_vm_create,
	  { { "text", JSON_STRING, false },
	    { "file", JSON_STRING, false },
	    { "encrypted", JSON_TRUE, true },
	    { "sparse", JSON_TRUE, true } } },
	{ "vm-start", do_vm_start, { { "text", JSON_STRING, false }, { "file", JSON_STRING, false } } },
	{ "vm-list", do_vm_list, { { 0 } } },
	{ "vm-show", do_vm_show, { { "vm", JSON_STRING, false } } },
	{ "vm-stop", do_vm_stop, { { "vm", JSON_STRING, false } } },
	{ "vm-rekey",
	  do_vm_rekey,
	  { { "vm", JSON_STRING, false }, { "disk", JSON_STRING, true }, { "cancel", JSON_TRUE, true } } },
	{ "host-add",
	  do_host_add,
	  { { "name", JSON_STRING, false },
	    { "address", JSON_STRING, false },
	    { "port", JSON_INTEGER, false },
	    { "id", JSON_STRING, false } } },
	{ "host-remove", do_host_remove, { { "name", JSON_STRING, false } } },
	{ "host-trust",
	  do_host_trust,
	  { { "domain", JSON_STRING, false },
	    { "root", JSON_STRING, false },
	    { "crl", JSON_STRING, true } } },
	{ "host-distrust", do_host_distrust, { { "domain", JSON_STRING, false } } },
	{ "host-list", do_host_list, { { 0 } } },
	{ "migrate",
	  do_migrate,
	  { { "vm", JSON_STRING, false },
	    { "destination", JSON_STRING, false },
	    { "channels", JSON_INTEGER, true },
	    { "bandwidth", JSON_INTEGER, true },
	    { "max_downtime_ms", JSON_INTEGER, true },
	    { "keep_keys", JSON_TRUE, true },
	    { "manner", JSON_STRING, true } } },
	{ "evidence",
	  evidence_do,
	  { { "migration", JSON_STRING, false }, { "piece", JSON_STRING, true } } },
	{ "status", do_status, { { "migration", JSON_STRING, true } } },
	{ "cancel", do_cancel, { { "migration", JSON_STRING, false } } },
	{ "resolve",
	  do_resolve,
	  { { "migration", JSON_STRING, false }, { "action", JSON_STRING, false } } },
	{ "key-create",
	  keys_do_create,
	  { { "vm", JSON_STRING, false },
	    { "slot", JSON_STRING, false },
	    { "purpose", JSON_STRING, true },
	    { "backend", JSON_STRING, true } } },
	{ "key-list", keys_do_list, { { "vm", JSON_STRING, true }, { "cursor", JSON_INTEGER, true } } },
	{ "key-show", keys_do_show, { { "key", JSON_STRING, false }, { "version", JSON_INTEGER, true } } },
	{ "key-rotate", keys_do_rotate, { { "key", JSON_STRING, false } } },
	{ "key-destroy",
	  keys_do_destroy,
	  { { "key", JSON_STRING, false }, { "version", JSON_INTEGER, true } } },
	{ "key-abandon",
	  keys_do_abandon,
	  { { "key", JSON_STRING, false },
	    { "reason", JSON_STRING, false },
	    { "version", JSON_INTEGER, true } } },
	{ "key-backends", keys_do_backends, { { 0 } } },
	{ "key-audit", keys_do_audit, { { "first", JSON_INTEGER, true } } },
	{ "key-verify", keys_do_verify, { { 0 } } },
	{ "events", do_events, { { 0 } } },
	{ "doctor", do_doctor, { { 0 } } },
};

static bool check_arguments(const Command *command, json_t *arguments, Error *err)
{
	size_t known = 0;

	for (const Argument *argument = command->arguments; argument->name; argument++) {
		json_t *value = json_object_get(arguments, argument->name);

		if (!value && argument->optional)
			continue;
		if (!value)
			return error_set(err, ERROR_USAGE, "%s: argument \"%s\" is missing", command->name,
					 argument->name);
		if (json_typeof(value) != argument->type &&
		    !(argument->type == JSON_TRUE && json_is_false(value)))
			return error_set(err, ERROR_USAGE, "%s: argument \"%s\" has the wrong type",
					 command->name, argument->name);
		if (argument->type == JSON_INTEGER && json_integer_value(value) < 0)
			return error_set(err, ERROR_USAGE, "%s: argument \"%s\" is negative", command->name,
					 argument->name);
		known++;
	}
	return known == json_object_size(arguments) ||
	       error_set(err, ERROR_USAGE, "%s: an argument is unknown", command->name);
}

void api_dispatch(ApiRequest *request, const char *name)
{
	Engine *engine = api_engine(request);
	json_t *arguments = api_arguments(request);
	Error err = ERROR_INIT;

	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (strcmp(commands[i].name, name))
			continue;
		if (!check_arguments(&commands[i], arguments, &err) ||
		    !commands[i].handler(engine, request, arguments, &err)) {
			if (!err.category)
				error_set(&err, ERROR_INTERNAL, "no memory");
			api_fail(request, &err);
		}
		return;
	}
	error_set(&err, ERROR_USAGE, "no command \"%.64s\"", name);
	api_fail(request, &err);
}
