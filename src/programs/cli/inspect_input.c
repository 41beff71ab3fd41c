/* SPDX-License-Identifier: Apache-2.0 */
/* The window on the file, and the lines that several channels have. */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "programs/cli/inspect.h"

bool inspect_input_fill(InspectInput *input, Error *err)
{
	ssize_t got;

	if (input->start) {
		memmove(input->bytes, input->bytes + input->start, inspect_input_size(input));
		input->end -= input->start;
		input->start = 0;
	}
	assert(input->end < INSPECT_WINDOW && !input->ended);
	do {
		got = read(input->fd, input->bytes + input->end, INSPECT_WINDOW - input->end);
	} while (got < 0 && errno == EINTR);
	if (got < 0)
		return error_set_errno(err, ERROR_IO, errno, "byte %llu: cannot read",
				       (unsigned long long)(input->offset + input->end));
	input->end += (size_t)got;
	input->ended = !got;
	return true;
}

bool inspect_input_need(InspectInput *input, size_t size, Error *err)
{
	assert(size <= INSPECT_WINDOW);
	while (inspect_input_size(input) < size && !input->ended)
		if (!inspect_input_fill(input, err))
			return false;
	return true;
}

void inspect_input_skip(InspectInput *input, size_t size)
{
	assert(size <= inspect_input_size(input));
	input->start += size;
	input->offset += size;
}

bool inspect_print_page(Inspect *inspect, uint64_t at, const char *what, const char *block,
			size_t block_size, uint64_t offset, Error *err)
{
	Output *output = &inspect->output;

	output_begin(output, at, "page");
	output_word(output, "type", what);
	output_name(output, "block", block, block_size);
	output_number(output, "offset", offset);
	return output_end(output, err);
}

bool inspect_print_count(Inspect *inspect, uint64_t at, const char *block, size_t block_size,
			 const PageCount *count, Error *err)
{
	Output *output = &inspect->output;

	if (!count->pages && !count->zero_pages && !count->delta_pages)
		return true;
	output_begin(output, at, "pages");
	output_name(output, "block", block, block_size);
	output_number(output, "pages", count->pages);
	output_number(output, "zero_pages", count->zero_pages);
	if (count->delta_pages)
		output_number(output, "delta_pages", count->delta_pages);
	output_number(output, "bytes", count->bytes);
	return output_end(output, err);
}
