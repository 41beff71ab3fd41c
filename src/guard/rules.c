/* SPDX-License-Identifier: Apache-2.0 */
#include "guard/rules.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/cleanup.h"

static const GuardRuleText rules[] = {
	[GUARD_RULE_GRAMMAR] = {
		"guard-grammar",
		"each byte belongs to a unit that QEMU's own writers make, in its place",
		"QEMU work item 4035: multifd zlib and zstd receivers read any length into 1 MiB; "
		"section id 0, nested packages, records of RDMA and COLO, reserved bytes",
	},
	[GUARD_RULE_END] = {
		"guard-end",
		"a channel ends where its last unit does, main with its description",
		"QEMU reads and drops a description of up to 4 GiB",
	},
	[GUARD_RULE_CLOSED] = {
		"guard-closed",
		"a channel is not closed before its end; a source that was cancelled does so",
		"no hole: QEMU would wait, or begin with what it has",
	},
	[GUARD_RULE_MACHINE] = {
		"guard-machine",
		"the machine type is the expected one, to the last byte",
		"QEMU compares as many bytes as the stream has: none is enough",
	},
	[GUARD_RULE_CAPABILITY] = {
		"guard-capability",
		"no capability is listed: none that the stream lists is ever agreed",
		"QEMU allocates as many entries as the stream says",
	},
	[GUARD_RULE_UUID] = {
		"guard-uuid",
		"each channel that names the VM names this one, and all the same",
		"QEMU accepts any on main unless validate-uuid is set",
	},
	[GUARD_RULE_COMMAND] = {
		"guard-command",
		"no command but those of what was agreed, each in its place; OPEN_RETURN_PATH and "
		"the first PING before any section",
		"PACKAGED allocates up to 4 GiB and nests; POSTCOPY_RAM_DISCARD underflows a length",
	},
	[GUARD_RULE_PING] = {
		"guard-ping",
		"each PING comes once, in its place: 1 at the setup, 2 to 4 and 0x42 around and in "
		"the package of postcopy",
		"each is answered at once: a flood of answers blocks the loading thread",
	},
	[GUARD_RULE_SECTION_INSTANCE] = {
		"guard-section-instance",
		"the section of ram is instance 0",
		"QEMU looks up any instance of any name",
	},
	[GUARD_RULE_SECTION_EARLY] = {
		"guard-section-early",
		"no device state before the end of ram, but of those that the local QEMU sends "
		"early too (virtio-mem)",
		"QEMU loads a device at any time, also one that is not there for early state",
	},
	[GUARD_RULE_RAM_BLOCK] = {
		"guard-ram-block",
		"the blocks of RAM are those of this VM, each once, none missing",
		"parse_ramblocks takes repeats and lengths of 0, and forgets what is missing",
	},
	[GUARD_RULE_RAM_SIZE] = {
		"guard-ram-size",
		"each block has its exact size; the ACPI tables at most QEMU's own maximum",
		"QEMU's sum underflows; another length resizes a block",
	},
	[GUARD_RULE_RAM_OFFSET] = {
		"guard-ram-offset",
		"each page lies in its block",
		"multifd: offset <= used_length - page underflows for a block below a page, and "
		"misaligned offsets pass",
	},
	[GUARD_RULE_RAM_PAGES] = {
		"guard-ram-pages",
		"one section of ram has at most two times the VM's pages",
		"QEMU reads the records of a section for as long as they come",
	},
	[GUARD_RULE_HELD_SIZE] = {
		"guard-held-size",
		"device state with its description is no longer than the bound",
		"QEMU has no bound for either",
	},
	[GUARD_RULE_POSTCOPY_PAGE_SIZE] = {
		"guard-postcopy-page-size",
		"POSTCOPY_ADVISE and the list of blocks have the page sizes of the local VM",
		"a page of another size is written past the end of the one that is placed",
	},
	[GUARD_RULE_POSTCOPY_DISCARD] = {
		"guard-postcopy-discard",
		"ranges that are discarded are not empty, whole pages, inside their block, and in "
		"all no more than the VM has",
		"POSTCOPY_RAM_DISCARD underflows a length, and comes any number of times",
	},
	[GUARD_RULE_POSTCOPY_PACKAGE] = {
		"guard-postcopy-package",
		"the package of postcopy is no longer than what may be held",
		"PACKAGED allocates up to 4 GiB at once",
	},
	[GUARD_RULE_PREEMPT_EARLY] = {
		"guard-preempt-early",
		"no page comes on the preempt channel before the package of postcopy passed",
		"QEMU places pages into memory that is not registered yet",
	},
	[GUARD_RULE_PREEMPT_PAGES] = {
		"guard-preempt-pages",
		"the preempt channel has at most two times the VM's pages",
		"QEMU reads pages for as long as they come",
	},
	[GUARD_RULE_BITMAP_NODE] = {
		"guard-bitmap-node",
		"a dirty bitmap is of a disk that was agreed, and begins once",
		"QEMU makes a bitmap on any node that it finds by a name from the wire",
	},
	[GUARD_RULE_BITMAP_COUNT] = {
		"guard-bitmap-count",
		"at most 64 dirty bitmaps come",
		"QEMU makes as many as come, each as large as its disk wants it",
	},
	[GUARD_RULE_BITMAP_RANGE] = {
		"guard-bitmap-range",
		"bits lie within their disk, in whole words, of a bitmap that began and is not "
		"complete",
		"serialization_chunk (util/hbitmap.c) asserts all of it: QEMU ends",
	},
	[GUARD_RULE_MULTIFD_ID] = {
		"guard-multifd-id",
		"the id of a channel is below the number of channels, and no other's",
		"multifd_recv_initial_packet takes id = number: one past its array",
	},
	[GUARD_RULE_MULTIFD_NUMBER] = {
		"guard-multifd-number",
		"packet numbers of a channel do not go back",
		"QEMU does not look at them: packets in another order pass",
	},
	[GUARD_RULE_MULTIFD_PAGES] = {
		"guard-multifd-pages",
		"between two SYNCs of a channel come at most two times the VM's pages",
		"QEMU reads packets for as long as they come",
	},
	[GUARD_RULE_MULTIFD_SYNC] = {
		"guard-multifd-sync",
		"a channel's SYNCs are at most 1048576 ahead of those of main",
		"QEMU work item 2720: both sides wait for each other when they differ",
	},
	[GUARD_RULE_MULTIFD_COMPRESSED] = {
		"guard-multifd-compressed",
		"a compressed packet expands to exactly its pages, and is hardly longer than they",
		"QEMU work item 4035; the next packet's pages are taken from what this one left",
	},
	[GUARD_RULE_RETURN_MESSAGE] = {
		"guard-return-message",
		"no message but SHUT, PONG and those of what was agreed comes back, in its place",
		"REQ_PAGES, RECV_BITMAP, RESUME_ACK and SWITCHOVER_ACK steer a source that did not "
		"ask for them",
	},
	[GUARD_RULE_RETURN_COUNT] = {
		"guard-return-count",
		"each PONG, SWITCHOVER_ACK and RESUME_ACK comes back once",
		"QEMU takes any number of them",
	},
	[GUARD_RULE_RETURN_COOKIE] = {
		"guard-return-cookie",
		"a PONG has the cookie of a PING that this migration has",
		"since 10.2 a cookie alone moves the source into another state",
	},
	[GUARD_RULE_RETURN_REQUEST] = {
		"guard-return-request",
		"a page that is asked for lies in a block that this VM has, and is one of its pages",
		"ram_save_queue_pages takes any length within the block, and queues it",
	},
	[GUARD_RULE_RETURN_PAGES] = {
		"guard-return-pages",
		"at most two times the VM's pages are asked for",
		"QEMU allocates a request for each, for as long as they come",
	},
	[GUARD_RULE_RETURN_BITMAP] = {
		"guard-return-bitmap",
		"a bitmap of received pages is of a block of this VM, of its exact length, once",
		"QEMU takes it for what is to be sent again",
	},
	[GUARD_RULE_RETURN_CHANNEL] = {
		"guard-return-channel",
		"nothing comes back on a multifd channel, nor on preempt",
		"QEMU does not read them: what is sent fills the host's memory",
	},
	[GUARD_RULE_DEVICE_DESCRIPTION] = {
		"guard-device-description",
		"device state ends in one description that can be read, within its bounds",
		"QEMU reads a description of any length and drops it; the lengths of all "
		"sections rest on it here",
	},
	[GUARD_RULE_DEVICE_UNKNOWN] = {
		"guard-device-unknown",
		"each section is of a device that this host's own QEMU of the machine has",
		"QEMU looks the name up in all that is registered, and loads it at any time",
	},
	[GUARD_RULE_DEVICE_MISSING] = {
		"guard-device-missing",
		"each device of this host's own QEMU has its section",
		"QEMU runs a device that was not loaded in the state that its start gave it",
	},
	[GUARD_RULE_DEVICE_LAYOUT] = {
		"guard-device-layout",
		"tables, versions, fields and lengths are those of this host's own QEMU",
		"sections have no length: a length that differs makes QEMU read what follows "
		"as another field",
	},
	[GUARD_RULE_DEVICE_LENGTH] = {
		"guard-device-length",
		"an array of which no table tells the length has the one that QEMU's device has",
		"QEMU reads as much as its own device has: what follows would be read as another "
		"field, or as a section that nobody judged",
	},
	[GUARD_RULE_DEVICE_FRAME] = {
		"guard-device-frame",
		"the bytes are what the description says, to the last one",
		"QEMU takes bytes that look like a subsection for one, and a bool of 2 as it "
		"is",
	},
	[GUARD_RULE_DEVICE_EQUAL] = {
		"guard-device-equal",
		"fields that QEMU holds to be equal on both sides are what the local ones are",
		"QEMU looks, most often after it used them: CVE-2013-4526 (ahci)",
	},
	[GUARD_RULE_DEVICE_OPAQUE] = {
		"guard-device-opaque",
		"a device that writes bytes of its own format writes as many as the local one, in "
		"the same version",
		"loaders of their own (libslirp) that nothing describes",
	},
	[GUARD_RULE_DEVICE_LOCAL] = {
		"guard-device-local",
		"device state that no description comes with (postcopy, early) has only what the "
		"local QEMU's layout tells the length of",
		"QEMU reads what its device says: bytes that are framed otherwise here would be "
		"sections that nobody judged",
	},
	[GUARD_RULE_DEVICE_VIRTIO] = {
		"guard-device-field-virtio",
		"queues, their sizes and defaults, vectors, features and subsections fit the "
		"local device",
		"CVE-2013-4151, CVE-2013-6399, CVE-2014-0182; ring sizes and their defaults "
		"go unchecked into arrays",
	},
	[GUARD_RULE_DEVICE_VIRTIO_NET] = {
		"guard-device-field-virtio-net",
		"MAC filters, queue pairs and the hash table lie within their arrays",
		"CVE-2013-4148, CVE-2013-4149, CVE-2013-4150; the table of RSS indexes queues "
		"unchecked",
	},
	[GUARD_RULE_DEVICE_VIRTIO_BLK] = {
		"guard-device-field-virtio-blk",
		"requests that wait name a queue, an entry and a count of buffers that exist",
		"CVE-2013-4535: counts of buffers from the wire; QEMU ends by assert",
	},
	[GUARD_RULE_DEVICE_VIRTIO_SERIAL] = {
		"guard-device-field-virtio-serial",
		"ports are those of the local device; a buffer's offset lies within it",
		"iov_offset is subtracted from a length unchecked",
	},
	[GUARD_RULE_DEVICE_VIRTIO_GPU] = {
		"guard-device-field-virtio-gpu",
		"resources have a size and a count of pieces within the device's bounds, and what "
		"a scanout shows lies in its resource",
		"QEMU allocates and reads by width, height and count from the wire; an offset or "
		"stride past the resource shows QEMU's own memory on the screen",
	},
	[GUARD_RULE_DEVICE_SCSI] = {
		"guard-device-field-scsi",
		"requests that wait are reads or writes of their disk, with buffers that exist; "
		"sense data lies within its array",
		"CVE-2013-4542: requests with counts of buffers from the wire; another unit or a "
		"unit attention make QEMU read less of a request than was judged",
	},
	[GUARD_RULE_DEVICE_IDE] = {
		"guard-device-field-ide",
		"unit, sector counts and the place in the buffer lie within them",
		"the data pointer is the buffer plus an offset from the wire",
	},
	[GUARD_RULE_DEVICE_AHCI] = {
		"guard-device-field-ahci",
		"slots and tags are below 32",
		"CVE-2013-4526 and its neighbours: indexes of command slots",
	},
	[GUARD_RULE_DEVICE_FDC] = {
		"guard-device-field-fdc",
		"the place in the FIFO is not past its data",
		"CVE-2015-3456 showed what a place past the FIFO does",
	},
	[GUARD_RULE_DEVICE_SD] = {
		"guard-device-field-sd",
		"block size and place in the buffer lie within it",
		"CVE-2021-3409: data_count indexes the FIFO",
	},
	[GUARD_RULE_DEVICE_USB] = {
		"guard-device-field-usb",
		"setup length and index, queues and key tables lie within their arrays",
		"CVE-2013-4541, CVE-2014-3461",
	},
	[GUARD_RULE_DEVICE_XHCI] = {
		"guard-device-field-xhci",
		"event rings and schedules of USB controllers are in a state that they know",
		"indexes of event buffers; QEMU ends by assert in an unknown state",
	},
	[GUARD_RULE_DEVICE_NET] = {
		"guard-device-field-net",
		"descriptors, frames and EEPROM addresses of emulated cards lie within their "
		"arrays",
		"rtl8139, pcnet, ne2000, tulip, e1000: indexes go unchecked from the wire",
	},
	[GUARD_RULE_DEVICE_E1000E] = {
		"guard-device-field-e1000e",
		"descriptors and buffers have lengths that the card knows",
		"a descriptor is read into 32 bytes of stack by a length from the wire",
	},
	[GUARD_RULE_DEVICE_VMXNET3] = {
		"guard-device-field-vmxnet3",
		"queues, interrupts and lists lie within their arrays",
		"CVE-2013-4544: queue and interrupt indexes; the list of MACs has two lengths",
	},
	[GUARD_RULE_DEVICE_PCI] = {
		"guard-device-field-pci",
		"error logs and interrupt counts fit what is described",
		"CVE-2013-4529: log_num past log_max",
	},
	[GUARD_RULE_DEVICE_HPET] = {
		"guard-device-field-hpet",
		"there are as many timers as are described",
		"CVE-2013-4527: num_timers past the array",
	},
	[GUARD_RULE_DEVICE_PC] = {
		"guard-device-field-pc",
		"registers of timer, interrupt controllers, DMA and clock are in their range",
		"a count of 0 is a division by 0; indexes of CMOS and fw_cfg",
	},
	[GUARD_RULE_DEVICE_PS2] = {
		"guard-device-field-ps2",
		"places in the queues lie within them",
		"CVE-2017-16845: rptr, wptr and count",
	},
	[GUARD_RULE_DEVICE_SERIAL] = {
		"guard-device-field-serial",
		"places in the FIFOs lie within them",
		"head indexes the FIFO unchecked",
	},
	[GUARD_RULE_DEVICE_VGA] = {
		"guard-device-field-vga",
		"colour component and bank lie within palette and memory",
		"dac_sub_index walks past the palette, and writes past the cache",
	},
	[GUARD_RULE_DEVICE_SOUND] = {
		"guard-device-field-sound",
		"streams, places in buffers and lists lie within them",
		"hda: stream indexes an array, lvi is a length of an allocation",
	},
	[GUARD_RULE_DEVICE_ACPI] = {
		"guard-device-field-acpi",
		"selectors, indexes and table sizes lie within what there is",
		"smb_index writes past its buffer; QEMU ends when a table is too large",
	},
	[GUARD_RULE_DEVICE_TPM] = {
		"guard-device-field-tpm",
		"localities and the place in the buffer exist, swtpm's state is encrypted",
		"active_locty indexes an array; a TPM in clear could be read and made up",
	},
	[GUARD_RULE_DEVICE_CPU] = {
		"guard-device-field-cpu",
		"vectors, banks and states are those that a CPU can have",
		"mcg_cap's count of banks is a loop over an array of 40",
	},
	[GUARD_RULE_DEVICE_STATE] = {
		"guard-device-field-state",
		"the run state is one that a QEMU may begin with; clocks are in range",
		"QEMU aborts on a run state that it may not go to",
	},
};
static_assert(ARRAY_SIZE(rules) == GUARD_RULE_COUNT, "a text for each rule");

const GuardRuleText *guard_rule_text(GuardRule rule)
{
	return &rules[rule];
}

bool guard_violation(Error *err, GuardRule rule, const char *format, ...)
{
	char text[ERROR_TEXT_SIZE];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	return error_set(err, ERROR_PEER, "%s: %s", rules[rule].name, text);
}

bool guard_violation_by(Error *err, GuardRule rule)
{
	if (err->category == ERROR_INTERNAL)
		return false;
	err->category = ERROR_PEER;
	return error_prefix(err, "%s", rules[rule].name);
}
