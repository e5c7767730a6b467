"""The pattern of tokens is in the vectors; here are the bounds."""

from wiresock_py.crypto.ratelimiter import RateLimiter


def source(number: int) -> tuple[str, int]:
    return (f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}", 51820)


def test_a_full_table_refuses_new_sources_and_serves_known_ones() -> None:
    limiter = RateLimiter()
    for number in range(8192):
        assert limiter.allow(source(number), 0.5)
    assert not limiter.allow(source(8192), 0.5)
    assert limiter.allow(source(0), 0.5)
    assert len(limiter) == 8192


def test_sources_idle_for_a_second_are_forgotten() -> None:
    limiter = RateLimiter()
    for number in range(1000):
        limiter.allow(source(number), 10.0)
    limiter.allow(source(1000), 10.1)
    assert len(limiter) == 1001
    limiter.allow(source(2000), 11.0)
    assert len(limiter) == 2


def test_a_token_takes_50_ms() -> None:
    limiter = RateLimiter()
    for _ in range(5):
        limiter.allow(source(1), 10.0)
    assert not limiter.allow(source(1), 10.0499)
    assert limiter.allow(source(1), 10.05)


def test_forgetting_gives_nobody_more_than_a_full_bucket() -> None:
    limiter = RateLimiter()
    assert [limiter.allow(source(1), 0.0) for _ in range(6)] == [True] * 5 + [False]
    assert [limiter.allow(source(1), 5.0) for _ in range(6)] == [True] * 5 + [False]


def test_the_port_does_not_make_another_source() -> None:
    limiter = RateLimiter()
    assert [limiter.allow(("192.0.2.1", port), 0.0) for port in range(6)] == [True] * 5 + [False]


def test_a_clock_that_steps_back_takes_and_gives_nothing() -> None:
    limiter = RateLimiter()
    for _ in range(5):
        limiter.allow(source(1), 10.0)
    assert not limiter.allow(source(1), 9.0)
    assert not limiter.allow(source(1), 10.0)
    assert limiter.allow(source(1), 10.05)
