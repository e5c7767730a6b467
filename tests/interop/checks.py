"""What is checked with every program in both roles, as fast as it will go; what takes real time is in timers.py.

A check is a function of an instance of the program and the role the program has in the handshake. It raises
AssertionError with what was expected, and returns what is worth telling.
"""

import random
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

from tests.endurance.flood import valid
from tests.interop.end import COOKIE_REPLY, INITIATION, RESPONSE, TRANSPORT, Entry
from tests.interop.programs import INITIATOR, MTU, RESPONDER, Instance, Meeting
from wiresock_py.crypto import Drop, PresharedKey, PublicKey
from wiresock_py.crypto.constants import REKEY_TIMEOUT, REKEY_TIMEOUT_JITTER
from wiresock_py.crypto.cookie import CookieGenerator

ELSEWHERE = "127.0.0.2"
SIZES = (0, 1, 15, 16, 17, 500)
BURST, PAUSE = 600, 0.25
"""wireguard-go is under load when 128 handshake messages wait in its queue, BoringTun after 100 in a second."""
DRAINING = 0.1
"""Seconds after a burst in which a program empties its socket, which was full; it stays under load for a second."""
TRICKLE, TRICKLE_PAUSE = 20, 0.1
"""Our own end is after 100 in a second."""


def handshake(instance: Instance, role: str) -> str:
    with closing(instance.meet(role)) as meeting:
        meeting.connect()
        end, state = meeting.end, meeting.state()
        assert state.received, "the program knows of nothing received"
        assert state.endpoint == "{}:{}".format(*end.place), f"the program has us at {state.endpoint}"
        first, second = (end.sent, end.received) if role == RESPONDER else (end.received, end.sent)
        assert [first[0].kind, second[0].kind, first[1].kind] == [INITIATION, RESPONSE, TRANSPORT]
        return f"{(second[0].time - first[0].time) * 1000:.1f} ms"


def data(instance: Instance, role: str) -> str:
    with closing(instance.meet(role)) as meeting:
        meeting.connect()
        for version, overhead in ((4, 28), (6, 48)):
            for size in (*SIZES, MTU - overhead):
                payload = random.randbytes(size)
                meeting.end.send(meeting.packet(payload, version))
                assert meeting.app_receives(version) == payload, f"IPv{version}: {size} bytes came out as others"
                meeting.app_sends(payload, version)
                assert meeting.app_receives(version) == payload, f"IPv{version}: {size} bytes came back as others"
        return f"0 to {MTU} bytes, IPv4 and IPv6"


def psk(instance: Instance, role: str) -> str:
    ours, other = PresharedKey.generate(), PresharedKey.generate()
    with closing(instance.meet(role, preshared_key=ours)) as meeting:
        meeting.connect()
    with closing(instance.meet(role, preshared_key=ours, their_preshared_key=other)) as meeting:
        try:
            meeting.connect(seconds=1)
        except AssertionError:
            pass
        else:
            raise AssertionError("with another preshared key there is a session all the same")
        initiations = meeting.end.sent_of(INITIATION) + meeting.end.received_of(INITIATION)
        responses = meeting.end.sent_of(RESPONSE) + meeting.end.received_of(RESPONSE)
        assert initiations, "no handshake was tried"
        assert responses, "no handshake came as far as the preshared key"
    return "the same works, another one does not"


def order(instance: Instance, role: str) -> str:
    """Datagrams that come late and twice, towards the program and towards us."""
    count = 50
    shuffle = random.Random(1).shuffle
    with closing(instance.meet(role)) as meeting:
        meeting.connect()
        end = meeting.end
        wanted = [b"packet %d" % number for number in range(count)]
        datagrams = end.seal(meeting.packet(payload) for payload in wanted) * 2
        shuffle(datagrams)
        end.put(datagrams)
        assert sorted(meeting.app_receives() for _ in wanted) == sorted(wanted)
        meeting.app_hears_nothing_more()

        end.answering = False
        end.holding = True
        for payload in wanted:
            meeting.app_sends(payload)
        end.until(lambda: len(end.held) == count, 3, f"{count} datagrams of the application's")
        arrivals = end.held * 2
        shuffle(arrivals)
        end.holding = False
        before = len(end.packets)
        end.read(arrivals)
        assert sorted(meeting.payloads()[before:]) == sorted(wanted), "not each packet once"
        assert end.device.drops[Drop.REPLAY] == count
        return f"{count} shuffled and doubled, each way"


def roaming(instance: Instance, role: str) -> str:
    """Both move, one after the other; who did not move follows authentic datagrams. Moves the whole program."""
    with closing(instance.meet(role)) as meeting:
        meeting.connect()
        end = meeting.end
        end.move(ELSEWHERE)
        end.send(meeting.packet(b"from elsewhere"))
        assert meeting.app_receives() == b"from elsewhere"
        meeting.app_sends(b"to elsewhere")
        assert meeting.app_receives() == b"to elsewhere", "the program does not follow us"
        assert meeting.state().endpoint == "{}:{}".format(*end.place)

        instance.listen_on(instance.port + 1000)
        meeting.app_sends(b"moved")
        assert meeting.app_receives() == b"moved", "we do not follow the program"
        assert end.tunnel.endpoint == instance.place
        return "we move, they move"


def cookie(instance: Instance, role: str) -> str:
    return _cookie_from_them(instance) if role == RESPONDER else _cookie_from_us(instance)


def _has_mac2(entry: Entry) -> bool:
    return entry.data[-16:] != bytes(16)


def _cookie_from_them(instance: Instance) -> str:
    """The program is under load: it wants a cookie from us, and answers our next initiation, which has it."""
    with (
        _flood(instance, instance.place, PublicKey.from_base64(instance.keys.public), BURST, PAUSE) as flood,
        closing(_meet_under_load(instance, flood)) as meeting,
    ):
        end = meeting.end
        assert not end.connections, "a cookie is not an answer"
        cookies = flood.cookies
        end.skip(REKEY_TIMEOUT + REKEY_TIMEOUT_JITTER)
        end.until(lambda: end.connections, 3, "a response to an initiation with a cookie")
        end.until(lambda: flood.cookies > cookies, 3, "more cookies for the flood")
        assert list(map(_has_mac2, end.sent_of(INITIATION))) == [False, True]
        return f"cookie taken amid {flood.sent} initiations"


def _meet_under_load(instance: Instance, flood: "_Flood") -> Meeting:
    """A meeting whose first initiation got a cookie. BoringTun counts by the second, so one may be answered; and where
    the flood has filled the program's queue, one is lost."""
    for _ in range(5):
        meeting = instance.meet(RESPONDER)
        flood.after_burst.wait(2)
        flood.stopping.wait(DRAINING)
        meeting.end.handshake()
        received = meeting.end.received
        with suppress(AssertionError):
            meeting.end.until(received.__len__, 2, "an answer to our initiation")
        if meeting.end.received_of(COOKIE_REPLY):
            return meeting
        meeting.close()
    raise AssertionError("no cookie for us amid the flood")


def _cookie_from_us(instance: Instance) -> str:
    """We are under load: the program takes our cookie and comes again with it, five seconds later."""
    with closing(instance.meet(INITIATOR)) as meeting:
        end = meeting.end
        with _flood(instance, end.place, end.device.identity.public, TRICKLE, TRICKLE_PAUSE) as flood:
            end.until(lambda: flood.cookies > TRICKLE, 5, "cookies for the flood")
            meeting.app_sends(b"hello")
            end.until(lambda: b"hello" in meeting.payloads(), 9, "a session, by an initiation with our cookie")
            assert meeting.app_receives() == b"hello"
            assert end.device.gate.under_load(end.now())
        assert any(_has_mac2(entry) for entry in end.received_of(INITIATION)), "a session without a cookie"
        return f"cookie given amid {flood.sent} initiations"


class _Flood:
    """Initiations whose mac1 is right, as anyone can make who knows the public key."""

    def __init__(self) -> None:
        self.sent = self.cookies = 0
        self.after_burst = threading.Event()
        self.stopping = threading.Event()


@contextmanager
def _flood(
    instance: Instance, target: tuple[str, int], public: PublicKey, burst: int, pause: float
) -> Iterator[_Flood]:
    flood = _Flood()
    generator = CookieGenerator(public)
    messages = [valid(generator) for _ in range(burst)]
    source = instance.host.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM)
    source.bind(("127.0.0.3", 0))
    source.setblocking(False)

    def run() -> None:
        while not flood.stopping.is_set():
            for message in messages:
                source.sendto(message, target)
            flood.sent += burst
            flood.after_burst.set()
            flood.stopping.wait(pause)
            flood.after_burst.clear()
            while True:
                try:
                    flood.cookies += source.recv(2048)[0] == COOKIE_REPLY
                except (BlockingIOError, ConnectionRefusedError):
                    break

    thread = threading.Thread(target=run, name="flood")
    thread.start()
    try:
        yield flood
    finally:
        flood.stopping.set()
        thread.join()
        source.close()
