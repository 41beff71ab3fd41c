#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The round trip of one small TCP message between two namespaces, as a peer's message takes it.
Usage: round-trip.py ADDRESS serves one connection; round-trip.py ADDRESS TIMES prints the median in
seconds."""
import socket
import sys
import time

PORT = 4445


def serve(address):
    with socket.create_server((address, PORT)) as listener:
        print("serves", flush=True)
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while data := connection.recv(64):
            connection.sendall(data)


def ask(address, times):
    taken = []
    with socket.create_connection((address, PORT), 10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(times):
            start = time.monotonic()
            connection.sendall(b"x")
            connection.recv(64)
            taken.append(time.monotonic() - start)
    print(sorted(taken)[times // 2])


if __name__ == "__main__":
    if len(sys.argv) == 2:
        serve(sys.argv[1])
    else:
        ask(sys.argv[1], int(sys.argv[2]))
