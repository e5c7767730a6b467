"""The round-trip meter: a plain script that the lab runs under an application's name.

    meter ADDRESS PORT SECONDS GAP     one datagram after the other's echo, GAP seconds between them

Prints the round trips in microseconds as a JSON list; what is not answered within a second is null.
"""

import json
import socket
import sys
import time

SIZE = 64
PATIENCE = 1.0


def main() -> None:
    address, port, seconds, gap = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])
    kind = socket.AF_INET6 if ":" in address else socket.AF_INET
    times: list[float | None] = []
    end = time.monotonic() + seconds
    with socket.socket(kind, socket.SOCK_DGRAM) as sock:
        sock.settimeout(PATIENCE)
        sock.connect((address, port))
        while time.monotonic() < end:
            data = len(times).to_bytes(4, "big") + bytes(SIZE - 4)
            begun = time.perf_counter_ns()
            try:
                sock.send(data)
                while sock.recv(65535) != data:
                    pass  # an answer that came too late for its turn
                times.append((time.perf_counter_ns() - begun) / 1000)
            except TimeoutError:
                times.append(None)
            time.sleep(gap)
    print(json.dumps(times))


if __name__ == "__main__":
    main()
