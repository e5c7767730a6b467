"""Transport datagrams at the edges, and what is done with their plaintext."""

from collections.abc import Iterator
from functools import partial
from ipaddress import ip_network

from tests.support.peers import CLIENT, connect, device
from tests.vectors.cases import Case, Json, equal, unhex, unknown_parts
from tests.vectors.golden import Golden, expect_drop
from wiresock_py.crypto.drops import Drop
from wiresock_py.crypto.keys import PrivateKey
from wiresock_py.crypto.timers import Timer

_ELSEWHERE = ("203.0.113.9", 9)


def transport_edge_cases(vectors: Json) -> Iterator[Case]:
    cases = vectors["transport_edge"]
    for number, case in enumerate(cases):
        yield Case(case["name"], partial(_edge, vectors, cases[:number], case))


def _edge(vectors: Json, before: Json, case: Json) -> None:
    """Each case on a session that has seen those before it in the file, for that is their order there."""
    role, _, name = case["receiver"].partition(" of ")
    golden = Golden.named(vectors, name.removeprefix("handshake "))
    initiator, responder = golden.established()
    receiver = responder if role == "responder" else initiator
    for earlier in before:
        receiver.local.read(unhex(earlier["packet"]), CLIENT, 1.0)
    datagram = unhex(case["packet"])
    if case["expect"] != "drop":
        received = receiver.local.read(datagram, _ELSEWHERE, 2.0)
        equal("drop", received.drop, None)
        equal("endpoint", receiver.endpoint, _ELSEWHERE)
        inner = unhex(case["inner"]) if case["expect"] == "deliver" else None
        equal("packet", None if received.packet is None else bytes(received.packet), inner)
    elif "counts_as" in case:
        received = receiver.local.read(datagram, _ELSEWHERE, 2.0)
        equal("drop", received.drop, Drop.INNER_MALFORMED)
        equal("packet", received.packet, None)
        equal("endpoint", receiver.endpoint, _ELSEWHERE)
        equal("PASSIVE runs", receiver.timers.running(Timer.PASSIVE), True)
    else:
        expect_drop(receiver, datagram, _ELSEWHERE, 2.0)


def decapsulation_cases(vectors: Json) -> Iterator[Case]:
    allowed = vectors["decapsulation"]["sender_allowed_ips"]
    for case in vectors["decapsulation"]["cases"]:
        yield Case(case["name"], partial(_decapsulation, allowed, case))
    yield from unknown_parts(vectors["decapsulation"], "sender_allowed_ips", "cases")


def _decapsulation(allowed: Json, case: Json) -> None:
    ours, theirs = PrivateKey(b"a" * 32), PrivateKey(b"b" * 32)
    receiver, sender = device(ours, seed=1), device(theirs, seed=2)
    peer = receiver.add_peer(theirs.public_key(), map(ip_network, allowed))
    us = sender.add_peer(ours.public_key(), endpoint=CLIENT)
    connect(us, peer)
    assert us.slots.current is not None
    plaintext = unhex(case["plaintext"])
    datagram = bytearray(len(plaintext) + 32)
    us.slots.current.seal_into(plaintext, datagram)
    received = receiver.read(datagram, _ELSEWHERE, 1.0)
    equal("endpoint", peer.endpoint, _ELSEWHERE)
    match case["expect"]:
        case "keepalive":
            equal("outcome", (received.drop, received.packet), (None, None))
        case "deliver":
            equal("drop", received.drop, None)
            equal("packet", bytes(received.packet or b""), unhex(case["inner"]))
        case _:
            equal("dropped", received.drop in (Drop.INNER_MALFORMED, Drop.INNER_SOURCE), True)
            equal("packet", received.packet, None)
            equal("counted", peer.drops[received.drop or Drop.MALFORMED], 1)
