"""The timers in real time, ours and the programs': each check waits on ends of its own, so that all run at once."""

import time
from contextlib import closing
from itertools import pairwise

from tests.interop.end import INITIATION, Entry
from tests.interop.programs import RESPONDER, Instance, Meeting
from wiresock_py.crypto.constants import (
    KEEPALIVE_TIMEOUT,
    REKEY_AFTER_TIME,
    REKEY_TIMEOUT,
    REKEY_TIMEOUT_JITTER,
)

OURS = 0.15
"""How late our own timers may be, beyond what this machine's other work kept us waiting: see ``Host.stalled``."""
STALLED_MAX = 0.5
THEIRS = 0.6
"""The same for the programs."""
QUANTUM = 0.4
EARLY = 0.8
"""BoringTun looks at its clock every quarter of a second, and sees no order in what happens in between. It counts a
silence from the last packet received, and a wait for its keepalive from the last one sent: earlier by the time between.
"""
TURN = 0.05
"""Our own end reads its clock once a turn of its thread, a little before or after this test does."""
SILENCE = KEEPALIVE_TIMEOUT + REKEY_TIMEOUT


def _ours(instance: Instance) -> float:
    return OURS + min(instance.host.stalled, STALLED_MAX)


def rekey(instance: Instance, role: str) -> str:
    """Traffic both ways for two minutes and a little: the initiator renews the session, no packet is lost."""
    with closing(instance.meet(role)) as meeting:
        meeting.connect()
        end = meeting.end
        started, number = end.connections[0], 0
        handshakes = end.sent_of if role == RESPONDER else end.received_of
        against = end.received_of if role == RESPONDER else end.sent_of
        while len(end.connections) < 2:
            number += 1
            meeting.app_sends(b"packet %d" % number)
            assert meeting.app_receives() == b"packet %d" % number
            elapsed = time.monotonic() - started
            assert elapsed < REKEY_AFTER_TIME + 5, "the session was not renewed"
            # rarely while nothing is to happen, often around the change
            time.sleep(2 if elapsed < REKEY_AFTER_TIME - 5 else 0.1)
        for _ in range(20):
            number += 1
            end.send(meeting.packet(b"packet %d" % number))
            assert meeting.app_receives() == b"packet %d" % number
        assert len(handshakes(INITIATION)) == 2, "not one handshake and one renewal"
        first, second = handshakes(INITIATION)
        assert not against(INITIATION), "the responder began a handshake"
        age = second.time - first.time
        # the traffic that brings it on comes every tenth of a second
        late = 0.2 + (_ours(instance) if role == RESPONDER else THEIRS)
        assert REKEY_AFTER_TIME - 0.1 <= age <= REKEY_AFTER_TIME + late, f"renewed after {age:.2f} s"
        return f"after {age:.2f} s, {number} packets and none lost"


def their_keepalive(instance: Instance, role: str) -> str:
    """Data that the application does not answer is acknowledged by the program with an empty packet."""
    with closing(instance.meet(role)) as meeting:
        meeting.connect()
        end = meeting.end
        end.answering = False
        meeting.app_sends(b"whatever they owed us")
        time.sleep(QUANTUM)
        since = time.monotonic()
        end.send(meeting.packet(b"no answer"))
        end.until(lambda: _keepalives(end.received, since), KEEPALIVE_TIMEOUT + 2, "a keepalive")
        after = _keepalives(end.received, since)[0].time - since
        assert -EARLY <= after - KEEPALIVE_TIMEOUT <= THEIRS, f"a keepalive after {after:.2f} s"
        return f"theirs after {after:.2f} s"


def our_keepalive(instance: Instance, role: str) -> str:
    """The same of ours; it keeps the program from taking our silence for an end, and beginning a handshake."""
    with closing(instance.meet(role)) as meeting:
        meeting.connect()
        end = meeting.end
        end.answering = False
        since = time.monotonic()
        meeting.app_sends(b"no answer")
        end.until(lambda: _keepalives(end.sent, since), KEEPALIVE_TIMEOUT + 2, "our keepalive")
        after = _keepalives(end.sent, since)[0].time - since
        assert 0 <= after - KEEPALIVE_TIMEOUT <= _ours(instance), f"our keepalive after {after:.2f} s"
        time.sleep(SILENCE + 2 * THEIRS - after)
        assert not end.received_of(INITIATION, since), "our keepalive does not tell them that we are there"
        return f"ours after {after:.2f} s, and they stay calm"


def persistent(instance: Instance, role: str) -> str:
    """A second's persistent keepalive of whoever begins: also what makes it begin."""
    ours = role == RESPONDER
    with closing(instance.meet(role, keepalive=1 if ours else 0, their_keepalive=0 if ours else 1)) as meeting:
        end = meeting.end
        if ours:
            end.up()
        end.until(lambda: end.connections, 3, "a handshake without any traffic")
        log = end.sent if ours else end.received
        end.until(lambda: len(_keepalives(log)) >= 5, 8, "five keepalives")
        kept = _keepalives(log)
        gaps = [after.time - before.time for before, after in pairwise(kept[1:])]
        late = _ours(instance) if ours else THEIRS
        assert all(1 - late <= gap <= 1 + late for gap in gaps), f"gaps of {gaps}"
        return "every second"


def our_silence(instance: Instance, role: str) -> str:
    """Data that stays without any answer brings on a handshake, and that, unanswered, another."""
    with closing(instance.meet(role)) as meeting:
        meeting.connect()
        end = meeting.end
        end.answering = False
        meeting.app_sends(b"whatever we waited for")
        end.until(lambda: len(meeting.payloads()) == 2, 3, "the application's second datagram")
        end.deaf = True
        since = time.monotonic()
        end.send(meeting.packet(b"into the void"))
        return "ours " + _handshake_and_retry(end.sent, since, TURN, meeting)


def their_silence(instance: Instance, role: str) -> str:
    with closing(instance.meet(role)) as meeting:
        meeting.connect()
        end = meeting.end
        end.dumb = True
        time.sleep(QUANTUM)
        since = time.monotonic()
        meeting.app_sends(b"into the void")
        return "theirs " + _handshake_and_retry(end.received, since, EARLY, meeting)


def _handshake_and_retry(log: list[Entry], since: float, early: float, meeting: Meeting) -> str:
    end = meeting.end

    def initiations() -> list[Entry]:
        return [entry for entry in log if entry.kind == INITIATION and entry.time > since]

    end.until(lambda: len(initiations()) >= 2, SILENCE + REKEY_TIMEOUT + 3, "an initiation and its retry")
    first, second = (entry.time for entry in initiations()[:2])
    silence, retry = first - since, second - first
    late = THEIRS if early == EARLY else _ours(meeting.instance)
    assert -early <= silence - SILENCE <= REKEY_TIMEOUT_JITTER + late, f"an initiation after {silence:.2f} s"
    assert -early <= retry - REKEY_TIMEOUT <= REKEY_TIMEOUT_JITTER + late, f"a retry after {retry:.2f} s"
    assert end.connections[1:] == []
    end.deaf = end.dumb = False
    end.until(lambda: len(end.connections) == 2, REKEY_TIMEOUT + 2, "a new session as soon as there are answers")
    meeting.app_hears_out()
    end.answering = True
    meeting.app_sends(b"again")
    assert meeting.app_receives() == b"again"
    return f"after {silence:.2f} s, again after {retry:.2f} s"


def _keepalives(log: list[Entry], since: float = 0.0) -> list[Entry]:
    return [entry for entry in list(log) if entry.is_keepalive and entry.time > since]
