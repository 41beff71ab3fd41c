/* SPDX-License-Identifier: Apache-2.0 */
/* Applies the table of device_rules.h to the fields of device state, one by one in their order. */
#ifndef SEALIFT_GUARD_DEVICE_CHECK_H
#define SEALIFT_GUARD_DEVICE_CHECK_H

#include "guard/device_rules.h"
#include "qemustream/frame.h"

typedef struct DeviceCheckList DeviceCheckList;

/* Owned by the caller; ERROR_INTERNAL without memory. */
MUST_CHECK DeviceCheckList *device_check_new(Error *err);
void device_check_free(DeviceCheckList *list);
DEFINE_CLEANUP(DeviceCheckList, device_check, device_check_free)
#define AUTO_DEVICE_CHECK CLEANUP(device_check_cleanup)

/* A field of the twin: kept if a rule asks for it. ERROR_INTERNAL without memory. */
MUST_CHECK bool device_check_learn(DeviceCheckList *list, const FrameField *field, Error *err);

/* Before the first field of an incoming stream. */
void device_check_begin(DeviceCheckList *list);

/* A field of the incoming stream, which was compared with the twin's layout; `description` is the
 * incoming one, which the field points into. ERROR_PEER by the rule that it breaks. */
MUST_CHECK bool device_check_judge(DeviceCheckList *list, const VmDescription *description,
				   const FrameField *field, Error *err);

/* Whether a row is for this field of this table, or needs it. */
bool device_check_has(const char *table, const char *field);

#endif
