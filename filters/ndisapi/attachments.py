"""The host's adapters and the driver's, put together: which of them are captured.

Windows and the driver know an adapter by its GUID; its handle is the driver's, its index, addresses and routes are
Windows'. A dial-up connection has no adapter of its own in the driver, but is a link of a shared one, found by the
address it was given.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from wiresock_py.errors import BackendError
from wiresock_py.filters.base import CapturePlan
from wiresock_py.filters.host import HostAdapter, HostNetwork
from wiresock_py.filters.ndisapi.adapters import Adapter
from wiresock_py.filters.ndisapi.api import NdisApi
from wiresock_py.filters.ndisapi.device import DeviceError
from wiresock_py.filters.ndisapi.raw.constants import MAX_ETHER_FRAME

MEDIUM_WAN = 3  # NdisMediumWan: shared by all dial-up links
ETHERNET_HEADER = 14
LARGEST_PACKET = MAX_ETHER_FRAME - ETHERNET_HEADER


@dataclass(frozen=True, slots=True)
class Attachment:
    """An adapter of the host that the driver is bound to, as it is now."""

    adapter: Adapter
    """The driver's side; its handle goes stale."""
    host: HostAdapter
    """Windows' side."""
    mac: bytes
    """What frames for this host are addressed to."""
    mtu: int
    """Bytes of the largest IP packet that a frame on it holds."""

    @property
    def handle(self) -> int:
        return self.adapter.handle

    @property
    def index(self) -> int:
        return self.host.index


def attachments(api: NdisApi, host: HostNetwork, before: Sequence[Attachment] = ()) -> tuple[Attachment, ...]:
    """The adapters that both sides know, in the driver's order.

    One that Windows does not name for the moment (its link is down, its address not there yet) is as it was *before*:
    nothing may pass by it when it comes back before we know.
    """
    adapters = host.adapters()
    by_guid = {adapter.guid.upper(): adapter for adapter in adapters if adapter.guid}
    known = {attachment.adapter: attachment for attachment in before}
    found: list[Attachment] = []
    for bound in api.adapters():
        if bound.medium == MEDIUM_WAN:
            found += _dialled(api, bound, adapters)
        elif (adapter := by_guid.get(bound.guid)) is not None:
            found.append(_attach(bound, adapter, bound.mac, bound.mtu))
        elif bound in known:
            found.append(known[bound])
    return tuple(found)


def captured(found: Sequence[Attachment], plan: CapturePlan) -> tuple[Attachment, ...]:
    """Those whose traffic *plan* is about: the ones it names, or else those with a default route."""
    if not plan.adapters:
        return tuple(attachment for attachment in found if attachment.host.gateways)
    wanted = {name.upper() for name in plan.adapters}
    return tuple(attachment for attachment in found if wanted & _names(attachment))


def check_names(found: Sequence[Attachment], plan: CapturePlan) -> None:
    """Raises BackendError for an adapter that *plan* names and the driver does not have."""
    known = {name for attachment in found for name in _names(attachment)}
    for name in plan.adapters:
        if name.upper() not in known:
            there = ", ".join(attachment.host.name for attachment in found)
            raise BackendError(
                f"the driver has no adapter {name!r}",
                f"use one of: {there or 'none is bound'}; Windows' own virtual adapters cannot be captured",
            )


def _names(attachment: Attachment) -> set[str]:
    return {attachment.host.name.upper(), attachment.adapter.name.upper(), attachment.adapter.guid}


def _dialled(api: NdisApi, bound: Adapter, adapters: Sequence[HostAdapter]) -> Iterator[Attachment]:
    try:
        links = api.ras_links(bound)
    except DeviceError:
        return  # gone since it was listed
    for link in links:
        if link.ipv4 is not None:
            for adapter in adapters:
                if link.ipv4.packed in adapter.addresses:
                    yield _attach(bound, adapter, link.local, link.mtu)


def _attach(bound: Adapter, adapter: HostAdapter, mac: bytes, mtu: int) -> Attachment:
    return Attachment(bound, adapter, mac, min(adapter.mtu, mtu or LARGEST_PACKET, LARGEST_PACKET))
