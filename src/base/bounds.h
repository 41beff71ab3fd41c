/* SPDX-License-Identifier: Apache-2.0 */
/* Every bound of Sealift in one place. Those that peers must agree on stand in PROTOCOL.md too. */
#ifndef SEALIFT_BASE_BOUNDS_H
#define SEALIFT_BASE_BOUNDS_H

enum {
	/* names and identities */
	LIMIT_NAME = 64,	/* bytes of a VM, host, pool, volume, network name with its NUL */
	LIMIT_DOMAIN = 128,	/* bytes of a domain with its NUL */
	LIMIT_SPIFFE_ID = 256,	/* bytes of spiffe://DOMAIN/host/NAME with its NUL */
	LIMIT_ADDRESS = 64,	/* bytes of a numeric IP address with its NUL */
	LIMIT_UUID = 37,	/* bytes with the NUL */
	LIMIT_TEXT = 512,	/* bytes of a reason meant for people, with its NUL */
	LIMIT_PATH = 256,	/* bytes of a local path with its NUL */
	LIMIT_UNIX_PATH = 108,	/* bytes of sun_path, unix(7) */

	/* between our own processes */
	LIMIT_IPC_MESSAGE = 65536,
	LIMIT_IPC_FDS = 4,

	/* certificates and signed statements */
	LIMIT_PEM = 16384,	/* a certificate file: root or chain */
	LIMIT_CRL = 24576,	/* one domain's CRL, DER or PEM */
	LIMIT_STATEMENT = 24576, /* CMS SignedData, DER */
	LIMIT_STATEMENT_JSON = 16384,
	LIMIT_PACKAGE = 32768,	/* DER bytes of a signed envelope: keys on their way */
	LIMIT_ANCHORS = 64,	/* roots that one engine trusts, all domains together */
	LIMIT_STATEMENT_AGE_S = 300, /* longest life of an offer */

	/* peer protocol, control connection */
	LIMIT_FRAME = 65536,	/* one JSON message */
	LIMIT_CONNECTIONS_PENDING = 64,	      /* not yet authenticated, all addresses */
	LIMIT_CONNECTIONS_PENDING_ADDRESS = 8, /* of one address */
	LIMIT_CONNECTIONS = 256,
	LIMIT_CONNECTIONS_PEER = 8,	/* authenticated, of one identity */
	LIMIT_CONNECTIONS_DIALLED = 256, /* not yet connected; of a migration all channels at once */
	LIMIT_MESSAGES_S = 200,		/* from one connection in a second */
	LIMIT_SEND_QUEUE = 4 * (LIMIT_FRAME + 4), /* bytes that wait for a peer that does not read */
	LIMIT_HANDSHAKE_MS = 5000,
	LIMIT_SILENCE_MS = 15000, /* until bytes that nobody acknowledges end a TCP connection */

	/* data plane */
	LIMIT_RECORD_PLAINTEXT = 512 * 1024, /* inner bytes with type and padding */
	LIMIT_STREAM_CHANNELS = 17, /* main and up to 16 multifd: numbers 0 to 16 */
	LIMIT_CHANNELS = 25,	    /* with one for each copied disk: from 17 on */
	LIMIT_CHANNELS_PENDING = 48,
	LIMIT_TWIN = 16 << 20,	   /* the stream of a QEMU that never ran (vmm/twin.h) */
	LIMIT_TWIN_DUMP = 8 << 20, /* what such a QEMU says of its devices' tables */

	/* VMs */
	LIMIT_DISKS = 8,
	LIMIT_NICS = 8,
	LIMIT_VCPUS = 1024,
	LIMIT_VMS = 1024,
	LIMIT_MIGRATIONS = 64,

	/* key manager: what one caller, and all together, may ask of it */
	LIMIT_KEY_CALLERS = 64,	   /* that are counted by themselves; the others share one count */
	LIMIT_KEY_CHANGES = 48,	   /* changes and openings of one caller at once: two VMs' worth */
	LIMIT_KEY_CHANGES_S = 16,  /* and in a second after that */
	LIMIT_KEY_TRANSFERS = 32,  /* steps of moves of keys, as of changes */
	LIMIT_KEY_TRANSFERS_S = 4,
	LIMIT_KEY_READS_S = 1000,  /* reads of one caller in a second, and at once */
	LIMIT_KEY_CALLER_FACTOR = 4, /* so much more all callers together */

	/* local API */
	LIMIT_API_LINE = 65536,
	LIMIT_API_CLIENTS = 64,
};

#define LIMIT_MEMORY_BYTES (UINT64_C(16) << 40)
#define LIMIT_MEMORY_MIN (UINT64_C(16) << 20)

#endif
