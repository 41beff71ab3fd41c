/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <poll.h>

#include "programs/keyhelper/keyhelper.h"

/* One message of a link that has something. False: the end, good if no error is set. */
static bool serve_link(Helper *helper, IpcLink *link, Error *err)
{
	IpcMessage message;
	IpcReceived got = ipc_receive(link, &message, err);
	bool ok;

	if (got != IPC_MESSAGE)
		return got == IPC_NOTHING;
	ok = helper_answer(helper, &message, err);
	ipc_message_clear(&message, link);
	if (ok)
		*err = ERROR_INIT;
	return ok && !helper->done;
}

bool helper_serve(Helper *helper, Error *err)
{
	struct pollfd waits[] = { { .fd = ROLE_LINK_FD, .events = POLLIN },
				  { .fd = ROLE_EXTRA_FD, .events = POLLIN } };

	for (;;) {
		if (poll(waits, ARRAY_SIZE(waits), -1) < 0) {
			if (errno == EINTR)
				continue;
			return error_set_errno(err, ERROR_IO, errno, "cannot wait for a message");
		}
		*err = ERROR_INIT;
		if ((waits[0].revents && !serve_link(helper, helper->engine, err)) ||
		    (waits[1].revents && !serve_link(helper, helper->keyd, err)))
			return err->category == ERROR_NONE;
	}
}
