"""pydivert's driver for Linux, libebpfdivert: WinDivert's filters, addresses and calls on eBPF.

It is there so that the backend runs on a real network stack without Windows; users of Linux have netfilter.
"""

import ctypes
import errno
import os
from typing import Any

from wiresock_py.errors import BackendError
from wiresock_py.filters.windivert.address import BATCH_MAX
from wiresock_py.filters.windivert.handle import Addresses, End, Flag, priority

NETWORK_LAYER = 0
SHUTDOWN_RECEIVE = 1


def load_library() -> Any:
    """libebpfdivert, with its calls' types declared by pydivert. Raises BackendError if it does not load."""
    from pydivert.bpf import libebpfdivert

    if libebpfdivert is None:
        raise BackendError("pydivert's libebpfdivert does not load here", "it needs glibc 2.28 and x86_64 or aarch64")
    return libebpfdivert


class EbpfDriver:
    def __init__(self, library: Any) -> None:
        self._library = library

    def open(self, text: str, flags: Flag = Flag.NONE) -> "EbpfHandle":
        handle = self._library.ebpfdivert_open(text.encode(), NETWORK_LAYER, priority(flags), int(flags), None)
        if not handle:
            code = ctypes.get_errno()
            raise BackendError(
                f"eBPF programs cannot be attached here: {os.strerror(code)}",
                "it needs root, and a kernel from 5.10 on with BTF",
            )
        return EbpfHandle(self._library, handle)


class EbpfHandle:
    def __init__(self, library: Any, handle: int) -> None:
        self._library = library
        self._handle = handle

    def receive(
        self, packets: "ctypes.Array[ctypes.c_char]", addresses: Addresses, timeout: float
    ) -> tuple[int, int] | End:
        length, room = ctypes.c_uint32(0), ctypes.c_uint32(BATCH_MAX)  # WinDivert counts bytes of addresses here
        result = self._library.ebpfdivert_recv_ex(
            self._handle,
            packets,
            len(packets),
            ctypes.byref(length),
            ctypes.cast(addresses, self._library.ebpfdivert_recv_ex.argtypes[4]),
            ctypes.byref(room),
            int(timeout * 1000),
        )
        if result == -errno.ESHUTDOWN:
            return End.EMPTY
        if result in (-errno.EAGAIN, -errno.EINTR):
            return End.TIMEOUT
        if result < 0:
            raise BackendError(f"eBPF hands over no packets: {os.strerror(-result)}")
        return length.value, room.value

    def send(self, packets: int, length: int, addresses: int, count: int) -> None:
        sent = ctypes.c_uint32(0)
        entry = ctypes.cast(addresses, self._library.ebpfdivert_send_ex.argtypes[4])
        result = self._library.ebpfdivert_send_ex(self._handle, packets, length, ctypes.byref(sent), entry, count)
        if result < 0:
            raise OSError(-result, os.strerror(-result))

    def stop(self) -> None:
        self._library.ebpfdivert_shutdown(self._handle, SHUTDOWN_RECEIVE)

    def close(self) -> None:
        self._library.ebpfdivert_close(self._handle)

    def statistics(self) -> dict[str, int]:
        from pydivert.bpf import STAT_NAMES

        values = (ctypes.c_uint64 * len(STAT_NAMES))()
        self._library.ebpfdivert_get_handle_stats(self._handle, values, len(STAT_NAMES))
        found = dict(zip(STAT_NAMES, values, strict=True))
        return {"queue_full": found["queue_full"] + found["ringbuf_full"], "truncated": found["too_big"]}
