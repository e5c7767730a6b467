"""Rules as text; that the kernel takes them so is in test_iptables.py and test_backend.py."""

import re
import sys
from ipaddress import ip_network

import pytest

assert sys.platform == "linux"

from wiresock_py.errors import BackendError
from wiresock_py.filters import CapturePlan
from wiresock_py.filters.netfilter.rules import (
    MAX_NETWORKS,
    Marks,
    Surroundings,
    removal,
    tables,
    transaction,
)

MARKS = Marks()
PLAN = CapturePlan((ip_network("0.0.0.0/0"), ip_network("::/0")), (ip_network("192.168.0.0/16"),))
HERE = Surroundings(frozenset({"eth0"}), {"side0": (ip_network("10.78.0.0/24"), ip_network("fd78::/64"))})


def mangle(plan: CapturePlan = PLAN, version: int = 4, around: Surroundings = HERE, marks: Marks = MARKS) -> list[str]:
    return dict(tables(plan, around, marks, (10, 11), version))["mangle"]


def position(rules: list[str], part: str) -> int:
    return next(i for i, rule in enumerate(rules) if part in rule)


def test_what_a_tunnel_sends_through_another_is_queued_wherever_it_goes() -> None:
    rules = mangle(CapturePlan(PLAN.capture, ports=(40_000,)))
    ours = position(rules, "-p udp -m udp --sport 40000 -g WIRESOCK-QUEUE")
    assert ours < position(rules, "-m connmark")  # whatever is remembered of an app that had the port before
    assert ours < position(rules, "-o lo -j RETURN")
    assert ours > position(rules, "! --mark 0x0/0x60000000 -j RETURN")  # held copies are sent past it


def test_ours_and_bypassed_packets_are_let_go_before_anything_is_queued() -> None:
    rules = mangle(CapturePlan(PLAN.capture, dns=True))
    queue = position(rules, "-g WIRESOCK-QUEUE")
    assert position(rules, "! --mark 0x0/0x60000000 -j RETURN") < queue
    assert position(rules, "-m connmark --mark 0x20000000/0x20000000 -j RETURN") < queue


@pytest.mark.parametrize("version", [4, 6])
def test_what_is_remembered_of_a_connection_does_not_hold_for_the_next_one(version: int) -> None:
    rules = mangle(version=version)
    forgotten = position(rules, "--tcp-flags SYN,ACK SYN -j CONNMARK --set-xmark 0x0/0x20000000")
    assert position(rules, "! --mark 0x0/0x60000000 -j RETURN") < forgotten < position(rules, "-m connmark")


def test_an_injected_packet_may_not_leave_the_host() -> None:
    assert mangle()[0] == "-A WIRESOCK ! -o lo -m mark --mark 0x40000000/0x60000000 -j DROP"


@pytest.mark.parametrize("version", [4, 6])
def test_every_compare_and_every_change_of_a_mark_is_masked(version: int) -> None:
    marks = Marks(bypass=0x10, injected=0x20)
    content = tables(PLAN, HERE, marks, (10, 11), version)
    text = "\n".join(rule for _table, rules in content for rule in rules)
    compared = re.findall(r"--mark (\S+)", text)
    assert compared
    assert set(compared) <= {"0x0/0x30", "0x10/0x10", "0x10/0x30", "0x20/0x30"}
    assert "--save-mark --nfmask 0x10 --ctmask 0x10" in text
    assert "--set-mark" not in text


def test_the_plan_is_asked_longest_prefix_first() -> None:
    plan = CapturePlan(
        (ip_network("0.0.0.0/0"), ip_network("192.168.7.0/24")), (ip_network("192.168.0.0/16"), ip_network("::/0"))
    )
    assert [rule for rule in mangle(plan) if rule.startswith("-A WIRESOCK-PLAN")] == [
        "-A WIRESOCK-PLAN -d 192.168.7.0/24 -g WIRESOCK-QUEUE",
        "-A WIRESOCK-PLAN -d 192.168.0.0/16 -j RETURN",
        "-A WIRESOCK-PLAN -d 0.0.0.0/0 -g WIRESOCK-QUEUE",
    ]


def test_tcp_has_a_queue_of_its_own() -> None:
    rules = [rule for rule in mangle() if "NFQUEUE" in rule]
    assert rules == [
        "-A WIRESOCK-QUEUE -p tcp -j NFQUEUE --queue-num 10",
        "-A WIRESOCK-QUEUE -j NFQUEUE --queue-num 11",
    ]


def test_only_a_plan_that_fails_open_passes_what_nobody_serves() -> None:
    closed = [rule for rule in mangle() if "NFQUEUE" in rule]
    opened = [rule for rule in mangle(CapturePlan(PLAN.capture, fail_open=True)) if "NFQUEUE" in rule]
    assert opened == [f"{rule} --queue-bypass" for rule in closed]


def test_only_the_networks_behind_other_adapters_are_left_alone_not_the_adapters() -> None:
    assert "-A WIRESOCK -o side0 -d 10.78.0.0/24 -j RETURN" in mangle()
    assert "-A WIRESOCK -o side0 -d fd78::/64 -j RETURN" in mangle(version=6)
    assert not any("eth0" in rule for rule in mangle())


def test_an_adapter_with_very_many_networks_is_left_alone_whole() -> None:
    networks = tuple(ip_network(f"10.{i // 256}.{i % 256}.0/24") for i in range(MAX_NETWORKS + 1))
    rules = mangle(around=Surroundings(frozenset({"eth0"}), {"tun0": networks}))
    assert [rule for rule in rules if "tun0" in rule] == ["-A WIRESOCK -o tun0 -j RETURN"]


def test_named_adapters_alone_are_captured_on() -> None:
    rules = mangle(CapturePlan(PLAN.capture, dns=True, adapters=("side0",)))
    assert [rule for rule in rules if "-g WIRESOCK-PLAN" in rule] == ["-A WIRESOCK -o side0 -g WIRESOCK-PLAN"]
    dns = [rule for rule in rules if "--dport 53" in rule]
    assert all("-o side0" in rule or "-o lo" in rule for rule in dns)
    assert len(dns) == 4


def test_loopback_ends_before_the_plan_whether_dns_is_captured_or_not() -> None:
    for dns in (False, True):
        rules = mangle(CapturePlan(PLAN.capture, dns=dns))
        assert position(rules, "-A WIRESOCK -o lo -j RETURN") < position(rules, "-g WIRESOCK-PLAN")
        assert any("-o lo -p udp -m udp --dport 53 -g WIRESOCK-QUEUE" in rule for rule in rules) is dns


@pytest.mark.parametrize("name", ["", "eth+", "a b", 'x"', "-o", "eth0\n-F"])
def test_adapter_names_that_mean_something_in_a_rule_are_refused(name: str) -> None:
    with pytest.raises(BackendError, match="cannot be written"):
        mangle(CapturePlan(PLAN.capture, adapters=(name,)))


def test_injected_packets_are_untracked_before_they_can_be_injected() -> None:
    content = tables(PLAN, HERE, MARKS, (10, 11), 4)
    assert content[0] == ("raw", ["-A WIRESOCK -m mark --mark 0x40000000/0x60000000 -j CT --notrack"])


def test_a_transaction_replaces_chains_and_jumps_of_a_table_in_one_step() -> None:
    text = transaction([("raw", ["-A WIRESOCK -j X"])], {"raw": ["-A OUTPUT -j WIRESOCK"]}, {})
    assert text.splitlines() == [
        "*raw",
        ":WIRESOCK - [0:0]",
        "-D OUTPUT -j WIRESOCK",
        "-I PREROUTING 1 -j WIRESOCK",
        "-I OUTPUT 1 -j WIRESOCK",
        "-A WIRESOCK -j X",
        "COMMIT",
    ]


def test_a_transaction_declares_every_branch_and_deletes_those_that_are_no_more() -> None:
    rules = ["-A WIRESOCK-PLAN -d 10.0.0.0/8 -g WIRESOCK-PLAN-1", "-A WIRESOCK-PLAN-1 -j X"]
    before = ["WIRESOCK", "WIRESOCK-PLAN", "WIRESOCK-PLAN-1", "WIRESOCK-PLAN-2", "WIRESOCK-PLAN-3"]
    lines = transaction([("mangle", rules)], {}, {"mangle": before}).splitlines()
    assert ":WIRESOCK-PLAN-1 - [0:0]" in lines
    assert lines[-5:] == [
        "-F WIRESOCK-PLAN-2",
        "-F WIRESOCK-PLAN-3",
        "-X WIRESOCK-PLAN-2",
        "-X WIRESOCK-PLAN-3",
        "COMMIT",
    ]


def test_a_removal_empties_all_chains_before_it_deletes_one() -> None:
    text = removal({"mangle": ["-A OUTPUT -j WIRESOCK"]}, {"mangle": ["WIRESOCK", "WIRESOCK-PLAN"]})
    assert text.splitlines() == [
        "*mangle",
        "-D OUTPUT -j WIRESOCK",
        "-F WIRESOCK",
        "-F WIRESOCK-PLAN",
        "-X WIRESOCK",
        "-X WIRESOCK-PLAN",
        "COMMIT",
    ]


def test_there_is_no_removal_of_nothing() -> None:
    assert removal({}, {}) == ""


# Other machines' packets


def forward() -> list[str]:
    given = CapturePlan(PLAN.capture, PLAN.leave, dns=True, forwarded=True)
    return [rule for rule in mangle(given) if rule.startswith("-A WIRESOCK-FORWARD ")]


def test_what_is_forwarded_is_captured_only_if_the_plan_says_so() -> None:
    assert forward()
    assert not [rule for rule in mangle() if "FORWARD" in rule or "src-type" in rule]


def test_forwarded_answers_and_what_goes_to_a_known_network_are_left_alone() -> None:
    rules = forward()
    plan = position(rules, "-g WIRESOCK-PLAN")
    for part in ("--ctdir REPLY -j RETURN", "-o side0 -d 10.78.0.0/24 -j RETURN", "-d 224.0.0.0/4", "-m connmark"):
        assert position(rules, part) < plan
    assert position(rules, "--dport 53 -g WIRESOCK-QUEUE") < plan
    assert plan == len(rules) - 1


def test_what_comes_back_for_another_machine_is_not_tracked_and_never_leaves_by_the_way_outside() -> None:
    given = dict(tables(CapturePlan(PLAN.capture, forwarded=True), HERE, MARKS, (10, 11), 4))
    match = "-m mark --mark 0x60000000/0x60000000 -m addrtype ! --src-type LOCAL"
    assert given["raw"][-1] == f"-A WIRESOCK {match} -j CT --notrack"
    assert given["mangle"][0] == f"-A WIRESOCK -o eth0 {match} -j DROP"
