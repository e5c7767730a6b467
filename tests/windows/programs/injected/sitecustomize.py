"""Put before the client by PYTHONPATH: where Wine gives a socket to process 0, the applications' own table says whose
it is (WIRESOCK_TEST_OWNERS). Windows knows it from the socket's beginning."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from wiresock_py.owners import socket_tables, windows

_read = socket_tables.sockets
_told: list[bool] = []


def _sockets(tcp_ip: socket_tables.TcpIp, protocol: int) -> Iterator[socket_tables.Socket]:
    known = {}
    for line in Path(os.environ["WIRESOCK_TEST_OWNERS"]).read_text().splitlines():
        kind, port, pid = map(int, line.split())
        known[6 if kind == 1 else 17, port] = pid
    for found in _read(tcp_ip, protocol):
        pid = known.get((found.protocol, found.local_port), 0)
        if not found.pid and pid:
            if not _told:
                _told.append(True)
                print(
                    "owners: Wine gives a socket to process 0; the application says itself whose it is", file=sys.stderr
                )
            found = found._replace(pid=pid)
        yield found


vars(windows)["sockets"] = _sockets
