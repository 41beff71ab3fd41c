/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Decodes one recorded stream from its first byte to its last and prints what was in it, a name
 * and a count a line:
 *
 *	decode_channels multifd none|zlib|zstd FILE
 *	decode_channels return FILE
 *
 * Exit status 1 and a line on stderr if a byte is left unexplained, 2 for a wrong call.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "qemustream/decompress.h"
#include "qemustream/return_path.h"

enum { PAGE = 4096, BITMAP_MAX = 1 << 20 };

typedef struct Recording {
	const uint8_t *bytes;
	size_t size;
} Recording;

static bool map_file(const char *path, Recording *ret_recording, Error *err)
{
	AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat status;
	void *bytes;

	if (fd < 0 || fstat(fd, &status))
		return error_set_errno(err, ERROR_IO, errno, "%s", path);
	*ret_recording = (Recording){ .size = (size_t)status.st_size };
	if (!status.st_size)
		return true;
	/* Unmapped when the program ends. */
	bytes = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (bytes == MAP_FAILED)
		return error_set_errno(err, ERROR_IO, errno, "%s", path);
	ret_recording->bytes = bytes;
	return true;
}

/* What a caller with a buffer of MULTIFD_WINDOW shows: little at first, then more. */
typedef struct Window {
	size_t at, size;
} Window;

static bool window_grow(Window *window, const Recording *recording, Error *err)
{
	size_t left = recording->size - window->at;

	if (window->size == MULTIFD_WINDOW)
		return error_set(err, ERROR_INTERNAL, "byte %zu: a unit longer than %d bytes",
				 window->at, MULTIFD_WINDOW);
	window->size = window->size * 2 + 1000;
	if (window->size > MULTIFD_WINDOW)
		window->size = MULTIFD_WINDOW;
	if (window->size > left)
		window->size = left;
	return true;
}

static void window_drop(Window *window, size_t size)
{
	window->at += size;
	window->size -= size;
}

typedef struct MultifdCounts {
	uint64_t initial, packets, syncs, normal_pages, zero_pages, payload_bytes, expanded_bytes;
	uint64_t empty_without_sync, sync_with_pages, stale_sizes;
} MultifdCounts;

static bool count_multifd(const MultifdUnit *unit, const uint8_t *window, Decompressor *checker,
			  MultifdCounts *counts, Error *err)
{
	const MultifdPacket *packet = &unit->packet;

	switch (unit->kind) {
	case MULTIFD_UNIT_INITIAL:
		counts->initial++;
		return true;
	case MULTIFD_UNIT_PACKET:
		counts->packets++;
		counts->syncs += packet->sync;
		counts->normal_pages += packet->normal_pages;
		counts->zero_pages += packet->zero_pages;
		counts->sync_with_pages += packet->sync && packet->normal_pages;
		if (!packet->normal_pages && !packet->zero_pages) {
			counts->empty_without_sync += !packet->sync;
			counts->stale_sizes += load_be32(window + 20) != 0;
		}
		return true;
	case MULTIFD_UNIT_PAYLOAD:
		counts->payload_bytes += unit->size_bytes;
		return true;
	case MULTIFD_UNIT_COMPRESSED:
		counts->payload_bytes += unit->size_bytes;
		counts->expanded_bytes += unit->payload.expanded_bytes;
		return decompressor_check(checker, unit->payload.bytes, unit->size_bytes,
					  unit->payload.expanded_bytes, err);
	case MULTIFD_UNIT_DEVICE_STATE:
		break;
	}
	return error_set(err, ERROR_PEER, "a device's state, of a VM that has no VFIO");
}

static void print_multifd(const MultifdStream *stream, const MultifdCounts *counts)
{
	printf("id %u\ninitial %" PRIu64 "\npackets %" PRIu64 "\nsyncs %" PRIu64 "\n", stream->id,
	       counts->initial, counts->packets, counts->syncs);
	printf("normal_pages %" PRIu64 "\nzero_pages %" PRIu64 "\npayload_bytes %" PRIu64
	       "\nexpanded_bytes %" PRIu64 "\n",
	       counts->normal_pages, counts->zero_pages, counts->payload_bytes,
	       counts->expanded_bytes);
	printf("empty_without_sync %" PRIu64 "\nsync_with_pages %" PRIu64 "\nstale_sizes %" PRIu64
	       "\n",
	       counts->empty_without_sync, counts->sync_with_pages, counts->stale_sizes);
}

static bool decode_multifd(const Recording *recording, MultifdCompression method, Error *err)
{
	const MultifdOptions options = { .page_size = PAGE, .compression = method };
	AUTO_DECOMPRESSOR Decompressor *checker = NULL;
	MultifdCounts counts = { 0 };
	Window window = { 0 };
	MultifdStream stream;
	UnitResult result = UNIT_MORE;

	if (method != MULTIFD_COMPRESSION_NONE) {
		checker = decompressor_new(method, err);
		if (!checker)
			return false;
	}
	multifd_stream_init(&stream, &options);
	while (window.at < recording->size) {
		const uint8_t *bytes = recording->bytes + window.at;
		MultifdUnit unit;

		result = multifd_stream_next(&stream, bytes, window.size, &unit, err);
		if (result == UNIT_BAD)
			return false;
		if (result == UNIT_MORE && window.at + window.size == recording->size)
			break;
		if (result == UNIT_MORE && !window_grow(&window, recording, err))
			return false;
		if (result != UNIT_WHOLE)
			continue;
		if (!count_multifd(&unit, bytes, checker, &counts, err))
			return false;
		window_drop(&window, unit.size_bytes);
	}
	if (window.at != recording->size || !multifd_stream_may_end(&stream))
		return error_set(err, ERROR_PEER, "byte %zu of %zu: ends inside a unit", window.at,
				 recording->size);
	print_multifd(&stream, &counts);
	return true;
}

static bool decode_return(const Recording *recording, Error *err)
{
	static const char *const names[] = {
		[RETURN_PATH_SHUT] = "shut",
		[RETURN_PATH_PONG] = "pong",
		[RETURN_PATH_REQ_PAGES_ID] = "req_pages_id",
		[RETURN_PATH_REQ_PAGES] = "req_pages",
		[RETURN_PATH_RECV_BITMAP] = "recv_bitmap",
		[RETURN_PATH_BITMAP_BYTES] = "bitmap_bytes",
		[RETURN_PATH_BITMAP_END] = "bitmap_end",
		[RETURN_PATH_RESUME_ACK] = "resume_ack",
		[RETURN_PATH_SWITCHOVER_ACK] = "switchover_ack",
	};
	const ReturnPathOptions options = { .page_size = PAGE, .bitmap_max_bytes = BITMAP_MAX };
	uint64_t counts[ARRAY_SIZE(names)] = { 0 };
	Window window = { 0 };
	ReturnPathStream stream;

	return_path_init(&stream, &options);
	while (window.at < recording->size) {
		ReturnPathUnit unit;
		UnitResult result = return_path_next(&stream, recording->bytes + window.at,
						     window.size, &unit, err);

		if (result == UNIT_BAD)
			return false;
		if (result == UNIT_MORE && window.at + window.size == recording->size)
			break;
		if (result == UNIT_MORE && !window_grow(&window, recording, err))
			return false;
		if (result != UNIT_WHOLE)
			continue;
		counts[unit.kind]++;
		window_drop(&window, unit.size_bytes);
	}
	if (window.at != recording->size || !return_path_may_end(&stream))
		return error_set(err, ERROR_PEER, "byte %zu of %zu: ends inside a message",
				 window.at, recording->size);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		printf("%s %" PRIu64 "\n", names[i], counts[i]);
	return true;
}

int main(int argc, char **argv)
{
	static const char *const methods[] = {
		[MULTIFD_COMPRESSION_NONE] = "none",
		[MULTIFD_COMPRESSION_ZLIB] = "zlib",
		[MULTIFD_COMPRESSION_ZSTD] = "zstd",
	};
	Recording recording;
	Error err = ERROR_INIT;
	bool ok = false, known = false;

	if (argc == 3 && !strcmp(argv[1], "return")) {
		known = true;
		ok = map_file(argv[2], &recording, &err) && decode_return(&recording, &err);
	}
	for (size_t i = 0; argc == 4 && !strcmp(argv[1], "multifd") && i < ARRAY_SIZE(methods); i++)
		if (!strcmp(argv[2], methods[i])) {
			known = true;
			ok = map_file(argv[3], &recording, &err) &&
			     decode_multifd(&recording, (MultifdCompression)i, &err);
		}
	if (!known) {
		fprintf(stderr,
			"usage: decode_channels multifd none|zlib|zstd FILE | return FILE\n");
		return 2;
	}
	if (!ok)
		fprintf(stderr, "decode_channels: %s\n", err.text);
	return ok ? 0 : 1;
}
