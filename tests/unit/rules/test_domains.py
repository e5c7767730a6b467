import pytest

from tests.support.configs import config
from wiresock_py.flow import SYSTEM
from wiresock_py.rules.conditions import Asker
from wiresock_py.rules.decision import Reason
from wiresock_py.rules.domains import DomainLists, DomainSet


@pytest.mark.parametrize(
    ("entry", "name", "meant"),
    [
        ("example.com", "example.com", True),
        ("example.com", "www.example.com", True),
        ("example.com", "a.b.example.com", True),
        ("example.com", "badexample.com", False),
        ("example.com", "com", False),
        ("example.com", "example.com.evil.test", False),
        ("*.example.com", "www.example.com", True),
        ("*.example.com", "a.b.example.com", True),
        ("*.example.com", "example.com", False),
        ("com", "example.com", True),
    ],
)
def test_an_entry_means_whole_parts_of_a_name_from_its_end(entry: str, name: str, meant: bool) -> None:
    assert (DomainSet([(entry, Reason(entry))]).match(name) is not None) is meant


def test_the_longest_entry_is_told() -> None:
    both = DomainSet((entry, Reason(entry)) for entry in ("example.com", "*.www.example.com", "www.example.com"))
    assert str(both.match("x.www.example.com")) == "*.www.example.com"
    assert str(both.match("x.example.com")) == "example.com"
    assert set(both) == {"example.com", "*.www.example.com", "www.example.com"}


@pytest.mark.parametrize(
    ("allowed", "disallowed", "names", "holds"),
    [
        ("", "", ("x",), True),
        ("a", "", ("x", "y.a"), True),
        ("a", "", ("x",), False),
        ("a", "", (), False),
        ("", "a", ("x", "y.a"), False),
        ("", "a", ("x",), True),
        ("", "a", (), True),
        ("a", "b", ("x",), False),
        ("a", "a", ("a",), True),
    ],
)
def test_the_decision_table_is_that_of_the_app_lists(
    allowed: str, disallowed: str, names: tuple[str, ...], holds: bool
) -> None:
    lines = [f"AllowedDomains = {allowed}"] * bool(allowed) + [f"DisallowedDomains = {disallowed}"] * bool(disallowed)
    given = config("\n".join(lines))
    lists = DomainLists(given, given.peers[0])
    assert lists.everyone == (not lines)
    assert lists.verdict(Asker(SYSTEM, names=names)).holds is holds


def test_the_entry_that_decided_is_told_with_its_line() -> None:
    given = config("AllowedDomains = a.test, b.test")
    lists = DomainLists(given, given.peers[0])
    assert str(lists.verdict(Asker(SYSTEM, names=("x.b.test",))).reason) == "AllowedDomains = b.test (wg0.conf:6)"
    missed = lists.verdict(Asker(SYSTEM, names=("c.test",))).reason
    assert str(missed) == "known as c.test, not in AllowedDomains (wg0.conf:6)"
