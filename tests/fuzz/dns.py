"""DNS messages, of programs and of any server: what cannot be read is None, and a name is a host's."""

import ipaddress
from collections.abc import Iterator

from scapy.layers.dns import DNS, DNSQR, DNSRR

from wiresock_py.network.dns import RecordType, decode_answer, encode_name
from wiresock_py.network.dns_messages import is_answer_to, read_question, read_reply

NAME = "www.example.org"
IDENTIFIER = 7


def run(data: bytes) -> None:
    for kind in (RecordType.A, RecordType.AAAA):
        answer = decode_answer(data, IDENTIFIER, encode_name(NAME), kind)
        if answer is not None:
            assert {len(found) for found in answer.addresses} <= {4 if kind is RecordType.A else 16}
    question = read_question(data)
    reply = read_reply(data)
    if question is None:
        assert reply is None
        return
    assert _is_name(question.name)
    assert is_answer_to(data, question) == bool(data[2] & 0x80)
    if reply is None:
        return
    assert reply.names[0] == question.name
    assert all(map(_is_name, reply.names))
    assert 0 <= reply.ttl < 1 << 31
    for found in reply.addresses:
        ipaddress.ip_address(found)


def _is_name(text: str) -> bool:
    return len(text) <= 253 and text == text.lower() and text.isascii() and text.isprintable() and " " not in text


def seeds() -> Iterator[bytes]:
    question = DNSQR(qname=NAME)
    address = DNSRR(rrname="host.example.org", type="A", ttl=60, rdata="192.0.2.1")
    address6 = DNSRR(rrname="host.example.org", type="AAAA", ttl=60, rdata="2001:db8::1")
    alias = DNSRR(rrname=NAME, type="CNAME", ttl=30, rdata="host.example.org")
    yield bytes(DNS(id=IDENTIFIER, qd=question))
    for records in ([], [alias, address], [alias, address, address6], [alias, alias]):
        yield bytes(DNS(id=IDENTIFIER, qr=1, qd=question, an=records))
    yield bytes(DNS(id=IDENTIFIER, qr=1, tc=1, rcode=3, qd=question))
    # the same behind compression pointers
    header = bytes((0, IDENTIFIER, 0x80, 0, 0, 1, 0, 2, 0, 0, 0, 0))
    name = encode_name(NAME)
    yield (
        header + name + b"\0\1\0\1" + b"\xc0\x0c\0\5\0\1\0\0\0\1\0\2\xc0\x10" + b"\xc0\x10\0\1\0\1\0\0\0\1\0\4\1\2\3\4"
    )
