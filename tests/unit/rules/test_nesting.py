"""Which tunnel goes through which other one, and what is said where that leads nowhere."""

import pytest

from tests.support.worlds import EVERYTHING, config
from wiresock_py.config import Config
from wiresock_py.errors import ConfigError
from wiresock_py.rules import Rules
from wiresock_py.rules.nesting import outer_tunnels

BEHIND = "AllowedIPs = 198.51.100.0/24"


def tunnel(name: str, via: str = "", peer: str = EVERYTHING, number: int = 0) -> Config:
    interface = "Address = 10.66.66.2/32" + (f"\nVia = {via}" if via else "")
    return config(peer, interface=interface, first_server=number, file=f"{name}.conf")


def fails(*configs: Config) -> ConfigError:
    with pytest.raises(ConfigError) as raised:
        outer_tunnels(configs)
    return raised.value


def test_without_via_there_is_none() -> None:
    assert outer_tunnels([tunnel("a"), tunnel("b")]) == (None, None)


def test_each_finds_its_own_whatever_the_order() -> None:
    names = [tunnel("c", "b"), tunnel("a", peer=BEHIND), tunnel("b", "a", peer=BEHIND)]
    assert outer_tunnels(names) == (2, None, 1)
    assert Rules(names).outer == (2, None, 1)


def test_a_name_with_its_suffix_is_the_same() -> None:
    assert outer_tunnels([tunnel("a", "b.conf"), tunnel("b")]) == (1, None)


def test_a_name_that_no_file_has_is_told_with_the_nearest_or_what_to_add() -> None:
    error = fails(tunnel("a", "outre"), tunnel("outer"))
    assert str(error) == "a.conf:4:7: Via: found 'outre', expected the name of another tunnel of this run"
    assert error.remedy == "did you mean outer?"
    assert fails(tunnel("inner", "outer")).remedy == "name its file too: outer.conf inner.conf"


def test_a_name_that_two_files_have_is_told() -> None:
    assert "is the name of 2 files" in str(fails(tunnel("a", "b"), tunnel("b"), tunnel("b")))


@pytest.mark.parametrize("names", ["a", "ab", "abc"])
def test_a_circle_is_told_whole(names: str) -> None:
    following = names[1:] + names[0]
    error = fails(*(tunnel(name, via) for name, via in zip(names, following, strict=True)))
    assert f"Via leads in a circle: {' -> '.join(names + names[0])}" in str(error)


def test_a_circle_further_on_is_found() -> None:
    assert "circle: a -> b -> c -> b" in str(fails(tunnel("a", "b"), tunnel("b", "c"), tunnel("c", "b")))


@pytest.mark.parametrize("peer", ["AllowedIPs = 10.0.0.0/8", f"{EVERYTHING}\nDisallowedIPs = 198.51.100.0/24"])
def test_an_endpoint_that_the_outer_tunnel_does_not_lead_to_is_told_with_its_line(peer: str) -> None:
    error = fails(tunnel("inner", "outer"), tunnel("outer", peer=peer))
    assert "inner.conf:7:12: Endpoint 198.51.100.2:51820 does not lie behind outer" in str(error)
    assert "198.51.100.2" in error.remedy
    assert "outer.conf" in error.remedy
