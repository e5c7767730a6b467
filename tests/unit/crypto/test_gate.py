"""Which handshake messages are admitted; the table of rules is in the vectors (``cookies.server_rules``)."""

from tests.support.peers import ALICE, BOB, CLIENT, CountingRandom
from wiresock_py.crypto.cookie import CookieGenerator
from wiresock_py.crypto.drops import Drop
from wiresock_py.crypto.gate import Gate
from wiresock_py.crypto.messages import CookieReply
from wiresock_py.crypto.results import Datagram

GENERATOR = CookieGenerator(BOB.public_key())


def message(number: int = 0) -> bytes:
    return GENERATOR.add_macs(b"\1\0\0\0" + number.to_bytes(112, "little"), 0.0)


def gate() -> Gate:
    return Gate(BOB.public_key(), CountingRandom())


def admit_many(gate: Gate, count: int, now: float) -> tuple[list[Drop | None], list[Datagram]]:
    answers: list[Datagram] = []
    return [gate.admit(message(number), ("10.0.0.1", number), now, answers) for number in range(count)], answers


def test_a_hundred_a_second_are_admitted_without_a_cookie() -> None:
    outcome, answers = admit_many(gate(), 100, 5.0)
    assert outcome == [None] * 100
    assert answers == []


def test_more_than_that_puts_the_gate_under_load() -> None:
    full = gate()
    outcome, answers = admit_many(full, 150, 5.0)
    assert outcome == [None] * 100 + [Drop.COOKIE_REQUIRED] * 50
    assert len(answers) == full.cookie_replies == 50
    assert full.under_load(5.9)


def test_the_load_ends_a_second_after_the_last_excess() -> None:
    full = gate()
    admit_many(full, 101, 5.0)
    assert full.under_load(5.99)
    assert not full.under_load(6.0)
    assert full.admit(message(), CLIENT, 6.0, []) is None


def test_badly_addressed_messages_do_not_add_to_the_load() -> None:
    quiet = gate()
    bad = bytearray(message())
    bad[-32] ^= 1
    for _ in range(10_000):
        assert quiet.admit(bad, CLIENT, 5.0, []) is Drop.BAD_MAC1
    assert not quiet.under_load(5.0)


def test_cookie_replies_are_capped_at_500_a_second() -> None:
    full = gate()
    answers: list[Datagram] = []
    for second in (5.0, 6.0):
        sent = len(answers)
        for number in range(3000):
            full.admit(message(number), ("10.0.0.1", number), second, answers)
        assert len(answers) - sent == 500


def test_sources_with_cookies_are_held_to_500_a_second_all_together() -> None:
    """Whoever holds an IPv6 /48 can prove 65,536 of them."""
    full = gate()
    generators = {(f"2001:db8:0:{number:x}::1", 1): CookieGenerator(BOB.public_key()) for number in range(620)}
    sources = list(generators)
    admit_many(full, 101, 5.0)

    def send(source: tuple[str, int], now: float) -> Drop | None:
        answers: list[Datagram] = []
        outcome = full.admit(generators[source].add_macs(message()[:-32], now), source, now, answers)
        for answer in answers:
            assert generators[source].consume(CookieReply.parse(answer.data), now)
        return outcome

    for number, source in enumerate(sources):
        assert send(source, 5.0 + number / 1000) is Drop.COOKIE_REQUIRED
    assert [send(source, 5.7) for source in sources] == [None] * 500 + [Drop.RATE_LIMITED] * 120
    assert [send(source, 5.9) for source in sources[:120]] == [None] * 100 + [Drop.RATE_LIMITED] * 20


def test_a_reply_goes_to_the_source_of_the_message_and_names_its_sender() -> None:
    full = gate()
    _, answers = admit_many(full, 101, 5.0)
    (answer,) = answers
    assert answer.endpoint == ("10.0.0.1", 100)
    assert CookieReply.parse(answer.data).receiver == int.from_bytes(message(100)[4:8], "little")


def test_a_changed_identity_is_checked_for_at_once() -> None:
    changed = gate()
    changed.set_identity(ALICE.public_key())
    assert changed.admit(message(), CLIENT, 5.0, []) is Drop.BAD_MAC1
