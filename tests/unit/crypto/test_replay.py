"""The sequences are in the vectors, the comparison with a set in tests/property; here is what is ours."""

from wiresock_py.crypto.replay import ReplayWindow


def test_check_marks_nothing() -> None:
    window = ReplayWindow()
    assert window.check(5)
    assert window.check(5)
    assert window.greatest == -1
    assert window.accept(5)
    assert not window.check(5)


def test_the_window_reaches_back_8128_counters_and_not_one_more() -> None:
    window = ReplayWindow()
    window.accept(100_000)
    assert not window.check(100_000 - 8129)
    assert window.accept(100_000 - 8128)


def test_no_counter_of_the_limit_is_accepted_and_the_one_below_is() -> None:
    window = ReplayWindow()
    limit = 2**64 - 2**13 - 1
    assert not window.check(limit)
    assert not window.accept(limit)
    assert not window.accept(2**64 - 1)
    assert window.accept(limit - 1)


def test_flags_do_not_come_back_one_ring_later() -> None:
    window = ReplayWindow()
    for counter in range(100):
        window.accept(counter)
    window.accept(8192 + 50)
    assert window.accept(8192 + 49)
    assert window.accept(8192)
    assert window.accept(8191)
    for counter in range(8192 + 51, 8192 + 100):
        assert window.accept(counter)
