"""The iptables rules of a capture plan, as the text of one ``iptables-restore`` transaction a family.

    raw     PREROUTING, OUTPUT ─> WIRESOCK        injected packets are not tracked
    mangle  OUTPUT ─> WIRESOCK                    ours, bypassed or never captured? else:
                        └─> WIRESOCK-PLAN         longest prefix first, in branches if they are many (branches.py):
                              │                   leave alone or
                              └─> WIRESOCK-QUEUE  NFQUEUE, TCP apart from the rest
            FORWARD ─> WIRESOCK-FORWARD           the same for other machines' packets, if asked for
            POSTROUTING ─> WIRESOCK-SAVE          a BYPASS verdict marks the whole connection

Captured is what leaves by an adapter that carries a default route. The other adapters are not named as such: the rules
name the networks *known to lie behind them* and leave those alone. So whatever adapter a default route appears on, its
traffic is captured from the first packet on, before anybody has noticed the new route.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from wiresock_py.errors import BackendError
from wiresock_py.filters.base import CapturePlan, Network
from wiresock_py.filters.netfilter.branches import branches
from wiresock_py.filters.plan import DHCP, DNS_PORT, GROUPS, LINK_LOCAL, NEIGHBOUR_DISCOVERY, ordered

CHAIN = "WIRESOCK"
PLAN_CHAIN = "WIRESOCK-PLAN"
QUEUE_CHAIN = "WIRESOCK-QUEUE"
SAVE_CHAIN = "WIRESOCK-SAVE"
FORWARD_CHAIN = "WIRESOCK-FORWARD"
# Our chains in each table, and the built-in chains that jump to one as their first rule.
CHAINS = {"raw": (CHAIN,), "mangle": (CHAIN, PLAN_CHAIN, QUEUE_CHAIN, SAVE_CHAIN, FORWARD_CHAIN)}
JUMPS = {
    "raw": (("PREROUTING", CHAIN), ("OUTPUT", CHAIN)),
    "mangle": (("OUTPUT", CHAIN), ("FORWARD", FORWARD_CHAIN), ("POSTROUTING", SAVE_CHAIN)),
}
# A point-to-point adapter with more networks behind it is left alone whole; of any other the rest is captured.
MAX_NETWORKS = 256

DNS_MATCHES = tuple(f"-p {protocol} -m {protocol} --dport {DNS_PORT}" for protocol in ("udp", "tcp"))


@dataclass(frozen=True, slots=True)
class Marks:
    """The two bits of the packet mark that are ours; every compare and every change leaves the other 30 alone."""

    bypass: int = 0x2000_0000
    """Not to be captured: a packet of a flow decided *direct*, and, in the connmark, all that follow it."""
    injected: int = 0x4000_0000
    """A packet handed to the stack: not tracked by conntrack, which would take the remote end for the originator."""

    @property
    def both(self) -> int:
        """A packet sent past the capture for once (the client's own sockets' too): its connection is not remembered as
        bypassed."""
        return self.bypass | self.injected


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the rules have to know of the host's adapters."""

    default: frozenset[str] = frozenset()
    """Adapters that carry a default route."""
    behind: Mapping[str, tuple[Network, ...]] = field(default_factory=dict)
    """The networks behind each other adapter, the loopback device apart."""


def tables(
    plan: CapturePlan, surroundings: Surroundings, marks: Marks, queues: tuple[int, int], version: int
) -> list[tuple[str, list[str]]]:
    """(table, rules) in the order to install them: nothing is injected before it is exempt from tracking."""
    bypass, injected = (f"{bit:#x}/{marks.both:#x}" for bit in (marks.bypass, marks.injected))
    save = f"--nfmask {marks.bypass:#x} --ctmask {marks.bypass:#x}"
    mangle = [
        # What comes back for another machine, and has no way to it but the one outside.
        *(
            f"-A {CHAIN} -o {_name(adapter)} -m mark --mark {marks.both:#x}/{marks.both:#x} "
            "-m addrtype ! --src-type LOCAL -j DROP"
            for adapter in sorted(surroundings.default if plan.forwarded else ())
        ),
        # The stack's own addresses may vanish while a packet for them is on its way in: it must not leave the host.
        f"-A {CHAIN} ! -o lo -m mark --mark {injected} -j DROP",
        f"-A {CHAIN} -m mark ! --mark 0x0/{marks.both:#x} -j RETURN",
        # before the marks of connections: a port may have been an app's, to the same place, a moment ago
        *(f"-A {CHAIN} -p udp -m udp --sport {port} -g {QUEUE_CHAIN}" for port in plan.ports),
        # conntrack keeps the entry of a connection that was reset or never answered, and a SYN between the same ends
        # revives it; whose connection that is has to be asked again
        f"-A {CHAIN} -p tcp -m tcp --tcp-flags SYN,ACK SYN -j CONNMARK --set-xmark 0x0/{marks.bypass:#x}",
        f"-A {CHAIN} -m connmark --mark {marks.bypass:#x}/{marks.bypass:#x} -j RETURN",
        *_never_captured(plan, version),
        *_adapters(plan, surroundings, version),
        *branches(ordered(plan, version), PLAN_CHAIN, {True: f"-g {QUEUE_CHAIN}", False: "-j RETURN"}),
        *_queue(plan, queues),
        *(_forwarded(plan, surroundings, marks, version) if plan.forwarded else ()),
        f"-A {SAVE_CHAIN} -m mark --mark {bypass} -j CONNMARK --save-mark {save}",
    ]
    raw = [f"-A {CHAIN} -m mark --mark {injected} -j CT --notrack"]
    if plan.forwarded:
        raw.append(
            f"-A {CHAIN} -m mark --mark {marks.both:#x}/{marks.both:#x} -m addrtype ! --src-type LOCAL -j CT --notrack"
        )
    return [("raw", raw), ("mangle", mangle)]


def transaction(
    content: Sequence[tuple[str, Sequence[str]]],
    standing: Mapping[str, Sequence[str]],
    chains: Mapping[str, Sequence[str]],
) -> str:
    """Input for ``iptables-restore --noflush``: replace all that is ours by *content*, each table in one step.

    *standing* has the lines of the jumps that already stand, by table, as ``iptables-save`` prints them; *chains* the
    names of our chains that do.
    """
    lines: list[str] = []
    for table, rules in content:
        wanted = dict.fromkeys((*CHAINS[table], *(rule.split(maxsplit=2)[1] for rule in rules)))
        stale = [name for name in chains.get(table, ()) if name not in wanted]
        lines += [f"*{table}", *(f":{chain} - [0:0]" for chain in wanted)]
        lines += [_deletion(line) for line in standing.get(table, ())]
        lines += [f"-I {builtin} 1 -j {chain}" for builtin, chain in JUMPS[table]]
        lines += [*rules, *(f"-F {name}" for name in stale), *(f"-X {name}" for name in stale), "COMMIT"]
    return "\n".join(lines) + "\n"


def removal(standing: Mapping[str, Sequence[str]], chains: Mapping[str, Sequence[str]]) -> str:
    """Input for ``iptables-restore --noflush``: remove these jumps and chains, and nothing else; empty if none."""
    lines: list[str] = []
    for table in (*chains, *(table for table in standing if table not in chains)):
        here = chains.get(table, ())
        jumps = [_deletion(line) for line in standing.get(table, ())]
        if here or jumps:
            lines += [f"*{table}", *jumps, *(f"-F {name}" for name in here), *(f"-X {name}" for name in here), "COMMIT"]
    return "\n".join(lines) + "\n" if lines else ""


def _never_captured(plan: CapturePlan, version: int) -> list[str]:
    """On loopback all but DNS; what the link itself lives on."""
    groups = [network for network in GROUPS if network.version == version]
    local = [network for network in LINK_LOCAL if network.version == version]
    dns = DNS_MATCHES if plan.dns else ()
    restriction = [f"-o {_name(adapter)} " for adapter in plan.adapters] or [""]
    rules = [
        *(f"-A {CHAIN} -o lo {match} -g {QUEUE_CHAIN}" for match in dns),
        f"-A {CHAIN} -o lo -j RETURN",
        *(f"-A {CHAIN} -d {network} -j RETURN" for network in groups),
    ]
    if version == 4:
        rules.append(f"-A {CHAIN} -m addrtype --dst-type BROADCAST -j RETURN")
    rules += [f"-A {CHAIN} {adapter}{match} -g {QUEUE_CHAIN}" for adapter in restriction for match in dns]
    rules += [f"-A {CHAIN} -d {network} -j RETURN" for network in local]
    rules += [
        f"-A {CHAIN} -p udp -m udp --sport {source} --dport {destination} -j RETURN"
        for source, destination in DHCP[version]
    ]
    if version == 6:
        rules += [f"-A {CHAIN} -p ipv6-icmp -m icmp6 --icmpv6-type {kind} -j RETURN" for kind in NEIGHBOUR_DISCOVERY]
    return rules


def _adapters(plan: CapturePlan, surroundings: Surroundings, version: int) -> list[str]:
    if plan.adapters:
        return [f"-A {CHAIN} -o {_name(adapter)} -g {PLAN_CHAIN}" for adapter in plan.adapters]
    rules: list[str] = []
    for adapter, networks in sorted(surroundings.behind.items()):
        if adapter in surroundings.default:
            continue
        known = sorted((n for n in networks if n.version == version), key=str)
        if len(known) > MAX_NETWORKS:
            rules.append(f"-A {CHAIN} -o {_name(adapter)} -j RETURN")
        else:
            rules += [f"-A {CHAIN} -o {_name(adapter)} -d {network} -j RETURN" for network in known]
    return [*rules, f"-A {CHAIN} -g {PLAN_CHAIN}"]


def _forwarded(plan: CapturePlan, surroundings: Surroundings, marks: Marks, version: int) -> list[str]:
    """What other machines send through this host; what they answer to connections from outside is none of ours."""
    never = [network for network in (*GROUPS, *LINK_LOCAL) if network.version == version]
    return [
        f"-A {FORWARD_CHAIN} -m mark ! --mark 0x0/{marks.both:#x} -j RETURN",
        f"-A {FORWARD_CHAIN} -m connmark --mark {marks.bypass:#x}/{marks.bypass:#x} -j RETURN",
        f"-A {FORWARD_CHAIN} -m conntrack --ctdir REPLY -j RETURN",
        *(f"-A {FORWARD_CHAIN} -d {network} -j RETURN" for network in never),
        *(
            rule.replace(f"-A {CHAIN} ", f"-A {FORWARD_CHAIN} ", 1)
            for rule in _adapters(plan, surroundings, version)
            if not rule.endswith(f"-g {PLAN_CHAIN}")
        ),
        *(f"-A {FORWARD_CHAIN} {match} -g {QUEUE_CHAIN}" for match in (DNS_MATCHES if plan.dns else ())),
        *(
            f"-A {FORWARD_CHAIN} {restriction}-g {PLAN_CHAIN}"
            for restriction in ([f"-o {_name(adapter)} " for adapter in plan.adapters] or [""])
        ),
    ]


def _queue(plan: CapturePlan, queues: tuple[int, int]) -> list[str]:
    unserved = " --queue-bypass" if plan.fail_open else ""
    tcp, other = queues
    return [
        f"-A {QUEUE_CHAIN} -p tcp -j NFQUEUE --queue-num {tcp}{unserved}",
        f"-A {QUEUE_CHAIN} -j NFQUEUE --queue-num {other}{unserved}",
    ]


def _deletion(line: str) -> str:
    return f"-D{line.removeprefix('-A')}"


def _name(adapter: str) -> str:
    """The kernel lets adapter names hold characters that mean something in a rule ('+' matches any ending)."""
    if not adapter or not all(c.isalnum() or c in "_.@-" for c in adapter) or adapter.startswith("-"):
        raise BackendError(
            f"adapter name {adapter!r} cannot be written in an iptables rule", "rename it: ip link set … name …"
        )
    return adapter
