"""Rules that are never met, because another one takes first whatever they would take.

Told is only what is certain: entries are compared as they are written, not by what they may mean together.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

from wiresock_py.config import Notice
from wiresock_py.rules.decision import Reason
from wiresock_py.rules.destinations import Destination, Finding
from wiresock_py.rules.ranges import Network


class Part(Protocol):
    """One step of the ordered list: a rule of settings.yaml, or a tunnel."""

    def prefixes(self) -> Iterator[Network]: ...
    def findings(self, to: Destination) -> Iterator[Finding]: ...


def unreachable(parts: Sequence[Part]) -> Iterator[Notice]:
    """A notice for each rule, and each prefix of AllowedIPs, that nothing can meet."""
    reached: set[Reason] = set()
    shadowed: dict[Reason, Reason] = {}
    idle: dict[Reason, Reason] = {}
    for network in sorted({each for part in parts for each in part.prefixes()}, key=_order):
        earlier: list[Finding] = []
        for finding in _offers(parts, network, idle):
            by = next((each for each in earlier if _takes_all(each, finding)), None)
            if by is None:
                reached.add(_rule(finding))
            else:
                shadowed.setdefault(_rule(finding), by.reason)
            earlier.append(finding)
    for rule, by_whom in {**idle, **shadowed}.items():
        if rule not in reached:
            message = f"{rule.text} is never met, for this comes first: {by_whom}"
            remedy = "remove one of the two, or put the narrower one first"
            if not by_whom.file:  # no rule of anybody's, but what no tunnel carries
                remedy = "remove it; all destinations are 0.0.0.0/0 and ::/0"
            yield Notice(message, remedy, rule.file, rule.line)


def _offers(parts: Sequence[Part], network: Network, idle: dict[Reason, Reason]) -> Iterator[Finding]:
    """What the parts offer at *network*, in order; a prefix that its own tunnel leaves out is noted in *idle*."""
    for part in parts:
        for finding in part.findings(Destination.of_prefix(network)):
            if finding.conditions is not None and (finding.stated or finding.reason.text.startswith("AllowedIPs")):
                yield finding
            elif finding.left_out is not None and finding.left_out.text == f"AllowedIPs = {network}":
                idle.setdefault(finding.left_out, finding.reason)


def _takes_all(one: Finding, other: Finding) -> bool:
    """Whether whoever meets *other* meets *one* too."""
    if one.everyone:
        return True
    return all(
        mine.everyone or any(mine.includes(theirs) for theirs in other.conditions or ())
        for mine in one.conditions or ()
    )


def _rule(finding: Finding) -> Reason:
    """The rule of a finding, without what the tunnel's versions of IP make of it."""
    return finding.reason._replace(text=finding.reason.text.partition(", but the tunnel")[0])


def _order(network: Network) -> tuple[int, int, int]:
    return network.version, int(network.network_address), network.prefixlen
