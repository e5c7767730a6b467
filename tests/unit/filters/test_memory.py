"""The memory backend's own side: its wires and its bounds. What it shares with others is in tests/backends."""

from ipaddress import ip_network

import pytest

from tests.backends.packets import Datagram, build
from wiresock_py.filters import MAX_PACKET, CapturePlan, PacketFlag, Verdict
from wiresock_py.filters.memory import MAX_BYPASSED, MemoryBackend, flow_key

PLAN = CapturePlan((ip_network("203.0.113.0/24"), ip_network("2001:db8::/32")))


def packet(port: int = 7, destination: str = "203.0.113.1") -> bytes:
    source = "fd77::2" if ":" in destination else "10.77.0.2"
    return build(Datagram(source, 1024, destination, port, b"x"))


def test_a_full_queue_loses_and_counts() -> None:
    backend = MemoryBackend(queue_length=3)
    backend.open(PLAN)
    for _ in range(5):
        backend.stack_sends(packet())
    batch = backend.receive(0)
    assert batch is not None
    assert len(batch) == 3
    assert backend.statistics()["queue_full"] == 2


def test_a_port_is_exempt_by_its_own_protocol_only() -> None:
    backend = MemoryBackend()
    backend.open(PLAN)
    with backend.exempt(1024, 6):
        backend.stack_sends(packet())
        assert backend.network_received() == []
    with backend.exempt(1024):
        backend.stack_sends(packet())
        assert backend.network_received() == [packet()]


def test_full_wires_lose_and_count() -> None:
    backend = MemoryBackend(queue_length=2)
    backend.open(PLAN)
    assert backend.send_to_stack([[packet()]] * 3) == 2
    assert backend.send_to_network([[packet()]] * 4) == 2
    assert backend.statistics()["queue_full"] == 3
    assert backend.stack_received() == [packet()] * 2


def test_inbound_packets_are_never_captured() -> None:
    backend = MemoryBackend()
    backend.open(PLAN)
    backend.network_sends(packet())
    assert backend.stack_received() == [packet()]
    assert backend.receive(0) is None


def test_flags_of_offloads_come_with_the_packet() -> None:
    backend = MemoryBackend()
    backend.open(PLAN)
    backend.stack_sends(packet(), flags=PacketFlag.CHECKSUM_PARTIAL)
    batch = backend.receive(0)
    assert batch is not None
    assert batch.flags == [PacketFlag.CHECKSUM_PARTIAL]


def test_a_packet_too_large_for_the_batch_is_truncated_and_counted() -> None:
    backend = MemoryBackend()
    backend.open(PLAN)
    backend.stack_sends(packet() + bytes(MAX_PACKET))
    batch = backend.receive(0)
    assert batch is not None
    assert (batch.length, batch.flags) == ([MAX_PACKET], [PacketFlag.TRUNCATED])
    assert backend.statistics()["truncated"] == 1


def test_what_does_not_fit_a_batch_comes_with_the_next() -> None:
    backend = MemoryBackend()
    backend.open(PLAN)
    large = packet() + bytes(60_000)
    for _ in range(20):
        backend.stack_sends(large)
    count = 0
    while batch := backend.receive(0):
        assert all(bytes(batch.data[o : o + n]) == large for o, n in zip(batch.offset, batch.length, strict=True))
        count += len(batch)
        backend.finish(batch)
    assert count == 20


def test_bypassed_flows_are_bounded_and_the_oldest_is_shown_again() -> None:
    backend = MemoryBackend()
    backend.open(PLAN)
    for port in range(MAX_BYPASSED + 1):
        backend.stack_sends(packet(port))
        batch = backend.receive(0)
        assert batch is not None
        batch.verdict[0] = Verdict.BYPASS
        backend.finish(batch)
    backend.stack_sends(packet(1))
    assert backend.receive(0) is None
    backend.stack_sends(packet(0))
    assert backend.receive(0) is not None


def test_an_unknown_adapter_is_a_mistake_of_the_test() -> None:
    with pytest.raises(KeyError):
        MemoryBackend().stack_sends(packet(), "wlan0")


@pytest.mark.parametrize("destination", ["203.0.113.1", "2001:db8::1"])
def test_the_flow_of_a_datagram_is_its_addresses_and_ports(destination: str) -> None:
    assert flow_key(packet(7, destination)) == flow_key(packet(7, destination) + b"more")
    assert flow_key(packet(7, destination)) != flow_key(packet(8, destination))


def test_the_flow_of_an_echo_is_its_identifier() -> None:
    def echo(identifier: int, sequence: int) -> bytes:
        head = bytes.fromhex("4500001c00000000400100000a4d0002cb007101")
        return head + bytes.fromhex("08000000") + identifier.to_bytes(2, "big") + sequence.to_bytes(2, "big")

    assert flow_key(echo(1, 1)) == flow_key(echo(1, 2))
    assert flow_key(echo(1, 1)) != flow_key(echo(2, 1))


def test_waiting_ends_as_soon_as_something_comes() -> None:
    backend = MemoryBackend()
    backend.open(PLAN)
    backend.send_to_stack([[packet()]])
    assert backend.stack_received(30) == [packet()]
    backend.send_to_network([[packet()]])
    assert backend.network_received(30) == [packet()]
    assert backend.network_received(0) == []
