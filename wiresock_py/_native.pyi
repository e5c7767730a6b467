# The compiled data path, see native/; datapath/native.py puts it behind the data path's face.

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Self

from wiresock_py.crypto import Session
from wiresock_py.datapath.flows import Flow, FlowTable, Index
from wiresock_py.filters.base import Buffer

class Sealer:
    def __init__(self, key: Buffer, /) -> None: ...
    def encrypt_into(
        self, nonce: Buffer, data: Buffer, associated_data: Buffer | None, buf: bytearray | memoryview, /
    ) -> int: ...

class Opener:
    def __init__(self, key: Buffer, /) -> None: ...
    def decrypt_into(
        self, nonce: Buffer, data: Buffer, associated_data: Buffer | None, buf: bytearray | memoryview, /
    ) -> int: ...

class ReplayWindow:
    @property
    def greatest(self) -> int: ...
    def check(self, counter: int, /) -> bool: ...
    def accept(self, counter: int, /) -> bool: ...

class FlowState:
    def __new__(
        cls,
        protocol: int,
        route: int,
        now: float,
        peer: Hashable,
        before: bytes,
        inner: bytes,
        answer: bytes,
        after: bytes,
        /,
    ) -> Self: ...

class FlowIndex:
    def __init__(self) -> None: ...
    def get(self, key: bytes, /) -> Flow | None: ...
    def __len__(self) -> int: ...
    def __setitem__(self, key: bytes, flow: Flow, /) -> None: ...
    def __delitem__(self, key: bytes, /) -> None: ...

# Linux only
class UdpReader:
    def __init__(self) -> None: ...
    def receive(
        self, number: int, wake: int, buffer: memoryview, timeout: int, /
    ) -> tuple[int, int, bytes | None, int]: ...

def send_runs(
    number: int, data: memoryview, runs: list[tuple[int, int, int]], address: bytes, /
) -> tuple[int, int]: ...
def inject(ipv4: int, ipv6: int, packets: Sequence[Sequence[Buffer]], /) -> list[tuple[int, int]]: ...
def fill(
    number: int,
    data: memoryview,
    start: int,
    stop: int,
    limit: int,
    offsets: list[int],
    lengths: list[int],
    flags: list[int],
    adapters: list[int],
    tokens: list[int],
    /,
) -> tuple[int, int, int, int]: ...

class Sealing:
    def __init__(self) -> None: ...
    def plan(
        self,
        data: memoryview,
        offsets: list[int],
        lengths: list[int],
        flags: list[int],
        indices: Sequence[int],
        flows: Sequence[Flow | None],
        sealer: object,
        header: bytes,
        counter: int,
        mtu: int,
        now: float,
        end: int,
        room: int,
        runs: list[tuple[int, int, int]],
        table: FlowTable,
        track: Callable[[FlowTable, Flow, int, int, int], None],
        /,
    ) -> tuple[int, int, int, int, list[int], int, int] | None: ...
    def encrypt(self, buffer: memoryview, /) -> None: ...
    def clear(self) -> None: ...

def plain_lengths(frames: memoryview, stride: int, routers: frozenset[bytes], /) -> list[int] | None: ...
def put_frames(
    data: memoryview,
    stride: int,
    length_at: int,
    packets: Sequence[Sequence[Buffer]],
    first: int,
    places: Mapping[bytes, tuple[bytes, int, int]],
    /,
) -> tuple[int, int, list[int]]: ...
def classify(
    data: memoryview,
    offsets: list[int],
    lengths: list[int],
    flags: list[int],
    verdicts: list[int],
    outbound4: dict[int, Index],
    outbound6: dict[int, Index],
    now: float,
    tunnel: dict[Hashable, list[int]],
    flow: list[Flow | None],
    blocked: list[int],
    /,
) -> list[int]: ...
def open_datagrams(
    view: memoryview,
    step: int,
    sessions: dict[int, Session],
    inbound4: dict[int, Index],
    inbound6: dict[int, Index],
    now: float,
    largest: int,
    most: int,
    table: FlowTable,
    packets: list[list[Buffer]],
    control: list[bytes],
    received: list[tuple[Session, int, int, int]],
    /,
) -> tuple[list[tuple[int, int]], list[tuple[Session, bytes]]]: ...
