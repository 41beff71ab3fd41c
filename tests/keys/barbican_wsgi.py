# SPDX-License-Identifier: Apache-2.0
"""Keystone or Barbican on loopback by waitress: barbican_wsgi.py PORT keystone CONFIGURATION, or
barbican_wsgi.py PORT barbican CONFIGURATION PASTE. Prints "ready". The packages' own programs bind
all addresses."""

import os
import sys


def keystone(configuration):
    os.environ["OS_KEYSTONE_CONFIG_FILES"] = configuration
    from keystone.server import wsgi

    return wsgi.initialize_public_application()


def barbican(configuration, paste):
    # Barbican looks for its configuration where its user lives, first of all.
    os.environ["HOME"] = os.path.dirname(configuration)
    from paste import deploy

    return deploy.loadapp("config:" + paste)


def main():
    port, kind, *paths = sys.argv[1:]
    sys.argv[1:] = []  # Keystone would read it
    application = {"keystone": keystone, "barbican": barbican}[kind](*paths)
    from waitress import create_server

    # With more threads they lock each other out of SQLite.
    server = create_server(application, host="127.0.0.1", port=int(port), threads=1)
    print("ready", flush=True)
    server.run()


if __name__ == "__main__":
    main()
