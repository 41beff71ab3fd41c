/* SPDX-License-Identifier: Apache-2.0 */
/* A key store in a folder of its own, and good keys to put into it. */
#ifndef SEALIFT_TESTS_KEYS_STORE_FIXTURE_H
#define SEALIFT_TESTS_KEYS_STORE_FIXTURE_H

#include "tests/support/support.h"

#include "keys/key_store.h"

typedef struct KeyFixture {
	TestFolder folder;
	char path[128];
	RootKey *root;
	KeyStore *store;
	Error err;
} KeyFixture;

int key_fixture_setup(void **state);
int key_fixture_teardown(void **state);
void key_fixture_open(KeyFixture *f);
void key_fixture_close(KeyFixture *f);
/* By hand, past the store, with its checks off: what an intruder or a broken disk may leave. The
 * store is closed before. */
void key_fixture_change(KeyFixture *f, const char *sql);

/* Every byte of it is `number`. */
RootKey *sample_root(uint8_t number);
/* 32 bytes that are another's for another number; the fingerprint of sample_key is of it. */
Secret *sample_value(uint8_t number);
/* Embedded, version 1, of the VM of that number; its migration is set where the state wants one. */
void sample_key(uint8_t number, KeyState state, KeyRecord *ret_key);
KeyReason sample_reason(KeyAction action);

/* Adds sample_key(number) in this state: pre-active, active or imported. */
bool sample_add(KeyStore *store, uint8_t number, KeyState state, Error *err);
/* Changes the newest version of it: exposed where it returns, with its migration where it travels.
 */
bool sample_change(KeyStore *store, uint8_t number, KeyAction action, KeyState to, Error *err);
/* Adds it and leads it to any state, by the shortest way. */
bool sample_lead(KeyStore *store, uint8_t number, KeyState state, Error *err);
/* Its envelope, as it lies in the store. */
void sample_envelope(KeyStore *store, uint64_t row, KeyEnvelope *ret_envelope);

/* How often the bytes stand in the files of the folder. */
size_t count_in_files(const TestFolder *folder, const void *bytes, size_t size);

#endif
