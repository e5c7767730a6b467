"""Checksums under translation, the MSS clamp, answers that a packet is too big: through the data path's own faces."""

from collections.abc import Iterator
from functools import partial
from ipaddress import ip_address

from tests.support.traffic import batch_of
from tests.vectors.cases import Case, Json, equal, unhex, unknown_parts
from wiresock_py.datapath import (
    Flow,
    FlowTable,
    Header,
    PacketDrop,
    PythonFlow,
    icmp_too_big,
    parse,
    parse_embedded,
    translate_batch,
    translate_error,
    translate_inbound,
)
from wiresock_py.datapath.checksum import adjust
from wiresock_py.flow import FiveTuple, Route

_LARGE_MTU = 9000


def checksum_cases(vectors: Json) -> Iterator[Case]:
    for case in vectors["checksums"]["incremental"]:
        yield Case(f"{case['old_checksum']}: {case['old_word']} to {case['new_word']}", partial(_incremental, case))
    for case in vectors["checksums"]["packets"]:
        yield Case(case["name"], partial(_rewrite, case))
    yield from unknown_parts(vectors["checksums"], "incremental", "packets")


def _incremental(case: Json) -> None:
    number = {name: int(value, 16) for name, value in case.items()}
    delta = number["new_word"] - number["old_word"]
    equal("checksum", f"{adjust(number['old_checksum'], delta):04x}", case["new_checksum"])


def _rewrite(case: Json) -> None:
    """ "source A -> B" is a packet that leaves, "destination A -> B" one that arrives, alone or about another."""
    packet, after = unhex(case["before"]), unhex(case["after"])
    side, _, addresses = case["rewrite"].partition(";")[0].partition(" ")
    old, new = (ip_address(text.strip()).packed for text in addresses.split("->"))
    header = _header(packet)
    if side == "source":
        flow = _flow(header.five_tuple(), inner=header.five_tuple()._replace(local=new))
        translated, _ = translate_batch(batch_of([packet]), [0], [flow], FlowTable(), _LARGE_MTU, 1.0)
        equal("packets", translated, [after])
        return
    if header.is_icmp_error:
        embedded = parse_embedded(packet, header)
        assert isinstance(embedded, Header), embedded
        flow = _flow(embedded.five_tuple()._replace(local=new), inner=embedded.five_tuple())
        equal("the packet that the error is about came from", embedded.source, old)
        equal("error", translate_error(packet, header, flow, outbound=False), after)
        return
    inner = header.five_tuple(inbound=True)
    equal("destination", inner.local, old)
    flow = _flow(inner._replace(local=new), inner=inner)
    equal("packet", translate_inbound(packet, header, flow, FlowTable(), 1.0), after)


def mss_clamp_cases(vectors: Json) -> Iterator[Case]:
    for case in vectors["mss_clamp"]:
        yield Case(case["name"], partial(_mss_clamp, case))


def _mss_clamp(case: Json) -> None:
    """A flow that translates nothing shows the clamp alone, both ways."""
    packet, after = unhex(case["before"]), unhex(case["after"])
    header = parse(packet)
    if header is PacketDrop.BAD_FRAGMENT:  # cut inside the TCP header (RFC 1858): refused, so nothing to clamp
        equal("changed", case["changed"], False)
        return
    assert isinstance(header, Header), header
    mtu = case["limit"] + (60 if header.version == 6 else 40)
    flow = _flow(header.five_tuple())
    translated, _ = translate_batch(batch_of([packet]), [0], [flow], FlowTable(), mtu, 1.0)
    equal("outbound", translated, [after])
    flow = _flow(header.five_tuple(inbound=True))
    flow.mtu = mtu
    equal("inbound", translate_inbound(packet, header, flow, FlowTable(), 1.0), after)
    equal("changed", after != packet, case["changed"])


def too_big_cases(vectors: Json) -> Iterator[Case]:
    for case in vectors["icmp_too_big"]:
        yield Case(case["name"], partial(_too_big, case))


def _too_big(case: Json) -> None:
    answer = icmp_too_big(unhex(case["original"]), case["mtu"])
    equal("answer", answer, unhex(case["example"]) if case["example"] else None)
    if answer is not None:
        equal("source of the error", _header(answer).source, ip_address(case["source_of_error"]).packed)


def _header(packet: bytes) -> Header:
    header = parse(packet)
    assert isinstance(header, Header), header
    return header


def _flow(key: FiveTuple, inner: FiveTuple | None = None) -> Flow:
    return PythonFlow(key, Route.TUNNEL, 0.0, inner=inner)
