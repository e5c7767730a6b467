"""What leaves when: one tunnel on a virtual clock, its peer played by the scenario."""

from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from math import inf
from typing import NamedTuple

from tests.support.peers import ALICE, BOB, CLIENT, PACKET, SERVER, CountingRandom, WallClock, connect
from tests.vectors.cases import Case, Json, equal
from wiresock_py.crypto.cookie import CookieChecker
from wiresock_py.crypto.results import Datagram
from wiresock_py.crypto.session import Session
from wiresock_py.crypto.tunnel import Tunnel

_EPSILON = 1e-6


def timer_cases(vectors: Json) -> Iterator[Case]:
    for number, scenario in enumerate(vectors["timer_scenarios"]):
        yield Case(scenario["name"], partial(_run, scenario, number))


class _Sent(NamedTuple):
    at: float
    kind: str
    mac2: str


class _Scenario:
    """Scenario time is ``at``; the tunnel's clock is that plus what ``clock_jump`` added."""

    def __init__(self, scenario: Json, seed: int) -> None:
        self.at = 0.0
        self.jumped = 0.0
        self.sent: list[_Sent] = []
        self.initiation = b""
        self.far_clock = WallClock()
        self.far_session: Session | None = None
        self.handshakes = 0
        self.us = Tunnel(
            ALICE,
            BOB.public_key(),
            persistent_keepalive=scenario["persistent_keepalive"],
            wall_clock=WallClock(),
            random=CountingRandom(1000 + seed),
            endpoint=SERVER,
        )
        far = self._far()
        match scenario["session"]:
            case "initiator":
                connect(self.us, far)
                self.far_session = far.slots.current
            case "responder":
                far.endpoint = CLIENT
                connect(far, self.us)
                self.us.endpoint = SERVER
                self.far_session = far.slots.current
            case "none":
                pass
            case other:
                raise AssertionError(f"unknown session {other}")

    def _far(self) -> Tunnel:
        self.handshakes += 1
        return Tunnel(
            BOB, ALICE.public_key(), wall_clock=self.far_clock, random=CountingRandom(self.handshakes), endpoint=CLIENT
        )

    @property
    def clock(self) -> float:
        return self.at + self.jumped

    def run_until(self, until: float) -> None:
        """Tick at each deadline, as an engine with an exact timer would."""
        while True:
            due = max(self.at, self.us.timers.deadline - self.jumped)
            if due > until:
                break
            self.at = due
            before = self.us.timers.deadline
            self.note(self.us.tick(self.clock).datagrams)
            if self.us.timers.deadline == before:  # the clock stepped back: nothing is due before it has caught up
                break
        self.at = until

    def note(self, datagrams: list[Datagram]) -> None:
        for datagram in datagrams:
            data = bytes(datagram.data)
            equal("destination", datagram.endpoint, SERVER)
            if data[0] == 1:
                self.initiation = data
                self.sent.append(_Sent(self.at, "initiation", "set" if any(data[-16:]) else "zero"))
            else:
                kind = {2: "response", 3: "cookie_reply"}.get(data[0], "keepalive" if len(data) == 32 else "data")
                self.sent.append(_Sent(self.at, kind, ""))

    def do(self, event: str) -> None:
        name, _, argument = event.partition(":")
        match name:
            case "send_data":
                self.note(self.us.write([PACKET], self.clock))
            case "initiate":
                self.note(self.us.force_handshake(self.clock))
            case "up":
                self.note(self.us.up(self.clock))
            case "down":
                self.us.down()
            case "recv_data":
                self.receive(self._sealed(PACKET))
            case "recv_keepalive":
                self.receive(self._sealed(b""))
            case "recv_data_expect_drop":
                received = self.us.read(self._sealed(PACKET), SERVER, self.clock)
                equal("dropped", received.drop is not None and received.packet is None, True)
                self.note(received.datagrams)
            case "recv_response":
                far = self._far()
                (response,) = far.read(self.initiation, CLIENT, self.clock).datagrams
                self.far_session = far.slots.next
                self.receive(bytes(response.data))
            case "recv_initiation":
                far = self._far()
                (initiation,) = far.force_handshake(self.clock)
                received = self.us.read(initiation.data, SERVER, self.clock)
                equal("drop", received.drop, None)
                self.note(received.datagrams)
                far.read(received.datagrams[0].data, CLIENT, self.clock)
                self.far_session = far.slots.current
            case "recv_cookie_reply":
                giver = CookieChecker(BOB.public_key(), CountingRandom(7))
                index = int.from_bytes(self.initiation[4:8], "little")
                self.receive(giver.reply(self.initiation, index, ("192.0.2.1", 51820), self.clock))
            case "clock_jump":
                self.jumped += float(argument)
            case _:
                raise AssertionError(f"unknown event {event}")

    def receive(self, datagram: bytes) -> None:
        received = self.us.read(datagram, SERVER, self.clock)
        equal("drop", received.drop, None)
        self.note(received.datagrams)

    def _sealed(self, plaintext: bytes) -> bytes:
        assert self.far_session is not None, "nothing is received before there is a session"
        datagram = bytearray(32 + len(plaintext))
        self.far_session.seal_into(plaintext, datagram)
        return bytes(datagram)

    def check_slots(self, slots: Json) -> None:
        for name, expected in slots.items():
            equal(f"slot {name} is empty", getattr(self.us.slots, name) is None, expected is None)


def _run(scenario: Json, seed: int) -> None:
    play = _Scenario(scenario, seed)
    moments = [(event["t"], "do", event["do"]) for event in scenario["events"]]
    if "after" in scenario:
        moments.append((scenario["after"]["t"], "slots", scenario["after"]["slots"]))
    for at, kind, what in sorted(moments, key=lambda moment: moment[0]):
        play.run_until(at)
        if kind == "do":
            play.do(what)
        else:
            play.check_slots(what)
    play.run_until(scenario["until"])
    _compare(play.sent, scenario["expect"])


def _compare(sent: list[_Sent], expected: Json) -> None:
    """Every expectation met, in order of time, and nothing left over."""
    left = list(sent)
    for one in expected:
        if "repeat" in one:
            _take_series(left, one)
            continue
        wanted = one.get("count", 1)
        matches = [
            index
            for index, datagram in enumerate(left)
            if datagram.kind == one["emit"]
            and one["t_min"] - _EPSILON <= datagram.at <= one["t_max"] + _EPSILON
            and one.get("mac2", datagram.mac2) == datagram.mac2
        ][:wanted]
        if len(matches) < wanted and not one.get("optional"):
            raise AssertionError(f"expected {wanted} × {one}, sent {_shown(sent)}")
        for index in reversed(matches):
            del left[index]
    if left:
        raise AssertionError(f"nobody expected {_shown(left)}")


def _take_series(left: list[_Sent], one: Json) -> None:
    series = [datagram for datagram in left if datagram.kind == one["emit"]]
    rule = one["repeat"]
    count = len(series)
    first = series[0].at if series else inf
    gaps = [later.at - earlier.at for earlier, later in pairwise(series)]
    good = (
        one["t_min"] - _EPSILON <= first <= one["t_max"] + _EPSILON
        and rule["count_min"] <= count <= rule["count_max"]
        and all(rule["gap_min"] - _EPSILON <= gap <= rule["gap_max"] + _EPSILON for gap in gaps)
    )
    if not good:
        raise AssertionError(f"expected {one}, sent {_shown(series)}")
    for datagram in series:
        left.remove(datagram)


def _shown(sent: list[_Sent]) -> str:
    return ", ".join(f"{datagram.kind} at {datagram.at:.3f}" for datagram in sent) or "nothing"
