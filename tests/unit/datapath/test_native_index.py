"""How the compiled data path finds flows: many at a time, while others come and go."""

import gc
import socket
import threading
import weakref
from collections.abc import Iterator

import pytest
from scapy.layers.inet import ICMP, TCP, UDP

from tests.support import datapaths
from tests.support.traffic import IPV4, IPV6, PEER, batch_of, joined, session_pair, tunnelled
from wiresock_py.datapath import NATIVE, PYTHON, Classified, DataPath, FlowTable, Opened
from wiresock_py.flow import Route

MANY = 300
"""More packets than are looked up at a time."""
KEY = bytes(12)


@pytest.fixture
def native() -> Iterator[DataPath]:
    if NATIVE is None:
        pytest.skip(datapaths.NOT_BUILT)
    datapaths.use(NATIVE)
    yield NATIVE
    datapaths.use(PYTHON)


def many_flows(path: DataPath) -> FlowTable:
    """TCP and UDP in both families, on every port but each seventh."""
    flows = path.flow_table()
    for number in range(MANY):
        if number % 7:
            ends, protocol = (IPV4, IPV6)[number % 2], (socket.IPPROTO_TCP, socket.IPPROTO_UDP)[number % 3 == 0]
            tunnelled(flows, ends, protocol, port=1000 + number)
    return flows


def packets(*, inbound: bool = False) -> list[bytes]:
    """One packet for each, and some that can have no flow; two of them follow each other."""
    found = []
    for number in range(MANY):
        ends, transport = (IPV4, IPV6)[number % 2], (TCP, UDP)[number % 3 == 0]
        if inbound:
            packet = ends.ip(ends.server, ends.tunnel) / transport(sport=443, dport=1000 + number) / b"in"
        else:
            packet = ends.ip() / transport(sport=1000 + number, dport=443) / b"out"
        found += [bytes(packet)] * 2
        if number % 11 == 0:
            found.append(bytes(ends.ip(protocol=47) / b"not of a plain kind"))
    return found


def test_each_of_very_many_packets_out_has_the_flow_that_python_finds(native: DataPath) -> None:
    batch = batch_of(packets())
    ports = []
    for path in (native, PYTHON):
        out = Classified()
        path.classify(batch, many_flows(path), 0.5, out)
        ports.append(([flow and (flow.key.local_port, flow.key.is_ipv6) for flow in out.flow], out.slow))
    assert ports[0] == ports[1]
    assert len({port for port in ports[0][0] if port}) == MANY - (MANY + 6) // 7


def test_each_of_very_many_packets_in_goes_the_way_that_python_takes(native: DataPath) -> None:
    results = []
    for path in (native, PYTHON):
        near, far = session_pair()
        flows, out = many_flows(path), Opened()
        plain = packets(inbound=True)
        step = max(map(len, plain)) + 32
        received = bytearray()
        for packet in plain:
            datagram = bytearray(step)
            far.seal_into(packet.ljust(step - 32, b"\0"), datagram)
            received += datagram
        path.open_datagrams(received, step, {1: near}, flows, 1.0, out)
        slow = [packet for _, packet in out.slow]
        results.append((joined(out), slow, out.drops, [(flow.key, flow.packets_in) for flow in flows]))
    assert results[0] == results[1]


def test_a_batch_may_be_empty(native: DataPath) -> None:
    out = Classified()
    native.classify(batch_of([]), many_flows(native), 0.5, out)
    assert not out.flow


def test_a_protocol_that_was_never_entered_is_no_error(native: DataPath) -> None:
    flows, out = native.flow_table(), Classified()
    flows.outbound4.clear()
    native.classify(batch_of([bytes(IPV4.ip() / ICMP(id=7))]), flows, 0.5, out)
    assert out.flow == [None]


@pytest.mark.parametrize("key", [b"", bytes(11), bytes(13), bytes(37)])
def test_what_is_no_wire_key_is_refused_and_found_nowhere(native: DataPath, key: bytes) -> None:
    index = native.flow_table.index()
    with pytest.raises(ValueError, match="12 or 36"):
        index[key] = native.flow_table.flow(IPV4.key(6), Route.DIRECT, 0.0)
    with pytest.raises(KeyError):
        del index[key]
    assert index.get(key) is None


class Owner:
    """Whom a flow leads back from to where it was found."""

    def __init__(self, native: DataPath) -> None:
        self.native = native
        self.index = native.flow_table.index()

    def flow(self) -> None:
        self.index[KEY] = self.native.flow_table.flow(IPV4.key(6), Route.DIRECT, 0.0, owner=self)


def test_an_index_that_refers_to_itself_is_collected(native: DataPath) -> None:
    owner = Owner(native)
    owner.flow()
    gone = weakref.ref(owner)
    del owner
    gc.collect()
    assert gone() is None


def test_who_owned_a_flow_may_change_the_index_while_it_is_let_go(native: DataPath) -> None:
    index = native.flow_table.index()
    seen = []

    class Witness:
        def __del__(self) -> None:
            index[bytes(36)] = native.flow_table.flow(IPV6.key(6), Route.DIRECT, 0.0)
            seen.append(len(index))

    for _ in range(2):
        index[KEY] = native.flow_table.flow(IPV4.key(6), Route.DIRECT, 0.0, owner=Witness())
    del index[KEY]
    assert seen == [2, 1]
    assert len(index) == 1


def test_flows_come_and_go_while_packets_are_looked_up(native: DataPath) -> None:
    flows, out = many_flows(native), Classified()
    batch = batch_of(packets())
    stop = threading.Event()
    failures: list[BaseException] = []

    def change() -> None:
        try:
            while not stop.is_set():
                for port in range(20_000, 20_200):
                    tunnelled(flows, IPV4, socket.IPPROTO_UDP, port=port, peer=PEER)
                for flow in flows:
                    if flow.key.local_port >= 20_000:
                        flows.remove(flow)
        except BaseException as failure:
            failures.append(failure)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(300):
            native.classify(batch, flows, 0.5, out)
            assert sum(flow is not None for flow in out.flow) == 2 * (MANY - (MANY + 6) // 7)
    finally:
        stop.set()
        thread.join()
    assert not failures
