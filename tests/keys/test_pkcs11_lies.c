/* SPDX-License-Identifier: Apache-2.0 */
/* The PKCS #11 back-end and root key before a module that fails, or lies: pkcs11_lies.h. */
#include "tests/support/support.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "keys/pkcs11.h"
#include "pkcs11_lies.h"

static Lies *lies_of_module(void)
{
	/* The way of dlsym(3): a function's address is not an object's. */
	void *handle = dlopen(LIES_PATH, RTLD_NOW | RTLD_LOCAL);
	LiesFunction *function;

	assert_non_null(handle);
	*(void **)&function = dlsym(handle, LIES_FUNCTION);
	assert_non_null(function);
	return function();
}

static Lies *begin(void)
{
	Lies *lies = lies_of_module();

	*lies = (Lies){ 0 };
	return lies;
}

static KeyProvider *open_provider(Error *err)
{
	AUTO_SECRET Secret *pin = secret_new_from("1234", 4, err);
	const Pkcs11Config config = { .module = LIES_PATH, .token = LIES_TOKEN, .pin = pin };

	assert_non_null(pin);
	return pkcs11_provider_new(&config, err);
}

static RootKey *open_root(Error *err)
{
	AUTO_SECRET Secret *pin = secret_new_from("1234", 4, err);
	const Pkcs11Config config = {
		.module = LIES_PATH, .token = LIES_TOKEN, .pin = pin, .key = LIES_KEY
	};

	assert_non_null(pin);
	return pkcs11_root_open(&config, err);
}

static Secret *some_bytes(size_t size)
{
	Error err = ERROR_INIT;
	Secret *secret = secret_new(size, &err);

	assert_non_null(secret);
	memset(secret_bytes(secret), 0x33, size);
	return secret;
}

/* All that a provider does. */
static bool live(Error *err)
{
	AUTO_KEY_PROVIDER KeyProvider *provider = open_provider(err);
	AUTO_SECRET Secret *blob = some_bytes(60), *back = NULL;
	char reference[LIMIT_KEY_REFERENCE];

	if (!provider || !key_provider_put(provider, "vm", blob, reference, err))
		return false;
	back = key_provider_get(provider, reference, err);
	if (!back)
		return false;
	assert_true(secret_equal(blob, back));
	return key_provider_check(provider, err) && key_provider_destroy(provider, reference, err);
}

/* All that a root key does. */
static bool rule(Error *err)
{
	AUTO_ROOT_KEY RootKey *root = open_root(err);
	AUTO_SECRET Secret *key = some_bytes(KEY_BYTES);
	AUTO_SECRET Secret *back = secret_new(KEY_BYTES, err);
	uint8_t wrapped[KEY_WRAPPED_BYTES];

	if (!root || !back || !root->type->wrap(root, key, wrapped, err) ||
	    !root->type->unwrap(root, wrapped, back, err))
		return false;
	assert_true(secret_equal(key, back));
	return true;
}

static void truth_is_good(void **state)
{
	Lies *lies = begin();
	Error err = ERROR_INIT;
	char text[PKCS11_DESCRIPTION_SIZE];
	AUTO_KEY_PROVIDER KeyProvider *provider = NULL;

	(void)state;
	assert_works(live(&err), &err);
	assert_works(rule(&err), &err);
	assert_int_equal(lies->logins, 2);
	assert_int_equal(lies->opened, lies->closed);
	assert_int_equal(lies->objects_made, lies->objects_destroyed);
	provider = open_provider(&err);
	assert_non_null(provider);
	pkcs11_provider_describe(provider, text);
	/* What a module says of itself is not sent to a terminal as it is. */
	assert_null(strchr(text, '\x1b'));
}

/* Each call fails in each way, always and once: survived, reported, and no session is left. */
static void each_call_fails(void **state)
{
	static const char *const calls[] = {
		"C_GetFunctionList",   "C_Initialize",	    "C_GetSlotList",  "C_GetTokenInfo",
		"C_OpenSession",       "C_Login",	    "C_CreateObject", "C_DestroyObject",
		"C_GetAttributeValue", "C_FindObjectsInit", "C_FindObjects",  "C_FindObjectsFinal",
		"C_WrapKey",	       "C_UnwrapKey",
	};
	static const CK_RV values[] = {
		CKR_GENERAL_ERROR,
		CKR_HOST_MEMORY,
		CKR_DEVICE_MEMORY,
		CKR_DEVICE_REMOVED,
		CKR_SESSION_HANDLE_INVALID,
		CKR_PIN_LOCKED,
		CKR_FUNCTION_NOT_SUPPORTED,
		0x80000001,
		(CK_RV)-1,
	};
	bool (*const lives[])(Error *) = { live, rule };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(calls) * ARRAY_SIZE(values) * 4; i++) {
		Lies *lies = begin();
		Error err = ERROR_INIT;
		bool always = i & 1;

		lies->call = calls[i / 4 / ARRAY_SIZE(values)];
		lies->rv = values[i / 4 % ARRAY_SIZE(values)];
		lies->times = always ? 0 : 1;
		if (!lives[i / 2 % 2](&err) &&
		    (err.category == ERROR_NONE || err.category == ERROR_INTERNAL))
			fail_msg("%s, 0x%lx: %s", lies->call, lies->rv, err.text);
		assert_int_equal(lies->opened, lies->closed);
		assert_true(lies->logins <= 2);
		if (strcmp(calls[i / 4 / ARRAY_SIZE(values)], "C_DestroyObject") != 0)
			assert_int_equal(lies->objects_made, lies->objects_destroyed);
	}
}

static void a_lost_session_is_opened_once(void **state)
{
	static const struct {
		const char *call;
		bool root;
	} calls[] = {
		{ "C_CreateObject", false },  { "C_FindObjectsInit", false },
		{ "C_FindObjects", false },   { "C_GetAttributeValue", false },
		{ "C_DestroyObject", false }, { "C_CreateObject", true },
		{ "C_WrapKey", true },	      { "C_UnwrapKey", true },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		Lies *lies = begin();
		Error err = ERROR_INIT;

		lies->call = calls[i].call;
		lies->rv = CKR_SESSION_HANDLE_INVALID;
		lies->times = 1;
		assert_works(calls[i].root ? rule(&err) : live(&err), &err);
		assert_int_equal(lies->opened, 2);
		lies->call = calls[i].call;
		lies->rv = CKR_SESSION_HANDLE_INVALID;
		lies->times = 0;
		assert_fails(calls[i].root ? rule(&err) : live(&err), ERROR_UNAVAILABLE, "token",
			     &err);
	}
}

static void a_pin_is_not_tried_if_that_may_lock_it(void **state)
{
	static const CK_FLAGS flags[] = { CKF_USER_PIN_COUNT_LOW, CKF_USER_PIN_FINAL_TRY,
					  CKF_USER_PIN_LOCKED };
	Error err = ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
		Lies *lies = begin();

		lies->flags = flags[i];
		assert_fails(live(&err), ERROR_AUTH, "PIN", &err);
		assert_int_equal(lies->logins, 0);
		assert_int_equal(lies->opened, lies->closed);
	}
}

/* Refused at a login within a call: none of the calls after it tries again. */
static void a_refused_pin_is_remembered(void **state)
{
	Lies *lies = begin();
	Error err = ERROR_INIT;
	AUTO_KEY_PROVIDER KeyProvider *provider = open_provider(&err);

	(void)state;
	assert_non_null(provider);
	for (unsigned int i = 0; i < 3; i++) {
		unsigned int logins = lies->logins;

		lies->call = "C_FindObjectsInit";
		lies->rv = CKR_SESSION_CLOSED;
		lies->times = 1;
		lies->next_call = "C_Login";
		lies->next_rv = CKR_PIN_INCORRECT;
		assert_fails(key_provider_check(provider, &err), ERROR_AUTH,
			     i ? "not tried again" : "CKR_PIN_INCORRECT", &err);
		assert_int_equal(lies->logins, logins + (i ? 0 : 1));
	}
}

static void what_is_not_certain_is_told(void **state)
{
	static const struct {
		CK_RV rv;
		ErrorCategory category;
		bool certain;
	} cases[] = {
		{ CKR_GENERAL_ERROR, ERROR_PEER, false },
		{ CKR_DEVICE_ERROR, ERROR_UNAVAILABLE, false },
		{ CKR_DEVICE_REMOVED, ERROR_UNAVAILABLE, false },
		{ CKR_HOST_MEMORY, ERROR_LIMIT, false },
		{ 0x80000001, ERROR_PEER, false },
		{ CKR_DEVICE_MEMORY, ERROR_LIMIT, true },
		{ CKR_TOKEN_WRITE_PROTECTED, ERROR_DENIED, true },
		{ CKR_SESSION_READ_ONLY, ERROR_DENIED, true },
		{ CKR_TOKEN_NOT_PRESENT, ERROR_UNAVAILABLE, true },
	};
	AUTO_SECRET Secret *blob = some_bytes(60);

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		Lies *lies = begin();
		Error err = ERROR_INIT;
		AUTO_KEY_PROVIDER KeyProvider *provider = open_provider(&err);
		AUTO_SECRET Secret *back = NULL;
		char reference[LIMIT_KEY_REFERENCE];

		assert_non_null(provider);
		lies->call = "C_CreateObject";
		lies->rv = cases[i].rv;
		lies->acts_too = !cases[i].certain;
		assert_fails(key_provider_put(provider, "vm", blob, reference, &err),
			     cases[i].category, "", &err);
		assert_int_equal(provider->nothing_stored, cases[i].certain);
		assert_int_equal(reference[0] == '\0', cases[i].certain);
		if (cases[i].certain)
			continue;
		/* It was: under the name that was given. */
		lies->call = NULL;
		back = key_provider_get(provider, reference, &err);
		assert_non_null(back);
	}
}

static void sizes_are_not_believed(void **state)
{
	static const CK_ULONG bad_values[] = { 0, 257, 1UL << 40, CK_UNAVAILABLE_INFORMATION };
	static const CK_ULONG bad_keys[] = { 0, 31, 33, 1UL << 40, CK_UNAVAILABLE_INFORMATION };
	static const CK_ULONG bad_wrapped[] = { 1, 39, 41, 1UL << 40, CK_UNAVAILABLE_INFORMATION };
	static const CK_ULONG bad_counts[] = { PKCS11_SLOTS_MAX + 1, 1UL << 40, (CK_ULONG)-1 };
	Error err = ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad_values); i++) {
		Lies *lies = begin();

		lies->set_size = true;
		lies->size = bad_values[i];
		assert_fails(live(&err), ERROR_PEER, "256 bytes", &err);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad_keys); i++) {
		Lies *lies = begin();

		lies->set_size = true;
		lies->size = bad_keys[i];
		assert_fails(rule(&err), ERROR_PEER, "token unwrapped", &err);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad_wrapped); i++) {
		begin()->wrapped = bad_wrapped[i];
		assert_fails(rule(&err), ERROR_PEER, "token wrapped", &err);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad_counts); i++) {
		Lies *lies = begin();

		lies->slots = bad_counts[i];
		assert_fails(live(&err), ERROR_PEER, "slots", &err);
		lies->slots = 0;
		lies->found = bad_counts[i];
		assert_fails(live(&err), ERROR_PEER, "", &err);
		assert_fails(rule(&err), ERROR_PEER, "", &err);
	}
}

static void lies_about_what_was_done(void **state)
{
	Lies *lies = begin();
	Error err = ERROR_INIT;

	(void)state;
	lies->forgets = true;
	assert_fails(live(&err), ERROR_PEER, "still has it", &err);
	lies = begin();
	lies->in_clear = true;
	assert_fails(rule(&err), ERROR_PEER, "does not encrypt", &err);
	lies = begin();
	lies->garbles = true;
	assert_fails(rule(&err), ERROR_PEER, "does not unwrap what it wrapped", &err);
	lies = begin();
	lies->found = 2;
	assert_fails(live(&err), ERROR_PEER, "two of", &err);
	assert_fails(rule(&err), ERROR_CONFLICT, "more than one", &err);
	lies = begin();
	lies->tokens = 2;
	assert_fails(live(&err), ERROR_CONFIG, "2 tokens", &err);
	lies = begin();
	lies->flags = CKF_WRITE_PROTECTED;
	assert_fails(live(&err), ERROR_DENIED, "write-protected", &err);
	/* A root key need not write. */
	assert_works(rule(&err), &err);
}

static void a_root_key_must_be_one(void **state)
{
	static const CK_ATTRIBUTE_TYPE types[] = {
		CKA_KEY_TYPE, CKA_VALUE_LEN,	    CKA_SENSITIVE, CKA_NEVER_EXTRACTABLE, CKA_LOCAL,
		CKA_WRAP,     CKA_ALWAYS_SENSITIVE, CKA_UNWRAP,	   CKA_EXTRACTABLE,
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		Lies *lies = begin();
		Error err = ERROR_INIT;

		lies->is_wrong = true;
		lies->wrong = types[i];
		assert_fails(rule(&err), ERROR_DENIED, "root key", &err);
	}
}

static void modules_that_are_none(void **state)
{
	static const char *const calls[] = { "hole", "version", "nothing" };
	Error err = ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		begin()->call = calls[i];
		assert_fails(live(&err), ERROR_CONFIG, "module", &err);
	}
}

static void a_folder_of_others_on_the_way(void **state)
{
	TestFolder folder;
	char path[128], resolved[LIMIT_PATH];
	Error err = ERROR_INIT;

	(void)state;
	support_make_folder(&folder);
	support_path(&folder, "module.so", path);
	assert_int_equal(symlink(LIES_PATH, path), 0);
	assert_works(pkcs11_module_check(path, resolved, &err), &err);
	assert_string_equal(resolved, LIES_PATH);
	assert_int_equal(unlink(path), 0);
	assert_fails(pkcs11_module_check(path, resolved, &err), ERROR_CONFIG, "No such file", &err);
	assert_fails(pkcs11_module_check("relative.so", resolved, &err), ERROR_CONFIG, "absolute",
		     &err);
	assert_fails(pkcs11_module_check("", resolved, &err), ERROR_CONFIG, "absolute", &err);
	assert_fails(pkcs11_module_check("/", resolved, &err), ERROR_CONFIG, "regular", &err);
	assert_fails(pkcs11_module_check("/dev/null", resolved, &err), ERROR_CONFIG, "regular",
		     &err);
	support_remove_folder(&folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(truth_is_good),
		cmocka_unit_test(each_call_fails),
		cmocka_unit_test(a_lost_session_is_opened_once),
		cmocka_unit_test(a_pin_is_not_tried_if_that_may_lock_it),
		cmocka_unit_test(a_refused_pin_is_remembered),
		cmocka_unit_test(what_is_not_certain_is_told),
		cmocka_unit_test(sizes_are_not_believed),
		cmocka_unit_test(lies_about_what_was_done),
		cmocka_unit_test(a_root_key_must_be_one),
		cmocka_unit_test(modules_that_are_none),
		cmocka_unit_test(a_folder_of_others_on_the_way),
	};
	char resolved[LIMIT_PATH];
	Error err = ERROR_INIT;

	if (!pkcs11_module_check(LIES_PATH, resolved, &err)) {
		printf("skipped: the build does not belong to root alone: %s\n", err.text);
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
