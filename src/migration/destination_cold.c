/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The destination of a cold move. Disks, keys and TPM come as those of any other; but where a guest
 * would run the hypervisor is ended in order, and the VM is this host's, stopped. `activated` is
 * said once that process is gone: nothing holds its disks or its TPM then.
 */
#include <string.h>

#include "migration/destination.h"

enum { SETTLE_MS = 10000 };

bool destination_stands(const Migration *m, const HvState *state, bool *ret_wait, Error *err)
{
	const HvRunState wanted = migration_is_cold(m) ? HV_PRELAUNCH : HV_PAUSED;

	*ret_wait = state->run_state != wanted;
	/* Both come from the source's stream, and neither becomes the other. */
	if (state->run_state == HV_PRELAUNCH && wanted != HV_PRELAUNCH)
		return error_set(err, ERROR_PEER,
				 "the guest that came has never run: only a cold move brings one");
	return state->run_state != HV_PAUSED || wanted == HV_PAUSED ||
	       error_set(err, ERROR_PEER, "the guest that came has run: a cold move brings none");
}

/* After `activating` is in the journal: the VM is ours, and stays stopped. */
void destination_settle(Migration *m)
{
	m->ports->set_tick(m->ports->context, m, SETTLE_MS);
	m->ports->hv(m->ports->context, m, HV_QUIT);
}

/* Its process is gone. */
void destination_settled(Migration *m)
{
	Statement statement;

	m->hv_gone = true;
	if (m->step != DST_ACTIVATING || m->is_signing)
		return;
	memset(&statement, 0, sizeof(statement));
	/* A notary that does not answer is asked again. */
	m->ports->set_tick(m->ports->context, m, SIGN_PATIENCE_MS);
	migration_sign(m, &statement, STATEMENT_ACTIVATED);
}

void destination_settle_again(Migration *m)
{
	if (m->hv_gone) {
		destination_settled(m);
		return;
	}
	m->ports->set_tick(m->ports->context, m, migration_backoff_ms(m));
	m->ports->hv(m->ports->context, m, HV_KILL);
}

void destination_stop_running(Migration *m)
{
	Error err = ERROR_INIT;

	error_set(&err, ERROR_HYPERVISOR, "the guest of a stopped VM began to run: it is ended");
	if (m->record.activating) {
		migration_log(m, true, "%s", err.text);
		m->ports->hv(m->ports->context, m, HV_KILL);
		return;
	}
	destination_undo(m, &err);
}
