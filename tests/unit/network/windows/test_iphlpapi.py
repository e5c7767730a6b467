import ctypes
import socket
from typing import Any

import pytest

from tests.support.windows import FakeIpHelper, packed
from wiresock_py.network.windows import iphlpapi
from wiresock_py.network.windows.iphlpapi import AF_INET, MIB_IPFORWARD_ROW2, SOCKADDR_INET, dword, rows


# What a compiler makes of iptypes.h and netioapi.h for x64 (mingw-w64 10, Windows 10 and later).
@pytest.mark.parametrize(
    ("kind", "size", "offsets"),
    [
        ("SOCKADDR_INET", 28, {"v4": 4, "v6": 8, "scope_id": 24}),
        ("IP_ADAPTER_ADDRESS", 32, {"Next": 8, "Address": 16}),
        ("IP_ADAPTER_UNICAST_ADDRESS", 64, {"DadState": 40, "OnLinkPrefixLength": 56}),
        (
            "IP_ADAPTER_ADDRESSES",
            448,
            {
                "IfIndex": 4,
                "Next": 8,
                "AdapterName": 16,
                "FirstUnicastAddress": 24,
                "FirstDnsServerAddress": 48,
                "DnsSuffix": 56,
                "Description": 64,
                "FriendlyName": 72,
                "PhysicalAddress": 80,
                "PhysicalAddressLength": 88,
                "Mtu": 96,
                "IfType": 100,
                "OperStatus": 104,
                "Ipv6IfIndex": 108,
                "FirstGatewayAddress": 208,
                "Ipv4Metric": 216,
                "Ipv6Metric": 220,
                "Luid": 224,
            },
        ),
        (
            "MIB_IPFORWARD_ROW2",
            104,
            {"InterfaceIndex": 8, "DestinationPrefix": 12, "PrefixLength": 40, "NextHop": 44, "Metric": 84},
        ),
        ("MIB_IPFORWARDROW", 56, {"dwForwardNextHop": 12, "dwForwardIfIndex": 16}),
        (
            "MIB_IPNET_ROW2",
            88,
            {"InterfaceIndex": 28, "PhysicalAddress": 40, "PhysicalAddressLength": 72, "State": 76},
        ),
    ],
)
def test_structures_are_laid_out_as_windows_has_them(kind: str, size: int, offsets: dict[str, int]) -> None:
    structure: Any = getattr(iphlpapi, kind)
    assert ctypes.sizeof(structure) == size
    assert {name: getattr(structure, name).offset for name in offsets} == offsets


@pytest.mark.parametrize("text", ["192.0.2.9", "2001:db8::9"])
def test_a_socket_address_gives_back_what_it_was_made_from(text: str) -> None:
    assert SOCKADDR_INET.of(packed(text)).packed == packed(text)
    assert SOCKADDR_INET().packed == b""


def test_a_dword_has_the_bytes_of_the_wire() -> None:
    assert bytes(ctypes.c_uint32(dword(socket.inet_aton("192.0.2.9")))) == socket.inet_aton("192.0.2.9")


def test_rows_are_copies_and_the_table_is_given_back() -> None:
    helper = FakeIpHelper()
    helper.add_route("0.0.0.0", 0, 5, "192.0.2.1")
    helper.add_route("10.0.0.0", 8, 6, "192.0.2.2")
    found = rows(helper, "GetIpForwardTable2", AF_INET, MIB_IPFORWARD_ROW2)
    assert [(row.InterfaceIndex, row.NextHop.packed) for row in found] == [
        (5, packed("192.0.2.1")),
        (6, packed("192.0.2.2")),
    ]
    assert not helper.tables


def test_a_table_that_windows_withholds_is_an_error() -> None:
    with pytest.raises(OSError, match="GetIpForwardTable2 failed: error 50"):
        rows(FakeIpHelper(missing=["GetIpForwardTable2"]), "GetIpForwardTable2", AF_INET, MIB_IPFORWARD_ROW2)
