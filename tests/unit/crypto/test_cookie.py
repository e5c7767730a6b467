"""The bytes are in the vectors (``cookies``); here is what happens over time."""

import pytest

from tests.support.peers import ALICE, BOB, CLIENT, SERVER, CountingRandom
from wiresock_py.crypto.cookie import CookieChecker, CookieGenerator
from wiresock_py.crypto.messages import CookieReply

MESSAGE = b"\1\0\0\0" + bytes(112)
ZERO = bytes(16)


@pytest.fixture
def generator() -> CookieGenerator:
    return CookieGenerator(BOB.public_key())


@pytest.fixture
def checker() -> CookieChecker:
    return CookieChecker(BOB.public_key(), CountingRandom())


def exchange(generator: CookieGenerator, checker: CookieChecker, now: float) -> None:
    sent = generator.add_macs(MESSAGE, now)
    assert generator.consume(CookieReply.parse(checker.reply(sent, 1, CLIENT, now)), now)


def test_without_a_cookie_mac2_is_zero(generator: CookieGenerator, checker: CookieChecker) -> None:
    sent = generator.add_macs(MESSAGE, 0.0)
    assert sent[-16:] == ZERO
    assert checker.mac1_valid(sent)
    assert not checker.mac2_valid(sent, CLIENT, 0.0)


def test_mac1_is_for_the_receiver_alone(generator: CookieGenerator) -> None:
    assert not CookieChecker(ALICE.public_key(), CountingRandom()).mac1_valid(generator.add_macs(MESSAGE, 0.0))


def test_a_cookie_makes_mac2_valid_for_that_address_and_port_only(
    generator: CookieGenerator, checker: CookieChecker
) -> None:
    exchange(generator, checker, 0.0)
    sent = generator.add_macs(MESSAGE, 1.0)
    assert checker.mac2_valid(sent, CLIENT, 1.0)
    assert not checker.mac2_valid(sent, SERVER, 1.0)
    assert not checker.mac2_valid(sent, (CLIENT[0], CLIENT[1] + 1), 1.0)


@pytest.mark.parametrize("position", [0, 60, 115, 116, 131])
def test_mac2_covers_everything_before_it(generator: CookieGenerator, checker: CookieChecker, position: int) -> None:
    exchange(generator, checker, 0.0)
    sent = bytearray(generator.add_macs(MESSAGE, 1.0))
    sent[position] ^= 1
    assert not checker.mac2_valid(sent, CLIENT, 1.0)


def test_a_message_is_good_for_one_cookie_reply(generator: CookieGenerator, checker: CookieChecker) -> None:
    reply = CookieReply.parse(checker.reply(generator.add_macs(MESSAGE, 0.0), 1, CLIENT, 0.0))
    assert generator.consume(reply, 0.0)
    assert not generator.consume(reply, 0.0)


def test_forged_replies_do_not_spoil_the_genuine_one(generator: CookieGenerator, checker: CookieChecker) -> None:
    reply = CookieReply.parse(checker.reply(generator.add_macs(MESSAGE, 0.0), 1, CLIENT, 0.0))
    forged = reply._replace(cookie=bytes(len(reply.cookie)))
    assert not generator.consume(forged, 0.0)
    assert generator.consume(reply, 0.0)


def test_a_reply_to_an_older_message_is_refused(generator: CookieGenerator, checker: CookieChecker) -> None:
    first = generator.add_macs(MESSAGE, 0.0)
    generator.add_macs(MESSAGE[:-1] + b"x", 5.0)
    assert not generator.consume(CookieReply.parse(checker.reply(first, 1, CLIENT, 5.0)), 5.0)


def test_a_reply_nobody_waits_for_is_refused(generator: CookieGenerator, checker: CookieChecker) -> None:
    reply = CookieReply.parse(checker.reply(MESSAGE + bytes(32), 1, CLIENT, 0.0))
    assert not generator.consume(reply, 0.0)


def test_the_client_uses_a_cookie_for_115_seconds(generator: CookieGenerator, checker: CookieChecker) -> None:
    exchange(generator, checker, 10.0)
    assert generator.add_macs(MESSAGE, 124.9)[-16:] != ZERO
    assert generator.add_macs(MESSAGE, 125.1)[-16:] == ZERO


def test_the_server_changes_its_secret_after_120_seconds(generator: CookieGenerator, checker: CookieChecker) -> None:
    exchange(generator, checker, 10.0)
    sent = generator.add_macs(MESSAGE, 11.0)
    assert checker.mac2_valid(sent, CLIENT, 129.9)
    assert not checker.mac2_valid(sent, CLIENT, 130.1)


def test_there_is_a_secret_from_the_first_moment_of_any_clock(generator: CookieGenerator) -> None:
    checkers = [CookieChecker(BOB.public_key(), CountingRandom(seed)) for seed in (1, 2)]
    sent = generator.add_macs(MESSAGE, -100.0)
    assert generator.consume(CookieReply.parse(checkers[0].reply(sent, 1, CLIENT, -100.0)), -100.0)
    sent = generator.add_macs(MESSAGE, -100.0)
    assert [checker.mac2_valid(sent, CLIENT, -100.0) for checker in checkers] == [True, False]


def test_every_reply_has_its_own_nonce(checker: CookieChecker) -> None:
    replies = {CookieReply.parse(checker.reply(MESSAGE + bytes(32), 1, CLIENT, 0.0)).nonce for _ in range(100)}
    assert len(replies) == 100


def test_a_mapped_ipv4_source_has_the_cookie_of_the_ipv4_address(
    generator: CookieGenerator, checker: CookieChecker
) -> None:
    exchange(generator, checker, 0.0)
    assert checker.mac2_valid(generator.add_macs(MESSAGE, 1.0), (f"::ffff:{CLIENT[0]}", CLIENT[1], 0, 0), 1.0)
