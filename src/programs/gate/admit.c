/* SPDX-License-Identifier: Apache-2.0 */
#include "programs/gate/admit.h"

#include <string.h>

bool admit_stranger(const Gate *gate, const PeerAddress *address, Error *err)
{
	const Connection *other;
	unsigned int all = 0, same = 0, most = LIMIT_CONNECTIONS_PENDING_ADDRESS;

	LIST_FOREACH(other, &gate->connections, entry)
	{
		bool is_same = other->inbound && !memcmp(other->address.key, address->key,
							 sizeof(address->key));

		if (is_same && other->state >= CONNECTION_HELLO)
			most = LIMIT_CONNECTIONS_PENDING_ADDRESS + LIMIT_CHANNELS;
		if (!other->inbound || other->state >= CONNECTION_HELLO)
			continue;
		all++;
		same += is_same;
	}
	if (same >= most)
		return error_set(err, ERROR_LIMIT,
				 "%u connections of this address wait for proof already", same);
	return all < LIMIT_CONNECTIONS_PENDING ||
	       error_set(err, ERROR_LIMIT, "%u connections wait for proof already", all);
}

bool admit_peer(const Connection *candidate, Error *err)
{
	const Connection *other;
	unsigned int all = 0, same = 0;

	LIST_FOREACH(other, &candidate->gate->connections, entry)
	{
		if (other->state < CONNECTION_HELLO || other->inbound != candidate->inbound)
			continue;
		all++;
		if (!strcmp(other->peer.text, candidate->peer.text))
			same++;
	}
	if (same >= LIMIT_CONNECTIONS_PEER)
		return error_set(err, ERROR_LIMIT, "%s has %u connections already",
				 candidate->peer.text, same);
	return all < LIMIT_CONNECTIONS ||
	       error_set(err, ERROR_LIMIT, "%u connections already", all);
}

bool admit_dial(const Gate *gate, Error *err)
{
	const Connection *other;
	unsigned int all = 0;

	LIST_FOREACH(other, &gate->connections, entry)
	if (!other->inbound && other->state < CONNECTION_HELLO)
		all++;
	return all < LIMIT_CONNECTIONS_DIALLED ||
	       error_set(err, ERROR_LIMIT, "%u connections are being dialled already", all);
}
