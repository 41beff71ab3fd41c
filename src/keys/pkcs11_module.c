/* SPDX-License-Identifier: Apache-2.0 */
#include "keys/pkcs11_module.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

typedef struct Meaning {
	CK_RV rv;
	const char *name;
	ErrorCategory category;
	bool lost;   /* the session or the token went */
	bool undone; /* said before anything is changed */
} Meaning;

/* PKCS #11 2.40, section 5.1. What is not here is ERROR_PEER. */
static const Meaning meanings[] = {
#define ROW(name, category, lost, undone)                                                          \
	{                                                                                          \
		name, #name, category, lost, undone                                                \
	}
	ROW(CKR_HOST_MEMORY, ERROR_LIMIT, false, false),
	ROW(CKR_SLOT_ID_INVALID, ERROR_UNAVAILABLE, true, true),
	ROW(CKR_GENERAL_ERROR, ERROR_PEER, false, false),
	ROW(CKR_FUNCTION_FAILED, ERROR_PEER, false, false),
	ROW(CKR_ARGUMENTS_BAD, ERROR_PEER, false, true),
	ROW(CKR_NEED_TO_CREATE_THREADS, ERROR_CONFIG, false, true),
	ROW(CKR_CANT_LOCK, ERROR_CONFIG, false, true),
	ROW(CKR_ATTRIBUTE_READ_ONLY, ERROR_DENIED, false, true),
	ROW(CKR_ATTRIBUTE_SENSITIVE, ERROR_DENIED, false, true),
	ROW(CKR_ATTRIBUTE_TYPE_INVALID, ERROR_PEER, false, true),
	ROW(CKR_ATTRIBUTE_VALUE_INVALID, ERROR_PEER, false, true),
	ROW(CKR_DATA_LEN_RANGE, ERROR_PEER, false, true),
	ROW(CKR_DEVICE_ERROR, ERROR_UNAVAILABLE, false, false),
	ROW(CKR_DEVICE_MEMORY, ERROR_LIMIT, false, true),
	ROW(CKR_DEVICE_REMOVED, ERROR_UNAVAILABLE, true, false),
	ROW(CKR_ENCRYPTED_DATA_INVALID, ERROR_AUTH, false, true),
	ROW(CKR_ENCRYPTED_DATA_LEN_RANGE, ERROR_AUTH, false, true),
	ROW(CKR_FUNCTION_NOT_SUPPORTED, ERROR_PEER, false, true),
	ROW(CKR_KEY_HANDLE_INVALID, ERROR_PEER, false, true),
	ROW(CKR_KEY_FUNCTION_NOT_PERMITTED, ERROR_DENIED, false, true),
	ROW(CKR_KEY_NOT_WRAPPABLE, ERROR_DENIED, false, true),
	ROW(CKR_KEY_UNEXTRACTABLE, ERROR_DENIED, false, true),
	ROW(CKR_MECHANISM_INVALID, ERROR_PEER, false, true),
	ROW(CKR_OBJECT_HANDLE_INVALID, ERROR_NOT_FOUND, false, true),
	ROW(CKR_PIN_INCORRECT, ERROR_AUTH, false, true),
	ROW(CKR_PIN_INVALID, ERROR_AUTH, false, true),
	ROW(CKR_PIN_LEN_RANGE, ERROR_AUTH, false, true),
	ROW(CKR_PIN_EXPIRED, ERROR_AUTH, false, true),
	ROW(CKR_PIN_LOCKED, ERROR_AUTH, false, true),
	ROW(CKR_SESSION_CLOSED, ERROR_UNAVAILABLE, true, true),
	ROW(CKR_SESSION_COUNT, ERROR_LIMIT, false, true),
	ROW(CKR_SESSION_HANDLE_INVALID, ERROR_UNAVAILABLE, true, true),
	ROW(CKR_SESSION_READ_ONLY, ERROR_DENIED, false, true),
	ROW(CKR_TEMPLATE_INCOMPLETE, ERROR_PEER, false, true),
	ROW(CKR_TEMPLATE_INCONSISTENT, ERROR_PEER, false, true),
	ROW(CKR_TOKEN_NOT_PRESENT, ERROR_UNAVAILABLE, true, true),
	ROW(CKR_TOKEN_NOT_RECOGNIZED, ERROR_UNAVAILABLE, false, true),
	ROW(CKR_TOKEN_WRITE_PROTECTED, ERROR_DENIED, false, true),
	ROW(CKR_USER_NOT_LOGGED_IN, ERROR_UNAVAILABLE, true, true),
	ROW(CKR_USER_PIN_NOT_INITIALIZED, ERROR_AUTH, false, true),
	ROW(CKR_USER_ANOTHER_ALREADY_LOGGED_IN, ERROR_CONFLICT, false, true),
	ROW(CKR_USER_TOO_MANY_TYPES, ERROR_LIMIT, false, true),
	ROW(CKR_WRAPPED_KEY_INVALID, ERROR_AUTH, false, true),
	ROW(CKR_WRAPPED_KEY_LEN_RANGE, ERROR_AUTH, false, true),
	ROW(CKR_CRYPTOKI_NOT_INITIALIZED, ERROR_UNAVAILABLE, false, true),
#undef ROW
};

static const Meaning *meaning_of(CK_RV rv)
{
	for (size_t i = 0; i < ARRAY_SIZE(meanings); i++)
		if (meanings[i].rv == rv)
			return &meanings[i];
	return NULL;
}

ErrorCategory pkcs11_category(CK_RV rv)
{
	const Meaning *meaning = meaning_of(rv);

	return meaning ? meaning->category : ERROR_PEER;
}

void pkcs11_name(CK_RV rv, char ret_name[PKCS11_NAME_SIZE])
{
	const Meaning *meaning = meaning_of(rv);

	if (meaning)
		snprintf(ret_name, PKCS11_NAME_SIZE, "%s", meaning->name);
	else
		snprintf(ret_name, PKCS11_NAME_SIZE, "return value 0x%lx", rv);
}

bool pkcs11_is_lost(CK_RV rv)
{
	const Meaning *meaning = meaning_of(rv);

	return meaning && meaning->lost;
}

bool pkcs11_is_undone(CK_RV rv)
{
	const Meaning *meaning = meaning_of(rv);

	return meaning && meaning->undone;
}

/* --- the file --- */

static bool check_owner(const char *path, bool folder, Error *err)
{
	struct stat status;

	if (lstat(path, &status))
		return error_set_errno(err, ERROR_CONFIG, errno, "module: cannot examine %s", path);
	if (folder ? !S_ISDIR(status.st_mode) : !S_ISREG(status.st_mode))
		return error_set(err, ERROR_CONFIG, "module: %s is not a regular file", path);
	if (status.st_uid != 0)
		return error_set(err, ERROR_CONFIG, "module: %s belongs to user %u, not to root",
				 path, status.st_uid);
	if ((status.st_mode & (S_IWGRP | S_IWOTH)) && !(folder && (status.st_mode & S_ISVTX)))
		return error_set(err, ERROR_CONFIG, "module: others than root may write to %s",
				 path);
	return true;
}

bool pkcs11_module_check(const char *path, char ret_resolved[LIMIT_PATH], Error *err)
{
	AUTO_FREE char *resolved = path[0] == '/' ? realpath(path, NULL) : NULL;

	if (path[0] != '/')
		return error_set(err, ERROR_CONFIG, "module: \"%.100s\" is not an absolute path",
				 path);
	if (!resolved)
		return error_set_errno(err, ERROR_CONFIG, errno, "module: %s", path);
	if (strlen(resolved) >= LIMIT_PATH)
		return error_set(err, ERROR_CONFIG, "module: %s is longer than %d bytes", resolved,
				 LIMIT_PATH - 1);
	memcpy(ret_resolved, resolved, strlen(resolved) + 1);
	if (!check_owner("/", true, err) || !check_owner(ret_resolved, false, err))
		return false;
	for (char *slash = resolved; (slash = strchr(slash + 1, '/'));) {
		*slash = '\0';
		if (!check_owner(resolved, true, err))
			return false;
		*slash = '/';
	}
	return true;
}

/* --- what is in it --- */

/* Whatever is called must be there: a list with holes would crash us. */
static bool check_functions(const CK_FUNCTION_LIST *list, Error *err)
{
	if (!list || list->version.major < 2 || list->version.major > 3)
		return error_set(err, ERROR_CONFIG, "module: not of PKCS #11 2 or 3");
	if (!list->C_Initialize || !list->C_GetInfo || !list->C_GetSlotList ||
	    !list->C_GetTokenInfo || !list->C_OpenSession || !list->C_CloseSession ||
	    !list->C_Login || !list->C_CreateObject || !list->C_DestroyObject ||
	    !list->C_GetAttributeValue || !list->C_FindObjectsInit || !list->C_FindObjects ||
	    !list->C_FindObjectsFinal || !list->C_WrapKey || !list->C_UnwrapKey ||
	    !list->C_GenerateKey)
		return error_set(err, ERROR_CONFIG, "module: its list of functions has holes");
	return true;
}

static bool initialize(CK_FUNCTION_LIST *list, Error *err)
{
	/* One thread calls, and the sandbox allows no other. */
	CK_C_INITIALIZE_ARGS arguments = { .flags = CKF_LIBRARY_CANT_CREATE_OS_THREADS };
	CK_RV rv = list->C_Initialize(&arguments);
	char name[PKCS11_NAME_SIZE];

	if (rv == CKR_OK || rv == CKR_CRYPTOKI_ALREADY_INITIALIZED)
		return true;
	pkcs11_name(rv, name);
	return error_set(err, ERROR_CONFIG, "module: cannot be initialised: %s", name);
}

CK_FUNCTION_LIST *pkcs11_module_load(const Pkcs11Config *config, Error *err)
{
	char path[LIMIT_PATH];
	CK_RV (*get_list)(CK_FUNCTION_LIST * *list);
	CK_FUNCTION_LIST *list = NULL;
	void *module;

	if (config->checked)
		snprintf(path, sizeof(path), "%s", config->module);
	else if (!pkcs11_module_check(config->module, path, err))
		return NULL;
	module = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
	if (!module) {
		error_set(err, ERROR_CONFIG, "module: %s", dlerror());
		return NULL;
	}
	/* The way of dlsym(3) from an object's address to a function's. */
	*(void **)&get_list = dlsym(module, "C_GetFunctionList");
	if (!get_list || get_list(&list) != CKR_OK) {
		error_set(err, ERROR_CONFIG, "module: %s is not a PKCS #11 module", path);
		return NULL;
	}
	return check_functions(list, err) && initialize(list, err) ? list : NULL;
}
