"""Cookies, as their giver and as their taker, and what is done with handshake messages under load."""

from collections.abc import Iterator
from functools import partial
from ipaddress import ip_address

from tests.support.peers import (
    ALICE,
    BOB,
    CLIENT,
    EVERYWHERE,
    SERVER,
    ScriptedRandom,
    WallClock,
    device,
)
from tests.vectors.cases import Case, Json, equal, unhex, unknown_parts
from tests.vectors.golden import Golden, expect_drop, snapshot
from wiresock_py.crypto.cookie import CookieGenerator
from wiresock_py.crypto.device import Device
from wiresock_py.crypto.drops import Drop
from wiresock_py.crypto.results import Received
from wiresock_py.crypto.tunnel import Tunnel

# More well-addressed handshake messages in one moment than anyone's threshold (ours is 100 a second).
_FLOOD = 200

_SENT_BY = {"initiator": "initiation", "responder": "response"}


def put_under_load(server: Device, now: float) -> None:
    """Send it well-addressed garbage until it asks for cookies, as an attacker without keys can."""
    stranger = CookieGenerator(server.identity.public)
    for number in range(_FLOOD):
        junk = bytes([1, 0, 0, 0]) + number.to_bytes(112, "big")
        server.read(stranger.add_macs(junk, 0.0), ("203.0.113.200", 1000 + number), now)


def cookie_cases(vectors: Json) -> Iterator[Case]:
    section = vectors["cookies"]
    for reply in section["replies"]:
        yield Case(reply["name"], partial(_reply, vectors, reply))
    for key, cases in section.items():
        if key.startswith("negative_for_"):
            role, _, name = key.removeprefix("negative_for_").partition("_of_")
            answers = f"{_SENT_BY[role]} of {name}"
            for case in cases:
                title = f"refused by the {role} of {name}: {case['name']}"
                yield Case(title, partial(_refused, vectors, answers, case))
    rest = [key for key in section if not key.startswith("negative_for_")]
    yield from unknown_parts(rest, "note", "replies", "server_rules")
    for rule in section["server_rules"]:
        wording = ", ".join(f"{key} {value}" for key, value in rule.items())
        yield Case(wording, partial(_server_rule, rule))


def _sender_of(vectors: Json, answers: str) -> tuple[Tunnel, bytes, Golden]:
    """Who sent the message that "initiation of basic" names, having sent it; and the message."""
    kind, _, name = answers.partition(" of ")
    golden = Golden.named(vectors, name)
    if kind == "initiation":
        sender = golden.initiator()
        return sender, golden.initiate(sender), golden
    sender = golden.responder()
    (response,) = sender.local.read(golden.initiation, CLIENT, 0.0).datagrams
    return sender, bytes(response.data), golden


def _reply(vectors: Json, reply: Json) -> None:
    sender, message, golden = _sender_of(vectors, reply["answers"])
    giver = golden.responder() if reply["answers"].startswith("initiation") else golden.initiator()
    equal("giver", bytes(giver.local.identity.public).hex(), reply["cookie_sender_static_public"])
    origin = unhex(reply["source_bytes"])
    source = (str(ip_address(origin[:-2])), int.from_bytes(origin[-2:], "big"))

    # The giver, under load, makes exactly this reply.
    device = giver.local
    assert isinstance(device, Device)
    put_under_load(device, 100.0)
    checker = device.gate._checker
    checker._secret_expires = 0.0
    checker._random = ScriptedRandom(unhex(reply["secret_Rm"]), unhex(reply["nonce"]))
    received = device.read(message, source, 100.0)
    equal("drop", received.drop, Drop.COOKIE_REQUIRED)
    (answer,) = received.datagrams
    equal("reply", answer.data, unhex(reply["packet"]))
    equal("its destination", answer.endpoint, source)
    equal("receiver index", int.from_bytes(answer.data[4:8], "little"), reply["receiver_index"])

    # The taker keeps the cookie, wherever it came from, and its next message carries the mac2; nothing else changes.
    before = snapshot(sender)
    received = sender.local.read(answer.data, ("203.0.113.9", 9), 0.5)
    equal("taken", (received.drop, received.datagrams), (None, []))
    equal("state", snapshot(sender), before)
    with_mac2 = sender.cookies.add_macs(message[:-32], 1.0)
    equal("with mac2", with_mac2, unhex(reply["same_message_with_mac2"]))

    # And with it the giver does the work.
    drop = device.read(with_mac2, source, 100.0).drop
    equal("not refused", drop in (None, Drop.UNKNOWN_HANDSHAKE), True)


def _refused(vectors: Json, answers: str, case: Json) -> None:
    """Nothing is taken from it: the next message carries the mac2 it would have carried anyway."""
    sender, message, _ = _sender_of(vectors, answers)
    expect_drop(sender, unhex(case["packet"]), SERVER, 0.1)
    equal("the next message", sender.cookies.add_macs(message[:-32], 1.0), message)


def _server_rule(rule: Json) -> None:
    server = device(BOB, seed=2, wall_clock=WallClock())
    server.add_peer(ALICE.public_key(), EVERYWHERE)
    client = device(ALICE, seed=1).add_peer(BOB.public_key(), EVERYWHERE, endpoint=SERVER)
    other = ("192.0.2.77", 4242)
    start = 1000.0
    if rule["under_load"]:
        put_under_load(server, start)

    # A cookie for the source, for another one, or one that has grown too old
    wanted = rule["mac2"]
    if wanted.startswith(("good", "made with")):
        asked_from = other if "another" in wanted else CLIENT
        _take_cookie(client, server, asked_from, start)
    if "older than" in wanted:
        start += 121.0
        put_under_load(server, start)
    if rule.get("within_rate") is False:
        for _ in range(5):
            again = server.read(_initiation(client, start), CLIENT, start)
            equal("of the first five", again.drop in (None, Drop.INITIATION_FLOOD), True)

    message = bytearray(_initiation(client, start))
    if wanted in ("zero", "any", "wrong"):
        message[-16:] = bytes(16) if wanted == "zero" else b"\x5a" * 16
    if rule["mac1"] == "bad":
        message[-32] ^= 1
    _check_result(server.read(message, CLIENT, start), rule["result"])


def _take_cookie(client: Tunnel, server: Device, source: tuple[str, int], now: float) -> None:
    if not server.gate.under_load(now):
        return
    (reply,) = server.read(_initiation(client, now), source, now).datagrams
    equal("cookie taken", client.local.read(reply.data, SERVER, now).drop, None)
    # The rule is about the giver, so the taker does not forget it by itself.
    client.cookies._cookie_expires = float("inf")


def _initiation(client: Tunnel, now: float) -> bytes:
    client.timers.stop()
    (datagram,) = client.force_handshake(now)
    return bytes(datagram.data)


def _check_result(received: Received, result: str) -> None:
    match result:
        case "process":
            equal("drop", received.drop, None)
            equal("response", [len(datagram.data) for datagram in received.datagrams], [92])
        case "cookie_reply":
            equal("drop", received.drop, Drop.COOKIE_REQUIRED)
            equal("cookie reply", [len(datagram.data) for datagram in received.datagrams], [64])
        case "drop":
            equal("dropped", received.drop in (Drop.BAD_MAC1, Drop.RATE_LIMITED), True)
            equal("answers", received.datagrams, [])
        case other:
            raise AssertionError(f"unknown result {other}")
