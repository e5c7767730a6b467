"""The line: the rules of a dead worker served without a tunnel."""

import socket
import threading
import time
from collections.abc import Iterator, Sequence

import pytest
from scapy.layers.inet import TCP, UDP

from tests.support.traffic import dissect
from tests.support.worlds import (
    CHROME,
    EVERYTHING,
    FIREFOX,
    HOST,
    REMOTE,
    Owners,
    config,
    config_text,
    outgoing,
    packed,
)
from wiresock_py.errors import BackendError, ConfigError
from wiresock_py.filters import Buffer, Verdict
from wiresock_py.filters.memory import MemoryBackend
from wiresock_py.flow import FiveTuple
from wiresock_py.rules import Rules
from wiresock_py.service import line
from wiresock_py.service.line import Line
from wiresock_py.service.options import RunOptions

RULES = f"{EVERYTHING}\nAllowedApps = chrome"
CHROME_PORT, FIREFOX_PORT, BYPASSED_PORT = 5000, 6000, 7000


class ClosingOwners(Owners):
    closed = False

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def owners(monkeypatch: pytest.MonkeyPatch) -> ClosingOwners:
    owners = ClosingOwners()
    owners.own(CHROME, socket.IPPROTO_UDP, CHROME_PORT)
    owners.own(FIREFOX, socket.IPPROTO_UDP, FIREFOX_PORT, BYPASSED_PORT)
    monkeypatch.setattr(line, "SocketOwners", lambda: owners)
    monkeypatch.setattr(line, "open_connections", tuple)
    return owners


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> MemoryBackend:
    """As a dead worker leaves it: its rules stand, and one flow goes past them."""
    backend = MemoryBackend()
    backend.open(Rules([config(RULES)]).plan())
    backend.stack_sends(outgoing(UDP(sport=BYPASSED_PORT, dport=7)))
    batch = backend.receive(1.0)
    assert batch is not None
    batch.verdict[0] = Verdict.BYPASS
    backend.finish(batch)
    backend.network_received()
    backend.close(keep_blocking=True)
    monkeypatch.setattr(line, "create", lambda _name, _host: backend)
    return backend


@pytest.fixture
def held(backend: MemoryBackend, owners: ClosingOwners) -> Iterator[Line]:
    held = Line([config_text(RULES)], RunOptions(("wg0.conf",)))
    yield held
    held.release(restore=True)


def test_the_tunnels_packets_are_dropped_and_the_others_pass(held: Line, backend: MemoryBackend) -> None:
    backend.stack_sends(outgoing(UDP(sport=CHROME_PORT, dport=7)))
    backend.stack_sends(outgoing(UDP(sport=FIREFOX_PORT, dport=7)))
    backend.stack_sends(outgoing(UDP(sport=BYPASSED_PORT, dport=7)))
    time.sleep(0.3)
    ports = [dissect(packet).sport for packet in backend.network_received(5.0)]
    assert sorted(ports) == [FIREFOX_PORT, BYPASSED_PORT]
    assert backend.stack_received() == []


def test_released_it_leaves_the_plan_blocked(held: Line, backend: MemoryBackend, owners: ClosingOwners) -> None:
    threads = threading.active_count()
    held.release()
    assert threading.active_count() == threads - 3
    assert owners.closed
    for port in (CHROME_PORT, FIREFOX_PORT):
        backend.stack_sends(outgoing(UDP(sport=port, dport=7)))
    assert backend.network_received() == []


def test_restored_the_host_is_as_it_was(held: Line, backend: MemoryBackend) -> None:
    held.release(restore=True)
    for port in (CHROME_PORT, FIREFOX_PORT):
        backend.stack_sends(outgoing(UDP(sport=port, dport=7)))
    assert len(backend.network_received()) == 2


def test_restored_it_ends_connections_that_the_tunnel_carried(
    backend: MemoryBackend, owners: ClosingOwners, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = FiveTuple(socket.IPPROTO_TCP, packed(HOST[4]), CHROME_PORT, packed(REMOTE[4]), 443)
    direct = key._replace(local_port=FIREFOX_PORT)
    monkeypatch.setattr(line, "open_connections", lambda: [(key, CHROME), (direct, FIREFOX)])
    held = Line([config_text(RULES)], RunOptions(("wg0.conf",)))
    deliver = backend.send_to_stack
    asked: list[Sequence[Buffer]] = []

    def answer(packets: Sequence[Sequence[Buffer]]) -> int:
        """What the stack says to a packet outside its window, while the line still listens."""
        if not asked:
            backend.stack_sends(outgoing(TCP(sport=CHROME_PORT, dport=443, flags="A", seq=1, ack=77)))
        asked.extend(packets)
        return deliver(packets)

    monkeypatch.setattr(backend, "send_to_stack", answer)
    held.release(restore=True)
    told = [dissect(packet)[TCP] for packet in backend.stack_received()]
    assert [(str(each.flags), each.dport) for each in told] == [("A", CHROME_PORT)] * 2 + [("R", CHROME_PORT)]
    assert told[-1].seq == 77


def test_with_kill_switch_all_nothing_of_the_plan_passes(backend: MemoryBackend, owners: ClosingOwners) -> None:
    held = Line([config_text(RULES)], RunOptions(("wg0.conf",), kill_switch="all"))
    for port in (CHROME_PORT, FIREFOX_PORT):  # with it, a worker bypasses no flow
        backend.stack_sends(outgoing(UDP(sport=port, dport=7)))
    time.sleep(0.3)
    assert backend.network_received() == []
    held.release(restore=True)


def test_queues_that_cannot_be_taken_are_told(
    backend: MemoryBackend, owners: ClosingOwners, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_plan: object) -> None:
        raise BackendError("NFQUEUE 51820 is held")

    monkeypatch.setattr(backend, "attach", fail)
    with pytest.raises(BackendError):
        Line([config_text(RULES)], RunOptions(("wg0.conf",)))
    assert owners.closed


def test_what_fails_afterwards_lets_go_of_the_queues(
    backend: MemoryBackend, owners: ClosingOwners, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no threads left")

    monkeypatch.setattr(line, "Engine", fail)
    with pytest.raises(RuntimeError):
        Line([config_text(RULES)], RunOptions(("wg0.conf",)))
    assert owners.closed
    backend.attach(Rules([config(RULES)]).plan())  # free for the next to take


def test_a_text_that_does_not_parse_is_told_before_anything_is_taken(backend: MemoryBackend) -> None:
    with pytest.raises(ConfigError):
        Line(["[Interface]\n"], RunOptions(("wg0.conf",)))
    backend.attach(Rules([config(RULES)]).plan())
