"""Replay window, cryptokey routing, padding, rate limiter."""

from collections.abc import Iterator
from functools import partial
from ipaddress import ip_address, ip_interface

from tests.vectors.cases import Case, Json, equal, unknown_parts
from wiresock_py.crypto.allowed_ips import AllowedIPs
from wiresock_py.crypto.inner import padded_length
from wiresock_py.crypto.ratelimiter import RateLimiter
from wiresock_py.crypto.replay import ReplayWindow


def replay_cases(vectors: Json) -> Iterator[Case]:
    for sequence in vectors["replay"]["sequences"]:
        yield Case(sequence["name"], partial(_replay, sequence["ops"]))
    yield from unknown_parts(vectors["replay"], "window", "reject_after", "rule", "ops_encoding", "sequences")


def _replay(ops: Json) -> None:
    window = ReplayWindow()
    for op in ops:
        if isinstance(op, dict):
            counters = range(*op["range"])
            expected = op.get("expect_list") or [op["expect"]] * len(counters)
            steps = list(zip(counters, map(bool, expected), strict=True))
        else:
            steps = [(op[0], bool(op[1]))]
        for counter, accepted in steps:
            equal(f"check {counter}", window.check(counter), accepted)
            equal(f"accept {counter}", window.accept(counter), accepted)


class _Peer(str):
    """A peer's name; identity is what the table compares."""

    __slots__ = ()


def allowed_ips_cases(vectors: Json) -> Iterator[Case]:
    for sequence in vectors["allowed_ips"]:
        yield Case(sequence["name"], partial(_allowed_ips, sequence["ops"]))


def _allowed_ips(ops: Json) -> None:
    table: AllowedIPs[_Peer] = AllowedIPs()
    peers = {name: _Peer(name) for op in ops if (name := op.get("peer"))}
    for op in ops:
        match op["op"]:
            case "add":
                table.insert(ip_interface(op["prefix"]), peers[op["peer"]])
            case "remove":
                table.remove(ip_interface(op["prefix"]), peers[op["peer"]])
            case "remove_peer":
                table.remove_owner(peers[op["peer"]])
            case "lookup":
                equal(f"lookup {op['address']}", table.lookup(ip_address(op["address"]).packed), op["expect"])
            case "list":
                equal(f"list {op['peer']}", sorted(map(str, table.networks(peers[op["peer"]]))), sorted(op["expect"]))
            case other:
                raise AssertionError(f"unknown operation {other}")


def padding_cases(vectors: Json) -> Iterator[Case]:
    for case in vectors["padding"]:
        yield Case(f"{case['length']} of MTU {case['mtu']}", partial(_padding, case))


def _padding(case: Json) -> None:
    equal("padded length", padded_length(case["length"], case["mtu"]), case["padded_length"])


def ratelimiter_cases(vectors: Json) -> Iterator[Case]:
    for case in vectors["ratelimiter"]:
        yield Case(case["name"], partial(_ratelimiter, case["events"]))


def _ratelimiter(events: Json) -> None:
    limiter = RateLimiter()
    for number, (time_ns, source, allowed) in enumerate(events):
        equal(f"event {number} from {source}", limiter.allow((source, 51820), time_ns / 1e9), allowed)
