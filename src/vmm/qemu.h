/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The driver for QEMU 7.2 and later over QMP. Each VM has RUN/INSTANCE, the engine's own, with
 * `record` (process id, start time, boot id), `qmp.sock` and `qemu.log` (its first 64 KiB), and
 * RUN/INSTANCE/sockets, which belongs to QEMU's user.
 */
#ifndef SEALIFT_VMM_QEMU_H
#define SEALIFT_VMM_QEMU_H

#include "vmm/vmm.h"

extern const VmmDriver vmm_driver_qemu;

#endif
