# SPDX-License-Identifier: Apache-2.0
"""PyKMIP's server that says when it listens: pykmip_server.py CONFIGURATION LOG. Prints "ready"."""

import logging
import ssl
import sys


def wrap_socket(sock, *, keyfile, certfile, cert_reqs, ssl_version, ca_certs, server_side=False,
                do_handshake_on_connect=True, suppress_ragged_eofs=True, ciphers=None):
    """What Python 3.12 took out of ssl, and PyKMIP still calls; with older ones too, so that all
    run the same."""
    context = ssl.SSLContext(ssl_version)
    context.verify_mode = cert_reqs
    context.load_cert_chain(certfile, keyfile)
    context.load_verify_locations(ca_certs)
    if ciphers:
        context.set_ciphers(ciphers)
    return context.wrap_socket(sock, server_side=server_side, suppress_ragged_eofs=suppress_ragged_eofs,
                               do_handshake_on_connect=do_handshake_on_connect)


def main():
    ssl.wrap_socket = wrap_socket
    from kmip.services.server.server import KmipServer

    server = KmipServer(config_path=sys.argv[1], log_path=sys.argv[2], logging_level="INFO")
    logging.getLogger("kmip").setLevel(logging.INFO)
    with server:
        server._socket.listen(5)  # pylint: disable=protected-access
        print("ready", flush=True)
        server.serve()


if __name__ == "__main__":
    main()
