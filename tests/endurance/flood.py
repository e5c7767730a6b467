"""A flood of initiations from many loopback addresses: ``python -m tests.endurance.flood PORT PUBLIC_KEY SECONDS``.

20,000 forged ones a second, whose mac1 is wrong, and 2,000 whose mac1 is right, as anyone can make who knows the
server's public key. It prints one line of JSON: how many of each it sent, and in how many seconds.
"""

import json
import os
import socket
import sys
import time
from itertools import cycle

from wiresock_py.crypto.cookie import CookieGenerator
from wiresock_py.crypto.keys import PublicKey

FORGED_PER_SECOND = 20_000
VALID_PER_SECOND = 2_000
SOURCES = 250
SLICES_PER_SECOND = 100
PREPARED = 5_000


def forged() -> bytes:
    return b"\1\0\0\0" + os.urandom(144)


def valid(generator: CookieGenerator) -> bytes:
    return generator.add_macs(b"\1\0\0\0" + os.urandom(112), 0.0)


def main(port: int, public_key: str, seconds: float) -> None:
    generator = CookieGenerator(PublicKey.from_base64(public_key))
    forgeries = cycle([forged() for _ in range(PREPARED)])
    valids = cycle([valid(generator) for _ in range(PREPARED)])
    sockets = []
    for number in range(SOURCES):
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sender.bind((f"127.1.{number // 250}.{number % 250 + 1}", 0))
        sender.connect(("127.0.0.1", port))
        sender.setblocking(False)
        sockets.append(sender)
    senders = cycle(sockets)
    sent = {"forged": 0, "valid": 0}
    started = time.monotonic()
    for number in range(int(seconds * SLICES_PER_SECOND)):
        pause = started + number / SLICES_PER_SECOND - time.monotonic()
        if pause > 0:
            time.sleep(pause)
        for kind, source, count in (
            ("forged", forgeries, FORGED_PER_SECOND // SLICES_PER_SECOND),
            ("valid", valids, VALID_PER_SECOND // SLICES_PER_SECOND),
        ):
            for _ in range(count):
                try:
                    next(senders).send(next(source))
                except OSError:  # refused or full: not sent, and not counted
                    continue
                sent[kind] += 1
    print(json.dumps({**sent, "seconds": time.monotonic() - started}), flush=True)
    for sender in sockets:
        sender.close()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]))
