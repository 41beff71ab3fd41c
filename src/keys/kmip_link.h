/* SPDX-License-Identifier: Apache-2.0 */
/* One TLS connection to a KMIP server that blocks up to a deadline. Private to kmip.c. */
#ifndef SEALIFT_KEYS_KMIP_LINK_H
#define SEALIFT_KEYS_KMIP_LINK_H

#include <openssl/ssl.h>
#include <sys/socket.h>

#include "base/buffer.h"
#include "keys/kmip.h"

/* Whom to dial, and with what: the checked part of a configuration (kmip_target.c). */
typedef struct KmipTarget {
	SSL_CTX *tls;
	struct sockaddr_storage address;
	socklen_t address_size;
	char server_name[LIMIT_KMIP_SERVER_NAME];
	bool name_is_ip;
} KmipTarget;

/* ERROR_CONFIG. */
MUST_CHECK KmipTarget *kmip_target_new(const KmipConfig *config, Error *err);
void kmip_target_free(KmipTarget *target);
DEFINE_CLEANUP(KmipTarget, kmip_target, kmip_target_free)
#define AUTO_KMIP_TARGET CLEANUP(kmip_target_cleanup)

typedef struct KmipLink KmipLink;

/* Connects and proves both sides. Deadlines are instants of clock_system's monotonic clock.
 * ERROR_TIMEOUT, ERROR_UNAVAILABLE, ERROR_AUTH. */
MUST_CHECK KmipLink *kmip_link_open(const KmipTarget *target, int64_t deadline_us, Error *err);
/* Says goodbye if it can at once. NULL is fine. */
void kmip_link_close(KmipLink *link);
DEFINE_CLEANUP(KmipLink, kmip_link, kmip_link_close)
#define AUTO_KMIP_LINK CLEANUP(kmip_link_cleanup)

/* Whether nothing came since the last answer: no end, no error, no byte that was not asked for. */
bool kmip_link_is_quiet(KmipLink *link);

/* When it was dialled. */
int64_t kmip_link_opened_us(const KmipLink *link);

/* Sends a request and appends the one message that answers it, of at most PROVIDER_ANSWER_MAX
 * bytes. Errors as above, and ERROR_PEER. After an error the link is of no more use, and the peer
 * may have got the request. */
MUST_CHECK bool kmip_link_exchange(KmipLink *link, const Buffer *request, Buffer *answer,
				   int64_t deadline_us, Error *err);

const char *kmip_link_version(const KmipLink *link); /* "TLSv1.3" */
const char *kmip_link_cipher(const KmipLink *link);
/* Whether its cipher authenticates by itself (AEAD). */
bool kmip_link_is_strong(const KmipLink *link);

#endif
