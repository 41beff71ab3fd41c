/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/wire/samples.h"

#include <stdio.h>
#include <string.h>

#define SET(member, ...) snprintf(member, sizeof(member), __VA_ARGS__)

void sample_manifest(Manifest *ret_manifest)
{
	*ret_manifest = (Manifest){
		.cpus = 2,
		.memory_bytes = UINT64_C(512) << 20,
		.display = DISPLAY_VNC,
		.populate = POPULATE_FULL,
		.boots_kernel = true,
		.kernel_sha256 = { 1, 2, 3 },
		.initrd_sha256 = { 4, 5, 6 },
		.disks = { { "fast", "vm1-root", DISK_RAW, 8 << 20, false },
			   { "slow", "vm1-data", DISK_QCOW2, 1 << 30, true } },
		.disks_count = 2,
		.nics = { { "red", "52:54:00:12:34:56" }, { "blue", "52:54:00:12:34:57" } },
		.nics_count = 2,
	};
	SET(ret_manifest->name, "vm1");
	SET(ret_manifest->uuid, "3c1f7b52-0f64-4d0e-9d6c-6d2f5a1b2c3d");
	SET(ret_manifest->machine, "pc-q35-10.0");
	SET(ret_manifest->cpu, "qemu64");
	SET(ret_manifest->append, "console=ttyS0 quiet a=\"b,c\" d=\\e");
}

static void fill_text(char *text, size_t size, char c)
{
	memset(text, c, size - 1);
	text[size - 1] = '\0';
}

void sample_manifest_largest(Manifest *ret_manifest)
{
	Manifest *m = ret_manifest;

	sample_manifest(m);
	fill_text(m->name, sizeof(m->name), 'n');
	fill_text(m->cpu, sizeof(m->cpu), 'c');
	/* Each of these takes two bytes in JSON. */
	fill_text(m->append, sizeof(m->append), '"');
	m->cpus = LIMIT_VCPUS;
	m->memory_bytes = LIMIT_MEMORY_BYTES;
	m->disks_count = LIMIT_DISKS;
	m->nics_count = LIMIT_NICS;
	for (size_t i = 0; i < LIMIT_DISKS; i++) {
		fill_text(m->disks[i].pool, LIMIT_NAME, 'p');
		fill_text(m->disks[i].volume, LIMIT_NAME, (char)('a' + i));
		m->disks[i].format = DISK_QCOW2;
		m->disks[i].size_bytes = UINT64_C(1) << 50;
		m->disks[i].encryption = DISK_LUKS;
		memset(m->disks[i].key, 0xa0 + (int)i, sizeof(m->disks[i].key));
	}
	for (size_t i = 0; i < LIMIT_NICS; i++) {
		fill_text(m->nics[i].network, LIMIT_NAME, 'w');
		SET(m->nics[i].mac, "52:54:00:00:00:0%zu", i);
	}
}

static void fill_answer(Statement *s)
{
	memset(s->previous, 0xd1, sizeof(s->previous));
}

static void fill_terms(Statement *s)
{
	memset(s->share, 0x5a, sizeof(s->share));
	s->share[0] = 4;
	s->mode = SEAL_REQUIRED;
	s->channels = 5;
	s->version_min = PEER_VERSION_MIN;
	s->version_max = PEER_VERSION_MAX;
}

static void fill_accept(Statement *s)
{
	memset(s->routing, 0x77, sizeof(s->routing));
	s->lease_s = 120;
	s->memory_bytes = UINT64_C(512) << 20;
	s->populated = true;
	s->populate_us = 250000;
	s->forbids_encryption = true;
}

void sample_statement(StatementKind kind, Statement *ret_statement)
{
	Statement *s = ret_statement;

	*s = (Statement){ .kind = kind,
			  .version = 0,
			  .epoch = 7,
			  .issued_s = 1700000000,
			  .expires_s = 1700000300 };
	memset(s->id, 0xa0 + (int)kind, sizeof(s->id));
	memset(s->migration, 0xb1, sizeof(s->migration));
	SET(s->vm, "3c1f7b52-0f64-4d0e-9d6c-6d2f5a1b2c3d");
	SET(s->owner, "north.example");
	SET(s->source, "spiffe://north.example/host/n1");
	SET(s->destination, "spiffe://south.example/host/s1");
	if (kind != STATEMENT_OFFER)
		fill_answer(s);
	if (kind == STATEMENT_OFFER || kind == STATEMENT_ACCEPT)
		fill_terms(s);
	if (kind == STATEMENT_OFFER)
		sample_manifest(&s->manifest);
	if (kind == STATEMENT_ACCEPT)
		fill_accept(s);
	if (kind == STATEMENT_DECLINED)
		SET(s->reason, "the volume fast/vm1-root is gone");
	if (kind == STATEMENT_ACTIVATED)
		s->resume_us = 1234;
}

void sample_peer(PeerKind kind, PeerMessage *ret_message)
{
	PeerMessage *m = ret_message;
	bool routed = kind != PEER_HELLO && kind != PEER_PING && kind != PEER_PONG;

	memset(m, 0, sizeof(*m));
	m->kind = kind;
	if (routed)
		memset(m->migration, 0xb1, sizeof(m->migration));
	if (kind == PEER_HELLO) {
		m->version_min = PEER_VERSION_MIN;
		m->version_max = PEER_VERSION_MAX;
		SET(m->software, "sealift 0.1.0");
		memset(m->crl, 0x30, 5);
		m->crl_size = 5;
	}
	if (kind == PEER_STATEMENT) {
		m->statement = STATEMENT_ACCEPT;
		memset(m->cms, 0x31, 7);
		m->cms_size = 7;
	}
	if (kind == PEER_KEY)
		memset(m->key, 0x11, sizeof(m->key));
	if (kind == PEER_REFUSE || kind == PEER_CANCEL) {
		SET(m->category, "limit");
		SET(m->text, "no memory: 512 MiB asked, 100 MiB free");
	}
	if (kind == PEER_STATE)
		m->state = PEER_STATE_READY;
	if (kind == PEER_PING || kind == PEER_PONG)
		m->stamp_us = INT64_MAX;
	if (kind == PEER_KEYS) {
		m->document = KEY_DOCUMENT_IMPORTED;
		memset(m->package, 0x32, 9);
		m->package_size = 9;
	}
	if (kind == PEER_DISKS)
		m->disks = DISKS_TAKEN;
}
