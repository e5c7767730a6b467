import random
import socket
import struct
from collections.abc import Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

scapy_dns = pytest.importorskip("scapy.layers.dns")

from wiresock_py.network.dns import Answer, RecordType, decode_answer, encode_name, encode_query  # noqa: E402

A, AAAA, CNAME = RecordType.A, RecordType.AAAA, RecordType.CNAME
labels = st.from_regex(r"[a-z0-9_]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
names = st.lists(labels, min_size=1, max_size=5).map(".".join)
addresses4 = st.lists(st.binary(min_size=4, max_size=4), max_size=5, unique=True)


def reply(
    name: bytes,
    kind: RecordType,
    records: Sequence[tuple[bytes, int, bytes]],
    *,
    identifier: int = 7,
    flags: int = 0x8180,
) -> bytes:
    """An answer without compression: records are owner, type, data."""
    message = struct.pack("!HHHHHH", identifier, flags, 1, len(records), 0, 0) + name + struct.pack("!HH", kind, 1)
    for owner, record, data in records:
        message += owner + struct.pack("!HHIH", record, 1, 60, len(data)) + data
    return message


@given(names)
def test_names_are_written_as_labels(name: str) -> None:
    wire = encode_name(name)
    assert wire == b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0"
    assert encode_name(name + ".") == wire
    assert encode_name(name.upper()) == wire


def test_names_outside_ascii_are_written_by_idna() -> None:
    assert encode_name("bücher.example") == encode_name("xn--bcher-kva.example")


@pytest.mark.parametrize("name", ["", ".", "a..b", ".a", "a" * 64 + ".example", ".".join(["a" * 60] * 5), "\udc80.x"])
def test_what_dns_cannot_name_is_a_value_error_that_says_why(name: str) -> None:
    with pytest.raises(ValueError, match=r"it |each "):
        encode_name(name)


@given(st.integers(0, 65_535), names, st.sampled_from([A, AAAA]))
def test_an_independent_reader_understands_the_query(identifier: int, name: str, kind: RecordType) -> None:
    parsed = scapy_dns.DNS(encode_query(identifier, encode_name(name), kind))
    assert (parsed.id, parsed.qr, parsed.rd, parsed.qdcount) == (identifier, 0, 1, 1)
    assert (parsed.qd[0].qname.decode(), parsed.qd[0].qtype, parsed.qd[0].qclass) == (name + ".", kind, 1)


@settings(max_examples=30)  # scapy takes its time
@given(st.integers(0, 65_535), names, addresses4)
def test_what_an_independent_writer_answers_is_understood(identifier: int, name: str, addresses: list[bytes]) -> None:
    answer = scapy_dns.DNS(
        id=identifier,
        qr=1,
        qd=[scapy_dns.DNSQR(qname=name, qtype="A")],
        an=[scapy_dns.DNSRR(rrname=name, type="A", rdata=socket.inet_ntoa(address)) for address in addresses],
    )
    wire = encode_name(name)
    assert decode_answer(bytes(answer), identifier, wire, A) == Answer(0, False, tuple(addresses), wire)


def test_compressed_names_and_a_chain_of_aliases_are_followed() -> None:
    name = encode_name("vpn.example.net")
    message = (
        struct.pack("!HHHHHH", 7, 0x8180, 1, 3, 0, 0)
        + name
        + struct.pack("!HH", AAAA, 1)
        # vpn.example.net -> edge.example.net, by pointers into the question
        + b"\xc0\x0c"
        + struct.pack("!HHIH", CNAME, 1, 60, 7)
        + b"\x04edge\xc0\x10"
        # edge.example.net -> edge.cdn.example.net; the owner points into the record before
        + b"\xc0\x2d"
        + struct.pack("!HHIH", CNAME, 1, 60, 11)
        + b"\x04edge\x03cdn\xc0\x10"
        + b"\xc0\x40"
        + struct.pack("!HHIH", AAAA, 1, 60, 16)
        + socket.inet_pton(socket.AF_INET6, "2001:db8::5")
    )
    found = decode_answer(message, 7, name, AAAA)
    address = socket.inet_pton(socket.AF_INET6, "2001:db8::5")
    assert found == Answer(0, False, (address,), encode_name("edge.cdn.example.net"))


def test_aliases_may_come_in_any_order_and_only_the_last_ones_addresses_count() -> None:
    vpn, edge, other = encode_name("vpn.example"), encode_name("edge.example"), encode_name("other.example")
    records = [
        (edge, A, b"\1\1\1\1"),
        (other, A, b"\6\6\6\6"),
        (vpn, CNAME, edge),
        (vpn, A, b"\2\2\2\2"),
        (edge, AAAA, bytes(16)),
        (edge, A, b"bad size"),
        (edge, A, b"\1\1\1\1"),
    ]
    random.shuffle(records)
    assert decode_answer(reply(vpn, A, records), 7, vpn, A) == Answer(0, False, (b"\1\1\1\1",), edge)


def test_aliases_in_a_circle_end() -> None:
    one, two = encode_name("one.example"), encode_name("two.example")
    found = decode_answer(reply(one, A, [(one, CNAME, two), (two, CNAME, one)]), 7, one, A)
    assert found is not None
    assert found.addresses == ()


def test_an_answer_to_another_question_is_none() -> None:
    name, other = encode_name("vpn.example"), encode_name("evil.example")
    good = reply(name, A, [(name, A, b"\1\1\1\1")])
    assert decode_answer(good, 7, name, A) is not None
    assert decode_answer(good, 8, name, A) is None
    assert decode_answer(good, 7, other, A) is None
    assert decode_answer(good, 7, name, AAAA) is None
    assert decode_answer(reply(name, A, [], flags=0x0100), 7, name, A) is None  # a question
    assert decode_answer(reply(name, A, [], flags=0xA180), 7, name, A) is None  # not a standard query


def test_the_servers_verdict_and_truncation_are_kept() -> None:
    name = encode_name("vpn.example")
    assert decode_answer(reply(name, A, [], flags=0x8183), 7, name, A) == Answer(3, False, (), name)
    cut = reply(name, A, [(name, A, b"\1\1\1\1")] * 3, flags=0x8380)
    assert decode_answer(cut[:-20], 7, name, A) == Answer(0, True, (), name)
    uncut = reply(name, A, [(name, A, b"\1\1\1\1")] * 3, flags=0x8180)
    assert decode_answer(uncut[:-20], 7, name, A) is None


NAME = encode_name("vpn.example")


@given(st.binary(max_size=300))
@example(reply(NAME, A, [])[:12] + b"\xc0\x0c\0\1\0\1")  # a name that points at itself
@example(reply(NAME, A, [])[:12] + b"\xc0\x0e\xc0\x0c\0\1\0\1")  # two that point at each other
def test_no_bytes_raise(message: bytes) -> None:
    decode_answer(message, 7, NAME, A)


@given(st.binary(max_size=100), st.integers(0, 20))
def test_no_records_after_a_good_question_raise(tail: bytes, count: int) -> None:
    head = struct.pack("!HHHHHH", 7, 0x8180, 1, count, 0, 0) + NAME + struct.pack("!HH", A, 1)
    found = decode_answer(head + tail, 7, NAME, A)
    assert found is None or all(len(address) == 4 for address in found.addresses)


@given(st.data())
def test_no_damage_to_a_good_answer_raises(data: st.DataObject) -> None:
    alias = encode_name("edge.example")
    message = bytearray(reply(NAME, A, [(NAME, CNAME, alias), (alias, A, b"\1\1\1\1")]))
    for _ in range(data.draw(st.integers(1, 4))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    decode_answer(bytes(message[: data.draw(st.integers(0, len(message)))]), 7, NAME, A)
