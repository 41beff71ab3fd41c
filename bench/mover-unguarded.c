/* SPDX-License-Identifier: Apache-2.0 */
/* The product's mover but for the guard: what bench/run --guard compares with. It is built with the
 * tests, never installed, and nothing in the product can choose it. */
#include "programs/mover/mover.h"

int main(int argc, char **argv)
{
	const MoverConfig config = {
		.filter = NULL,
		.limits = record_limits_default,
		.padding = 0,
		.proof_us = 5000000,
		.handshake_us = 5000000,
	};

	return mover_main(argc, argv, &config);
}
