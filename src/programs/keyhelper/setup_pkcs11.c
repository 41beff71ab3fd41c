/* SPDX-License-Identifier: Apache-2.0 */
#include "keys/pkcs11.h"
#include "programs/keyhelper/keyhelper.h"

bool helper_open_pkcs11(Helper *helper, Error *err)
{
	const HelperPkcs11 *setup = &helper->setup.pkcs11;
	const Pkcs11Config config = {
		.module = setup->module,
		.token = setup->token,
		.pin = helper->setup.password,
		.key = setup->key[0] ? setup->key : NULL,
		.after_failure = setup->after_failure,
		.checked = true, /* by helper_enter_with_files */
	};

	if (helper->setup.kind == HELPER_KIND_PKCS11)
		helper->provider = pkcs11_provider_new(&config, err);
	else
		helper->root = pkcs11_root_open(&config, err);
	return helper->provider || helper->root;
}
