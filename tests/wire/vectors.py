#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The test vectors of PROTOCOL.md, computed a second time: HKDF from hashlib and hmac, AES-256-GCM
from FIPS 197 and NIST SP 800-38D, slowly and without any library.

Without arguments it prints the test vectors; with a file it checks that each of them stands in the
file as `name = hex`.
"""

import hashlib
import hmac
import re
import sys


def extract(salt, key_material):
    return hmac.new(salt, key_material, hashlib.sha384).digest()


def expand(key, info, size):
    output, block, counter = b"", b"", 1
    while len(output) < size:
        block = hmac.new(key, block + info + bytes([counter]), hashlib.sha384).digest()
        output += block
        counter += 1
    return output[:size]


def expand_label(key, label, context, size):
    label = label.encode()
    info = size.to_bytes(2, "big") + bytes([len(label)]) + label
    return expand(key, info + len(context).to_bytes(2, "big") + context, size)


def run(first, size):
    return bytes((first + i) & 0xFF for i in range(size))


def traffic(prk, direction, channel, generation, source_nonce, destination_nonce):
    context = bytes([direction]) + channel.to_bytes(4, "big") + generation.to_bytes(4, "big")
    return expand_label(prk, "sealift/1 channel", context + source_nonce + destination_nonce, 48)


def multiply(a, b):
    """In GF(2^8), FIPS 197, section 4.2."""
    product = 0
    for _ in range(8):
        if b & 1:
            product ^= a
        a = (a << 1) ^ (0x11B if a & 0x80 else 0)
        b >>= 1
    return product


def make_sbox():
    box = []
    for value in range(256):
        inverse = next((x for x in range(256) if multiply(value, x) == 1), 0)
        byte = 0x63
        for shift in range(5):
            byte ^= (inverse << shift | inverse >> (8 - shift)) & 0xFF
        box.append(byte)
    return box


SBOX = make_sbox()


def expand_key(key):
    words = [key[i : i + 4] for i in range(0, 32, 4)]
    constant = 1
    for i in range(8, 60):
        word = words[-1]
        if i % 8 == 0:
            word = bytes(SBOX[b] for b in word[1:] + word[:1])
            word = bytes([word[0] ^ constant]) + word[1:]
            constant = multiply(constant, 2)
        elif i % 8 == 4:
            word = bytes(SBOX[b] for b in word)
        words.append(bytes(a ^ b for a, b in zip(words[-8], word)))
    return [b"".join(words[i : i + 4]) for i in range(0, 60, 4)]


def mix(column):
    a = [[multiply(b, factor) for b in column] for factor in (1, 2, 3)]
    return [a[1][i] ^ a[2][(i + 1) % 4] ^ a[0][(i + 2) % 4] ^ a[0][(i + 3) % 4] for i in range(4)]


def encrypt_block(keys, block):
    state = [a ^ b for a, b in zip(block, keys[0])]
    for number, key in enumerate(keys[1:], 1):
        state = [SBOX[state[(i + 4 * (i % 4)) % 16]] for i in range(16)]
        if number < len(keys) - 1:
            state = sum((mix(state[i : i + 4]) for i in range(0, 16, 4)), [])
        state = [a ^ b for a, b in zip(state, key)]
    return bytes(state)


def ghash(key, data):
    """NIST SP 800-38D, algorithms 1 and 2; data is whole blocks."""
    hash_key, result = int.from_bytes(key, "big"), 0
    for i in range(0, len(data), 16):
        block = result ^ int.from_bytes(data[i : i + 16], "big")
        result, shifted = 0, hash_key
        for bit in range(127, -1, -1):
            if block >> bit & 1:
                result ^= shifted
            shifted = shifted >> 1 ^ (0xE1 << 120 if shifted & 1 else 0)
    return result.to_bytes(16, "big")


def pad(data):
    return data + bytes(-len(data) % 16)


def gcm_seal(key, nonce, aad, text):
    keys = expand_key(key)
    stream = b""
    for i in range(0, len(text), 16):
        stream += encrypt_block(keys, nonce + (2 + i // 16).to_bytes(4, "big"))
    sealed = bytes(a ^ b for a, b in zip(text, stream))
    sizes = (8 * len(aad)).to_bytes(8, "big") + (8 * len(sealed)).to_bytes(8, "big")
    mac = ghash(encrypt_block(keys, bytes(16)), pad(aad) + pad(sealed) + sizes)
    mask = encrypt_block(keys, nonce + (1).to_bytes(4, "big"))
    return sealed, bytes(a ^ b for a, b in zip(mac, mask))


def record(key, iv, sequence, content, kind, sealed, padding=0):
    inner = content + bytes([kind]) + bytes(padding)
    header = (len(inner) + 16).to_bytes(4, "big")
    nonce = (int.from_bytes(iv, "big") ^ sequence).to_bytes(12, "big")
    if sealed:
        text, tag = gcm_seal(key, nonce, header, inner)
    else:
        text, tag = inner, gcm_seal(key, nonce, header + inner, b"")[1]
    return header + text + tag


def add_records(rows):
    key, iv = rows["to_destination_key"], rows["to_destination_iv"]
    following = rows["to_destination_next_secret"]
    next_key = expand_label(following, "sealift/1 key", b"", 32)
    next_iv = expand_label(following, "sealift/1 iv", b"", 12)
    count = len(b"Sealift").to_bytes(8, "big")
    for name, sealed in (("sealed", True), ("readable", False)):
        rows[name + "_ping"] = record(key, iv, 0, b"", 3, sealed)
        rows[name + "_data"] = record(key, iv, 1, b"Sealift", 1, sealed)
        rows[name + "_padded_data"] = record(key, iv, 1, b"Sealift", 1, sealed, 8)
        rows[name + "_update"] = record(key, iv, 2, b"", 4, sealed)
        rows[name + "_end_after_update"] = record(next_key, next_iv, 0, count, 2, sealed)


def vectors():
    offer = b'{"statement":"offer"}'
    accept = b'{"statement":"accept"}'
    rows = {
        "migration_key": run(0x00, 32),
        "ecdh_secret": run(0x20, 48),
        "tls_exporter": run(0x50, 48),
        "offer_digest": hashlib.sha384(offer).digest(),
        "accept_digest": hashlib.sha384(accept).digest(),
    }
    salt = hashlib.sha384(rows["offer_digest"] + rows["accept_digest"]).digest()
    prk = extract(salt, rows["migration_key"] + rows["ecdh_secret"] + rows["tls_exporter"])
    rows |= {"salt": salt, "prk": prk}
    rows |= {"source_nonce": run(0xA0, 32), "destination_nonce": run(0xC0, 32)}
    for direction, name in enumerate(("to_destination", "to_source")):
        secret = traffic(prk, direction, 1, 2, rows["source_nonce"], rows["destination_nonce"])
        rows[name + "_secret"] = secret
        rows[name + "_key"] = expand_label(secret, "sealift/1 key", b"", 32)
        rows[name + "_iv"] = expand_label(secret, "sealift/1 iv", b"", 12)
        rows[name + "_next_secret"] = expand_label(secret, "sealift/1 update", b"", 48)
        secret = traffic(prk, direction, 17, 2, rows["source_nonce"], rows["destination_nonce"])
        rows["disk_" + name + "_secret"] = secret
    for name, channel in (("preamble", 1), ("disk_preamble", 17)):
        preamble = b"\x89SEAL\r\n\x1a" + (1).to_bytes(2, "big") + channel.to_bytes(2, "big")
        rows[name] = preamble + (2).to_bytes(4, "big") + run(0x10, 16) + rows["source_nonce"]
    reply = b"\x89seal\r\n\x1a" + (1).to_bytes(2, "big") + bytes(6)
    rows["preamble_reply"] = reply + rows["destination_nonce"]
    add_records(rows)
    return rows


def check(path):
    with open(path, encoding="utf-8") as file:
        found = dict(re.findall(r"^([a-z_]+) = ([0-9a-f]+)$", file.read(), re.MULTILINE))
    wrong = [name for name, value in vectors().items() if found.get(name) != value.hex()]
    for name in wrong:
        print(f"{path}: {name} is {found.get(name)}, computed {vectors()[name].hex()}")
    return 1 if wrong else 0


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit(check(sys.argv[1]))
    for key, text in vectors().items():
        print(f"{key} = {text.hex()}")
