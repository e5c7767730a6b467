"""wiresock_py.lab.programs.services: DNS answers and served content."""

import asyncio
import contextlib
import hashlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.dns import DNS, DNSQR

from wiresock_py.lab.programs.services import BLOCK, Resolver, content, content_sha256

NAMES = {"vpn.lab": ["198.51.100.2", "2001:db8:2::2"]}
RESOLVER = Resolver("192.0.2.53", NAMES)


def ask(name: str, kind: str, asker: str = "192.0.2.7") -> DNS:
    question = bytes(DNS(id=77, rd=1, qd=DNSQR(qname=name, qtype=kind)))
    return DNS(RESOLVER.answer(question, asker, "udp"))


def test_an_answer_repeats_the_question_and_its_number() -> None:
    answer = ask("vpn.lab", "A")
    assert (answer.id, answer.qr, answer.aa, answer.rd, answer.ra, answer.rcode) == (77, 1, 1, 1, 1, 0)
    assert answer.qd[0].qname == b"vpn.lab."
    assert answer.an[0].rrname == b"vpn.lab."


@pytest.mark.parametrize(("kind", "address"), [("A", "198.51.100.2"), ("AAAA", "2001:db8:2::2")])
def test_a_known_name_has_an_address_in_each_family(kind: str, address: str) -> None:
    assert [record.rdata for record in ask("VPN.lab", kind).an] == [address]


def test_the_asker_and_the_resolver_are_told() -> None:
    assert ask("asker.lab", "A").an[0].rdata == "192.0.2.7"
    assert ask("resolver.lab", "A").an[0].rdata == "192.0.2.53"
    assert ask("asker.lab", "TXT").an[0].rdata == [b"asker=192.0.2.7 resolver=192.0.2.53 over=udp"]
    # a name without an address in the asked family exists all the same
    empty = ask("asker.lab", "AAAA")
    assert (empty.rcode, empty.ancount) == (0, 0)


def test_any_name_of_a_probe_exists_and_no_other_does() -> None:
    assert ask("n17.probe.lab", "A").ancount == 1
    assert ask("nothing.lab", "A").rcode == 3


@given(st.binary(max_size=64))
def test_what_is_no_question_fails_in_a_way_that_the_callers_expect(data: bytes) -> None:
    with contextlib.suppress(struct.error, IndexError, UnicodeDecodeError):
        RESOLVER.answer(data, "192.0.2.7", "udp")


@pytest.mark.parametrize("size", [0, 1, BLOCK, BLOCK + 1, 3 * BLOCK])
def test_the_hash_is_that_of_what_is_served(size: int) -> None:
    async def collect() -> bytes:
        return b"".join([chunk async for chunk in content(size)])

    served = asyncio.run(collect())
    assert len(served) == size
    assert hashlib.sha256(served).hexdigest() == content_sha256(size)
