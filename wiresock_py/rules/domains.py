"""Which names an entry of a domain list means, and what a peer's two lists say about the names of an address.

example.com        it and everything below it
*.example.com      only what is below it
"""

from collections.abc import Iterable, Iterator

from wiresock_py.config import Config, Peer
from wiresock_py.rules.conditions import Asker, Condition, Verdict
from wiresock_py.rules.decision import Reason


class DomainSet:
    """Entries of domain lists, each with what it is there for; the first of two equal ones counts."""

    def __init__(self, entries: Iterable[tuple[str, Reason]] = ()) -> None:
        self._whole: dict[str, Reason] = {}
        self._below: dict[str, Reason] = {}
        for entry, reason in entries:
            wildcard = entry.startswith("*.")
            (self._below if wildcard else self._whole).setdefault(entry.removeprefix("*."), reason)

    def match(self, name: str) -> Reason | None:
        """What the longest entry that means *name* is there for."""
        if name in self._whole:
            return self._whole[name]
        while (name := name.partition(".")[2]) != "":
            found = self._below.get(name) or self._whole.get(name)
            if found is not None:
                return found
        return None

    def any_of(self, names: Iterable[str]) -> Reason | None:
        """As :meth:`match`, for the first of *names* that is meant."""
        return next((reason for name in names if (reason := self.match(name)) is not None), None)

    def includes(self, other: "DomainSet") -> bool:
        """Whether every name that *other* means is meant here."""
        return all(self.match(entry.replace("*", "x", 1)) is not None for entry in other)

    def __bool__(self) -> bool:
        return bool(self._whole or self._below)

    def __iter__(self) -> Iterator[str]:
        yield from self._whole
        yield from (f"*.{name}" for name in self._below)


class DomainLists:
    """AllowedDomains and DisallowedDomains of one peer; the table is that of the app lists."""

    def __init__(self, config: Config, peer: Peer) -> None:
        self._config = config
        self._peer = peer
        self.allowed = DomainSet(_entries(config, peer, "AllowedDomains", peer.allowed_domains))
        self.disallowed = DomainSet(_entries(config, peer, "DisallowedDomains", peer.disallowed_domains))
        self.everyone = not self.allowed and not self.disallowed

    def includes(self, other: Condition) -> bool:
        """Whether *other* is the lists of a peer, and means only names that these allow."""
        return isinstance(other, DomainLists) and bool(other.allowed) and self.allowed.includes(other.allowed)

    def verdict(self, asker: Asker) -> Verdict:
        """Whether the lists give what goes by *asker*'s names the tunnel."""
        if found := self.allowed.any_of(asker.names):
            return Verdict(True, found)
        if found := self.disallowed.any_of(asker.names):
            return Verdict(False, found)
        key = "AllowedDomains" if self.allowed else "DisallowedDomains"
        known = f"known as {', '.join(asker.names[:3])}, " if asker.names else "its name is not known, so "
        reason = Reason(f"{known}not in {key}", self._config.file, self._peer.place(key).line)
        return Verdict(not self.allowed, reason)


def _entries(config: Config, peer: Peer, key: str, domains: Iterable[str]) -> Iterator[tuple[str, Reason]]:
    for domain in domains:
        yield domain, Reason(f"{key} = {domain}", config.file, peer.place(key, domain).line)
