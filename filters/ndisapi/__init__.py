"""Windows Packet Filter (the NDISRD driver) from Python: captures, changes and injects Ethernet frames on Windows.

Usable by itself::

    from wiresock_py.filters.ndisapi import NdisApi

    with NdisApi() as api, api.capture(api.find("Ethernet")) as packets:
        for packet in packets:
            packet.send()

Three floors: ``raw`` has the driver's own constants and structures, ``NdisApi`` every request as a method, ``Capture``
packets to iterate over. ``emulator`` is the driver in pure Python, so that all of it runs on any system. On top of them
stands ``backend.NdisApiBackend``, the program's own interception on Windows.
"""

from wiresock_py.filters.ndisapi.adapters import Adapter, AdapterMode, Direction, RasLink
from wiresock_py.filters.ndisapi.api import NdisApi
from wiresock_py.filters.ndisapi.capture import Capture
from wiresock_py.filters.ndisapi.device import NO_EVENT, Device, DeviceError, EventHandle
from wiresock_py.filters.ndisapi.packet import Packet
from wiresock_py.filters.ndisapi.packets import PacketBlock
from wiresock_py.filters.ndisapi.raw import Ioctl
from wiresock_py.filters.ndisapi.static_filters import Action, AddressRange, FilterStatistics, Span, StaticFilter
from wiresock_py.filters.ndisapi.version import Version

__all__ = [
    "NO_EVENT",
    "Action",
    "Adapter",
    "AdapterMode",
    "AddressRange",
    "Capture",
    "Device",
    "DeviceError",
    "Direction",
    "EventHandle",
    "FilterStatistics",
    "Ioctl",
    "NdisApi",
    "Packet",
    "PacketBlock",
    "RasLink",
    "Span",
    "StaticFilter",
    "Version",
]
