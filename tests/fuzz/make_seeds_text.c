/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/buffer.h"
#include "tests/fuzz/make_seeds.h"

typedef struct TextSeed {
	const char *target, *name, *text;
} TextSeed;

/* The blank stands for no pieces (stream.h). */
#define GREETING                                                                                    \
	" {\"QMP\":{\"version\":{\"qemu\":{\"micro\":2,\"minor\":0,\"major\":10},\"package\":\"\"}," \
	"\"capabilities\":[\"oob\"]}}\r\n"
#define DONE(id) "{\"return\":{},\"id\":" id "}\r\n"

#define BARBICAN_UUID "2705ce93-ac7e-444d-aa24-53c0fdd58ef3"

static const TextSeed text_seeds[] = {
	{ "qmp", "ready", GREETING DONE("1") },
	{ "qmp", "event",
	  GREETING DONE("1") "{\"timestamp\":{\"seconds\":1700000000,\"microseconds\":5},"
			     "\"event\":\"STOP\"}\r\n"
			     "{\"event\":\"MIGRATION\",\"data\":{\"status\":\"active\"}}\r\n" },
	{ "qmp", "replies",
	  GREETING DONE(
		  "1") "{\"return\":{\"status\":\"running\",\"running\":true},\"id\":2}\r\n"
		       "{\"id\":3,\"error\":{\"class\":\"GenericError\",\"desc\":\"no\"}}\r\n" },
	{ "qmp", "half", GREETING "{\"return\":" },
	{ "vm_file", "good",
	  "name=\"vm1\";uuid=\"6f1c0f3e-2f0b-4f4e-9d58-1f0f8a1b2c3d\";machine=\"pc-q35-10.0\";\n"
	  "cpu=\"max\";cpus=2;memory=\"512M\";display=\"none\";populate=\"full\";mode=\"required\";\n"
	  "disks=({pool=\"shared\";volume=\"vm1.raw\";format=\"raw\";read_only=false;});\n"
	  "nics=({network=\"lan\";mac=\"52:54:00:00:00:01\";});labels=[\"test\"];\n" },
	{ "vm_file", "bad", "name = \"vm1\";\nmemory = \"12X\";\n@include \"x\"\n" },
	{ "spiffe", "host", "spiffe://north.example/host/alpha" },
	{ "spiffe", "authority", "spiffe://north.example/authority" },
	{ "spiffe", "keyd", "spiffe://north.example/keyd" },
	{ "spiffe", "bad", "spiffe://North.example:1/host/../alpha?q#f" },
	{ "base64", "good", "aGVsbG8=" },
	{ "base64", "bad", "aGVsbG9=" },
	{ "base64", "long",
	  "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" },
	{ "config", "good",
	  "listen=\"[::1]:7468\";tls={certificate=\"/c\";key=\"/k\";};\n"
	  "sign={certificate=\"/c\";key=\"/k\";};crl=\"/l\";log_level=\"debug\";memory=\"huge-2m\";\n"
	  "trust=({domain=\"south.example\";root=\"/r\";crl=\"/l\";});\n"
	  "users={gate=\"1:1\";notary=\"2:2\";mover=\"3:3\";qemu=\"4:4\";};\n"
	  "pools=({name=\"p\";directory=\"/d\";local=true;direct=false;domains=[\"a.b\"];});\n"
	  "networks=({name=\"n\";type=\"user\";subnet=\"10.0.0.0/24\";forwards=({listen=\n"
	  "\"127.0.0.1:1\";guest=\"10.0.0.2:2\";});},{name=\"b\";type=\"bridge\";bridge=\"br0\";});\n"
	  "accel=\"tcg\";reserve_memory=\"1G\";lease_seconds=9;max_channels=4;aead=\"auto\";\n" },
	{ "config", "bad", "listen = \"::1\";\nnope = 1;\n" },
	{ "qemu_status", "migration",
	  "{\"status\":\"failed\",\"error-desc\":\"no\",\"total-time\":5,\"ram\":{\"total\":4096,"
	  "\"remaining\":-1,\"mbps\":1.5e3,\"page-size\":4096}}" },
	{ "qemu_status", "run", "{\"status\":\"postmigrate\",\"running\":false}" },
	{ "qemu_status", "schema",
	  "[{\"name\":\"migrate-set-capabilities\",\"meta-type\":\"command\",\"arg-type\":\"1\"},"
	  "{\"name\":\"1\",\"meta-type\":\"object\",\"members\":[{\"name\":\"capabilities\","
	  "\"type\":\"2\"}]},{\"name\":\"2\",\"meta-type\":\"array\",\"element-type\":\"3\"},"
	  "{\"name\":\"3\",\"meta-type\":\"object\",\"members\":[{\"name\":\"capability\","
	  "\"type\":\"4\"}]},{\"name\":\"4\",\"meta-type\":\"enum\",\"values\":[\"multifd\"]}]" },
	/* The digit says what was asked for. */
	{ "barbican_json", "token",
	  "0{\"token\":{\"methods\":[\"application_credential\"],"
	  "\"expires_at\":\"2026-11-21T18:12:35.000000Z\","
	  "\"issued_at\":\"2026-11-21T17:12:35.000000Z\"}}" },
	{ "barbican_json", "catalog",
	  "0{\"token\":{\"expires_at\":\"2026-11-21T18:12:35Z\","
	  "\"issued_at\":\"2026-11-21T17:12:35Z\",\"catalog\":[{\"type\":\"identity\","
	  "\"endpoints\":[]},{\"type\":\"key-manager\",\"endpoints\":["
	  "{\"interface\":\"public\",\"region_id\":\"r\",\"url\":\"https://barbican.test:9311\"},"
	  "{\"interface\":\"internal\",\"region_id\":\"r\",\"url\":\"http://x\"}]}]}}" },
	{ "barbican_json", "created",
	  "1{\"secret_ref\":\"http://x/v1/secrets/" BARBICAN_UUID "\"}" },
	{ "barbican_json", "list",
	  "2{\"secrets\":[{\"secret_ref\":\"https://x:9311/v1/secrets/" BARBICAN_UUID
	  "\",\"name\":null}],\"total\":1}" },
	{ "barbican_json", "name",
	  "3{\"secrets\":[{\"secret_ref\":\"http://x/v1/secrets/" BARBICAN_UUID
	  "\",\"name\":\"n\"}]}" },
	{ "barbican_json", "none", "3{\"secrets\":[]}" },
	{ "barbican_json", "refusal",
	  "4{\"code\":403,\"title\":\"Forbidden\",\"description\":\"no\"}" },
	{ "barbican_json", "refusal_inner", "4{\"error\":{\"title\":\"Who\",\"message\":\"no\"}}" },
	{ "barbican_json", "lie", "1{\"secret_ref\":\"http://x/v1/secrets/x" BARBICAN_UUID "\"}" },
	{ "barbican_json", "lie_list",
	  "3{\"secrets\":[{\"secret_ref\":\"http://x/v1/secrets/" BARBICAN_UUID
	  "\",\"name\":\"m\"}]}" },
};

/* Version 3, 64 KiB clusters, 1 MiB, the end of extensions: QEMU's docs/interop/qcow2.txt. */
static void write_images(const char *root)
{
	uint8_t image[1 + 512] = { 1 };
	uint8_t *head = image + 1;

	store_be32(head, UINT32_C(0x514649fb));
	store_be32(head + 4, 3);
	store_be32(head + 20, 16);
	store_be64(head + 24, 1 << 20);
	store_be32(head + 36, 1);
	store_be32(head + 96, 4);
	store_be32(head + 100, 104);
	seeds_write(root, "image_probe", "qcow2", image, sizeof(image));
	store_be32(head + 16, 9);
	seeds_write(root, "image_probe", "backing", image, sizeof(image));
	image[0] = 0;
	seeds_write(root, "image_probe", "planted", image, 16);
	memset(image, 0, sizeof(image));
	seeds_write(root, "image_probe", "raw", image, 16);
}

void seeds_write_text(const char *root)
{
	for (size_t i = 0; i < ARRAY_SIZE(text_seeds); i++)
		seeds_write(root, text_seeds[i].target, text_seeds[i].name, text_seeds[i].text,
			    strlen(text_seeds[i].text));
	write_images(root);
}
