"""Golden handshakes with every intermediate value, and the messages that must be refused."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import ClassVar

from tests.support.peers import CLIENT, SERVER
from tests.vectors.cases import Case, Json, equal, unhex
from tests.vectors.golden import Golden, expect_drop
from wiresock_py.crypto import noise
from wiresock_py.crypto.results import Buffer
from wiresock_py.crypto.session import Session

# Roles and times of the refused messages: the genuine one at second 0, the bad one a second later.
_LATER = 1.0


def handshake_cases(vectors: Json) -> Iterator[Case]:
    for handshake in vectors["handshakes"]:
        name = handshake["name"]
        yield Case(f"{name}: messages", partial(_messages, Golden(handshake)))
        yield Case(f"{name}: intermediate values", partial(_intermediate_values, Golden(handshake)))
        for number, transport in enumerate(handshake["transport"]):
            yield Case(f"{name}: transport {number}", partial(_transport, Golden(handshake), transport))


def _messages(golden: Golden) -> None:
    """Both roles make the golden bytes, take each other's, and end with sessions that understand each other."""
    initiator, responder = golden.initiator(), golden.responder()
    golden.initiate(initiator)
    (response,) = responder.local.read(golden.initiation, CLIENT, 0.0).datagrams
    equal("response", response.data, golden.response)
    received = initiator.local.read(golden.response, SERVER, 0.0)
    equal("drop", received.drop, None)
    (confirmation,) = received.datagrams
    equal("current of the initiator", _index(initiator.slots.current), golden.vector["initiator"]["index"])
    equal("next of the responder", _index(responder.slots.next), golden.vector["responder"]["index"])
    equal("current of the responder", responder.slots.current, None)
    equal("confirmation", responder.local.read(confirmation.data, CLIENT, 0.0).drop, None)
    equal("current after it", _index(responder.slots.current), golden.vector["responder"]["index"])
    for role, macs, message in (
        ("initiation", golden.vector["macs_initiation"], golden.initiation),
        ("response", golden.vector["macs_response"], golden.response),
    ):
        equal(f"mac1 of the {role}", message[-32:-16].hex(), macs["mac1"])
        equal(f"mac2 of the {role}", message[-16:].hex(), macs["mac2"])


def _index(session: Session | None) -> int | None:
    return None if session is None else session.local_index


class _Recorder(noise.SymmetricState):
    """Notes every value the handshake goes through, in order."""

    __slots__ = ()
    seen: ClassVar[dict[str, list[str]]]

    def __init__(self, *state: Buffer) -> None:
        super().__init__(*state)  # type: ignore[arg-type]  # as SymmetricState itself is called
        self._note()

    def _note(self, **values: Buffer) -> None:
        self.seen["ck"].append(self.chaining_key.hex())
        self.seen["h"].append(self.hash.hex())
        for kind, value in values.items():
            self.seen[kind].append(bytes(value).hex())

    def mix_hash(self, data: Buffer) -> None:
        super().mix_hash(data)
        self._note(ct=data, tau=data)

    def mix_chain(self, data: Buffer) -> None:
        super().mix_chain(data)
        self._note(dh=data)

    def mix_key(self, data: Buffer) -> bytes:
        key = super().mix_key(data)
        self._note(dh=data, k=key)
        return key

    def mix_key_and_hash(self, preshared_key: Buffer) -> bytes:
        key = super().mix_key_and_hash(preshared_key)
        self._note(k=key)
        return key

    def split(self) -> tuple[bytes, bytes]:
        first, second = super().split()
        self._note(i2r=first, r2i=second)
        return first, second


@contextmanager
def _recording() -> Iterator[dict[str, list[str]]]:
    class Recorder(_Recorder):
        __slots__ = ()
        seen: ClassVar[dict[str, list[str]]] = defaultdict(list)

    original = noise.SymmetricState
    noise.SymmetricState = Recorder  # type: ignore[misc, assignment]  # the functions of noise look it up at each call
    try:
        yield Recorder.seen
    finally:
        noise.SymmetricState = original  # type: ignore[misc]


def _intermediate_values(golden: Golden) -> None:
    vector = golden.vector
    with _recording() as sent:
        initiator = golden.initiator()
        golden.initiate(initiator)
        initiator.local.read(golden.response, SERVER, 0.0)
    with _recording() as received:
        golden.responder().local.read(golden.initiation, CLIENT, 0.0)
    for role, seen in (("initiator", sent), ("responder", received)):
        place: dict[str, int] = defaultdict(int)
        for step in vector["steps"]:
            for field, value in step.items():
                if field == "name":
                    continue
                kind = "h" if field == "h_before" else field
                try:
                    place[kind] = seen[kind].index(value, place[kind])
                except ValueError:
                    raise AssertionError(f"{role}, {step['name']}: {field} {value} was never reached") from None
        equal(f"final ck of the {role}", vector["final_ck"] in seen["ck"], True)
        equal(f"final h of the {role}", vector["final_h"] in seen["h"], True)
        equal(f"T1 of the {role}", seen["i2r"], [vector["key_initiator_to_responder"]])
        equal(f"T2 of the {role}", seen["r2i"], [vector["key_responder_to_initiator"]])


def _transport(golden: Golden, transport: Json) -> None:
    """The sender makes these bytes for this packet, the other side makes the packet of them."""
    initiator, responder = golden.established()
    sender, receiver = (initiator, responder) if transport["direction"] == "i2r" else (responder, initiator)
    session, other = sender.slots.current, receiver.slots.current
    assert isinstance(session, Session)
    assert isinstance(other, Session)
    session.counter = transport["counter"]
    other.replay = type(other.replay)()  # the confirmation already used counter 0
    sender.mtu = transport["mtu"]
    inner = unhex(transport["inner"])
    (datagram, *_) = sender.write([inner], 1.0) if inner else sender._keepalive(1.0)
    equal("datagram", datagram.data, unhex(transport["packet"]))
    equal("size", len(datagram.data), 32 + transport["padded_length"])
    received = receiver.local.read(datagram.data, SERVER, 1.0)
    equal("drop", received.drop, None)
    equal("packet", bytes(received.packet or b""), inner)


def handshake_negative_cases(vectors: Json) -> Iterator[Case]:
    for case in vectors["handshake_negative"]:
        yield Case(case["name"], partial(_negative, vectors, case))


def _negative(vectors: Json, case: Json) -> None:
    role, _, name = case["receiver"].removeprefix("the ").partition(" of ")
    golden = Golden.named(vectors, name.removeprefix("handshake "))
    datagram = unhex(case["packet"])
    if role == "responder":
        receiver, source = golden.responder(), CLIENT
        genuine = golden.initiation
    else:
        receiver, source = golden.initiator(), SERVER
        golden.initiate(receiver)
        genuine = golden.response
    if "after" in case:
        before = _message(vectors, case["after"], "initiation" if role == "responder" else "response")
        equal("the message before it", receiver.local.read(before, source, 0.0).drop, None)
    if case["expect"] == "accept":
        received = receiver.local.read(datagram, source, _LATER)
        equal("drop", received.drop, None)
        equal("answers", len(received.datagrams), 1)
        return
    expect_drop(receiver, datagram, source, _LATER)
    if "then_accept" in case:
        genuine = _message(vectors, case["then_accept"], "response")
    if "after" not in case:  # the state it might have broken still serves the genuine message
        equal("the genuine message after it", receiver.local.read(genuine, source, _LATER).drop, None)


def _message(vectors: Json, reference: str, default: str) -> bytes:
    """The message that "basic" or "basic.response" names."""
    name, _, kind = reference.partition(".")
    return unhex(Golden.named(vectors, name).vector[kind or default])
