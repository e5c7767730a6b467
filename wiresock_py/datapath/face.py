"""The data path's face: what an implementation of it consists of, and Python's, which is always there.

Both have one face, and tests hold them equal packet by packet. What differs is what the machine does meanwhile: the
compiled one (``native.py``) encrypts and decrypts without the interpreter's lock, and without a lock of its caller's.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from wiresock_py.crypto import CRYPTOGRAPHY, Ciphers, Session
from wiresock_py.datapath.batch import Classified, DatagramBuffer, Opened
from wiresock_py.datapath.classify import classify
from wiresock_py.datapath.flows import Flow, FlowTable
from wiresock_py.datapath.open import open_datagrams
from wiresock_py.datapath.seal import seal
from wiresock_py.filters.base import PacketBatch


@dataclass(frozen=True, slots=True)
class DataPath:
    """One implementation. Flows, sessions and buffers that its functions are given were made by what it names here."""

    name: str
    """As in ``run --datapath``."""
    compiled: bool
    """Whether it is the one in compiled code, which has the system calls around it, too."""
    ciphers: Ciphers
    """What its sessions are made with."""
    flow_table: type[FlowTable]
    datagram_buffer: type[DatagramBuffer]
    classify: Callable[[PacketBatch, FlowTable, float, Classified], None]
    seal: Callable[
        [PacketBatch, Sequence[int], Sequence[Flow | None], FlowTable, Session, int, float, DatagramBuffer], list[int]
    ]
    open_datagrams: Callable[[bytearray | memoryview, int, Mapping[int, Session], FlowTable, float, Opened], None]


PYTHON = DataPath("python", False, CRYPTOGRAPHY, FlowTable, DatagramBuffer, classify, seal, open_datagrams)
