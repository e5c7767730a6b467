"""The link headers of our own frames."""

from collections.abc import Callable

import pytest

from wiresock_py.errors import NetworkError
from wiresock_py.filters import HostAdapter
from wiresock_py.filters.base import Buffer
from wiresock_py.filters.ndisapi import Adapter, next_hops
from wiresock_py.filters.ndisapi.attachments import Attachment
from wiresock_py.filters.ndisapi.next_hops import NOBODY, NextHops
from wiresock_py.filters.ndisapi.outbox import Place

OWN, OWN6 = bytes((10, 0, 0, 2)), bytes(15) + b"\x02"
ROUTER, ROUTER6, OTHER_ROUTER = bytes((10, 0, 0, 1)), bytes(15) + b"\x01", bytes((10, 0, 0, 254))
REMOTE = bytes((192, 0, 2, 1))
MAC, ROUTER_MAC, NEW_MAC = b"\x02own__", b"\x02rout_", b"\x02new__"


class Host:
    def __init__(self) -> None:
        self.macs: dict[bytes, bytes] = {ROUTER: ROUTER_MAC}
        self.failing = False

    def adapters(self) -> tuple[HostAdapter, ...]:
        return ()

    def next_hop_mac(self, adapter: int, destination: bytes) -> bytes | None:
        if self.failing:
            raise NetworkError("Windows does not tell")
        return self.macs.get(destination)

    def follow(self, changed: Callable[[], None]) -> Callable[[], None]:
        raise AssertionError("nobody follows")


def attached(index: int = 2, *gateways: bytes, addresses: tuple[bytes, ...] = (OWN, OWN6)) -> Attachment:
    host = HostAdapter(index, "{A}", "Ethernet", 1500, addresses, gateways or (ROUTER,))
    return Attachment(Adapter(0xA0 + index, "\\DEVICE\\{A}", 0, MAC, 1500), host, MAC, 1500)


def packet(source: bytes, destination: bytes) -> list[Buffer]:
    if len(source) == 4:
        return [b"\x45" + bytes(11) + source + destination]
    return [b"\x60" + bytes(7) + source + destination]


def link(place: Place | str) -> bytes:
    assert isinstance(place, Place)
    return place.head[-place.link :]


def test_until_the_router_is_known_what_is_for_the_stack_comes_from_nobody() -> None:
    hops = NextHops(host := Host())
    hops.refresh([attached()])
    assert link(hops.into_stack(packet(REMOTE, OWN))) == MAC + NOBODY + b"\x08\x00"
    assert hops.onto_network(packet(OWN, REMOTE), 2) == "no_next_hop"
    host.failing = True
    hops.resolve()
    assert not hops.routers
    host.failing = False
    hops.resolve()
    assert hops.routers == {ROUTER_MAC}
    assert link(hops.into_stack(packet(REMOTE, OWN))) == MAC + ROUTER_MAC + b"\x08\x00"
    assert link(hops.onto_network(packet(OWN, REMOTE), 2)) == ROUTER_MAC + MAC + b"\x08\x00"
    assert link(hops.into_stack(packet(bytes(16), OWN6))) == MAC + NOBODY + b"\x86\xdd"


def test_a_router_that_was_replaced_is_followed() -> None:
    hops = NextHops(host := Host())
    hops.refresh([attached()])
    hops.resolve()
    host.macs[ROUTER] = NEW_MAC
    hops.resolve()
    assert hops.routers == {NEW_MAC}
    host.macs.clear()
    hops.resolve()
    assert hops.routers == {NEW_MAC}, "one that does not answer just now is still the router"
    hops.refresh([attached(3)])
    assert not hops.routers


def test_of_several_routers_the_first_of_a_family_counts_and_an_on_link_route_has_none() -> None:
    host = Host()
    host.macs |= {OTHER_ROUTER: NEW_MAC, ROUTER6: b"\x02six__"}
    hops = NextHops(host)
    hops.refresh([attached(2, ROUTER, OTHER_ROUTER, ROUTER6), attached(3, bytes(4), addresses=())])
    hops.resolve()
    assert hops.routers == {ROUTER_MAC, b"\x02six__"}


def test_what_a_captured_frame_said_goes_before_the_router() -> None:
    hops = NextHops(Host())
    adapter = attached()
    hops.refresh([adapter])
    hops.resolve()
    hops.learn(adapter, NEW_MAC + MAC + b"\x08\x00", REMOTE, 0)
    assert link(hops.onto_network(packet(OWN, REMOTE), 2))[:6] == NEW_MAC
    assert link(hops.onto_network(packet(OWN, REMOTE), 0))[:6] == NEW_MAC
    assert link(hops.onto_network(packet(OWN, OTHER_ROUTER), 2))[:6] == ROUTER_MAC
    hops.refresh([adapter])
    assert link(hops.onto_network(packet(OWN, REMOTE), 2))[:6] == ROUTER_MAC, "a change forgets"


def test_only_so_much_is_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(next_hops, "MAX_LEARNED", 4)
    hops = NextHops(Host())
    adapter = attached()
    hops.refresh([adapter])
    for last in range(10):
        hops.learn(adapter, NEW_MAC + MAC + b"\x08\x00", bytes((192, 0, 2, last)), 0)
    known = [last for last in range(10) if hops.onto_network(packet(OWN, bytes((192, 0, 2, last))), 2) != "no_next_hop"]
    assert known == [8, 9]


def test_tags_of_an_adapters_frames_are_put_into_ours_and_make_room_for_themselves() -> None:
    hops = NextHops(Host())
    adapter = attached()
    hops.refresh([adapter])
    hops.resolve()
    hops.learn(adapter, ROUTER_MAC + MAC + b"\x81\x00\x00\x07\x08\x00", REMOTE, 0x99)
    place = hops.into_stack(packet(REMOTE, OWN))
    assert link(place) == MAC + ROUTER_MAC + b"\x81\x00\x00\x07\x08\x00"
    assert isinstance(place, Place)
    assert place.mtu == 1496
    assert place.head[28:32] == (0x99).to_bytes(4, "little")
    hops.learn(adapter, ROUTER_MAC + MAC + b"\x08\x00", REMOTE, 0)
    assert link(hops.into_stack(packet(REMOTE, OWN))) == MAC + ROUTER_MAC + b"\x08\x00"


def test_what_belongs_to_no_adapter_has_no_place() -> None:
    hops = NextHops(Host())
    hops.refresh([attached()])
    assert hops.into_stack(packet(OWN, REMOTE)) == "no_adapter"
    assert hops.into_stack([b"\x00" * 40]) == "malformed"
    assert hops.onto_network(packet(REMOTE, OWN), 0) == "no_adapter"
    assert hops.onto_network(packet(OWN, REMOTE), 9) == "no_adapter"
    assert hops.onto_network([], 2) == "malformed"


def test_of_two_adapters_with_one_address_the_first_gets_what_is_for_it() -> None:
    hops = NextHops(Host())
    hops.refresh([attached(5), attached(4)])
    place = hops.into_stack(packet(REMOTE, OWN))
    assert isinstance(place, Place)
    assert place.head[:1] == b"\xa5"
