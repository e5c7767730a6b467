"""The iptables rules of a capture plan, as text."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Marks:
    """The two bits of the packet mark that are ours; every compare and every change leaves the other 30 alone."""

    bypass: int = 0x2000_0000
    """Not to be captured: the client's own sockets, re-sent packets, flows decided *direct* (also in the connmark)."""
    injected: int = 0x4000_0000
    """A packet handed to the stack: not tracked by conntrack, which would take the remote end for the originator."""
