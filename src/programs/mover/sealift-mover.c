/* SPDX-License-Identifier: Apache-2.0 */
/* sealift-mover: carries one migration's channels between QEMU and the peer, sealed. */
#include "programs/mover/mover.h"

int main(int argc, char **argv)
{
	const MoverConfig config = {
		.filter = &filter_guard,
		.disk_filter = &filter_nbd,
		.limits = record_limits_default,
		.padding = 0,
		.proof_us = 5000000,
		.handshake_us = 5000000,
	};

	return mover_main(argc, argv, &config);
}
