/* SPDX-License-Identifier: Apache-2.0 */
/* keys/kmip_answer.c. Byte 0 is the operation that was asked for; the rest is the answer. */
#include <string.h>

#include "keys/kmip_message.h"
#include "tests/fuzz/fuzz.h"

enum { REACHED_REFUSED = KMIP_OPERATION_COUNT, REACHED_LIE, REACHED_COUNT };

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const char *names[REACHED_COUNT];

	(void)argc;
	(void)argv;
	for (int i = 0; i < KMIP_OPERATION_COUNT; i++)
		names[i] = kmip_operation_name((KmipOperation)i);
	names[REACHED_REFUSED] = "a refusal";
	names[REACHED_LIE] = "a lie";
	fuzz_expect(names, REACHED_COUNT);
	return 0;
}

static void judge(const KmipRequest *request, const KmipAnswer *answer)
{
	if ((request->operation == KMIP_GET) != (answer->value != NULL))
		fuzz_fail("a value where none belongs, or none");
	if (answer->value && secret_size(answer->value) > PROVIDER_BLOB_MAX)
		fuzz_fail("a value past its bounds");
	if ((request->operation == KMIP_REGISTER) != (answer->reference[0] != '\0'))
		fuzz_fail("a reference where none belongs, or none");
	if (!memchr(answer->reference, '\0', sizeof(answer->reference)))
		fuzz_fail("a reference without an end");
	if (answer->state < KMIP_STATE_NONE || answer->state >= KMIP_STATE_COUNT)
		fuzz_fail("a state that is none");
	if (answer->minor && (answer->minor < KMIP_MINOR_MIN || answer->minor > KMIP_MINOR_MAX))
		fuzz_fail("a version that nobody speaks");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	KmipRequest request = { .reference = "1" };
	KmipAnswer answer;
	size_t message_size;
	Error err = ERROR_INIT;

	if (size < 1 || data[0] >= KMIP_OPERATION_COUNT)
		return 0;
	request.operation = (KmipOperation)data[0];
	request.minor =
		request.operation == KMIP_DISCOVER_VERSIONS ? KMIP_MINOR_MIN : KMIP_MINOR_MAX;
	if (size > 8 && kmip_decode_size(data + 1, &message_size, &err) &&
	    message_size > PROVIDER_ANSWER_MAX)
		fuzz_fail("a size past its bounds");
	if (kmip_decode_answer(&request, data + 1, size - 1, &answer, &err)) {
		judge(&request, &answer);
		fuzz_reached(data[0]);
	} else {
		if (answer.value || answer.reference[0] || err.category == ERROR_NONE)
			fuzz_fail("a lie that left something behind");
		fuzz_reached(answer.refused ? REACHED_REFUSED : REACHED_LIE);
	}
	secret_free(answer.value);
	return 0;
}
