/* SPDX-License-Identifier: Apache-2.0 */
/* ipc/binary.c with the schema of each message between our processes: byte 0 chooses the schema. */
#include <stdlib.h>
#include <string.h>

#include "base/bounds.h"
#include "ipc/binary.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/role_schemas.h"

static const Schema *schemas[ROLE_SCHEMAS_MAX];
static size_t schemas_count;
static void *object; /* of the largest struct */

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	const char *names[ROLE_SCHEMAS_MAX];
	size_t largest = 1;

	(void)argc;
	(void)argv;
	schemas_count = role_schemas(schemas);
	for (size_t i = 0; i < schemas_count; i++) {
		names[i] = schemas[i]->name;
		if (schemas[i]->struct_size > largest)
			largest = schemas[i]->struct_size;
	}
	object = malloc(largest);
	fuzz_expect(names, schemas_count);
	return object ? 0 : 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_BUFFER Buffer again = BUFFER_INIT(2 * LIMIT_IPC_MESSAGE);
	const Schema *schema;
	Error err = ERROR_INIT;

	if (!size || data[0] >= schemas_count)
		return 0;
	schema = schemas[data[0]];
	if (!binary_decode(schema, data + 1, size - 1, object, &err))
		return 0;
	fuzz_reached(data[0]);
	if (!schema_check(schema, object, &err))
		fuzz_fail("decoded past its bounds");
	if (!binary_encode(schema, object, &again, &err))
		fuzz_fail("decoded what cannot be encoded");
	if (again.used != size - 1 || (again.used && memcmp(again.data, data + 1, again.used)))
		fuzz_fail("two encodings of one value");
	return 0;
}
