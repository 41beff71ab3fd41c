/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guard and what it stands on. Beside fault.h's own rules: a lack of memory is never told as
 * the peer's doing, nor as a warning in mode warn; of device state nothing goes on unless all of it
 * does; and what went on is what came in.
 */
#include "tests/qemustream/build.h"

#include <string.h>

#include "guard/guard.h"
#include "guard/rules.h"
#include "qemustream/compare.h"
#include "qemustream/decompress.h"
#include "tests/fault/fault.h"
#include "tests/qemustream/multifd_samples.h"

enum {
	CHANNELS = 2,
	RAM_PAGES = 16,
	PIECE = 97,
	QUEUE_SIZE = 8,
	VIRTIO_BEFORE = 4 + 256 + 16, /* virtio_state.h: what PCI writes without MSI-X */
	STREAM_MAX = 1 << 20,
	SHUT_AND_PONG = 16,
};

/* Each in another part of the guard: bytes, a rule with the twin's value, a virtio device. */
#define LEAF(name, type, size)                                                                     \
	"{\"name\": \"" name "\", \"type\": \"" type "\", \"size\": " size "}"
#define DEVICE(name, fields, rest)                                                                 \
	"{\"name\": \"" name "\", \"instance_id\": 0, \"vmsd_name\": \"" name                      \
	"\", \"version\": 1, "                                                                     \
	"\"fields\": [" fields "]" rest "}"
#define MACHINE(more)                                                                              \
	"{\"page_size\": 4096, \"devices\": [" DEVICE(                                             \
		"timer", LEAF("x", "buffer", "10"),                                                \
		more) ", " DEVICE("vga", LEAF("vbe_bank_mask", "uint32", "4"),                     \
				  "") ", " DEVICE("virtio-rng", LEAF("virtio", "virtio", "314"),   \
						  "") "]}"
#define SUBSECTION                                                                                 \
	", \"subsections\": [{\"vmsd_name\": \"timer/more\", \"version\": 1, \"fields\": [" LEAF(  \
		"y", "uint8", "1") "]}]"
static const char twin_text[] = MACHINE(""), ran_text[] = MACHINE(SUBSECTION);
static const char tables_text[] =
	"{\"timer-device\": {\"Name\": \"timer-device\", \"version_id\": 1, "
	"\"minimum_version_id\": 1, \"Description\": {\"name\": \"timer\", \"version_id\": 1, "
	"\"minimum_version_id\": 1, \"Subsections\": [{\"name\": \"timer/more\", \"version_id\": 1, "
	"\"minimum_version_id\": 1, \"Fields\": [{\"field\": \"y\", \"version_id\": 0, "
	"\"field_exists\": false, \"size\": 1}]}]}}}";

typedef struct GuardFixture {
	Build twin, stream, channel;
	size_t state; /* where device state begins in the stream */
} GuardFixture;

/* --- streams --- */

static void put_virtio(Build *build)
{
	put_be32(build, 2); /* version of the PCI state */
	put_zeros(build, VIRTIO_BEFORE - 4);
	put_zeros(build, 4); /* status, interrupt, selected queue */
	put_be32(build, 0);  /* features */
	put_be32(build, 8);
	put_zeros(build, 8); /* configuration */
	put_be32(build, 1);
	put_be32(build, QUEUE_SIZE);
	put_be64(build, 0);
	put_be16(build, 0);
}

static void put_devices(Build *build, bool has_run)
{
	put_full(build, 4, "timer", 0);
	put_bytes(build, "0123456789", DEVICE_BYTES);
	if (has_run) {
		put_subsection(build, "timer/more", 1);
		put_u8(build, 1);
	}
	put_footer(build, 4);
	put_full(build, 5, "vga", 0);
	put_be32(build, 255);
	put_footer(build, 5);
	put_full(build, 6, "virtio-rng", 0);
	put_virtio(build);
	put_footer(build, 6);
	put_eof(build);
	put_vmdesc(build, has_run ? ran_text : twin_text);
}

/* Returns where device state begins. */
static size_t put_stream(Build *build, bool is_twin)
{
	size_t state;

	put_begin(build);
	if (is_twin) {
		put_subsection(build, "configuration/capabilities", 1);
		put_be32(build, 1);
		put_name(build, "x-ignore-shared");
	} else {
		put_command(build, COMMAND_OPEN_RETURN_PATH, NULL, 0);
		put_ping(build, 1);
	}
	put_start(build, RAM_ID, "ram", 4);
	put_mem_size(build, RAM_PAGES * PAGE);
	put_block(build, "pc.ram", RAM_PAGES * PAGE);
	if (is_twin)
		put_be64(build, 0);
	put_eos(build);
	put_footer(build, RAM_ID);
	put_end(build, RAM_ID);
	if (!is_twin)
		put_page(build, "pc.ram", 0, 1);
	put_eos(build);
	put_footer(build, RAM_ID);
	state = build->bytes.used;
	put_devices(build, !is_twin);
	return state;
}

static void *guard_fixture_new(void)
{
	GuardFixture *f = calloc(1, sizeof(*f));
	AUTO_BUFFER Buffer channel = BUFFER_INIT(STREAM_MAX);
	Error err = ERROR_INIT;

	fault_must(f, &err);
	f->twin = f->stream = f->channel = BUILD_INIT;
	(void)put_stream(&f->twin, true);
	f->state = put_stream(&f->stream, false);
	sample_multifd_initial(&channel, 0);
	sample_multifd_pages(&channel, "pc.ram", 1, 1, 0);
	put_bytes(&f->channel, channel.data, channel.used);
	return f;
}

static void guard_fixture_free(void *fixture)
{
	GuardFixture *f = fixture;

	build_clear(&f->twin);
	build_clear(&f->stream);
	build_clear(&f->channel);
	free(f);
}

/* --- what is asked of each failure --- */

/* Returns false always, as error_set does. */
static bool must_be_ours(Error *err)
{
	return err->category == ERROR_INTERNAL ? false
					       : fault_wrong(err, "a peer is blamed for no memory");
}

typedef struct Out {
	const Buffer *stream;
	size_t done;
	bool is_other, has_warned;
} Out;

static bool write_out(void *context, const uint8_t *bytes, size_t size, Error *err)
{
	Out *out = context;

	(void)err;
	if (size > out->stream->used - out->done ||
	    memcmp(bytes, out->stream->data + out->done, size) != 0) {
		out->is_other = true;
		return true;
	}
	out->done += size;
	return true;
}

static void on_warning(void *context, const char *text)
{
	Out *out = context;

	(void)text;
	out->has_warned = true;
}

static Guard *make_guard(const GuardFixture *f, GuardMode mode, Out *out, Error *err)
{
	const GuardOptions options = {
		.mode = mode, .side = GUARD_DESTINATION, .on_warning = on_warning, .context = out
	};
	const GuardExpected expected = { .machine = "pc-q35-10.0",
					 .channels = CHANNELS,
					 .twin = f->twin.bytes.data,
					 .twin_size = f->twin.bytes.used,
					 .dump = (const uint8_t *)tables_text,
					 .dump_size = strlen(tables_text) };

	return guard_new(&options, &expected, err);
}

static bool feed(Guard *guard, unsigned int channel, Out *out, Error *err)
{
	const GuardSink sink = { .write = write_out, .context = out };
	const Buffer *stream = out->stream;
	size_t at = 0, shown = 0, taken;

	while (shown < stream->used) {
		shown = PIECE < stream->used - shown ? shown + PIECE : stream->used;
		if (!guard_take(guard, channel, stream->data + at, shown - at, &sink, &taken, err))
			return false;
		at += taken;
	}
	return guard_end(guard, channel, stream->used - at, err);
}

/* --- scenarios --- */

static bool use_new(void *fixture, Error *err)
{
	Out out = { 0 };
	AUTO_GUARD Guard *guard = make_guard(fixture, GUARD_ENFORCE, &out, err);

	return guard || must_be_ours(err);
}

static bool use_source(void *fixture, Error *err)
{
	static const uint8_t back[SHUT_AND_PONG] = { 0, 2, 0, 4, 0, 0, 0, 1, 0, 1, 0, 4 };
	const GuardOptions options = { .side = GUARD_SOURCE };
	const Buffer stream = { .data = (uint8_t *)(uintptr_t)back, .used = sizeof(back) };
	Out out = { .stream = &stream };
	AUTO_GUARD Guard *guard = guard_new(&options, NULL, err);

	(void)fixture;
	if (!guard || !feed(guard, 0, &out, err))
		return must_be_ours(err);
	return (!out.is_other && out.done == stream.used) ||
	       fault_wrong(err, "not all messages came out");
}

static bool judge_streams(GuardFixture *f, GuardMode mode, Error *err)
{
	Out pages = { .stream = &f->channel.bytes }, main = { .stream = &f->stream.bytes };
	AUTO_GUARD Guard *guard = make_guard(f, mode, &main, err);
	bool ok = guard && feed(guard, 0, &main, err) && feed(guard, 1, &pages, err);
	Error again = ERROR_INIT;
	const GuardSink sink = { .write = write_out, .context = &main };
	size_t taken = 0;

	if (main.is_other || pages.is_other)
		return fault_wrong(err, "something else came out");
	if (main.has_warned)
		return fault_wrong(err, "a warning for no memory");
	if (!ok && main.done > f->state && main.done != f->stream.bytes.used)
		return fault_wrong(err, "a part of device state came out");
	if (!ok && guard && guard_take(guard, 0, f->stream.bytes.data, 1, &sink, &taken, &again))
		return fault_wrong(err, "a guard that failed goes on");
	if (!ok)
		return must_be_ours(err);
	return (main.done == f->stream.bytes.used && pages.done == f->channel.bytes.used) ||
	       fault_wrong(err, "bytes stayed behind");
}

static bool use_enforce(void *fixture, Error *err)
{
	return judge_streams(fixture, GUARD_ENFORCE, err);
}

static bool use_warn(void *fixture, Error *err)
{
	return judge_streams(fixture, GUARD_WARN, err);
}

static bool use_compare(void *fixture, Error *err)
{
	static const VmdescLimits limits = VMDESC_LIMITS_DEFAULT;
	static const CompareOptions options = COMPARE_OPTIONS_DEFAULT;
	AUTO_VMDESC VmDescription *ran = vmdesc_parse(ran_text, strlen(ran_text), &limits, err);
	AUTO_VMDESC VmDescription *twin =
		ran ? vmdesc_parse(twin_text, strlen(twin_text), &limits, err) : NULL;
	AUTO_DUMP_VMSTATE DumpVmstate *dump =
		twin ? dump_vmstate_parse(tables_text, strlen(tables_text), err) : NULL;

	(void)fixture;
	if (!dump || !vmdesc_compare(ran, twin, dump, &options, err))
		return must_be_ours(err);
	return true;
}

/* --- compressed pages --- */

typedef struct Payloads {
	MultifdCompression method;
	Buffer first, second;
} Payloads;

static void *payloads_new(MultifdCompression method)
{
	static const uint8_t pages[2 * SAMPLE_PAGE] = "a guest's pages";
	Payloads *p = calloc(1, sizeof(*p));
	AUTO_SAMPLE_COMPRESSOR SampleCompressor *source = sample_compressor_new(method, 1);
	Error err = ERROR_INIT;

	fault_must(p, &err);
	p->method = method;
	p->first = p->second = BUFFER_INIT(STREAM_MAX);
	sample_compress(source, pages, sizeof(pages), SAMPLE_FLUSH, &p->first);
	sample_compress(source, pages, SAMPLE_PAGE, SAMPLE_FLUSH, &p->second);
	return p;
}

static void *zlib_new(void)
{
	return payloads_new(MULTIFD_COMPRESSION_ZLIB);
}

static void *zstd_new(void)
{
	return payloads_new(MULTIFD_COMPRESSION_ZSTD);
}

static void payloads_free(void *fixture)
{
	Payloads *p = fixture;

	buffer_clear(&p->first);
	buffer_clear(&p->second);
	free(p);
}

static bool use_decompress(void *fixture, Error *err)
{
	const Payloads *p = fixture;
	AUTO_DECOMPRESSOR Decompressor *decompressor = decompressor_new(p->method, err);

	if (!decompressor ||
	    !decompressor_check(decompressor, p->first.data, p->first.used, 2 * SAMPLE_PAGE, err) ||
	    !decompressor_check(decompressor, p->second.data, p->second.used, SAMPLE_PAGE, err))
		return must_be_ours(err);
	return true;
}

const Scenario scenarios_guard[] = {
	{ "guard new", guard_fixture_new, use_new, NULL, guard_fixture_free, 0 },
	{ "guard source", NULL, use_source, NULL, NULL, 0 },
	{ "guard enforce", guard_fixture_new, use_enforce, NULL, guard_fixture_free, 0 },
	{ "guard warn", guard_fixture_new, use_warn, NULL, guard_fixture_free, 0 },
	{ "guard compare", NULL, use_compare, NULL, NULL, 0 },
	{ "guard zlib", zlib_new, use_decompress, NULL, payloads_free, 0 },
	{ "guard zstd", zstd_new, use_decompress, NULL, payloads_free, 0 },
	{ 0 },
};
