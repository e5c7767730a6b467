import struct
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.dns_messages import AAAA, CNAME, TXT, A, answer, name_bytes, query
from wiresock_py.network.dns_messages import Reply, is_answer_to, rcode, read_question, read_reply


def packed(*addresses: str) -> tuple[bytes, ...]:
    return tuple(ip_address(address).packed for address in addresses)


def test_a_question_is_read_in_small_letters() -> None:
    question = read_question(query("WWW.Example.com", AAAA, 99))
    assert question is not None
    assert (question.identifier, question.name) == (99, "www.example.com")


def test_an_answer_answers_only_the_question_it_repeats() -> None:
    asked = query("www.example.com")
    question = read_question(asked)
    assert question is not None
    assert is_answer_to(answer(asked), question)
    assert is_answer_to(answer(query("WWW.example.com")), question)
    assert not is_answer_to(asked, question)
    for other in (query("www.example.com", AAAA), query("x.example.com"), query("www.example.com", identifier=8)):
        assert not is_answer_to(answer(other), question)
    assert rcode(answer(asked, rcode=2)) == 2


def test_aliases_are_followed_to_the_addresses_and_the_shortest_time_counts() -> None:
    records = [
        ("www.a.test", CNAME, 300, "cdn.b.test"),
        ("cdn.b.test", CNAME, 20, "x.c.test"),
        ("x.c.test", A, 60, "192.0.2.1"),
        ("x.c.test", A, 60, "192.0.2.2"),
        ("other.test", A, 60, "192.0.2.3"),
    ]
    expected = Reply(("www.a.test", "cdn.b.test", "x.c.test"), packed("192.0.2.1", "192.0.2.2"), 20)
    assert read_reply(answer(query("www.a.test"), records)) == expected
    reply = read_reply(answer(query("www.a.test"), records[::-1]))
    assert reply is not None
    assert reply.names == expected.names
    assert set(reply.addresses) == set(expected.addresses)


def test_ipv6_addresses_are_read_too() -> None:
    reply = read_reply(answer(query("a.test", AAAA), [("a.test", AAAA, 60, "2001:db8::1")]))
    assert reply == Reply(("a.test",), packed("2001:db8::1"), 60)


def test_an_answer_without_addresses_teaches_none() -> None:
    reply = read_reply(answer(query("a.test", TXT)))
    assert reply is not None
    assert reply.addresses == ()


def test_aliases_in_a_circle_end() -> None:
    records = [("a.test", CNAME, 9, "b.test"), ("b.test", CNAME, 9, "a.test"), ("a.test", A, 9, "192.0.2.1")]
    reply = read_reply(answer(query("a.test"), records))
    assert reply is not None
    assert reply.names == ("a.test", "b.test")


def test_a_time_to_live_with_its_highest_bit_set_is_zero() -> None:
    reply = read_reply(answer(query("a.test"), [("a.test", A, 0x8000_0005, "192.0.2.1")]))
    assert reply is not None
    assert reply.ttl == 0


@pytest.mark.parametrize("label", [b"a.b", b"\xff", b"a b", b"\0"])
def test_a_name_that_no_rule_could_mean_is_not_read(label: bytes) -> None:
    message = struct.pack("!HHHHHH", 7, 0x0100, 1, 0, 0, 0) + bytes([len(label)]) + label + name_bytes("test")
    assert read_question(message + struct.pack("!HH", A, 1)) is None


@pytest.mark.parametrize("cut", range(1, 40))
def test_what_is_cut_short_is_not_read(cut: int) -> None:
    whole = answer(query("a.test"), [("a.test", A, 60, "192.0.2.1")])
    assert cut >= len(whole) or read_reply(whole[:-cut]) is None


@given(st.binary(max_size=200))
def test_nothing_raises(message: bytes) -> None:
    read_question(message)
    read_reply(message)


@given(st.integers(0, 200), st.integers(0, 255))
def test_nothing_raises_for_an_answer_with_one_byte_changed(at: int, value: int) -> None:
    records = [("www.a.test", CNAME, 300, "b.test"), ("b.test", A, 60, "192.0.2.1")]
    message = bytearray(answer(query("www.a.test"), records))
    message[at % len(message)] = value
    read_reply(bytes(message))
