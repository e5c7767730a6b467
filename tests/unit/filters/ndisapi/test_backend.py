"""The backend on a driver: what the contract tests do not ask, because only this driver has it."""

import atexit
import logging
import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_network

import pytest

from tests.backends.packets import Datagram, build, checksum, read
from tests.support.drivers import Driver
from tests.support.ethernet import EthernetHost
from wiresock_py.errors import BackendError
from wiresock_py.filters import CapturePlan, HostAdapter, PacketBatch, PacketFlag, Verdict
from wiresock_py.filters.ndisapi import (
    NO_EVENT,
    Action,
    AdapterMode,
    DeviceError,
    Ioctl,
    NdisApi,
    StaticFilter,
    Version,
)
from wiresock_py.filters.ndisapi import serving as serving_module
from wiresock_py.filters.ndisapi.backend import NdisApiBackend
from wiresock_py.filters.ndisapi.emulator import EmulatedAdapter, Emulator
from wiresock_py.filters.ndisapi.raw.structures import INTERMEDIATE_BUFFER

OWN, REMOTE, NEIGHBOUR = {4: "10.77.0.2", 6: "fd77::2"}, {4: "203.0.113.1", 6: "2001:db8::1"}, "10.77.0.9"
PLAN = CapturePlan((ip_network("203.0.113.0/24"), ip_network("2001:db8::/32")))
EVERYTHING = CapturePlan((ip_network("0.0.0.0/0"), ip_network("::/0")))
ADAPTERS = {"eth0": ("10.77.0.2/24", "fd77::2/64"), "side0": ("10.78.0.2/24", "fd78::2/64")}
PATIENCE = 10.0


@pytest.fixture
def host(driver: Driver) -> EthernetHost:
    return EthernetHost(driver, ADAPTERS, default=("eth0",))


@pytest.fixture
def backend(driver: Driver, host: EthernetHost) -> Iterator[NdisApiBackend]:
    made = NdisApiBackend(host, driver.open)
    yield made
    made.close()


@pytest.fixture
def inside(host: EthernetHost, emulator: Emulator) -> EmulatedAdapter:
    """The adapter of the default route, from the emulator's inside."""
    plugged = host.networks["eth0"].plugged
    assert isinstance(plugged, EmulatedAdapter)
    return plugged


def datagram(payload: bytes, version: int = 4, port: int = 5000, to: str = "", source: str = "") -> bytes:
    return build(Datagram(source or OWN[version], port, to or REMOTE[version], 7, payload))


def packets(batch: PacketBatch | None) -> list[bytes]:
    assert batch is not None, "nothing was captured"
    return [bytes(batch.data[at : at + length]) for at, length in zip(batch.offset, batch.length, strict=True)]


def payloads(found: list[bytes]) -> list[bytes]:
    return [datagram.payload for packet in found if (datagram := read(packet))]


def take(backend: NdisApiBackend, verdict: Verdict = Verdict.DROP) -> list[bytes]:
    """The payloads of the next batch, which gets one verdict."""
    batch = backend.receive(PATIENCE)
    found = payloads(packets(batch))
    assert batch is not None
    batch.verdict[:] = [verdict] * len(batch)
    backend.finish(batch)
    return found


def wait_for(happened: Callable[[], object]) -> None:
    until = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.002)


def modes(driver: Driver) -> list[int]:
    with NdisApi(driver.open()) as api:
        return [int(api.mode(adapter)) for adapter in api.adapters()]


# Frames.


@pytest.mark.parametrize("vlan", [0, 0x0064_0003])
@pytest.mark.parametrize("tags", [b"", b"\x81\x00\x00\x64", b"\x88\xa8\x00\x07\x81\x00\x00\x64"])
def test_a_tagged_frame_is_captured_and_what_goes_on_or_comes_back_is_tagged_alike(
    backend: NdisApiBackend, host: EthernetHost, inside: EmulatedAdapter, tags: bytes, vlan: int
) -> None:
    backend.open(PLAN)
    packet = datagram(b"tagged")
    link = host.next_hop_mac(2, packet[16:20])
    assert link is not None
    frame = link + inside.mac + tags + b"\x08\x00" + packet
    # the driver's filters may not look behind a tag: as if one had
    buffer = INTERMEDIATE_BUFFER(m_dwDeviceFlags=1, m_Length=len(frame), m_8021q=vlan)
    buffer.m_IBuffer[: len(frame)] = frame
    for verdict in (Verdict.PASS, Verdict.DROP):
        inside.queue(buffer)
        assert take(backend, verdict) == [b"tagged"]
    assert inside.network_received() == [frame]
    assert backend.send_to_network([[packet]], 2) == 1
    assert inside.network_received() == [frame]
    assert backend.send_to_stack([[datagram(b"answer", to=OWN[4], source=REMOTE[4])]]) == 1
    (up,) = inside.stack_received()
    assert up[12 : 12 + len(tags)] == tags
    assert up[:12] == inside.mac + link


@pytest.mark.parametrize(
    "frame",
    [
        bytes(12) + b"\x08\x06" + bytes(28),
        bytes(12) + b"\x08\x00",
        bytes(12) + b"\x08\x00\x45" + bytes(18),
        bytes(12) + b"\x81\x00\x00\x01",
        bytes(12) + b"\x81\x00\x00\x01\x88\x8e" + bytes(50),
        bytes(12) + b"\x81\x00\x00\x01" * 4 + b"\x08\x00" + bytes(50),
        bytes(12) + b"\x00\x40\xaa\xaa\x03" + bytes(40),
    ],
    ids=["ARP", "no packet", "cut off", "tag cut off", "tagged EAPOL", "too many tags", "802.3"],
)
def test_a_frame_without_an_ip_packet_goes_on_unchanged_and_is_not_shown(
    backend: NdisApiBackend, host: EthernetHost, inside: EmulatedAdapter, frame: bytes
) -> None:
    backend.open(PLAN)
    buffer = INTERMEDIATE_BUFFER(m_dwDeviceFlags=1, m_Length=len(frame))
    buffer.m_IBuffer[: len(frame)] = frame
    inside.queue(buffer)
    host.stack_sends(datagram(b"after"))
    assert take(backend) == [b"after"]
    assert inside.network_received() == [frame]
    counted = backend.statistics()
    assert (counted["not_ip"], counted["captured"], counted["not_passed"]) == (1, 1, 0)


@pytest.mark.parametrize(
    ("length", "cause"),
    [(0, "malformed"), (13, "malformed"), (1515, "truncated"), (9014, "truncated"), (2**32 - 1, "truncated")],
)
def test_a_frame_of_impossible_length_is_a_counted_drop(
    backend: NdisApiBackend, host: EthernetHost, inside: EmulatedAdapter, length: int, cause: str
) -> None:
    backend.open(PLAN)
    inside.queue(INTERMEDIATE_BUFFER(m_dwDeviceFlags=1, m_Length=length))
    host.stack_sends(datagram(b"after"))
    assert take(backend) == [b"after"]
    counted = backend.statistics()
    assert (counted[cause], counted["captured"]) == (1, 1)


def test_a_frame_that_another_program_captured_on_its_way_in_goes_to_the_stack(
    backend: NdisApiBackend, host: EthernetHost, driver: Driver
) -> None:
    backend.open(PLAN)
    with NdisApi(driver.open()) as other:
        other.set_mode(other.find("side0"), AdapterMode.RECV_TUNNEL)
        other.add_filter_first(StaticFilter(Action.REDIRECT, ethertype=0x0800))
        host.network_sends(build(Datagram("10.78.0.1", 1, "10.78.0.2", 2, b"theirs")), "side0")
    assert backend.receive(0.0) is None
    assert payloads(host.stack_received("side0")) == [b"theirs"]
    assert backend.statistics()["foreign"] == 1


def test_the_largest_frame_is_captured_whole(backend: NdisApiBackend, host: EthernetHost) -> None:
    backend.open(PLAN)
    host.stack_sends(datagram(bytes(1472)))
    assert take(backend, Verdict.PASS) == [bytes(1472)]
    assert payloads(host.network_received()) == [bytes(1472)]


@pytest.mark.parametrize("size", [1501, 65_535])
def test_a_packet_larger_than_a_frame_is_refused_both_ways(backend: NdisApiBackend, size: int) -> None:
    backend.open(PLAN)
    wait_for(lambda: backend.send_to_network([[datagram(b"")]], 2))  # once the router is known
    packet = datagram(bytes(size - 28), to=OWN[4], source=REMOTE[4])
    assert backend.send_to_stack([[packet]]) == 0
    assert backend.send_to_network([[datagram(bytes(size - 28))]], 2) == 0
    counted = backend.statistics()
    assert (counted["not_injected_too_big"], counted["not_sent_too_big"]) == (1, 1)


def test_a_batch_larger_than_the_drivers_is_sent_in_several(backend: NdisApiBackend, host: EthernetHost) -> None:
    backend.open(PLAN)
    count = serving_module.BATCH_PACKETS * 2 + 3
    answers = [[datagram(b"%d" % i, to=OWN[4], source=REMOTE[4])] for i in range(count)]
    assert backend.send_to_stack(answers) == count
    assert payloads(host.stack_received()) == [b"%d" % i for i in range(count)]


@pytest.mark.parametrize(
    ("packet", "cause"),
    [
        ([], "malformed"),
        ([b""], "malformed"),
        ([b"\x45" + bytes(10)], "malformed"),
        ([b"\x60" + bytes(30)], "malformed"),
        ([bytes(40)], "malformed"),
        ([datagram(b"", to="192.0.2.77")], "no_adapter"),
        ([datagram(b"", 6, to="2001:db8::77")], "no_adapter"),
    ],
)
def test_what_is_for_nobody_here_is_refused_and_counted(
    backend: NdisApiBackend, packet: list[bytes], cause: str
) -> None:
    backend.open(PLAN)
    assert backend.send_to_stack([packet]) == 0
    assert backend.statistics()[f"not_injected_{cause}"] == 1


# Fragments.


def fragments(version: int, size: int, port: int = 5000) -> list[bytes]:
    """A datagram as the stack sends it when it is larger than a frame."""
    whole = datagram(bytes(size), version, port)
    header = 20 if version == 4 else 40
    found = []
    for at in range(0, len(whole) - header, 1440):
        payload = whole[header + at : header + at + 1440]
        more = at + len(payload) < len(whole) - header
        if version == 4:
            word = (at // 8 | (0x2000 if more else 0)).to_bytes(2, "big")
            head = bytearray(whole[:2] + (20 + len(payload)).to_bytes(2, "big") + b"\0\7" + word + whole[8:20])
            head[10:12] = bytes(2)
            head[10:12] = checksum(bytes(head)).to_bytes(2, "big")
            found.append(bytes(head) + payload)
        else:
            length = (8 + len(payload)).to_bytes(2, "big")
            extension = bytes((17, 0)) + (at | more).to_bytes(2, "big") + bytes((0, 0, 0, 7))
            found.append(whole[:4] + length + bytes((44, 64)) + whole[8:40] + extension + payload)
    return found


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("size", [1600, 9000, 60_000])
def test_a_datagram_that_the_stack_fragmented_is_captured_whole(
    backend: NdisApiBackend, host: EthernetHost, version: int, size: int
) -> None:
    backend.open(PLAN)
    pieces = fragments(version, size)
    for verdict in (Verdict.DROP, Verdict.PASS):
        for piece in pieces:
            host.stack_sends(piece)
        batch = backend.receive(PATIENCE)
        (whole,) = packets(batch)
        assert batch is not None
        found = read(whole)
        assert found is not None
        assert (found.source_port, len(found.payload)) == (5000, size)
        batch.verdict[0] = verdict
        backend.finish(batch)
        assert host.network_received() == (pieces if verdict else [])
    counted = backend.statistics()
    assert (counted["captured"], counted["passed"], counted["dropped"]) == (2, 1, 1)
    assert counted["queue_full"] == counted["fragments_lost"] == 0


def test_fragments_and_whole_packets_go_on_side_by_side(backend: NdisApiBackend, host: EthernetHost) -> None:
    backend.open(PLAN)
    sent = []
    for number in range(20):
        sent += [*fragments(4, 3000, 6000 + number), datagram(b"%d" % number)]
    for packet in sent:
        host.stack_sends(packet)
    found: list[bytes] = []
    while len(found) < 40:
        batch = backend.receive(PATIENCE)
        found += packets(batch)
        assert batch is not None
        batch.verdict[:] = [Verdict.PASS] * len(batch)
        backend.finish(batch)
    assert sorted(host.network_received()) == sorted(sent)


def test_the_later_fragments_of_a_bypassed_flow_follow_the_first(backend: NdisApiBackend, host: EthernetHost) -> None:
    backend.open(PLAN)
    host.stack_sends(datagram(b"small"))
    take(backend, Verdict.BYPASS)
    pieces = fragments(4, 3000)
    for piece in pieces:
        host.stack_sends(piece)
    assert host.network_received()[1:] == pieces


# Next hops.


@pytest.mark.parametrize("version", [4, 6])
def test_what_is_handed_to_the_stack_comes_from_the_router(
    backend: NdisApiBackend, host: EthernetHost, version: int
) -> None:
    backend.open(PLAN)
    network = host.networks["eth0"]
    answer = datagram(b"answer", version, to=OWN[version], source=REMOTE[version])

    def source() -> bytes:
        assert backend.send_to_stack([[answer]]) == 1
        (frame,) = network.plugged.stack_received()
        assert frame[:6] == network.plugged.mac
        return bytes(frame[6:12])

    wait_for(lambda: source() == network.mac)


def test_a_held_packet_goes_to_the_next_hop_that_its_own_frame_named(
    backend: NdisApiBackend, host: EthernetHost
) -> None:
    backend.open(EVERYTHING)
    network = host.networks["eth0"]
    for destination in (REMOTE[4], NEIGHBOUR):
        held = datagram(b"held", to=destination)
        host.stack_sends(held)
        assert take(backend) == [b"held"]
        assert backend.send_to_network([[held]], network.index) == 1
        (frame,) = network.plugged.network_received()
        assert frame[:6] == network.mac_of(held[16:20] if destination == NEIGHBOUR else network.router(4))
        assert frame[14:] == held


def test_a_packet_that_was_never_captured_goes_to_the_router_once_it_is_known(
    backend: NdisApiBackend, host: EthernetHost
) -> None:
    backend.open(PLAN)
    wait_for(lambda: backend.send_to_network([[datagram(b"new")]], 0))
    assert payloads(host.network_received()) == [b"new"]
    assert backend.send_to_network([[datagram(b"new", source="192.0.2.9")]], 0) == 0
    assert backend.send_to_network([[datagram(b"new")]], 99) == 0
    assert backend.statistics()["not_sent_no_adapter"] == 2


def test_neighbours_are_resolved_over_the_driver_without_being_captured(
    backend: NdisApiBackend, host: EthernetHost
) -> None:
    backend.open(EVERYTHING)
    for version, destination in ((4, NEIGHBOUR), (6, "fd77::9")):
        host.stack_sends(datagram(b"near", version, to=destination))
        assert take(backend) == [b"near"]
    assert [len(address) for address in host.networks["eth0"].asked[-2:]] == [4, 16]


# Checksums.


@pytest.mark.parametrize("version", [4, 6])
def test_a_checksum_that_the_stack_left_to_the_adapter_is_flagged(
    backend: NdisApiBackend, host: EthernetHost, version: int
) -> None:
    backend.open(PLAN)
    whole = datagram(b"payload", version)
    place = 26 if version == 4 else 46
    addresses = whole[12:20] if version == 4 else whole[8:40]
    words = addresses + (17).to_bytes(2, "big") + (15).to_bytes(2, "big")
    pseudo = sum(int.from_bytes(words[at : at + 2], "big") for at in range(0, len(words), 2)) % 65535
    partial = whole[:place] + pseudo.to_bytes(2, "big") + whole[place + 2 :]
    host.stack_sends(partial)
    host.stack_sends(whole)
    flags: list[int] = []
    found: list[bytes] = []
    while len(found) < 2:
        batch = backend.receive(PATIENCE)
        found += packets(batch)
        assert batch is not None
        flags += batch.flags
        backend.finish(batch)
    assert flags == [PacketFlag.CHECKSUM_PARTIAL, PacketFlag.NONE]
    assert found == [partial, whole]


# Bypassed flows.


def test_bypassed_flows_that_are_silent_are_shown_again(
    backend: NdisApiBackend, host: EthernetHost, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()
    monkeypatch.setattr(serving_module, "monotonic", lambda: now)
    monkeypatch.setattr(serving_module, "HEARTBEAT", 0.005)
    backend.open(PLAN)
    host.stack_sends(datagram(b"one"))
    take(backend, Verdict.BYPASS)
    host.stack_sends(datagram(b"two"))
    assert payloads(host.network_received()) == [b"one", b"two"]
    with NdisApi(driver.open()) as api:
        standing = api.filter_count()
        now += 11  # it is seen at work
        wait_for(lambda: not any(entry.packets_out for entry in api.filter_statistics()))
        now += 59
        assert api.filter_count() == standing
        now += 2
        wait_for(lambda: api.filter_count() < standing)
    host.stack_sends(datagram(b"later"))
    assert take(backend) == [b"later"]


def test_only_so_many_flows_are_bypassed_and_the_oldest_are_shown_again(
    backend: NdisApiBackend, host: EthernetHost, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wiresock_py.filters.ndisapi.table.MAX_BYPASSED", 8)
    backend.open(PLAN)
    for port in range(5000, 5012):
        host.stack_sends(datagram(b"first", port=port))
        take(backend, Verdict.BYPASS)
    host.network_received()
    for port in range(5000, 5012):
        host.stack_sends(datagram(b"%d" % port, port=port))
    unseen = payloads(host.network_received())
    assert unseen[-1] == b"5011"
    assert b"5000" not in unseen
    assert 6 <= len(unseen) <= 8


def test_what_is_queued_is_not_overtaken_by_what_stays_in_the_kernel(
    backend: NdisApiBackend, host: EthernetHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend.open(PLAN)
    host.stack_sends(datagram(b"one"))
    batch = backend.receive(PATIENCE)
    assert batch is not None
    host.stack_sends(datagram(b"two"))
    batch.verdict[0] = Verdict.BYPASS
    backend.finish(batch)
    host.stack_sends(datagram(b"three"))
    assert take(backend, Verdict.BYPASS) == [b"two", b"three"]
    host.stack_sends(datagram(b"four"))
    assert payloads(host.network_received()) == [b"one", b"two", b"three", b"four"]
    monkeypatch.setattr(serving_module, "OVERTAKING", 0.0)  # but not for ever
    host.stack_sends(datagram(b"other", port=6000))
    batch = backend.receive(PATIENCE)
    assert batch is not None
    host.stack_sends(datagram(b"queued", port=7000))
    batch.verdict[0] = Verdict.BYPASS
    backend.finish(batch)
    host.stack_sends(datagram(b"past", port=6000))
    assert payloads(host.network_received()) == [b"other", b"past"]


def test_a_flow_that_the_driver_has_no_filter_for_is_shown_again_and_counted(
    backend: NdisApiBackend, host: EthernetHost, driver: Driver
) -> None:
    backend.open(PLAN)
    driver.fail(Ioctl.ADD_PACKET_FILTER_FRONT, 1450)
    for name in (b"one", b"two"):
        host.stack_sends(datagram(name))
        assert take(backend, Verdict.BYPASS) == [name]
    assert payloads(host.network_received()) == [b"one", b"two"]
    assert backend.statistics()["not_bypassed"] == 1


# Adapters that change.


def test_an_adapter_that_comes_back_under_a_new_handle_is_captured_again(
    backend: NdisApiBackend, host: EthernetHost, driver: Driver
) -> None:
    backend.open(PLAN)
    driver.reattach_adapter(host.networks["eth0"].plugged)
    wait_for(lambda: backend.statistics()["recaptured"])
    host.stack_sends(datagram(b"after"))
    assert take(backend) == [b"after"]
    assert backend.send_to_stack([[datagram(b"in", to=OWN[4], source=REMOTE[4])]]) == 1


def test_a_mode_that_was_lost_without_a_word_is_set_again(
    backend: NdisApiBackend, host: EthernetHost, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving_module, "HEARTBEAT", 0.005)
    backend.open(PLAN)
    with NdisApi(driver.open()) as other:
        other.release(other.find("eth0"))
    wait_for(lambda: backend.statistics()["recaptured"])
    host.stack_sends(datagram(b"after"))
    assert take(backend) == [b"after"]


def test_filters_that_another_program_replaced_are_set_again(
    backend: NdisApiBackend, host: EthernetHost, driver: Driver, caplog: pytest.LogCaptureFixture
) -> None:
    backend.open(PLAN)
    with NdisApi(driver.open()) as other:
        other.reset_filters()
        host.changed()
        wait_for(lambda: other.filter_count())
    host.stack_sends(datagram(b"after"))
    assert take(backend) == [b"after"]
    assert "another program changed the driver's filters" in caplog.text


def test_the_capture_follows_the_default_route(
    backend: NdisApiBackend, host: EthernetHost, driver: Driver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    backend.open(PLAN)
    host.networks["eth0"].default, host.networks["side0"].default = False, True
    host.changed()
    wait_for(lambda: modes(driver) == [0, AdapterMode.SENT_TUNNEL])
    host.stack_sends(datagram(b"new way", source="10.78.0.2"), "side0")
    assert take(backend) == [b"new way"]
    assert "now capturing on side0" in caplog.text


def test_an_adapter_whose_link_is_down_for_a_moment_stays_captured(
    backend: NdisApiBackend, host: EthernetHost, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving_module, "HEARTBEAT", 0.002)
    backend.open(PLAN)
    network = host.networks.pop("eth0")
    looked = threading.Event()
    adapters = host.adapters

    def look() -> tuple[HostAdapter, ...]:
        looked.set()
        return adapters()

    monkeypatch.setattr(host, "adapters", look)
    for _ in range(2):
        looked.clear()
        assert looked.wait(PATIENCE)
    host.networks["eth0"] = network
    host.stack_sends(datagram(b"back again"))
    assert take(backend) == [b"back again"]
    assert host.network_received() == []


def test_an_adapter_that_is_plugged_in_later_is_captured(
    backend: NdisApiBackend, host: EthernetHost, driver: Driver
) -> None:
    network = host.networks.pop("eth0")
    backend.open(PLAN)
    assert modes(driver) == [0, 0]
    host.networks["eth0"] = network
    host.changed()
    wait_for(lambda: modes(driver) == [AdapterMode.SENT_TUNNEL, 0])
    host.stack_sends(datagram(b"late"))
    assert take(backend) == [b"late"]


def test_a_removed_adapter_is_no_error_and_nothing_goes_by_it(
    backend: NdisApiBackend, host: EthernetHost, driver: Driver
) -> None:
    backend.open(PLAN)
    host.stack_sends(datagram(b"read"))
    batch = backend.receive(PATIENCE)
    assert batch is not None
    network = host.networks.pop("eth0")
    driver.remove_adapter(network.plugged)
    batch.verdict[0] = Verdict.PASS
    backend.finish(batch)
    assert backend.statistics()["not_passed"] == 1
    wait_for(lambda: not backend.send_to_stack([[datagram(b"in", to=OWN[4], source=REMOTE[4])]]))
    assert backend.receive(0.0) is None


def test_the_largest_packet_follows_the_captured_adapters(host: EthernetHost, driver: Driver) -> None:
    slow = EthernetHost(driver, {"ppp0": ("10.79.0.2/24",)}, default=("ppp0",))
    slow.networks["ppp0"].plugged = driver.add_adapter("ppp0", mtu=1400)
    backend = NdisApiBackend(slow, driver.open)
    assert backend.largest_to_stack == 1500
    backend.open(PLAN)
    assert backend.largest_to_stack == 1400
    backend.close()


# Opening and closing.


def test_what_a_crashed_run_left_is_cleared_at_the_start(
    backend: NdisApiBackend, host: EthernetHost, driver: Driver
) -> None:
    with NdisApi(driver.open()) as crashed:
        for adapter in crashed.adapters():
            crashed.set_mode(adapter, AdapterMode.TUNNEL)
        crashed.set_filters([StaticFilter(Action.REDIRECT)] * 3)
        host.networks["eth0"].plugged.stack_sends(bytes(12) + b"\x08\x00" + datagram(b"stale"))
    backend.open(PLAN)
    assert modes(driver) == [AdapterMode.SENT_TUNNEL, 0]
    assert backend.receive(0.0) is None
    host.stack_sends(datagram(b"fresh"))
    assert take(backend) == [b"fresh"]


def test_reset_says_what_it_undid(backend: NdisApiBackend, host: EthernetHost, driver: Driver) -> None:
    backend.open(PLAN)
    backend.close(keep_blocking=True)
    lines = NdisApiBackend.reset(driver.open)
    assert len(lines) == 2
    assert "static filters" in lines[0]
    assert "to 0" in lines[1]
    assert NdisApiBackend.reset(driver.open) == []
    host.stack_sends(datagram(b"open"))
    assert payloads(host.network_received()) == [b"open"]


@pytest.mark.parametrize(
    "code", [Ioctl.GET_TCPIP_INTERFACES, Ioctl.SET_PACKET_FILTERS, Ioctl.SET_EVENT, Ioctl.SET_ADAPTER_MODE]
)
def test_a_start_that_fails_leaves_everything_as_it_was(
    backend: NdisApiBackend, host: EthernetHost, driver: Driver, code: Ioctl
) -> None:
    driver.fail(code, 31)
    with pytest.raises(DeviceError, match=code.name):
        backend.open(PLAN)
    assert modes(driver) == [0, 0]
    with NdisApi(driver.open()) as api:
        assert api.filter_count() == 0
    backend.open(PLAN)
    host.stack_sends(datagram(b"again"))
    assert take(backend) == [b"again"]


def test_an_adapter_that_the_driver_does_not_have_is_an_error_that_names_those_it_has(
    backend: NdisApiBackend, driver: Driver
) -> None:
    with pytest.raises(BackendError, match="has no adapter 'Wi-Fi'") as caught:
        backend.open(CapturePlan(PLAN.capture, adapters=("side0", "Wi-Fi")))
    assert "use one of: eth0, side0" in caught.value.remedy
    assert modes(driver) == [0, 0]


def test_an_adapter_may_be_named_as_windows_or_as_the_driver_names_it(
    backend: NdisApiBackend, host: EthernetHost, driver: Driver
) -> None:
    plugged = host.networks["side0"].plugged
    for name in ("SIDE0", plugged.name.lower(), plugged.name.rpartition("\\")[2]):
        backend.open(CapturePlan(PLAN.capture, adapters=(name,)))
        assert modes(driver) == [0, AdapterMode.SENT_TUNNEL]
        backend.close()
        assert modes(driver) == [0, 0]


def test_an_adapter_that_stays_captured_is_an_error_and_blocks_the_plan(
    backend: NdisApiBackend, host: EthernetHost, driver: Driver
) -> None:
    backend.open(PLAN)
    driver.fail(Ioctl.SET_ADAPTER_MODE, 31)
    with pytest.raises(DeviceError, match="SET_ADAPTER_MODE failed"):
        backend.close()
    host.stack_sends(datagram(b"secret"))
    host.stack_sends(datagram(b"open", to=NEIGHBOUR))
    assert payloads(host.network_received()) == [b"open"]
    NdisApiBackend.reset(driver.open)


def test_no_event_and_no_thread_is_left_behind(backend: NdisApiBackend, host: EthernetHost, emulator: Emulator) -> None:
    before = threading.active_count()
    for keep_blocking in (True, False):
        backend.open(PLAN)
        assert threading.active_count() == before + 2
        backend.close(keep_blocking=keep_blocking)
        assert threading.active_count() == before
        assert len(emulator.events) == 0
        host.changed()


def test_an_exit_that_forgets_to_close_gives_the_adapters_back(
    backend: NdisApiBackend, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered: list[Callable[[], None]] = []
    monkeypatch.setattr(atexit, "register", registered.append)
    monkeypatch.setattr(atexit, "unregister", registered.remove)
    backend.open(PLAN)
    (at_exit,) = registered
    at_exit()
    assert registered == []
    assert modes(driver) == [0, 0]


@pytest.mark.parametrize("forgets", [False, True])
def test_a_run_that_is_killed_leaves_what_the_driver_makes_of_it_and_the_next_one_serves(forgets: bool) -> None:
    """Whether the driver forgets modes and filters with a process is not known."""
    emulator = Emulator(resets_on_close=forgets)
    host = EthernetHost(emulator, ADAPTERS, default=("eth0",))
    killed_device = emulator.open()
    killed = NdisApiBackend(host, lambda: killed_device)
    killed.open(PLAN)
    host.stack_sends(datagram(b"queued"))
    killed_device.close()
    host.stack_sends(datagram(b"meanwhile"))
    assert payloads(host.network_received()) == ([b"meanwhile"] if forgets else [])
    backend = NdisApiBackend(host, emulator.open)
    backend.attach(PLAN)
    host.stack_sends(datagram(b"served"))
    assert take(backend) == [b"served"]
    backend.close()
    with pytest.raises(DeviceError):
        killed.close()
    with NdisApi(emulator.open()) as api:
        assert api.restore() == []


def test_a_guard_keeps_the_plan_blocked_where_the_driver_forgets_with_its_last_handle() -> None:
    emulator = Emulator(resets_on_close=True)
    host = EthernetHost(emulator, ADAPTERS, default=("eth0",))
    killed_device = emulator.open()
    killed = NdisApiBackend(host, lambda: killed_device)
    with NdisApiBackend.guard(emulator.open):
        killed.open(PLAN)
        killed_device.close()
        with pytest.raises(DeviceError):
            killed.close()
        host.stack_sends(datagram(b"secret"))
        host.stack_sends(datagram(b"open", to=NEIGHBOUR))
        assert payloads(host.network_received()) == [b"open"]
    host.stack_sends(datagram(b"free"))
    assert payloads(host.network_received()) == [b"free"]


# Figures.


def test_packets_that_the_driver_had_no_room_for_are_counted() -> None:
    emulator = Emulator(pool_size=20)
    host = EthernetHost(emulator, ADAPTERS, default=("eth0",))
    backend = NdisApiBackend(host, emulator.open)
    backend.open(PLAN)
    for i in range(25):
        host.stack_sends(datagram(b"%d" % i))
    assert backend.statistics()["queue_full"] == 5
    assert len(take(backend)) == 20
    assert backend.statistics()["queue_full"] == 5
    backend.update(EVERYTHING)
    host.stack_sends(datagram(b"more"))
    assert take(backend) == [b"more"]
    backend.close()
    assert backend.statistics()["queue_full"] == 5


def test_a_thread_that_fails_ends_the_reading(
    backend: NdisApiBackend, host: EthernetHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend.open(PLAN)
    monkeypatch.setattr(host, "adapters", lambda: 1 // 0)
    host.changed()

    with pytest.raises(BackendError, match="the thread that follows the adapters ended"):
        wait_for(lambda: backend.receive(0.0))


def test_trouble_with_the_adapters_is_said_once_and_tried_again(
    backend: NdisApiBackend,
    host: EthernetHost,
    driver: Driver,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(serving_module, "HEARTBEAT", 0.002)
    backend.open(PLAN)
    driver.fail(Ioctl.GET_TCPIP_INTERFACES, 31, times=5)
    wait_for(lambda: "could not be looked after" in caplog.text)
    driver.reattach_adapter(host.networks["eth0"].plugged)
    wait_for(lambda: backend.statistics()["recaptured"])
    assert caplog.text.count("could not be looked after") == 1


def test_it_needs_somebody_to_ask_about_the_host() -> None:
    with pytest.raises(BackendError, match="nobody to ask"):
        NdisApiBackend(None)


def test_a_driver_that_cannot_be_used_says_why_and_what_to_do() -> None:
    reason = NdisApiBackend.unavailable_reason(Emulator(Version(3, 2, 32)).open)
    assert reason is not None
    assert "version is 3.2.32" in reason
    assert "install" in reason


def test_an_old_event_is_not_taken_for_ours(backend: NdisApiBackend, driver: Driver) -> None:
    with NdisApi(driver.open()) as other:
        adapter = other.find("eth0")
        other.set_packet_event(adapter, NO_EVENT)
    backend.open(PLAN)
    started = time.monotonic()
    assert backend.receive(0.02) is None
    assert time.monotonic() - started >= 0.02
