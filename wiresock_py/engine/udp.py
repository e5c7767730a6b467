"""The UDP socket to the peers: one for both families, whole runs of datagrams in one call where the kernel can."""

from typing import NamedTuple

from wiresock_py.filters import Buffer


class Endpoint(NamedTuple):
    """A peer's UDP address; equal for the same peer however the system spells it (IPv4 never as ::ffff:a.b.c.d)."""

    address: str
    port: int


class Received(NamedTuple):
    """What one receive brought: ``buffer[:size]`` is datagrams of *segment_size* bytes, the last perhaps shorter."""

    size: int
    segment_size: int
    source: Endpoint


class UdpSocket:
    """Both families on one port. ``send_run`` and ``receive_into`` may run in different threads; ``close`` in any."""

    def __init__(self, port: int = 0, mark: int = 0) -> None:
        """Bind *port* (0: a free one). *mark* is the backend's ``mark``. Raises NetworkError naming a port in use."""
        raise NotImplementedError

    @property
    def port(self) -> int:
        raise NotImplementedError

    def send_run(self, data: Buffer, segment_size: int, endpoint: Endpoint | tuple[str, int]) -> int:
        """Send *data* cut every *segment_size* bytes; returns how many datagrams the kernel took.

        At most 64 segments and 65,507 bytes. Never raises for what the network does: causes are counted.
        """
        raise NotImplementedError

    def receive_into(self, buffer: memoryview, timeout: float) -> Received | None:
        """The next datagrams, at most 65,535 bytes; None after *timeout* seconds without, or once closed."""
        raise NotImplementedError

    def close(self) -> None:
        """Close; a ``receive_into`` that waits returns None."""
        raise NotImplementedError

    def statistics(self) -> dict[str, int]:
        raise NotImplementedError
