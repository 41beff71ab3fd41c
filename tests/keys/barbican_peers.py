# SPDX-License-Identifier: Apache-2.0
"""What the tests of the Barbican back-end share: the client."""

import subprocess

from kmip_peers import DEADLINE_S, Client


class BarbicanClient(Client):
    """barbican-client (barbican_client.c) with an application credential."""

    def __init__(self, program, keystone, barbican, credential, *, ca="none", deadline_ms=10000,
                 options=("http",)):
        # pylint: disable=super-init-not-called
        self.process = subprocess.Popen(
            [program, keystone, barbican, credential[0], ca, str(deadline_ms), *options],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.process.stdin.write(credential[1] + "\n")
        self.process.stdin.flush()
        self.started = self.process.stdout.readline().strip()

    def gone(self):
        """For one that could not start."""
        self.process.stdin.close()
        self.process.stdout.close()
        return self.process.wait(DEADLINE_S)
