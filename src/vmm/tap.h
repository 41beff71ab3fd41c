/* SPDX-License-Identifier: Apache-2.0 */
/* Tap devices (Linux Documentation/networking/tuntap.rst) in the current network namespace. */
#ifndef SEALIFT_VMM_TAP_H
#define SEALIFT_VMM_TAP_H

#include "base/cleanup.h"
#include "base/error.h"

/* Whether an interface of this name exists and is a bridge. ERROR_UNAVAILABLE if not. */
MUST_CHECK bool tap_check_bridge(const char *bridge, Error *err);

/*
 * Makes a tap with the bridge's MTU, puts it on the bridge and brings it up. *ret_fd is its queue,
 * to be handed to QEMU; the device goes when the last copy of the descriptor is closed, so nothing
 * is left behind whoever dies. Needs CAP_NET_ADMIN.
 */
MUST_CHECK bool tap_open(const char *bridge, int *ret_fd, Error *err);

#endif
