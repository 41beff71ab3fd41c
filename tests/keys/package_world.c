/* SPDX-License-Identifier: Apache-2.0 */
#include "package_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "crypto/random.h"
#include "keys/package_json.h"

static void must(bool ok, const Error *err)
{
	if (!ok)
		fail_msg("fixture: %s", err->text);
}

void package_world_fingerprint(PackageKey *key)
{
	Error err = ERROR_INIT;
	AUTO_SECRET Secret *value = secret_new_from(key->value, KEY_BYTES, &err);

	must(value && key_fingerprint(key->id, key->version, value, key->fingerprint, &err), &err);
}

static void make_key(PackageWorld *world, size_t number)
{
	PackageKey *key = &world->package.keys[number];
	KeyRecord *record = &world->records[number];
	Error err = ERROR_INIT;

	must(random_bytes(key->id, sizeof(key->id), &err) &&
		     random_bytes(key->value, sizeof(key->value), &err),
	     &err);
	key->version = number + 1;
	key->purpose = (KeyPurpose)(number % KEY_PURPOSE_COUNT);
	snprintf(key->slot, sizeof(key->slot), "disk%zu", number);
	package_world_fingerprint(key);
	memcpy(record->id, key->id, sizeof(record->id));
	record->version = key->version;
	record->purpose = key->purpose;
	memcpy(record->slot, key->slot, sizeof(record->slot));
	memcpy(record->fingerprint, key->fingerprint, sizeof(record->fingerprint));
}

static void make_package(PackageWorld *world, size_t n_keys)
{
	Package *package = &world->package;
	Error err = ERROR_INIT;

	must(random_bytes(package->id, sizeof(package->id), &err) &&
		     random_bytes(package->migration, sizeof(package->migration), &err) &&
		     random_bytes(package->permit, sizeof(package->permit), &err),
	     &err);
	snprintf(package->vm, sizeof(package->vm), "8a6b0f9e-4c5d-4e1f-9a3b-2c7d6e5f4a3b");
	snprintf(package->owner, sizeof(package->owner), "owner.example");
	package->epoch = 7;
	snprintf(package->sender, sizeof(package->sender), PACKAGE_SENDER);
	snprintf(package->receiver, sizeof(package->receiver), PACKAGE_RECEIVER);
	package->move = true;
	package->issued_s = (uint64_t)world->now_s;
	package->expires_s = package->issued_s + 300;
	package->keys_count = n_keys;
	for (size_t i = 0; i < n_keys; i++)
		make_key(world, i);
}

static void load(PackageWorld *world)
{
	Error err = ERROR_INIT;

	world->agree = fixture_issue(&world->south, SPIFFE_KEYD, NULL, PKI_USE_AGREE, world->now_s);

	AUTO_FIXTURE_PEM FixturePem pem = fixture_pem_of(&world->agree);

	world->key = envelope_key_load(pem.certificate.data, pem.certificate.used, pem.key.data,
				       pem.key.used, &err);
	must(world->key != NULL, &err);
	world->recipient = envelope_recipient_load(world->store, world->now_s, pem.certificate.data,
						   pem.certificate.used, PACKAGE_RECEIVER, &err);
	must(world->recipient != NULL, &err);
}

void package_world_open(PackageWorld *world, size_t n_keys, int64_t now_s)
{
	Error err = ERROR_INIT;

	memset(world, 0, sizeof(*world));
	world->now_s = now_s;
	fixture_domain_open(&world->north, "north.example", now_s);
	fixture_domain_open(&world->south, "south.example", now_s);
	world->store = anchor_store_new(&err);
	must(world->store != NULL, &err);
	fixture_trust(world->store, &world->north, now_s);
	fixture_trust(world->store, &world->south, now_s);
	world->signer = fixture_signer(&world->north, SPIFFE_KEYD, NULL, now_s);
	load(world);
	make_package(world, n_keys);
	world->expected = (PackageExpected){
		.migration = world->package.migration,
		.vm = world->package.vm,
		.owner = world->package.owner,
		.sender = world->package.sender,
		.receiver = world->package.receiver,
		.epoch = world->package.epoch,
		.permit = world->package.permit,
		.move = world->package.move,
		.keys = world->records,
		.keys_count = n_keys,
	};
}

void package_world_close(PackageWorld *world)
{
	fixture_domain_close(&world->north);
	fixture_domain_close(&world->south);
	anchor_store_free(world->store);
	cms_signer_free(world->signer);
	pki_pair_clear(&world->agree);
	envelope_key_free(world->key);
	envelope_recipient_free(world->recipient);
	package_wipe(&world->package);
}

Buffer package_world_made(const PackageWorld *world)
{
	Buffer der = BUFFER_INIT(LIMIT_PACKAGE);
	Error err = ERROR_INIT;

	must(package_make(world->signer, world->recipient, &world->package, &der, &err), &err);
	return der;
}

Buffer package_world_forged(const PackageWorld *world, const Package *package)
{
	AUTO_BUFFER Buffer json = BUFFER_INIT(LIMIT_PACKAGE_JSON);
	Error err = ERROR_INIT;

	must(package_encode_json(package, &json, &err), &err);
	return package_world_forged_text(world, json.data, json.used);
}

Buffer package_world_forged_text(const PackageWorld *world, const void *text, size_t size)
{
	AUTO_BUFFER Buffer envelope = BUFFER_INIT(LIMIT_ENVELOPE);
	Buffer der = BUFFER_INIT(LIMIT_PACKAGE);
	Error err = ERROR_INIT;

	must(envelope_seal(world->recipient, text, size, &envelope, &err) &&
		     cms_sign_package(world->signer, world->package.permit, envelope.data,
				      envelope.used, &der, &err),
	     &err);
	return der;
}
