/* SPDX-License-Identifier: Apache-2.0 */
/* keys/key_store_rows.c and key_store_log.c: what they read out of the file, which others may have
 * written. What is accepted has one meaning: made into text and read again it is the same. */
#include <string.h>

#include "keys/key_store.h"
#include "tests/fuzz/fuzz.h"
#include "wire/json.h"

enum { REACHED_RECORD, REACHED_ENTRY, REACHED_REFUSAL, JSON_MAX = 4096 };

/* Ends the run if what was read breaks a bound that the store counts on. */
static bool try_schema(const Schema *schema, const uint8_t *data, size_t size, void *ret_object,
		       void *again)
{
	AUTO_BUFFER Buffer text = BUFFER_INIT(JSON_MAX);
	Error err = ERROR_INIT;

	if (!json_decode_plain(schema, data, size, ret_object, &err)) {
		if (err.category != ERROR_PEER || !err.text[0])
			fuzz_fail("a refusal without a reason");
		return false;
	}
	if (!json_encode_plain(schema, ret_object, &text, &err))
		fuzz_fail("what was read is longer than a row of the store may be");
	if (!json_decode_plain(schema, text.data, text.used, again, &err) ||
	    memcmp(ret_object, again, schema->struct_size) != 0)
		fuzz_fail("it does not survive a second reading");
	return true;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const char *const names[] = { "a record", "a log entry", "a refusal" };

	(void)argc;
	(void)argv;
	fuzz_expect(names, ARRAY_SIZE(names));
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	KeyRecord key, same_key;
	KeyLogEntry entry, same_entry;
	bool is_key = try_schema(&key_record_schema, data, size, &key, &same_key);
	bool is_entry = try_schema(&key_log_entry_schema, data, size, &entry, &same_entry);

	if (is_key)
		fuzz_reached(REACHED_RECORD);
	if (is_entry)
		fuzz_reached(REACHED_ENTRY);
	if (!is_key && !is_entry)
		fuzz_reached(REACHED_REFUSAL);
	return 0;
}
