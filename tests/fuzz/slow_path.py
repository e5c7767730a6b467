"""Single packets that are of no plain kind: taken apart, translated, answered, cut, and never an exception."""

from collections import Counter
from collections.abc import Iterable, Iterator

from tests.fuzz import packets
from tests.fuzz.reader import Reader
from tests.support.differential import table
from wiresock_py.datapath import (
    PYTHON,
    FlowTable,
    Fragments,
    Header,
    PacketDrop,
    icmp_too_big,
    icmp_unreachable,
    parse,
    parse_embedded,
    tcp_reset,
    translate_error,
    translate_inbound,
)
from wiresock_py.datapath.ip import fragment, fragment_at_source

MTU = 1280


def run(data: bytes) -> None:
    reader = Reader(data)
    inbound = reader.number() % 2 == 1
    flows, _ = table(PYTHON)
    fragments = Fragments()
    now = 1.0
    while reader:
        for packet in packets.burst(reader, inbound=inbound):
            now += 0.5
            header = parse(packet)
            if isinstance(header, PacketDrop):
                continue
            assert 20 <= header.transport <= header.length <= len(packet)
            if inbound:
                _arrives(packet, header, flows, fragments, now)
            else:
                _leaves(packet, header, flows)


def _arrives(packet: bytes, header: Header, flows: FlowTable, fragments: Fragments, now: float) -> None:
    flow = None if header.is_later_fragment else flows.find_inner(header.five_tuple(inbound=True))
    if header.is_icmp_error:
        embedded = parse_embedded(packet, header)
        about = None if isinstance(embedded, PacketDrop) else flows.find_inner(embedded.five_tuple())
        if about is not None:
            _is_for(about.key.local, header, translate_error(packet, header, about, outbound=False))
    elif header.is_fragment:
        for piece, its_header, its_flow in fragments.follow(packet, header, flow, "peer", now):
            _is_for(its_flow.key.local, its_header, translate_inbound(piece, its_header, its_flow, flows, now))
    elif flow is not None:
        _is_for(flow.key.local, header, translate_inbound(packet, header, flow, flows, now))


def _leaves(packet: bytes, header: Header, flows: FlowTable) -> None:
    _are_packets(header.version, [icmp_too_big(packet, MTU), icmp_unreachable(packet), tcp_reset(packet)])
    if header.is_icmp_error:
        embedded = parse_embedded(packet, header)
        about = None if isinstance(embedded, PacketDrop) else flows.find(embedded.five_tuple(inbound=True))
        if about is not None:
            translated = translate_error(packet, header, about, outbound=True)
            assert translated is None or (len(translated), translated[0] >> 4) == (header.length, header.version)
    if header.version == 4:
        pieces = fragment(packet, header._replace(dont_fragment=False), MTU)
    else:
        pieces = fragment_at_source(packet, header, MTU, 1)
    assert all(len(piece) <= MTU for piece in pieces)
    _are_packets(header.version, pieces)


def _is_for(address: bytes, header: Header, result: bytes | None) -> None:
    """A translated packet keeps its size and its family, and goes to *address*."""
    if result is not None:
        assert (len(result), result[0] >> 4) == (header.length, header.version)
        assert address == (result[16:20] if header.version == 4 else result[24:40])


def _are_packets(version: int, results: Iterable[bytes | None]) -> None:
    """Packets of our own are whole, and of that IP version."""
    kinds = Counter[object]()
    for result in results:
        if result is not None:
            read = parse(result)
            kinds[read.version if isinstance(read, Header) else read] += 1
            assert not isinstance(read, Header) or read.length == len(result)
    assert kinds.keys() <= {version}, kinds


def seeds() -> Iterator[bytes]:
    for inbound in (False, True):
        for seed in packets.seeds(inbound=inbound):
            yield bytes((inbound,)) + seed
