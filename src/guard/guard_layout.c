/* SPDX-License-Identifier: Apache-2.0 */
#include "guard/guard_layout.h"

#include <string.h>

#include "base/cleanup.h"

#define U8(n)                                                                                      \
	{                                                                                          \
		(n), "uint8", 1, 0, NULL                                                           \
	}
#define U16(n)                                                                                     \
	{                                                                                          \
		(n), "uint16", 2, 0, NULL                                                          \
	}
#define U32(n)                                                                                     \
	{                                                                                          \
		(n), "uint32", 4, 0, NULL                                                          \
	}
#define U64(n)                                                                                     \
	{                                                                                          \
		(n), "uint64", 8, 0, NULL                                                          \
	}
#define I32(n)                                                                                     \
	{                                                                                          \
		(n), "int32", 4, 0, NULL                                                           \
	}
#define I64(n)                                                                                     \
	{                                                                                          \
		(n), "int64", 8, 0, NULL                                                           \
	}
#define FLAG(n)                                                                                    \
	{                                                                                          \
		(n), "bool", 1, 0, NULL                                                            \
	}
#define TIMER(n)                                                                                   \
	{                                                                                          \
		(n), "timer", 8, 0, NULL                                                           \
	}
#define INSIDE(n, c, t)                                                                            \
	{                                                                                          \
		(n), "struct", 0, (c), (t)                                                         \
	}

/* hw/acpi/cpu.c */
static const LayoutTable cpu_status = { "CPU hotplug device state",
					1,
					{ FLAG("is_inserting"), FLAG("is_removing"),
					  U32("ost_event"), U32("ost_status") } };
static const LayoutTable cpu_hotplug = { "CPU hotplug state",
					 1,
					 { U32("selector"), U8("command"),
					   INSIDE("devs", LAYOUT_AS_CPUS, &cpu_status) } };
/* util/fifo8.c, with the capacity of hw/char/serial.c */
static const LayoutTable serial_fifo = {
	"Fifo8", 1, { { "data", "buffer", 16, 0, NULL }, U32("head"), U32("num") }
};

/* What a row is called, and its version. */
#define ROW(around, name, version, ...)                                                            \
	{                                                                                          \
		(around),                                                                          \
		{                                                                                  \
			(name), (version),                                                         \
			{                                                                          \
				__VA_ARGS__                                                        \
			}                                                                          \
		}                                                                                  \
	}

static const LayoutSubsection subsections[] = {
	/* hw/isa/lpc_ich9.c, piix.c */
	ROW("ICH9LPC", "ICH9LPC/rst_cnt", 1, U8("rst_cnt")),
	ROW("ICH9LPC", "ICH9LPC/smi_feat", 1, { "smi_guest_features_le", "uint8", 1, 8, NULL },
	    U8("smi_features_ok"), U64("smi_negotiated_features")),
	ROW("PIIX3", "PIIX3/rcr", 1, U8("rcr")),
	/* hw/acpi/ich9.c, piix4.c */
	ROW("ich9_pm", "ich9_pm/cpuhp", 1, INSIDE("cpuhp_state", 0, &cpu_hotplug)),
	ROW("piix4_pm", "piix4_pm/cpuhp", 1, INSIDE("cpuhp_state", 0, &cpu_hotplug)),
	/* hw/timer/hpet.c, hw/intc/i8259_common.c, hw/rtc/mc146818rtc.c */
	ROW("hpet", "hpet/offset", 1, U64("hpet_offset")),
	ROW("hpet", "hpet/rtc_irq_level", 1, U8("rtc_irq_level")),
	ROW("i8259", "i8259/ltim", 1, U8("ltim")),
	ROW("mc146818rtc", "mc146818rtc/irq_reinject_on_ack_count", 1,
	    U16("irq_reinject_on_ack_count")),
	/* hw/input/pckbd.c, ps2.c */
	ROW("pckbd", "pckbd_outport", 1, U8("outport")),
	ROW("pckbd", "pckbd/extended_state", 0, U32("migration_flags"), U32("obsrc"), U8("obdata"),
	    U8("cbdata")),
	ROW("ps2kbd", "ps2kbd/ledstate", 3, I32("ledstate")),
	ROW("ps2kbd", "ps2kbd/need_high_bit", 1, FLAG("need_high_bit")),
	ROW("ps2kbd", "ps2kbd/command_reply_queue", 0, I32("parent_obj.queue.cwptr")),
	/* hw/char/serial.c */
	ROW("serial", "serial/thr_ipending", 1, I32("thr_ipending")),
	ROW("serial", "serial/tsr", 1, U32("tsr_retry"), U8("thr"), U8("tsr")),
	ROW("serial", "serial/recv_fifo", 1, INSIDE("recv_fifo", 0, &serial_fifo)),
	ROW("serial", "serial/xmit_fifo", 1, INSIDE("xmit_fifo", 0, &serial_fifo)),
	ROW("serial", "serial/fifo_timeout_timer", 1, TIMER("fifo_timeout_timer")),
	ROW("serial", "serial/timeout_ipending", 1, I32("timeout_ipending")),
	ROW("serial", "serial/poll", 1, I32("poll_msl"), TIMER("modem_status_poll")),
	/* hw/ide/core.c; a transfer's buffer has 256 sectors and 4 bytes */
	ROW("ide_bus", "ide_bus/error", 2, I32("error_status"), I64("retry_sector_num"),
	    U32("retry_nsector"), U8("retry_unit")),
	ROW("ide_drive", "ide_drive/tray_state", 1, FLAG("tray_open"), FLAG("tray_locked")),
	ROW("ide_drive", "ide_drive/atapi/gesn_state", 1, FLAG("events.new_media"),
	    FLAG("events.eject_request")),
	ROW("ide_drive", "ide_drive/pio_state", 1, I32("req_nb_sectors"),
	    { "io_buffer", "uint8", 1, 256 * 512 + 4, NULL }, I32("cur_io_buffer_offset"),
	    I32("cur_io_buffer_len"), U8("end_transfer_fn_idx"), I32("elementary_transfer_size"),
	    I32("packet_transfer_size")),
	/* hw/ide/pci.c */
	ROW("ide bmdma", "ide bmdma/status", 1, U8("status")),
	ROW("ide bmdma", "ide bmdma_current", 1, U32("cur_addr"), U32("cur_prd_last"),
	    U32("cur_prd_addr"), U32("cur_prd_len")),
	/* hw/usb/dev-hub.c, hw/sd/sdhci.c */
	ROW("usb-hub", "usb-hub/port-timer", 1, TIMER("port_timer")),
	ROW("sdhci", "sdhci/pending-insert", 1, FLAG("pending_insert_state")),
	/* hw/display/vga.c */
	ROW("vga", "vga.endian", 1, FLAG("big_endian_fb")),
};

/* hw/pci/pcie_aer.c */
static const LayoutTable error_entry = { "PCIE_AER_ERROR",
					 1,
					 { U32("status"),
					   U16("source_id"),
					   U16("flags"),
					   { "header", "uint32", 4, 4, NULL },
					   { "prefix", "uint32", 4, 4, NULL } } };

static const LayoutOptional optionals[] = {
	/* is_identify_set, hw/ide/core.c */
	{ "ide_drive",
	  "identify_set",
	  4,
	  4,
	  0,
	  { "", 0, { { "identify_data", "buffer", 512, 0, NULL } } } },
	/* log_num, before log_max; PCIE_AER_LOG_MAX_LIMIT, include/hw/pci/pcie_aer.h */
	{ "PCIE_AER_ERROR_LOG",
	  "log_max",
	  2 + 2,
	  2,
	  128,
	  { "", 0, { INSIDE("log", LAYOUT_AS_TOLD, &error_entry) } } },
};

/* Fields of `esp` depend on a version that the stream brings (hw/scsi/esp.c). */
static const char *const unsteady[] = { "esp" };

const LayoutSubsection *layout_subsection(const char *around, const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(subsections); i++)
		if (!strcmp(subsections[i].around, around) &&
		    !strcmp(subsections[i].table.vmsd_name, name))
			return &subsections[i];
	return NULL;
}

const LayoutOptional *layout_optional(const char *table, const char *behind)
{
	for (size_t i = 0; i < ARRAY_SIZE(optionals); i++)
		if (!strcmp(optionals[i].table, table) && !strcmp(optionals[i].behind, behind))
			return &optionals[i];
	return NULL;
}

bool layout_is_unsteady(const char *table)
{
	for (size_t i = 0; i < ARRAY_SIZE(unsteady); i++)
		if (!strcmp(unsteady[i], table))
			return true;
	return false;
}
