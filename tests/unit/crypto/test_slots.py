"""The sequences with real handshakes are in the vectors (``keypair_rotation``); here is each row of the table."""

from tests.support.peers import pair
from wiresock_py.crypto.session import Session
from wiresock_py.crypto.slots import Slots


def session(number: int) -> Session:
    return Session(
        pair()[0],
        local_index=number,
        remote_index=number,
        sending_key=bytes(32),
        receiving_key=bytes(32),
        initiator=True,
        created=0.0,
    )


def filled() -> tuple[Slots, Session, Session, Session]:
    slots = Slots()
    slots.previous, slots.current, slots.next = session(1), session(2), session(3)
    return slots, slots.previous, slots.current, slots.next


def test_a_consumed_response_pushes_current_to_previous() -> None:
    slots, previous, current, _ = filled()
    slots.next = None
    new = session(4)
    assert slots.initiated(new) == [previous]
    assert (slots.previous, slots.current, slots.next) == (current, new, None)


def test_a_consumed_response_keeps_an_unconfirmed_next_as_previous() -> None:
    slots, previous, current, unconfirmed = filled()
    new = session(4)
    assert slots.initiated(new) == [previous, current]
    assert (slots.previous, slots.current, slots.next) == (unconfirmed, new, None)


def test_a_sent_response_takes_previous_and_next_and_leaves_current() -> None:
    slots, previous, current, unconfirmed = filled()
    new = session(4)
    assert slots.responded(new) == [previous, unconfirmed]
    assert (slots.previous, slots.current, slots.next) == (None, current, new)


def test_a_confirmation_moves_every_session_up() -> None:
    slots, previous, current, unconfirmed = filled()
    assert slots.confirmed() == [previous]
    assert (slots.previous, slots.current, slots.next) == (current, unconfirmed, None)


def test_clearing_hands_back_all() -> None:
    slots, *sessions = filled()
    assert slots.clear() == sessions
    assert slots.all() == []
    assert slots.current is None
