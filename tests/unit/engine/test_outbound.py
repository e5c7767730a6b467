"""The way out, on the memory backend, turn by turn."""

import socket
import threading
from collections.abc import Sequence
from ipaddress import ip_address

import pytest

from tests.support.configs import EVERYTHING, config
from wiresock_py.datapath import FlowTable
from wiresock_py.datapath.ip import build
from wiresock_py.engine.admission import Admission
from wiresock_py.engine.answers import Answers
from wiresock_py.engine.outbound import Outbound
from wiresock_py.filters.memory import LOOPBACK, LOOPBACK_INDEX, MemoryBackend
from wiresock_py.flow import App, FiveTuple
from wiresock_py.rules import Rules

NO_ADAPTER = 0x7FFF_FFFF
"""An interface index that no host gives away."""
FIREFOX = App(7, 1.0, "/usr/bin/firefox")
DATAGRAM = bytes.fromhex("30390007000c0000") + b"ping"
"""UDP, port 12345 to 7, without a checksum."""


class OwnedByFirefox:
    """Owners that know of one application only."""

    def find(self, keys: Sequence[FiveTuple]) -> list[App | None]:
        return [FIREFOX for _ in keys]

    def listening(self, protocol: int, address: bytes, port: int) -> bool:
        return False


def test_a_direct_packet_of_an_adapter_that_has_gone_is_not_the_end_of_the_engine() -> None:
    with pytest.raises(OSError):  # noqa: PT011 - its text is the system's
        socket.if_indextoname(NO_ADAPTER)
    rules = Rules([config(f"{EVERYTHING}\nAllowedApps = chrome")])
    backend = MemoryBackend({LOOPBACK: LOOPBACK_INDEX, "eth0": NO_ADAPTER})
    backend.open(rules.plan())
    flows, lock = FlowTable(), threading.Lock()
    admission = Admission(rules, flows, [], lock)
    outbound = Outbound(backend, flows, admission, OwnedByFirefox(), {}, Answers(backend.send_to_stack), lock)

    packet = build(ip_address("192.168.1.100").packed, ip_address("203.0.113.10").packed, socket.IPPROTO_UDP, DATAGRAM)
    backend.stack_sends(packet)
    outbound.capture()
    outbound.resolve()

    assert backend.network_received() == [packet]
