"""What the compiled data path promises beyond being equal to Python's: keys, threads and memory."""

import socket
import threading
from collections.abc import Iterator

import pytest
from scapy.layers.inet import TCP, UDP

from tests.support import datapaths
from tests.support.traffic import (
    IPV4,
    IPV6,
    MTU,
    batch_of,
    datagrams,
    flagged_batch,
    inner_packets,
    joined,
    session_pair,
    tunnelled,
)
from wiresock_py.crypto import Drop
from wiresock_py.datapath import NATIVE, PYTHON, Opened, PacketDrop

PACKET = bytes(IPV4.ip() / TCP(sport=40000, dport=443, flags="A") / bytes(5000))
DATAGRAM = bytes(IPV4.ip() / UDP(sport=40000, dport=443) / b"payload")


@pytest.fixture(autouse=True, scope="module")
def native() -> Iterator[None]:
    if NATIVE is None:
        pytest.skip(datapaths.NOT_BUILT)
    datapaths.use(NATIVE)
    yield
    datapaths.use(PYTHON)


def test_a_key_is_gone_at_once_whatever_was_planned_with_it() -> None:
    assert NATIVE is not None
    near, far = session_pair()
    flows, out = NATIVE.flow_table(), NATIVE.datagram_buffer(16)
    flow = tunnelled(flows, IPV4, socket.IPPROTO_TCP)
    NATIVE.seal(batch_of([PACKET]), [0], [flow], flows, near, MTU, 1.0, out)
    near.erase()
    out.encrypt()
    assert out.packets == 4
    for datagram in datagrams(out):
        assert far.open_into(datagram, bytearray(len(datagram) - 32)) is Drop.BAD_TAG


def test_what_was_planned_is_encrypted_once_and_forgotten_by_clear() -> None:
    assert NATIVE is not None
    near, far = session_pair()
    flows, out = NATIVE.flow_table(), NATIVE.datagram_buffer(16)
    flow = tunnelled(flows, IPV4, socket.IPPROTO_UDP)
    for _ in range(2):
        NATIVE.seal(batch_of([DATAGRAM]), [0], [flow], flows, near, MTU, 1.0, out)
    out.encrypt()
    assert len(inner_packets(out, far)) == 2
    out.clear()
    NATIVE.seal(batch_of([DATAGRAM]), [0], [flow], flows, near, MTU, 1.0, out)
    out.clear()
    before = bytes(out.view)
    out.encrypt()
    assert bytes(out.view) == before


def test_threads_that_open_the_same_datagrams_deliver_each_once() -> None:
    assert NATIVE is not None
    near, far = session_pair()
    flows = NATIVE.flow_table()
    tunnelled(flows, IPV4, socket.IPPROTO_UDP)
    answer = bytes(IPV4.ip(IPV4.server, IPV4.tunnel) / UDP(sport=443, dport=40000) / b"answer")
    buffer = bytearray()
    for _ in range(2000):
        datagram = bytearray(len(answer) + 32)
        far.seal_into(answer, datagram)
        buffer += datagram
    results = [Opened() for _ in range(4)]
    step = len(answer) + 32
    threads = [
        threading.Thread(target=NATIVE.open_datagrams, args=(bytearray(buffer), step, {1: near}, flows, 1.0, out))
        for out in results
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(len(out.packets) for out in results) == 2000
    assert sum(out.drops[PacketDrop.REPLAYED] for out in results) == 3 * 2000


def test_sealing_and_opening_in_two_threads_change_nothing() -> None:
    assert NATIVE is not None
    near, far = session_pair()
    flows, there = NATIVE.flow_table(), NATIVE.flow_table()
    flow = tunnelled(flows, IPV4, socket.IPPROTO_TCP)
    batch = batch_of([PACKET] * 20)
    results: list[list[bytes]] = []

    def send() -> None:
        assert NATIVE is not None
        out = NATIVE.datagram_buffer()
        for _ in range(50):
            out.clear()
            NATIVE.seal(batch, range(20), [flow] * 20, flows, near, MTU, 1.0, out)
            out.encrypt()
            results.append(datagrams(out))

    thread = threading.Thread(target=send)
    thread.start()
    while thread.is_alive() or results:
        if results:
            sealed = results.pop(0)
            opened = Opened()
            for datagram in sealed:
                NATIVE.open_datagrams(bytearray(datagram), 0, {2: far}, there, 1.0, opened)
            assert not opened.drops
            assert len(opened.slow) == 80
            assert not joined(opened)
    thread.join()
    assert flow.packets_out == 50 * 80


def test_a_packet_outside_its_batch_or_of_another_family_is_an_error_and_no_memory_is_touched() -> None:
    assert NATIVE is not None
    near, _ = session_pair()
    flows, out = NATIVE.flow_table(), NATIVE.datagram_buffer(16)
    flow = tunnelled(flows, IPV6, socket.IPPROTO_UDP)
    with pytest.raises(ValueError, match="another family"):
        NATIVE.seal(batch_of([DATAGRAM]), [0], [flow], flows, near, MTU, 1.0, out)
    batch = flagged_batch([(DATAGRAM, 0)])
    batch.length[0] = 10_000
    with pytest.raises(ValueError, match="outside"):
        NATIVE.seal(batch, [0], [flow], flows, near, MTU, 1.0, out)
    assert near.counter == 0


def test_no_memory_is_read_and_written_at_once() -> None:
    assert NATIVE is not None
    near, _ = session_pair()
    flows, out = NATIVE.flow_table(), NATIVE.datagram_buffer(4096)
    flow = tunnelled(flows, IPV4, socket.IPPROTO_UDP)
    batch = flagged_batch([(DATAGRAM, 0)])
    whole = bytes(batch.data)
    out.view[1000 : 1000 + len(whole)] = whole
    batch.data = out.view[1000 : 1000 + len(whole)]
    NATIVE.seal(batch, [0], [flow], flows, near, MTU, 1.0, out)
    with pytest.raises(ValueError, match="the batch's own"):
        out.encrypt()
    assert bytes(out.view[1000 : 1000 + len(whole)]) == whole


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_key_of_another_size_is_refused_without_naming_it(size: int) -> None:
    assert NATIVE is not None
    for make in (NATIVE.ciphers.sealer, NATIVE.ciphers.opener):
        with pytest.raises(ValueError, match="a key has 32 bytes"):
            make(bytes(size))
