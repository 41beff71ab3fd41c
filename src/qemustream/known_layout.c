/* SPDX-License-Identifier: Apache-2.0 */
#include "qemustream/known_layout.h"

#include <string.h>

#include "base/cleanup.h"

/*
 * The CPU's table (vmstate_x86_cpu, target/i386/machine.c) is no device class's, so -dump-vmstate
 * knows nothing of it, and a CPU that never ran needs almost none of these. The lengths follow from
 * the fields there, the same in 7.2 and 10.0; names were compared with the strings of both
 * binaries. Left out: cpu/xen_vcpu and cpu/msr_hwcr, for guests that nothing here makes.
 */
static const KnownSubsection subsections[] = {
	{ "cpu", "cpu/exception_info", 1, 11, 11 },
	{ "cpu", "cpu/async_pf_msr", 1, 8, 8 },
	{ "cpu", "cpu/async_pf_int_msr", 1, 8, 8 },
	{ "cpu", "cpu/async_pv_eoi_msr", 1, 8, 8 },
	{ "cpu", "cpu/steal_time_msr", 1, 8, 8 },
	{ "cpu", "cpu/poll_control_msr", 1, 8, 8 },
	{ "cpu", "cpu/fpop_ip_dp", 1, 18, 18 },
	{ "cpu", "cpu/msr_tsc_adjust", 1, 8, 8 },
	{ "cpu", "cpu/msr_tscdeadline", 1, 8, 8 },
	{ "cpu", "cpu/msr_ia32_misc_enable", 1, 8, 8 },
	{ "cpu", "cpu/msr_ia32_feature_control", 1, 8, 8 },
	/* 4 registers, 3 fixed counters, 18 counters with a selector each */
	{ "cpu", "cpu/msr_architectural_pmu", 1, 344, 344 },
	{ "cpu", "cpu/mpx", 1, 88, 88 },
	{ "cpu", "cpu/msr_hyperv_hypercall", 1, 16, 16 },
	{ "cpu", "cpu/msr_hyperv_vapic", 1, 8, 8 },
	{ "cpu", "cpu/msr_hyperv_time", 1, 8, 8 },
	{ "cpu", "cpu/msr_hyperv_crash", 1, 40, 40 },
	{ "cpu", "cpu/msr_hyperv_runtime", 1, 8, 8 },
	{ "cpu", "cpu/msr_hyperv_synic", 1, 152, 152 },
	{ "cpu", "cpu/msr_hyperv_stimer", 1, 64, 64 },
	{ "cpu", "cpu/msr_hyperv_reenlightenment", 1, 24, 24 },
	/* 8 masks, 16 upper halves, 16 whole registers */
	{ "cpu", "cpu/avx512", 1, 1600, 1600 },
	{ "cpu", "cpu/xss", 1, 8, 8 },
	{ "cpu", "cpu/umwait", 1, 4, 4 },
	{ "cpu", "cpu/tsc_khz", 1, 8, 8 },
	{ "cpu", "cpu/msr_smi_count", 1, 8, 8 },
	{ "cpu", "cpu/pkru", 1, 4, 4 },
	{ "cpu", "cpu/pkrs", 1, 4, 4 },
	{ "cpu", "cpu/spec_ctrl", 1, 8, 8 },
	{ "cpu", "cpu/amd_tsc_scale_msr", 1, 8, 8 },
	{ "cpu", "cpu/mcg_ext_ctl", 1, 8, 8 },
	{ "cpu", "cpu/intel_pt", 1, 104, 104 },
	{ "cpu", "cpu/virt_ssbd", 1, 8, 8 },
	{ "cpu", "cpu/svn_npt", 1, 12, 12 },
	{ "cpu", "cpu/svm_guest", 1, 4, 4 },
	/* 8 bytes, and a subsection for Intel (18 bytes, two pages with headers) or AMD */
	{ "cpu", "cpu/nested_state", 1, 8, 8 + 64 + 18 + 2 * (64 + 4096) },
	{ "cpu", "cpu/msr_tsx_ctrl", 1, 4, 4 },
	{ "cpu", "cpu/intel_sgx", 1, 32, 32 },
	{ "cpu", "cpu/pdptrs", 1, 32, 32 },
	{ "cpu", "cpu/msr_xfd", 1, 16, 16 },
	{ "cpu", "cpu/intel_amx_xtile", 1, 8256, 8256 },
	{ "cpu", "cpu/arch_lbr", 1, 784, 784 },
	{ "cpu", "cpu/triple_fault", 1, 1, 1 },
	{ "cpu", "cpu/fred", 1, 72, 72 },
	/* hw/core/cpu-system.c; the first only with TCG */
	{ "cpu_common", "cpu_common/exception_index", 1, 4, 4 },
	{ "cpu_common", "cpu_common/crash_occurred", 1, 1, 1 },
};

/* What a stream of 7.2 and one of 10.0 of the same machine type said of the same bytes. */
static const KnownAlias aliases[] = {
	{ "hpet", { "num_timers", "num_timers_save" }, { 1, 1 } },
	/* int32 equal, then uint32 equal */
	{ "ahci", { "ports", "ports" }, { 1, 1 } },
	/* One buffer of 100 bytes; then 32 bytes, two flags, and what is left of it. */
	{ "globalstate", { "runstate", "runstate" }, { 1, 4 } },
};

static const KnownOptional optionals[] = {
	/* by identify_set; hw/ide/core.c */
	{ "ide_drive", "identify_data", "identify_set", false, 512, 1 },
	/* by log_num, up to PCIE_AER_LOG_MAX_LIMIT; hw/pci/pcie_aer.c */
	{ "PCIE_AER_ERROR_LOG", "log", "log_max", true, 40, 128 },
};

/*
 * What swtpm hands over (backends/tpm/tpm_emulator.c); libtpms has room for 128 KiB of NV memory
 * (NV_MEMORY_SIZE), and the rest of its state is far smaller.
 */
static const KnownBuffer buffers[] = {
	{ "tpm-emulator", "state_blobs.permanent.buffer", KNOWN_TPM_BLOB_MAX },
	{ "tpm-emulator", "state_blobs.volatil.buffer", KNOWN_TPM_BLOB_MAX },
	{ "tpm-emulator", "state_blobs.savestate.buffer", KNOWN_TPM_BLOB_MAX },
};

static const char *const variable_types[] = { "virtio", "virtio-gpu", "scsi-requests" };

typedef struct TypeSize {
	const char *type;
	uint32_t size;
} TypeSize;

/* migration/vmstate-types.c */
static const TypeSize type_sizes[] = {
	{ "bool", 1 },	       { "int8", 1 },	  { "uint8", 1 },	 { "uint8 equal", 1 },
	{ "int16", 2 },	       { "uint16", 2 },	  { "uint16 equal", 2 }, { "int32", 4 },
	{ "int32 equal", 4 },  { "int32 le", 4 }, { "uint32", 4 },	 { "uint32 equal", 4 },
	{ "int64", 8 },	       { "uint64", 8 },	  { "int64 equal", 8 },	 { "timer", 8 },
	{ "CPU_Double_U", 8 }, { "nullptr", 1 },
};

const KnownOptional *known_optional(const char *vmsd_name, const char *field)
{
	for (size_t i = 0; i < ARRAY_SIZE(optionals); i++)
		if (!strcmp(optionals[i].vmsd_name, vmsd_name) &&
		    !strcmp(optionals[i].field, field))
			return &optionals[i];
	return NULL;
}

const KnownSubsection *known_subsection(const char *vmsd_name, const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(subsections); i++)
		if (!strcmp(subsections[i].vmsd_name, vmsd_name) &&
		    !strcmp(subsections[i].name, name))
			return &subsections[i];
	return NULL;
}

const KnownAlias *known_alias(const char *vmsd_name, const char *field, const char *other,
			      size_t side)
{
	for (size_t i = 0; i < ARRAY_SIZE(aliases); i++)
		if (!strcmp(aliases[i].vmsd_name, vmsd_name) &&
		    !strcmp(aliases[i].field[side], field) &&
		    !strcmp(aliases[i].field[!side], other))
			return &aliases[i];
	return NULL;
}

uint32_t known_buffer_bytes(const char *vmsd_name, const char *field)
{
	for (size_t i = 0; i < ARRAY_SIZE(buffers); i++)
		if (!strcmp(buffers[i].vmsd_name, vmsd_name) && !strcmp(buffers[i].field, field))
			return buffers[i].max_bytes;
	return 0;
}

bool known_variable_type(const char *type)
{
	for (size_t i = 0; i < ARRAY_SIZE(variable_types); i++)
		if (!strcmp(variable_types[i], type))
			return true;
	return false;
}

uint32_t known_type_size(const char *type)
{
	for (size_t i = 0; i < ARRAY_SIZE(type_sizes); i++)
		if (!strcmp(type_sizes[i].type, type))
			return type_sizes[i].size;
	return 0;
}
