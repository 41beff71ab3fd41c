/* SPDX-License-Identifier: Apache-2.0 */
#include "pkcs11_lies.h"

#include <string.h>

#define EXPORT __attribute__((visibility("default")))

enum { VALUE_HANDLE = 7, ROOT_HANDLE = 8, SESSION_HANDLE = 9, KEY_BYTES = 32, WRAPPED = 40 };

EXPORT LiesFunction pkcs11_lies;

/* A module is a thing of its process: it has state. */
static struct {
	Lies lies;
	unsigned char value[256], session[KEY_BYTES];
	CK_ULONG value_size;
	bool searching_root, found_already;
} module;

Lies *pkcs11_lies(void)
{
	return &module.lies;
}

/* True with what to return instead. */
static bool lie(const char *call, CK_RV *ret_rv)
{
	Lies *lies = &module.lies;

	if (!lies->call || strcmp(lies->call, call))
		return false;
	*ret_rv = lies->rv;
	if (lies->times && !--lies->times) {
		lies->call = lies->next_call;
		lies->rv = lies->next_rv;
	}
	return true;
}

#define PERHAPS_LIE                                                                                \
	CK_RV lied = CKR_OK;                                                                       \
	if (lie(__func__, &lied) && !module.lies.acts_too)                                         \
	return lied

CK_RV C_Initialize(void *arguments)
{
	PERHAPS_LIE;
	(void)arguments;
	return CKR_OK;
}

CK_RV C_GetInfo(CK_INFO *info)
{
	(void)info;
	return CKR_OK;
}

CK_RV C_GetSlotList(unsigned char present, CK_SLOT_ID *slots, CK_ULONG *count)
{
	CK_ULONG tokens = module.lies.tokens ? module.lies.tokens : 1;

	PERHAPS_LIE;
	(void)present;
	for (CK_ULONG i = 0; slots && i < tokens && i < *count; i++)
		slots[i] = i;
	*count = module.lies.slots ? module.lies.slots : tokens;
	return CKR_OK;
}

CK_RV C_GetTokenInfo(CK_SLOT_ID slot, CK_TOKEN_INFO *info)
{
	PERHAPS_LIE;
	(void)slot;
	memset(info, ' ', sizeof(*info));
	memcpy(info->label, LIES_TOKEN, strlen(LIES_TOKEN));
	memcpy(info->model, "\x1b[31m", 5);
	info->flags = CKF_LOGIN_REQUIRED | CKF_USER_PIN_INITIALIZED | module.lies.flags;
	return CKR_OK;
}

CK_RV C_OpenSession(CK_SLOT_ID slot, CK_FLAGS flags, void *application, CK_NOTIFY notify,
		    CK_SESSION_HANDLE *session)
{
	PERHAPS_LIE;
	(void)slot;
	(void)flags;
	(void)application;
	(void)notify;
	*session = SESSION_HANDLE;
	module.lies.opened++;
	return CKR_OK;
}

CK_RV C_CloseSession(CK_SESSION_HANDLE session)
{
	(void)session;
	module.lies.closed++;
	return CKR_OK;
}

CK_RV C_Login(CK_SESSION_HANDLE session, CK_USER_TYPE user, unsigned char *pin, CK_ULONG size)
{
	module.lies.logins++;
	PERHAPS_LIE;
	(void)session;
	(void)user;
	(void)pin;
	(void)size;
	return CKR_OK;
}

static const CK_ATTRIBUTE *attribute_of(const CK_ATTRIBUTE *template, CK_ULONG count,
					CK_ATTRIBUTE_TYPE type)
{
	for (CK_ULONG i = 0; i < count; i++)
		if (template[i].type == type)
			return &template[i];
	return NULL;
}

static bool is_key(const CK_ATTRIBUTE *template, CK_ULONG count)
{
	const CK_ATTRIBUTE *klass = attribute_of(template, count, CKA_CLASS);

	return klass && *(const CK_OBJECT_CLASS *)klass->pValue == CKO_SECRET_KEY;
}

CK_RV C_CreateObject(CK_SESSION_HANDLE session, CK_ATTRIBUTE *template, CK_ULONG count,
		     CK_OBJECT_HANDLE *object)
{
	const CK_ATTRIBUTE *value = attribute_of(template, count, CKA_VALUE);

	PERHAPS_LIE;
	(void)session;
	if (is_key(template, count)) {
		memcpy(module.session, value->pValue, KEY_BYTES);
		*object = SESSION_HANDLE;
		module.lies.objects_made++;
	} else {
		memcpy(module.value, value->pValue, value->ulValueLen);
		module.value_size = value->ulValueLen;
		*object = VALUE_HANDLE;
	}
	return lied;
}

CK_RV C_DestroyObject(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object)
{
	PERHAPS_LIE;
	(void)session;
	if (object == SESSION_HANDLE)
		module.lies.objects_destroyed++;
	else if (!module.lies.forgets)
		module.value_size = 0;
	return CKR_OK;
}

static const CK_ATTRIBUTE_TYPE truths[] = {
	CKA_SENSITIVE, CKA_NEVER_EXTRACTABLE, CKA_ALWAYS_SENSITIVE, CKA_LOCAL, CKA_WRAP,
	CKA_UNWRAP,    CKA_EXTRACTABLE
};

static CK_ULONG root_attribute(CK_ATTRIBUTE_TYPE type)
{
	CK_ULONG value = type == CKA_KEY_TYPE ? CKK_AES : type == CKA_VALUE_LEN ? KEY_BYTES : 0;

	for (unsigned int i = 0; i < sizeof(truths) / sizeof(truths[0]); i++)
		if (truths[i] == type)
			value = type != CKA_EXTRACTABLE;
	return module.lies.is_wrong && module.lies.wrong == type ? !value : value;
}

static CK_RV give(CK_ATTRIBUTE *asked, const void *bytes, CK_ULONG size)
{
	CK_ULONG room = asked->ulValueLen;

	asked->ulValueLen = module.lies.set_size ? module.lies.size : size;
	if (room < size)
		return CKR_BUFFER_TOO_SMALL;
	memcpy(asked->pValue, bytes, size);
	return CKR_OK;
}

CK_RV C_GetAttributeValue(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE *asked,
			  CK_ULONG count)
{
	CK_ULONG number;

	PERHAPS_LIE;
	(void)session;
	(void)count;
	if (object == VALUE_HANDLE)
		return give(asked, module.value, module.value_size);
	if (object == SESSION_HANDLE)
		return give(asked, module.session, KEY_BYTES);
	number = root_attribute(asked->type);
	asked->ulValueLen = asked->ulValueLen < sizeof(number) ? asked->ulValueLen : sizeof(number);
	memcpy(asked->pValue, &number, asked->ulValueLen);
	return CKR_OK;
}

CK_RV C_FindObjectsInit(CK_SESSION_HANDLE session, CK_ATTRIBUTE *template, CK_ULONG count)
{
	PERHAPS_LIE;
	(void)session;
	module.searching_root = is_key(template, count);
	return CKR_OK;
}

CK_RV C_FindObjects(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE *objects, CK_ULONG most,
		    CK_ULONG *count)
{
	PERHAPS_LIE;
	(void)session;
	(void)most;
	*count = module.searching_root || module.value_size;
	objects[0] = module.searching_root ? ROOT_HANDLE : VALUE_HANDLE;
	if (module.lies.found)
		*count = module.lies.found;
	return CKR_OK;
}

CK_RV C_FindObjectsFinal(CK_SESSION_HANDLE session)
{
	PERHAPS_LIE;
	(void)session;
	return CKR_OK;
}

CK_RV C_WrapKey(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE by,
		CK_OBJECT_HANDLE key, unsigned char *wrapped, CK_ULONG *size)
{
	PERHAPS_LIE;
	(void)session;
	(void)mechanism;
	(void)by;
	(void)key;
	for (unsigned int i = 0; i < KEY_BYTES; i++)
		wrapped[i] = module.session[i] ^ (module.lies.in_clear ? 0 : 0x55);
	memset(wrapped + KEY_BYTES, 0xa6, WRAPPED - KEY_BYTES);
	*size = module.lies.wrapped ? module.lies.wrapped : WRAPPED;
	return CKR_OK;
}

CK_RV C_UnwrapKey(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE by,
		  unsigned char *wrapped, CK_ULONG size, CK_ATTRIBUTE *template, CK_ULONG count,
		  CK_OBJECT_HANDLE *key)
{
	PERHAPS_LIE;
	(void)session;
	(void)mechanism;
	(void)by;
	(void)size;
	(void)template;
	(void)count;
	for (unsigned int i = 0; i < KEY_BYTES; i++)
		module.session[i] = wrapped[i] ^ (module.lies.in_clear ? 0 : 0x55);
	module.session[0] ^= module.lies.garbles;
	*key = SESSION_HANDLE;
	module.lies.objects_made++;
	return CKR_OK;
}

CK_RV C_GenerateKey(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_ATTRIBUTE *template,
		    CK_ULONG count, CK_OBJECT_HANDLE *key)
{
	PERHAPS_LIE;
	(void)session;
	(void)mechanism;
	(void)template;
	(void)count;
	*key = ROOT_HANDLE;
	return CKR_OK;
}

CK_RV C_GetFunctionList(CK_FUNCTION_LIST **list)
{
	static CK_FUNCTION_LIST functions;

	PERHAPS_LIE;
	functions = (CK_FUNCTION_LIST){
		.version = { 2, 40 },
		.C_Initialize = C_Initialize,
		.C_GetInfo = C_GetInfo,
		.C_GetSlotList = C_GetSlotList,
		.C_GetTokenInfo = C_GetTokenInfo,
		.C_OpenSession = C_OpenSession,
		.C_CloseSession = C_CloseSession,
		.C_Login = C_Login,
		.C_CreateObject = C_CreateObject,
		.C_DestroyObject = C_DestroyObject,
		.C_GetAttributeValue = C_GetAttributeValue,
		.C_FindObjectsInit = C_FindObjectsInit,
		.C_FindObjects = C_FindObjects,
		.C_FindObjectsFinal = C_FindObjectsFinal,
		.C_WrapKey = C_WrapKey,
		.C_UnwrapKey = C_UnwrapKey,
		.C_GenerateKey = C_GenerateKey,
	};
	/* Told by a call that is none. */
	if (lie("hole", &lied))
		functions.C_UnwrapKey = NULL;
	if (lie("version", &lied))
		functions.version.major = 9;
	if (lie("nothing", &lied)) {
		*list = NULL;
		return CKR_OK;
	}
	*list = &functions;
	return CKR_OK;
}
