/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A move of a VM between two hosts that share this key manager. Nothing is packed: the keys stay
 * where they are, active, and are handed over from one host to the other. The steps are those of
 * keys/transfer.h, so that neither engine need know; their documents are short lines without a
 * signature, since only this keyd reads them, and believes of them one thing: whom the holder's own
 * EXPORT names.
 *
 *   OFFER     by who is to get them; changes nothing
 *   EXPORT    by their holder, with that line: the other host may open them for this migration
 *   ACTIVATED by the other host: it holds them now, and the first one opens them no more
 *   DISCARD, TAKE_BACK: the first one holds them alone again; after ACTIVATED refused
 *
 * PROTOCOL.md, "Moves between hosts of one key manager".
 */
#ifndef SEALIFT_PROGRAMS_KEYD_HANDOVER_H
#define SEALIFT_PROGRAMS_KEYD_HANDOVER_H

#include "programs/keyd/keyd.h"

/* As keyd_on_transfer, which it calls for every other move. */
KeydHandler keyd_on_step;

#endif
