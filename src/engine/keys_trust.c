/* SPDX-License-Identifier: Apache-2.0 */
/* What the key manager needs to speak with those of other domains: its two certificates, and whom
 * to trust. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/keys.h"

/* Not a pipe, at which the key manager would wait. */
bool keys_open_pem(const char *path, int *ret_fd, Error *err)
{
	AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	struct stat status;

	if (fd < 0 || fstat(fd, &status))
		return error_set_errno(err, ERROR_CONFIG, errno, "cannot open %s", path);
	if (!S_ISREG(status.st_mode))
		return error_set(err, ERROR_CONFIG, "%s is not a regular file", path);
	*ret_fd = TAKE_FD(fd);
	return true;
}

bool keys_open_certificates(const ConfigKeys *config, int ret_fds[KEYS_CERTIFICATE_FDS], Error *err)
{
	const char *const paths[KEYS_CERTIFICATE_FDS] = { config->certificate, config->key,
							  config->agree_certificate,
							  config->agree_key };

	for (size_t i = 0; i < KEYS_CERTIFICATE_FDS; i++)
		if (!keys_open_pem(paths[i], &ret_fds[i], err))
			return false;
	return true;
}

/* With a number of its own, so that a refusal is known as one of this, not of keyd as a whole. */
static bool tell(Engine *engine, Child *child, uint16_t type, const Schema *schema,
		 const void *payload, Error *err)
{
	return child_send(child, type, ++engine->next_number, schema, payload, NULL, 0, err);
}

bool keys_tell_domain(Engine *engine, Child *child, const DomainRecord *domain, Error *err)
{
	RoleAnchor anchor;
	RoleCrl crl;

	memset(&anchor, 0, sizeof(anchor));
	snprintf(anchor.domain, sizeof(anchor.domain), "%s", domain->domain);
	memcpy(anchor.root, domain->root, domain->root_size);
	anchor.root_size = domain->root_size;
	if (!tell(engine, child, ROLE_ANCHOR, &role_anchor_schema, &anchor, err))
		return false;
	if (!domain->crl_size)
		return true;
	memset(&crl, 0, sizeof(crl));
	snprintf(crl.domain, sizeof(crl.domain), "%s", domain->domain);
	memcpy(crl.crl, domain->crl, domain->crl_size);
	crl.crl_size = domain->crl_size;
	return tell(engine, child, ROLE_CRL, &role_crl_schema, &crl, err);
}

typedef struct Beginner {
	Engine *engine;
	Child *child;
} Beginner;

static bool tell_stored(void *context, const void *object, Error *err)
{
	const Beginner *beginner = context;

	return keys_tell_domain(beginner->engine, beginner->child, object, err);
}

bool keys_tell_all_domains(Engine *engine, Child *child, Error *err)
{
	Beginner beginner = { engine, child };

	return store_each(engine->store, STORE_DOMAINS, tell_stored, &beginner, err);
}
