"""A tree of chains says of every address what the one long chain says, in few steps."""

import random
import sys
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_network
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

assert sys.platform == "linux"

from wiresock_py.filters import CapturePlan
from wiresock_py.filters.base import Network
from wiresock_py.filters.netfilter.branches import FEW, STEP, branches
from wiresock_py.filters.plan import ordered

TARGETS = {True: "-g QUEUE", False: "-j RETURN"}
Chains = dict[str, list[tuple[Network | None, str]]]


def chains(rules: list[str]) -> Chains:
    """Rules by chain: the destination (None: any) and the target."""
    found: Chains = {}
    for rule in rules:
        words = rule.split()
        destination = ip_network(words[3]) if words[2] == "-d" else None
        found.setdefault(words[1], []).append((destination, words[-1]))
    return found


def walk(found: Chains, address: IPv4Address | IPv6Address) -> tuple[bool, int]:
    """What the kernel does with a packet to *address*: whether it is queued, and how many rules it tries."""
    chain, tried = "PLAN", 0
    while chain not in ("QUEUE", "RETURN"):
        rules = found.get(chain, [])
        position = next((i for i, (net, _) in enumerate(rules) if net is None or address in net), None)
        if position is None:
            return False, tried + len(rules)
        tried += position + 1
        chain = rules[position][1]
    return chain == "QUEUE", tried


def networks(version: int, chance: random.Random, most: int) -> tuple[Network, ...]:
    """Up to *most*, of few enough different bytes that prefixes lie inside, beside and upon each other."""
    size = 4 if version == 4 else 16
    addresses = (bytes(chance.choices((0, 1, 2, 128, 255), k=size)) for _ in range(chance.randrange(most)))
    return tuple(ip_network((raw, chance.randrange(size * 8 + 1)), strict=False) for raw in addresses)


@pytest.mark.parametrize("version", [4, 6])
@given(chance=st.randoms(use_true_random=True))
def test_the_branches_decide_as_the_longest_prefix_does(version: int, chance: random.Random) -> None:
    plan = CapturePlan(networks(version, chance, 2 * FEW), networks(version, chance, 2 * FEW))
    rows = ordered(plan, version)
    with mock.patch("wiresock_py.filters.netfilter.branches.FEW", chance.randint(1, 3)):  # so that few are many
        found = chains(branches(rows, "PLAN", TARGETS))
    for network in (*plan.capture, *plan.leave, *networks(version, chance, 5)):
        for address in (network[0], network[-1]):
            longest = next((captured for prefix, captured in rows if address in prefix), False)
            assert walk(found, address)[0] is longest


def test_few_prefixes_stay_in_one_chain_longest_first() -> None:
    rows = ordered(CapturePlan((ip_network("10.0.0.0/8"),), (ip_network("10.1.0.0/16"),)), 4)
    assert branches(rows, "PLAN", TARGETS) == [
        "-A PLAN -d 10.1.0.0/16 -j RETURN",
        "-A PLAN -d 10.0.0.0/8 -g QUEUE",
    ]
    assert branches([], "PLAN", TARGETS) == []


def test_a_packet_tries_few_rules_however_many_prefixes_there_are() -> None:
    chance = random.Random(1)
    found = {IPv4Network((chance.randrange(1 << 32) & ~0xFF, 24)) for _ in range(10_000)}
    tree = chains(branches(ordered(CapturePlan(tuple(found)), 4), "PLAN", TARGETS))
    levels = 24 // STEP
    asked = [IPv4Address(chance.randrange(1 << 32)) for _ in range(500)] + [network[7] for network in list(found)[:500]]
    assert max(walk(tree, address)[1] for address in asked) <= FEW + levels * (1 << STEP)
    assert sum(walk(tree, address)[1] for address in asked) / len(asked) < 50
    assert all(walk(tree, network[7])[0] for network in found)
