/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "tests/fault/fault.h"
#include "tests/wire/samples.h"

/* Large structs, so not on the stack; made once. */
typedef struct WireFixture {
	Statement offer, decoded;
	PeerMessage message, received;
	Buffer json, frame;
} WireFixture;

static void *wire_fixture_new(void)
{
	WireFixture *f = calloc(1, sizeof(*f));
	Error err = ERROR_INIT;

	fault_must(f, &err);
	f->json = BUFFER_INIT(LIMIT_STATEMENT_JSON);
	f->frame = BUFFER_INIT(LIMIT_FRAME + PEER_FRAME_HEADER);
	sample_statement(STATEMENT_OFFER, &f->offer);
	sample_peer(PEER_STATEMENT, &f->message);
	fault_must(statement_encode_json(&f->offer, &f->json, &err), &err);
	fault_must(peer_encode_frame(&f->message, &f->frame, &err), &err);
	return f;
}

static void wire_fixture_free(void *fixture)
{
	WireFixture *f = fixture;

	buffer_clear(&f->json);
	buffer_clear(&f->frame);
	free(f);
}

static bool is_same(const Buffer *a, const Buffer *b)
{
	return a->used == b->used && !memcmp(a->data, b->data, a->used);
}

static bool encode_offer(void *fixture, Error *err)
{
	const WireFixture *f = fixture;
	AUTO_BUFFER Buffer json = BUFFER_INIT(LIMIT_STATEMENT_JSON);

	if (!statement_encode_json(&f->offer, &json, err))
		return false;
	return is_same(&json, &f->json) || fault_wrong(err, "another offer");
}

static bool decode_offer(void *fixture, Error *err)
{
	WireFixture *f = fixture;

	if (!statement_decode_json(f->json.data, f->json.used, &f->decoded, err))
		return false;
	return !memcmp(&f->decoded, &f->offer, sizeof(f->offer)) ||
	       fault_wrong(err, "another offer");
}

static bool encode_peer(void *fixture, Error *err)
{
	const WireFixture *f = fixture;
	AUTO_BUFFER Buffer frame = BUFFER_INIT(LIMIT_FRAME + PEER_FRAME_HEADER);

	if (!peer_encode_frame(&f->message, &frame, err))
		return false;
	return is_same(&frame, &f->frame) || fault_wrong(err, "another message");
}

static bool decode_peer(void *fixture, Error *err)
{
	WireFixture *f = fixture;

	if (!peer_decode(f->frame.data + PEER_FRAME_HEADER, f->frame.used - PEER_FRAME_HEADER,
			 &f->received, err))
		return false;
	return f->received.kind == PEER_STATEMENT || fault_wrong(err, "another message");
}

#define WIRE(name, run)                                                                            \
	{                                                                                          \
		name, wire_fixture_new, run, NULL, wire_fixture_free, 0                            \
	}
const Scenario scenarios_wire[] = {
	WIRE("wire offer encoded", encode_offer),
	WIRE("wire offer decoded", decode_offer),
	WIRE("wire message encoded", encode_peer),
	WIRE("wire message decoded", decode_peer),
	{ 0 },
};
