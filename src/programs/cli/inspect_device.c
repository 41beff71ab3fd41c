/* SPDX-License-Identifier: Apache-2.0 */
/* Device state for `sealift inspect`: one line a device, and the fields of those asked for. */
#include <inttypes.h>
#include <string.h>

#include "programs/cli/inspect_main.h"
#include "qemustream/frame.h"
#include "qemustream/virtio_state.h"

enum {
	/* Of one device, one field, one virtio device: what more there is is counted. */
	FIELDS_SHOWN = 65536,
	ELEMENTS_SHOWN = 16,
	QUEUES_SHOWN = 64,
};

typedef enum ValueForm {
	VALUE_BYTES, /* hex */
	VALUE_UNSIGNED,
	VALUE_SIGNED,
	VALUE_BOOL,
} ValueForm;

typedef struct FieldType {
	const char *word; /* QEMU's, up to a blank: "int32 equal" is an int32 */
	uint32_t size_bytes;
	ValueForm form;
} FieldType;

/* migration/vmstate-types.c. What is not here has no form of its own, or one that it does not
 * tell. */
static const FieldType field_types[] = {
	{ "bool", 1, VALUE_BOOL },	 { "int8", 1, VALUE_SIGNED },
	{ "int16", 2, VALUE_SIGNED },	 { "int32", 4, VALUE_SIGNED },
	{ "int64", 8, VALUE_SIGNED },	 { "timer", 8, VALUE_SIGNED },
	{ "uint8", 1, VALUE_UNSIGNED },	 { "uint16", 2, VALUE_UNSIGNED },
	{ "uint32", 4, VALUE_UNSIGNED }, { "uint64", 8, VALUE_UNSIGNED },
};

static ValueForm form_of(const VmNode *node)
{
	const size_t length = strcspn(node->type, " ");

	for (size_t i = 0; i < ARRAY_SIZE(field_types); i++) {
		const FieldType *type = &field_types[i];

		if (strlen(type->word) == length && !strncmp(type->word, node->type, length) &&
		    type->size_bytes == node->size_bytes)
			return type->form;
	}
	return VALUE_BYTES;
}

static uint64_t load_element(const uint8_t *bytes, uint32_t size)
{
	return size == 1   ? bytes[0]
	       : size == 2 ? load_be16(bytes)
	       : size == 4 ? load_be32(bytes)
			   : load_be64(bytes);
}

static int64_t to_signed(uint64_t value, uint32_t size)
{
	return size == 1   ? (int8_t)value
	       : size == 2 ? (int16_t)value
	       : size == 4 ? (int32_t)value
			   : (int64_t)value;
}

static void print_elements(Output *output, const FrameField *field, ValueForm form)
{
	const uint32_t size = field->node->size_bytes, count = field->node->count;
	const uint32_t shown = count < ELEMENTS_SHOWN ? count : ELEMENTS_SHOWN;

	output_list_begin(output, "value");
	for (uint32_t i = 0; i < shown; i++) {
		const uint64_t value = load_element(field->bytes + (size_t)i * size, size);

		if (form == VALUE_BOOL)
			output_list_bool(output, value);
		else if (form == VALUE_SIGNED)
			output_list_signed(output, to_signed(value, size));
		else
			output_list_unsigned(output, value);
	}
	output_list_end(output, count - shown);
}

/* --- fields --- */

typedef struct FieldPrinter {
	Inspect *inspect;
	uint64_t seen;
	VirtioState virtio;
} FieldPrinter;

static bool print_queue(Output *output, uint64_t at, uint32_t index, const VirtioQueue *queue,
			Error *err)
{
	output_begin(output, at, "queue");
	output_number(output, "index", index);
	output_number(output, "size", queue->size);
	output_number(output, "address", queue->address);
	output_number(output, "last_available", queue->last_available);
	if (queue->vector != VIRTIO_NO_VECTOR)
		output_number(output, "vector", queue->vector);
	return output_end(output, err);
}

/* The one leaf with a form of its own that is known here. One that cannot be decoded was printed as
 * bytes, and is said to be so. */
static bool print_virtio(FieldPrinter *printer, const FrameField *field, Error *err)
{
	Output *output = &printer->inspect->output;
	const VirtioState *state = &printer->virtio;
	Error why = ERROR_INIT;

	if (!virtio_state_decode(field->bytes, field->size_bytes, NULL, &printer->virtio, &why)) {
		output_begin(output, field->offset, "virtio");
		output_name(output, "undecoded", why.text, strlen(why.text));
		return output_end(output, err);
	}
	output_begin(output, field->offset, "virtio");
	output_number(output, "status", state->status);
	output_number(output, "features", state->features);
	output_number(output, "vectors", state->shape.vectors);
	output_number(output, "queues", state->shape.queues);
	output_hex(output, "config", state->config, state->shape.config_bytes);
	if (!output_end(output, err))
		return false;
	for (uint32_t i = 0; i < state->shape.queues && i < QUEUES_SHOWN; i++)
		if (state->queues[i].address &&
		    !print_queue(output, field->offset, i, &state->queues[i], err))
			return false;
	return true;
}

static bool print_field(void *context, const FrameField *field, Error *err)
{
	FieldPrinter *printer = context;
	Output *output = &printer->inspect->output;
	const ValueForm form = form_of(field->node);
	char path[FRAME_PATH_SIZE];

	if (++printer->seen > FIELDS_SHOWN)
		return true;
	frame_path(field, path);
	output_begin(output, field->offset, "field");
	output_word(output, "path", path);
	output_word(output, "type", field->node->type);
	if (form == VALUE_BYTES) {
		output_number(output, "bytes", field->size_bytes);
		output_hex(output, "value", field->bytes, field->size_bytes);
	} else {
		print_elements(output, field, form);
	}
	if (!output_end(output, err))
		return false;
	return strcmp(field->node->type, "virtio") || print_virtio(printer, field, err);
}

static bool print_fields(MainInspect *view, const VmDevice *device, const uint8_t *payload,
			 Error *err)
{
	AUTO_FREE FieldPrinter *printer = calloc(1, sizeof(*printer));
	const FrameVisitor visitor = { .on_field = print_field, .context = printer };
	Output *output = &view->inspect->output;

	if (!printer)
		return error_set(err, ERROR_INTERNAL, "no memory to print fields");
	printer->inspect = view->inspect;
	if (!frame_payload(payload, device->size_bytes, view->section.payload_at, device,
			   view->description, &visitor, err))
		return false;
	if (printer->seen <= FIELDS_SHOWN)
		return true;
	output_begin(output, OUTPUT_NOWHERE, "fields");
	output_number(output, "left_out", printer->seen - FIELDS_SHOWN);
	return output_end(output, err);
}

/* --- devices --- */

static bool is_asked_for(const Inspect *inspect, const char *name)
{
	const char *last = strrchr(name, '/');

	return inspect->device &&
	       (!strcmp(inspect->device, name) || (last && !strcmp(inspect->device, last + 1)));
}

static bool print_device(MainInspect *view, uint64_t length, Error *err)
{
	const OpenSection *section = &view->section;
	const bool known = !view->description && !section->needs_length;
	const char *framed = view->description ? "vmdesc" : known ? "grammar" : "footer";
	Output *output = &view->inspect->output;

	output_begin(output, section->at, "device");
	output_word(output, "name", section->name);
	output_number(output, "instance", section->instance_id);
	output_number(output, "version", section->version_id);
	output_number(output, "id", section->id);
	if (!known)
		output_number(output, "bytes", length);
	/* By which it was cut out of what has no lengths. */
	output_name(output, "framed", framed, strlen(framed));
	return output_end(output, err);
}

static bool print_payload(MainInspect *view, const uint8_t *payload, size_t length, Error *err)
{
	Output *output = &view->inspect->output;

	output_begin(output, view->section.payload_at, "payload");
	output_number(output, "bytes", length);
	output_hex(output, "value", payload, length);
	return output_end(output, err);
}

/* The description has the devices in the order of their sections, early ones first. */
static const VmDevice *described(const MainInspect *view, Error *err)
{
	const OpenSection *section = &view->section;
	const VmDevice *device;

	if (view->devices > view->description->devices_count) {
		error_set(err, ERROR_PEER,
			  "main channel, byte %" PRIu64 ", section %" PRIu32
			  " (%s): the description has %zu devices, none for this one",
			  section->at, section->id, section->name,
			  view->description->devices_count);
		return NULL;
	}
	device = &view->description->devices[view->devices - 1];
	if (!strcmp(device->name, section->name) && device->instance_id == section->instance_id &&
	    (!device->vmsd_name[0] || device->version == section->version_id))
		return device;
	error_set(err, ERROR_PEER,
		  "main channel, byte %" PRIu64 ", section %" PRIu32 " (%s, instance %" PRIu32
		  ", version %" PRIu32 "): described is %.80s, instance %" PRIu32
		  ", version %" PRIu32,
		  section->at, section->id, section->name, section->instance_id,
		  section->version_id, device->name, device->instance_id, device->version);
	return NULL;
}

static bool inspect_described(MainInspect *view, const uint8_t *bytes, size_t size,
			      uint64_t *ret_length, Error *err)
{
	const VmDevice *device = described(view, err);
	bool asked;

	if (!device)
		return false;
	*ret_length = vmdesc_payload_size(device);
	if (*ret_length > size)
		return error_set(err, ERROR_PEER,
				 "main channel, byte %" PRIu64 ", section %" PRIu32
				 " (%s): described with %" PRIu64 " bytes where %zu are left",
				 view->section.payload_at, view->section.id, view->section.name,
				 *ret_length, size);
	if (!print_device(view, *ret_length, err))
		return false;
	asked = is_asked_for(view->inspect, device->name) ||
		is_asked_for(view->inspect, device->vmsd_name);
	view->device_found |= asked;
	return (asked ? print_fields(view, device, bytes, err)
		      : frame_payload(bytes, (size_t)*ret_length, view->section.payload_at, device,
				      view->description, &(FrameVisitor){ 0 }, err)) ||
	       error_prefix(err, "main channel");
}

bool inspect_device(MainInspect *view, const uint8_t *bytes, size_t size, bool *ret_found,
		    uint64_t *ret_length, Error *err)
{
	size_t length = 0;

	*ret_found = true;
	if (view->description)
		return inspect_described(view, bytes, size, ret_length, err);
	if (!view->section.needs_length) {
		*ret_length = 0;
		return print_device(view, 0, err);
	}
	*ret_found = inspect_tail_find_footer(bytes, size, view->section.id, &length);
	*ret_length = length;
	if (!*ret_found)
		return true;
	if (!print_device(view, length, err))
		return false;
	if (!is_asked_for(view->inspect, view->section.name))
		return true;
	view->device_found = true;
	return print_payload(view, bytes, length, err);
}

bool inspect_devices_finish(const MainInspect *view, Error *err)
{
	const VmDescription *description = view->description;

	if (!description || view->devices == description->devices_count)
		return true;
	return error_set(err, ERROR_PEER,
			 "main channel, byte %" PRIu64
			 ": the description has %zu devices, but %zu came",
			 view->end, description->devices_count, view->devices);
}
