"""The Linux backend: rules, queues and injection put together."""

from collections.abc import Sequence
from typing import ClassVar

from wiresock_py.filters.base import Buffer, CapturePlan, PacketBatch
from wiresock_py.filters.netfilter.rules import Marks


class NetfilterBackend:
    """Captures through NFQUEUE what leaves by the default-route adapters; one instance a network namespace."""

    name: ClassVar[str] = "netfilter"

    def __init__(self, marks: Marks | None = None, queues: tuple[int, int] = (51820, 51821)) -> None:
        """*queues* are the NFQUEUE numbers for TCP and for everything else."""
        self._marks = marks or Marks()
        self._queues = queues

    @classmethod
    def unavailable_reason(cls) -> str | None:
        raise NotImplementedError

    @property
    def mark(self) -> int:
        """SO_MARK for the client's own sockets (tunnel UDP, DNS look-ups): what carries it is never captured."""
        return self._marks.bypass

    def open(self, plan: CapturePlan) -> None:
        """Serve the queues and replace whatever rules stand, in one step: no moment without rules in between.

        Waits up to a second for a former holder of the queues to let go. Flows bypassed by an earlier run are shown
        again.
        """
        raise NotImplementedError

    def attach(self, plan: CapturePlan) -> None:
        """Serve the queues of rules that already stand, as the supervisor does after the worker died.

        Rules and bypassed flows stay as they are; only if the rules of *plan* do not stand are they installed.
        """
        raise NotImplementedError

    def update(self, plan: CapturePlan) -> None:
        raise NotImplementedError

    def close(self, *, keep_blocking: bool = False) -> None:
        """Stop serving and remove the rules; with *keep_blocking* the rules stay and drop what matches the plan."""
        raise NotImplementedError

    @classmethod
    def reset(cls) -> list[str]:
        """Remove what any run left behind, also a crashed one; one line for each thing removed."""
        raise NotImplementedError

    def receive(self, timeout: float) -> PacketBatch | None:
        raise NotImplementedError

    def finish(self, batch: PacketBatch) -> None:
        raise NotImplementedError

    def send_to_stack(self, packets: Sequence[Sequence[Buffer]]) -> int:
        raise NotImplementedError

    def send_to_network(self, packets: Sequence[Sequence[Buffer]], adapter: int = 0) -> int:
        raise NotImplementedError

    def statistics(self) -> dict[str, int]:
        raise NotImplementedError
