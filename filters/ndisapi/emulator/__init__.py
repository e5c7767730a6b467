"""The NDISRD driver in pure Python, byte for byte at the DeviceIoControl seam, for any system.

    emulator = Emulator()
    ethernet = emulator.add_adapter("Ethernet")
    with NdisApi(emulator.open()) as api: ...

What the real driver's documentation leaves open is a constructor's argument, so that code can be tested against each
possible answer.
"""

from wiresock_py.filters.ndisapi.emulator.adapter import EmulatedAdapter
from wiresock_py.filters.ndisapi.emulator.device import EmulatedDevice
from wiresock_py.filters.ndisapi.emulator.driver import Emulator

__all__ = ["EmulatedAdapter", "EmulatedDevice", "Emulator"]
