/* SPDX-License-Identifier: Apache-2.0 */
/* For fuzz_scsi_requests.c and fuzz_virtio_kinds.c: requests that wait, and what virtio-iommu and
 * virtio-mem write. */
#include <string.h>

#include "guard/virtio_element.h"
#include "tests/fuzz/make_seeds.h"
#include "tests/qemustream/build.h"

enum { VIRTIO = 1, USB = 2, PACKED = 4, NO_ATTENTION = 8, ATTENTION = 6 };
enum { READ_10 = 0x28, WRITE_10 = 0x2a, MARK_RETRY = 1, MARK_OTHER = 2, UNIT = 3 };
enum { BUFFER_SIZE = 131072, ZERO_ROW = 64, FIRST_ROW = 0x7f, ROWS_MAX = UINT8_MAX - FIRST_ROW };

static size_t zeros_at(const Buffer *bytes, size_t at)
{
	size_t end = at;

	while (end < bytes->used && !bytes->data[end])
		end++;
	return end - at;
}

/* Whole rows of zeros, and what is between them in pieces. */
static void put_packed(Build *seed, const Buffer *bytes)
{
	size_t at = 0, size;

	while (at < bytes->used) {
		size_t rows = zeros_at(bytes, at) / ZERO_ROW;

		if (rows) {
			rows = rows < ROWS_MAX ? rows : ROWS_MAX;
			put_u8(seed, (uint8_t)(FIRST_ROW + rows));
			at += rows * ZERO_ROW;
			continue;
		}
		for (size = 1; size <= FIRST_ROW && at + size < bytes->used; size++)
			if (zeros_at(bytes, at + size) >= ZERO_ROW)
				break;
		put_u8(seed, (uint8_t)(size - 1));
		put_bytes(seed, bytes->data + at, size);
		at += size;
	}
}

static void write_requests(const char *root, const char *name, uint8_t choice, uint8_t attention,
			   Build *field)
{
	AUTO_BUILD Build seed = BUILD_INIT;

	put_u8(field, 0); /* no more requests */
	put_u8(&seed, choice);
	put_u8(&seed, attention);
	put_packed(&seed, &field->bytes);
	seeds_write(root, "scsi_requests", name, seed.bytes.data, seed.bytes.used);
	build_clear(field);
}

static void put_scsi_command(Build *build, uint8_t mark, uint8_t operation, uint16_t blocks)
{
	uint8_t command[16] = { operation };

	store_be16(command + 7, blocks);
	put_u8(build, mark);
	put_bytes(build, command, sizeof(command));
	put_be32(build, 77);
	put_be32(build, UNIT);
}

static void put_le(uint8_t *at, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		at[i] = (uint8_t)(value >> 8 * i);
}

/* Headers in the first buffers, data in the second ones. */
static void put_element(Build *build, uint32_t out_bytes, uint32_t in_bytes)
{
	static uint8_t element[VIRTIO_ELEMENT_SIZE];
	uint8_t *in = element + 16 + 16384 + 8, *out = in + 16384;

	memset(element, 0, sizeof(element));
	put_le(element, 63);
	put_le(element + 4, out_bytes ? 2 : 1);
	put_le(element + 8, in_bytes ? 2 : 1);
	put_le(in, 108);
	put_le(in + 16, in_bytes);
	put_le(out, 51);
	put_le(out + 16, out_bytes);
	put_bytes(build, element, sizeof(element));
}

static void put_disk(Build *build, uint32_t sectors, uint32_t size)
{
	put_be64(build, 100);
	put_be32(build, sectors);
	put_be32(build, size);
}

static void put_virtio(Build *build, uint32_t queue, uint32_t in_bytes)
{
	put_scsi_command(build, MARK_RETRY, READ_10, in_bytes ? 8 : 0);
	put_be32(build, queue);
	put_element(build, 0, in_bytes);
	put_disk(build, 8, 0);
}

static void write_virtio_scsi(const char *root)
{
	AUTO_BUILD Build build = BUILD_INIT;

	put_virtio(&build, 2, 4096);
	put_virtio(&build, 0, 0);
	write_requests(root, "virtio-reads", VIRTIO, 0, &build);
	put_scsi_command(&build, MARK_RETRY, WRITE_10, 8);
	put_be32(&build, 1);
	put_element(&build, 4096, 0);
	put_disk(&build, 8, 0);
	write_requests(root, "virtio-write", VIRTIO, 0, &build);
	put_virtio(&build, 3, 4096);
	write_requests(root, "virtio-queue", VIRTIO, 0, &build);
	put_virtio(&build, 2, 4096);
	write_requests(root, "virtio-packed", VIRTIO | PACKED, 0, &build);
}

static void write_usb_storage(const char *root)
{
	AUTO_BUILD Build build = BUILD_INIT;

	write_requests(root, "none", 0, 0, &build);
	put_scsi_command(&build, MARK_RETRY, WRITE_10, 8);
	put_disk(&build, 8, BUFFER_SIZE);
	put_zeros(&build, 4096);
	write_requests(root, "usb-write", USB, 0, &build);
	put_scsi_command(&build, MARK_OTHER, READ_10, 8);
	put_disk(&build, 8, BUFFER_SIZE);
	put_be32(&build, 512);
	put_zeros(&build, 512);
	write_requests(root, "usb-read", USB, 0, &build);
	put_scsi_command(&build, MARK_RETRY, READ_10, 8);
	put_disk(&build, 8, 0);
	write_requests(root, "attention", USB, ATTENTION, &build);
	put_scsi_command(&build, MARK_RETRY, READ_10, 8);
	put_disk(&build, 8, 0);
	write_requests(root, "no-attention", USB | NO_ATTENTION, 0, &build);
	put_scsi_command(&build, MARK_RETRY, READ_10, 8);
	put_disk(&build, 8, 0);
	write_requests(root, "other-adapter", 0, 0, &build);
}

/* --- virtio-iommu, virtio-mem --- */

static void write_kind(const char *root, const char *name, Build *build)
{
	seeds_write(root, "virtio_kinds", name, build->bytes.data, build->bytes.used);
	build_clear(build);
}

static void put_mapping(Build *build, uint64_t low, uint64_t high)
{
	put_u8(build, 1);
	put_be64(build, low);
	put_be64(build, high);
	put_be64(build, 0);
	put_be32(build, 7);
}

static void write_iommu(const char *root)
{
	AUTO_BUILD Build build = BUILD_INIT;

	put_u8(&build, 0);
	put_be32(&build, 1);
	put_u8(&build, 1);
	put_be64(&build, 3);
	put_be32(&build, 3);
	put_be32(&build, 2);
	put_mapping(&build, 4096, 8191);
	put_mapping(&build, 8192, UINT64_MAX);
	put_u8(&build, 0);
	put_u8(&build, 1);
	put_be32(&build, UINT16_MAX);
	put_u8(&build, 0);
	put_u8(&build, 1);
	put_u8(&build, 0);
	put_u8(&build, 1);
	write_kind(root, "iommu", &build);
	put_bytes(&build, "\0\0\0\0\0\0\1", 7);
	write_kind(root, "iommu-empty", &build);
	put_bytes(&build, "\0\0\0\0\1\0\1", 7);
	write_kind(root, "iommu-count", &build);
}

/* As the target has it: 70 blocks of 2 MiB at 4 GiB, node 1. */
static void write_mem(const char *root)
{
	const uint64_t block = 2 << 20, region = 70 * block;
	AUTO_BUILD Build build = BUILD_INIT;

	put_u8(&build, 1);
	put_be64(&build, UINT64_C(4) << 30);
	put_be64(&build, region);
	put_be64(&build, block);
	put_be32(&build, 1);
	put_be64(&build, region);
	put_be64(&build, 2 * block);
	put_be64(&build, 3 * block);
	put_be64(&build, 1);
	put_be64(&build, 32);
	write_kind(root, "mem-whole", &build);
	put_u8(&build, 2);
	put_be64(&build, region);
	put_be64(&build, 3 * block);
	write_kind(root, "mem-sizes", &build);
}

void seeds_write_requests(const char *root)
{
	write_virtio_scsi(root);
	write_usb_storage(root);
	write_iommu(root);
	write_mem(root);
}
