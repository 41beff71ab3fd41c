/* SPDX-License-Identifier: Apache-2.0 */
/* The gate and the two notaries: start, trust anchors, restart, requests. */
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "crypto/spiffe.h"
#include "engine/engine.h"
#include "engine/keys.h"

enum { RESTART_SECONDS = 1, EXPIRY_WARNING_S = 86400 };

/* --- requests --- */

Request *request_new(Engine *engine, Job *job)
{
	Request *request = calloc(1, sizeof(*request));

	if (!request)
		return NULL;
	request->number = ++engine->next_number;
	request->job = job ? job->serial : 0;
	LIST_INSERT_HEAD(&engine->requests, request, link);
	return request;
}

Request *request_find(Engine *engine, uint64_t number)
{
	Request *request;

	LIST_FOREACH(request, &engine->requests, link)
		if (request->number == number)
			return request;
	return NULL;
}

void request_free(Request *request)
{
	LIST_REMOVE(request, link);
	free(request->crl);
	free(request->before);
	free(request);
}

/* --- trust --- */

static bool send_both(Engine *engine, uint16_t type, const Schema *schema, const void *payload,
		      Error *err)
{
	return child_send(engine->gate, type, 0, schema, payload, NULL, 0, err) &&
	       child_send(engine->verifier, type, 0, schema, payload, NULL, 0, err);
}

bool children_trust(Engine *engine, const DomainRecord *domain, Error *err)
{
	RoleAnchor anchor;
	RoleCrl crl;

	if (!engine->gate || !engine->verifier)
		return error_set(err, ERROR_UNAVAILABLE, "gate or notary is being restarted");
	memset(&anchor, 0, sizeof(anchor));
	snprintf(anchor.domain, sizeof(anchor.domain), "%s", domain->domain);
	memcpy(anchor.root, domain->root, domain->root_size);
	anchor.root_size = domain->root_size;
	if (!send_both(engine, ROLE_ANCHOR, &role_anchor_schema, &anchor, err))
		return false;
	if (!domain->crl_size)
		return true;
	memset(&crl, 0, sizeof(crl));
	snprintf(crl.domain, sizeof(crl.domain), "%s", domain->domain);
	memcpy(crl.crl, domain->crl, domain->crl_size);
	crl.crl_size = domain->crl_size;
	return send_both(engine, ROLE_CRL, &role_crl_schema, &crl, err);
}

static RoleForget forget_of(const char *domain)
{
	RoleForget forget;

	memset(&forget, 0, sizeof(forget));
	snprintf(forget.domain, sizeof(forget.domain), "%s", domain);
	return forget;
}

static bool judge(Engine *engine, const RoleForget *domain, Error *err)
{
	return child_send(engine->gate, GATE_JUDGE, 0, &role_forget_schema, domain, NULL, 0, err);
}

/* Each by itself: one that is being restarted learns it from the store, the other only from here. */
void children_distrust(Engine *engine, const char *domain)
{
	const RoleForget forget = forget_of(domain);
	Error err = ERROR_INIT;

	keys_distrust(engine, &forget);
	if (engine->verifier && !child_send(engine->verifier, ROLE_FORGET, 0, &role_forget_schema, &forget,
					    NULL, 0, &err))
		log_warning(engine->log, "distrust of %s: notary: %s", domain, err.text);
	if (engine->gate && (!child_send(engine->gate, ROLE_FORGET, 0, &role_forget_schema, &forget, NULL,
					 0, &err) ||
			     !judge(engine, &forget, &err)))
		log_warning(engine->log, "distrust of %s: gate: %s", domain, err.text);
}

/* Roots only ever add up in a child: what is not trusted any more must go first. With a CRL the gate
 * judges by itself. */
bool children_retrust(Engine *engine, const DomainRecord *domain, Error *err)
{
	const RoleForget forget = forget_of(domain->domain);

	/* The key manager does not wait for those two, nor they for it. */
	keys_retrust(engine, &forget, domain);
	if (!engine->gate || !engine->verifier)
		return error_set(err, ERROR_UNAVAILABLE, "gate or notary is being restarted");
	return send_both(engine, ROLE_FORGET, &role_forget_schema, &forget, err) &&
	       children_trust(engine, domain, err) &&
	       (domain->crl_size || judge(engine, &forget, err));
}

/* The notary found it valid: the store keeps it, and everybody gets it if it is newer. */
static void take_crl(Engine *engine, const RoleCrl *crl, const NotaryCrl *answer)
{
	AUTO_FREE DomainRecord *domain = calloc(1, sizeof(*domain));
	Error err = ERROR_INIT;

	if (!domain || !store_get(engine->store, STORE_DOMAINS, crl->domain, domain, &err))
		return;
	if (domain->crl_next_update_s == answer->next_update_s && !answer->newer)
		return;
	memcpy(domain->crl, crl->crl, crl->crl_size);
	domain->crl_size = crl->crl_size;
	domain->crl_next_update_s = answer->next_update_s;
	if (!store_put(engine->store, STORE_DOMAINS, crl->domain, domain, &err) ||
	    (answer->newer && !send_both(engine, ROLE_CRL, &role_crl_schema, crl, &err)))
		log_warning(engine->log, "CRL of %s: %s", crl->domain, err.text);
	else if (answer->newer)
		log_info(engine->log, "newer CRL domain=%s", crl->domain);
	if (answer->newer)
		keys_take_crl(engine, crl);
}

bool children_check_crl(Engine *engine, const char *domain, const void *crl, size_t size,
			ApiRequest *api, Error *err)
{
	Request *request = engine->verifier ? request_new(engine, NULL) : NULL;

	if (!request)
		return error_set(err, ERROR_UNAVAILABLE, "the notary is being restarted");
	request->crl = calloc(1, sizeof(*request->crl));
	if (!request->crl) {
		request_free(request);
		return error_set(err, ERROR_INTERNAL, "no memory for a CRL");
	}
	snprintf(request->crl->domain, sizeof(request->crl->domain), "%s", domain);
	memcpy(request->crl->crl, crl, size);
	request->crl->crl_size = size;
	if (!child_send(engine->verifier, NOTARY_CHECK_CRL, request->number, &role_crl_schema,
			request->crl, NULL, 0, err)) {
		request_free(request);
		return false;
	}
	request->api = api;
	return true;
}

bool children_replace_trust(Engine *engine, const DomainRecord *domain, ApiRequest *api, Error *err)
{
	AUTO_FREE DomainRecord *before = calloc(1, sizeof(*before));
	Error unknown = ERROR_INIT;
	Request *request;

	if (!before)
		return error_set(err, ERROR_INTERNAL, "no memory for a domain");
	if (!store_get(engine->store, STORE_DOMAINS, domain->domain, before, &unknown))
		free(TAKE_PTR(before));
	if (!store_put(engine->store, STORE_DOMAINS, domain->domain, domain, err) ||
	    !children_retrust(engine, domain, err) ||
	    !children_check_crl(engine, domain->domain, domain->crl, domain->crl_size, api, err))
		return false;
	request = LIST_FIRST(&engine->requests);
	request->before = TAKE_PTR(before);
	return true;
}

static bool send_stored_trust(void *context, const void *object, Error *err)
{
	return children_trust(context, object, err);
}

/* Tells when each CRL goes stale; one that is unfit is said here, not when a peer comes. */
static bool check_stored_crl(void *context, const void *object, Error *err)
{
	const DomainRecord *domain = object;

	return !domain->crl_size ||
	       children_check_crl(context, domain->domain, domain->crl, domain->crl_size, NULL, err);
}

static bool warn_of_domain(void *context, const void *object, Error *err)
{
	const DomainRecord *domain = object;
	int64_t left_s = (int64_t)domain->crl_next_update_s - clock_wall_s(&clock_system);

	(void)err;
	if (!domain->crl_size)
		engine_warn(context, "domain %s has no CRL: every peer of it is refused", domain->domain);
	else if (domain->crl_next_update_s && left_s < EXPIRY_WARNING_S)
		engine_warn(context, "CRL of %s %s %lld minutes%s", domain->domain,
			    left_s > 0 ? "goes stale in" : "is stale since",
			    (long long)(left_s > 0 ? left_s : -left_s) / 60,
			    left_s > 0 ? "" : ": its hosts are refused");
	return true;
}

void children_warn_of_expiry(Engine *engine)
{
	int64_t left_s = (int64_t)engine->certificate_not_after_s - clock_wall_s(&clock_system);
	Error err = ERROR_INIT;

	if (engine->certificate_not_after_s && left_s < 7 * EXPIRY_WARNING_S)
		engine_warn(engine, "our certificate %s", left_s > 0 ? "expires within a week" : "has expired");
	if (!store_each(engine->store, STORE_DOMAINS, warn_of_domain, engine, &err))
		log_warning(engine->log, "%s", err.text);
}

/* --- start --- */

static bool open_file(const char *path, int *ret_fd, Error *err)
{
	*ret_fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	return *ret_fd >= 0 || error_set_errno(err, ERROR_CONFIG, errno, "cannot open %s", path);
}

static void schedule_restart(Engine *engine)
{
	const struct timeval delay = { .tv_sec = RESTART_SECONDS };

	if (!engine->stopping)
		evtimer_add(engine->restart, &delay);
}

static void ready(Engine *engine)
{
	Error err = ERROR_INIT;

	if (!engine->gate_ready || !engine->signer_ready || !engine->verifier_ready || engine->serving)
		return;
	/* Domains may have come to the store while a child was away. */
	if (!store_each(engine->store, STORE_DOMAINS, send_stored_trust, engine, &err) ||
	    !store_each(engine->store, STORE_DOMAINS, check_stored_crl, engine, &err))
		log_error(engine->log, "trust: %s", err.text);
	engine->serving = true;
	engine_on_children_ready(engine);
}

static void take_identity(Engine *engine, const GateIdentity *identity)
{
	SpiffeId id;
	Error err = ERROR_INIT;

	if (!spiffe_parse(identity->peer_id, strlen(identity->peer_id), &id, &err) ||
	    id.role != SPIFFE_HOST) {
		log_error(engine->log, "signing certificate: %s is not a host's name", identity->peer_id);
		return;
	}
	snprintf(engine->host_id, sizeof(engine->host_id), "%s", id.text);
	snprintf(engine->domain, sizeof(engine->domain), "%s", id.domain);
	snprintf(engine->config.policy.host_id, LIMIT_SPIFFE_ID, "%s", id.text);
	snprintf(engine->config.policy.domain, LIMIT_DOMAIN, "%s", id.domain);
	engine->certificate_not_after_s = identity->not_after_s;
}

static Job *job_of_request(Engine *engine, uint64_t number)
{
	Request *request = request_find(engine, number);
	Job *job = request ? job_find(engine, request->job) : NULL;

	if (request)
		request_free(request);
	return job;
}

static void on_crl_checked(Engine *engine, uint64_t number, const NotaryCrl *answer)
{
	Request *request = request_find(engine, number);

	if (!request)
		return;
	if (request->crl)
		take_crl(engine, request->crl, answer);
	if (request->api)
		api_return(TAKE_PTR(request->api), NULL);
	request_free(request);
}

/* What a person just asked us to trust and the notary finds unfit is not kept. */
static void refuse_trust(Engine *engine, Request *request, const Error *cause)
{
	Error ignored = ERROR_INIT;

	if (!request->before)
		children_distrust(engine, request->crl->domain);
	if (request->before ?
		    !store_put(engine->store, STORE_DOMAINS, request->crl->domain, request->before, &ignored) ||
			    !children_retrust(engine, request->before, &ignored) :
		    !store_delete(engine->store, STORE_DOMAINS, request->crl->domain, &ignored))
		log_warning(engine->log, "trust: %s", ignored.text);
	api_fail(TAKE_PTR(request->api), cause);
}

static void on_notary_failed(Engine *engine, IpcMessage *message)
{
	const RoleFailure *failure = message->payload;
	Request *request = request_find(engine, message->subject);
	Job *job;
	Error err = ERROR_INIT;

	error_set(&err, (ErrorCategory)failure->category, "%s", failure->text);
	if (request && request->api)
		refuse_trust(engine, request, &err);
	else if (!request || request->crl)
		log_warning(engine->log, "notary: %s", err.text);
	job = job_of_request(engine, message->subject);
	if (job) {
		migration_on_notary_failed(job->migration, &err);
		job_settle(job);
	}
}

static void on_notary_message(void *context, Child *child, IpcMessage *message)
{
	Engine *engine = context;
	Job *job;

	switch (message->type) {
	case NOTARY_IDENTITY:
		take_identity(engine, message->payload);
		return;
	case ROLE_READY:
		*(child == engine->signer ? &engine->signer_ready : &engine->verifier_ready) = true;
		ready(engine);
		return;
	case NOTARY_SIGNED:
		job = job_of_request(engine, message->subject);
		if (job) {
			migration_on_signed(job->migration, message->payload);
			job_settle(job);
		}
		return;
	case NOTARY_VERIFIED:
		job = job_of_request(engine, message->subject);
		if (job) {
			migration_on_verified(job->migration, message->payload);
			job_settle(job);
		}
		return;
	case NOTARY_CRL:
		on_crl_checked(engine, message->subject, message->payload);
		return;
	default:
		on_notary_failed(engine, message);
	}
}

/* What was asked of a notary that died is answered with its death. */
static void fail_requests(Engine *engine, const Error *cause)
{
	Request *request;

	while ((request = LIST_FIRST(&engine->requests))) {
		Job *job = request->channel ? NULL : job_find(engine, request->job);

		if (request->api)
			api_fail(TAKE_PTR(request->api), cause);
		request_free(request);
		if (!job)
			continue;
		migration_on_notary_failed(job->migration, cause);
		job_settle(job);
	}
}

static void on_notary_gone(void *context, Child *child, const Error *cause)
{
	Engine *engine = context;
	bool signer = child == engine->signer;

	log_error(engine->log, "%s notary: %s", signer ? "signing" : "verifying", cause->text);
	child_free(child);
	*(signer ? &engine->signer : &engine->verifier) = NULL;
	*(signer ? &engine->signer_ready : &engine->verifier_ready) = false;
	engine->serving = false;
	fail_requests(engine, cause);
	schedule_restart(engine);
}

static void on_gate_message(void *context, Child *child, IpcMessage *message)
{
	Engine *engine = context;

	(void)child;
	if (message->type == ROLE_READY) {
		engine->gate_ready = true;
		ready(engine);
		return;
	}
	connections_on_gate_message(engine, message);
}

static void on_gate_gone(void *context, Child *child, const Error *cause)
{
	Engine *engine = context;

	log_error(engine->log, "gate: %s", cause->text);
	child_free(child);
	engine->gate = NULL;
	engine->gate_ready = false;
	engine->serving = false;
	connections_on_gate_gone(engine, cause);
	schedule_restart(engine);
}

/* argv of a child: MODES, --user U:G where we are root and a user is configured. */
Child *children_spawn_with(Engine *engine, const char *program, const char *const *modes,
			   const char *user, const int *fds, size_t n_fds, const IpcRule *rules,
			   const ChildEvents *events, void *context, Error *err)
{
	char path[LIMIT_PATH + 32];
	const char *arguments[5] = { NULL };
	size_t used = 0;
	ChildSpec spec = { .path = path, .args = arguments, .fds_count = n_fds, .rules = rules };

	snprintf(path, sizeof(path), "%s/%s", engine->config.libexec_directory, program);
	for (; used < 2 && modes[used]; used++)
		arguments[used] = modes[used];
	if (user[0] && !geteuid()) {
		arguments[used++] = "--user";
		arguments[used++] = user;
	}
	memcpy(spec.fds, fds, n_fds * sizeof(*fds));
	return child_new(engine->base, &spec, events, context, err);
}

Child *children_spawn(Engine *engine, const char *program, const char *mode, const char *user,
		      const int *fds, size_t n_fds, const IpcRule *rules, const ChildEvents *events,
		      Error *err)
{
	return children_spawn_with(engine, program, (const char *const[]){ mode, NULL }, user, fds,
				   n_fds, rules, events, engine, err);
}

static const ChildEvents notary_events = { on_notary_message, on_notary_gone };
static const ChildEvents gate_events = { on_gate_message, on_gate_gone };

static bool start_signer(Engine *engine, Error *err)
{
	AUTO_FD int certificate = -1;
	AUTO_FD int key = -1;

	if (!open_file(engine->config.sign_certificate, &certificate, err) ||
	    !open_file(engine->config.sign_key, &key, err))
		return false;
	engine->signer = children_spawn(engine, "sealift-notary", "--sign", engine->config.notary_user,
					(int[]){ certificate, key }, 2, engine_notary_rules, &notary_events, err);
	return engine->signer && child_send(engine->signer, ROLE_START, 0, NULL, NULL, NULL, 0, err);
}

static bool start_verifier(Engine *engine, Error *err)
{
	engine->verifier = children_spawn(engine, "sealift-notary", "--verify", engine->config.notary_user,
					  (int[]){ -1 }, 0, engine_notary_rules, &notary_events, err);
	return engine->verifier;
}

static bool start_gate(Engine *engine, Error *err)
{
	AUTO_FD int certificate = -1;
	AUTO_FD int key = -1;

	if (!open_file(engine->config.tls_certificate, &certificate, err) ||
	    !open_file(engine->config.tls_key, &key, err))
		return false;
	engine->gate = children_spawn(engine, "sealift-gate", NULL, engine->config.gate_user,
				      (int[]){ engine->listen_fd, certificate, key }, 3, engine_gate_rules,
			     &gate_events, err);
	return engine->gate;
}

static bool start_missing(Engine *engine, Error *err)
{
	bool new_gate = !engine->gate, new_verifier = !engine->verifier;

	if ((!engine->signer && !start_signer(engine, err)) ||
	    (new_verifier && !start_verifier(engine, err)) || (new_gate && !start_gate(engine, err)))
		return false;
	if (!new_gate && !new_verifier)
		return true;
	if (store_each(engine->store, STORE_DOMAINS, send_stored_trust, engine, err) &&
	    (!new_verifier || child_send(engine->verifier, ROLE_START, 0, NULL, NULL, NULL, 0, err)) &&
	    (!new_gate || child_send(engine->gate, ROLE_START, 0, NULL, NULL, NULL, 0, err)))
		return true;
	/* Half told is not told: begun anew. */
	if (new_gate)
		child_free(TAKE_PTR(engine->gate));
	if (new_verifier)
		child_free(TAKE_PTR(engine->verifier));
	return false;
}

static void on_restart(evutil_socket_t fd, short what, void *context)
{
	Engine *engine = context;
	Error err = ERROR_INIT;

	(void)fd;
	(void)what;
	if (start_missing(engine, &err))
		return;
	log_error(engine->log, "cannot restart a child: %s", err.text);
	schedule_restart(engine);
}

bool children_start(Engine *engine, Error *err)
{
	engine->restart = evtimer_new(engine->base, on_restart, engine);
	return start_missing(engine, err);
}

void children_stop(Engine *engine)
{
	if (engine->restart)
		event_free(engine->restart);
	engine->restart = NULL;
	child_free(TAKE_PTR(engine->gate));
	child_free(TAKE_PTR(engine->signer));
	child_free(TAKE_PTR(engine->verifier));
	while (!LIST_EMPTY(&engine->requests))
		request_free(LIST_FIRST(&engine->requests));
}
