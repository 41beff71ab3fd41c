/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SEALIFT_VMM_JSON_WITH_H
#define SEALIFT_VMM_JSON_WITH_H

#include <jansson.h>

/* object with one member more; NULL, and nothing left, if it or value is NULL or memory is short.
 * Takes both. */
static inline json_t *json_with(json_t *object, const char *name, json_t *value)
{
	if (!json_object_set_new(object, name, value))
		return object;
	json_decref(object);
	return NULL;
}

#endif
