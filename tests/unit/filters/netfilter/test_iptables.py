"""Installing and removing rules with both flavours of iptables, in namespaces."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path

import pytest

assert sys.platform == "linux"

from tests.backends.namespaces import Namespace
from wiresock_py.errors import BackendError
from wiresock_py.filters import CapturePlan
from wiresock_py.filters.netfilter import iptables
from wiresock_py.filters.netfilter.iptables import Iptables, parse_save
from wiresock_py.filters.netfilter.rules import CHAINS, JUMPS, Marks, Surroundings, tables

PLAN = CapturePlan((ip_network("0.0.0.0/0"), ip_network("::/0")), dns=True)
OTHER_PLAN = CapturePlan((ip_network("203.0.113.0/24"), ip_network("2001:db8::/32")))
# Rules of others, in the way of ours and named much like them.
STRANGERS = """*filter
:WIRESOCKET - [0:0]
-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT
-A OUTPUT -j WIRESOCKET
-A WIRESOCKET -m comment --comment "to -j WIRESOCK or not" -j RETURN
COMMIT
*mangle
:MINE - [0:0]
-A OUTPUT -p udp -m udp --dport 9 -j MARK --set-xmark 0x1/0xff
-A OUTPUT -j MINE
-A POSTROUTING -j MINE
COMMIT
*raw
-A OUTPUT -p udp -m udp --dport 9 -j ACCEPT
COMMIT
"""


def content(plan: CapturePlan, version: int) -> list[tuple[str, list[str]]]:
    return tables(plan, Surroundings(frozenset({"eth0"})), Marks(), (10, 11), version)


@pytest.fixture(params=["nft", "legacy"])
def flavour(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """PATH begins with a folder where the usual names lead to one flavour."""
    for prefix in ("iptables", "ip6tables"):
        for program in ("save", "restore"):
            real = shutil.which(f"{prefix}-{request.param}-{program}", path="/usr/sbin:/sbin")
            if real is None:
                pytest.skip(f"no {request.param} flavour of iptables here")
            (tmp_path / f"{prefix}-{program}").symlink_to(real)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return str(request.param)


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    if os.geteuid() != 0:
        pytest.skip("namespaces need root")
    found = Namespace()
    with found.inside():
        yield found
    found.close()


def saved(family: Iptables) -> list[str]:
    """All rules without the counters and the time of printing."""
    text = subprocess.run([family._save], capture_output=True, text=True, check=True).stdout
    return [line.split(" [")[0] for line in text.splitlines() if not line.startswith("#")]


def restore(family: Iptables, text: str) -> None:
    subprocess.run([family._restore, "--noflush"], input=text, text=True, check=True)


versions = pytest.mark.parametrize("version", [4, 6])


@pytest.mark.root
@versions
def test_our_jumps_are_first_and_all_else_stays(flavour: str, namespace: Namespace, version: int) -> None:
    family = Iptables(version)
    restore(family, STRANGERS)
    before = saved(family)
    family.install(content(PLAN, version))
    after = saved(family)
    assert family.standing().leads
    assert [line for line in after if "WIRESOCK-" not in line and not _ours(line)] == before
    for table, jumps in JUMPS.items():
        for builtin, chain in jumps:
            assert family.standing().first[table][builtin] == f"-A {builtin} -j {chain}"


def _ours(line: str) -> bool:
    return line.startswith((":WIRESOCK ", "-A WIRESOCK ")) or line.endswith("-j WIRESOCK")


@pytest.mark.root
@versions
def test_removing_leaves_everything_else_as_it_was(flavour: str, namespace: Namespace, version: int) -> None:
    family = Iptables(version)
    restore(family, STRANGERS)
    before = saved(family)
    family.install(content(PLAN, version))
    assert saved(family) != before
    removed = family.remove()
    assert saved(family) == before
    jumps = sum(len(jumps) for jumps in JUMPS.values())
    assert len(removed) == jumps + sum(len(chains) for chains in CHAINS.values())
    assert f"IPv{version} mangle rule -A OUTPUT -j WIRESOCK" in removed
    assert family.remove() == []


@pytest.mark.root
@versions
def test_installing_again_replaces_and_does_not_add(flavour: str, namespace: Namespace, version: int) -> None:
    family = Iptables(version)
    family.install(content(PLAN, version))
    once = saved(family)
    family.install(content(OTHER_PLAN, version))
    assert saved(family) != once
    family.install(content(PLAN, version))
    assert saved(family) == once


@pytest.mark.root
@versions
def test_a_plan_of_many_prefixes_has_branches_that_go_with_it(flavour: str, namespace: Namespace, version: int) -> None:
    width, first = (24, 0x0B00_0000) if version == 4 else (48, 0x2001_0DB8 << 96)
    step = 1 << ((32 if version == 4 else 128) - width)
    plan = CapturePlan(tuple(ip_network((first + number * step, width)) for number in range(0, 200, 2)))
    family = Iptables(version)
    family.install(content(PLAN, version))
    once = saved(family)
    family.install(content(plan, version))
    assert len(family.standing().chains["mangle"]) > len(CHAINS["mangle"])
    assert sum("-g WIRESOCK-QUEUE" in line for line in family.standing().rules["mangle"]) >= len(plan.capture)
    assert len(family.remove()) == sum(map(len, JUMPS.values())) + sum(map(len, CHAINS.values()))
    assert not any("WIRESOCK" in line for line in saved(family))
    family.install(content(plan, version))
    family.install(content(PLAN, version))
    assert saved(family) == once


@pytest.mark.root
def test_what_others_put_into_our_way_is_removed_with_ours(flavour: str, namespace: Namespace) -> None:
    family = Iptables(4)
    family.install(content(PLAN, 4))
    restore(family, "*mangle\n-I OUTPUT 1 -p tcp -m comment --comment again -j WIRESOCK\nCOMMIT\n")
    assert not family.standing().leads
    family.install(content(PLAN, 4))
    assert family.standing().leads
    assert len(family.standing().jumps["mangle"]) == len(JUMPS["mangle"])
    family.remove()
    assert not any("WIRESOCK" in line for line in saved(family))


@pytest.mark.root
def test_a_transaction_that_fails_changes_nothing(flavour: str, namespace: Namespace) -> None:
    family = Iptables(4)
    family.install(content(PLAN, 4))
    before = saved(family)
    table, rules = content(OTHER_PLAN, 4)[1]
    with pytest.raises(BackendError, match="refused our rules") as caught:
        family.install([(table, [*rules, "-A WIRESOCK -j NO-SUCH-TARGET"])])
    assert "xt_NFQUEUE" in caught.value.remedy
    assert saved(family) == before


def test_a_missing_program_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(iptables, "SBIN", ())
    with pytest.raises(BackendError, match="iptables-restore is not installed"):
        Iptables(4)
    assert iptables.missing_program() == "iptables-restore is not installed"


def test_programs_are_run_by_their_absolute_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for program in ("iptables-save", "iptables-restore"):
        (tmp_path / program).write_text("#!/bin/sh\n")
        (tmp_path / program).chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", ".")
    family = Iptables(4)
    assert Path(family._restore).is_absolute()
    assert family._restore == str(tmp_path / "iptables-restore")


def test_a_program_that_cannot_run_is_an_error_with_its_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for program in ("iptables-save", "iptables-restore"):
        (tmp_path / program).write_text("no interpreter")
        (tmp_path / program).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BackendError, match="iptables-save did not run"):
        Iptables(4).standing()


def test_ours_is_told_from_others_by_whole_chain_names() -> None:
    standing = parse_save(STRANGERS)
    assert standing.chains == {}
    assert standing.jumps == {}
    assert standing.rules == {}
    assert standing.first["mangle"]["POSTROUTING"] == "-A POSTROUTING -j MINE"
