"""The driver's structures, packed as ``include/Common.h`` (driver API 3.6.1) has them for a 64-bit process.

Handles and pointers are declared as 64-bit integers, so that the layout is the same on every system and a value reads
as an int. Arrays of length ANY_SIZE are as long as the request that carries them says. ``STRUCTURES`` lists all.
"""

import ctypes
from ctypes import c_uint8, c_uint16, c_uint32, c_uint64

from wiresock_py.filters.ndisapi.raw.constants import (
    ADAPTER_LIST_SIZE,
    ADAPTER_NAME_SIZE,
    ANY_SIZE,
    ETHER_ADDR_LENGTH,
    MAX_ETHER_FRAME,
    RAS_LINK_BUFFER_LENGTH,
    RAS_LINKS_MAX,
)

HANDLE = POINTER = c_uint64
DWORD = c_uint32
ULARGE_INTEGER = c_uint64
ETHER_ADDR = c_uint8 * ETHER_ADDR_LENGTH
IN6_ADDR = c_uint8 * 16


class PackedStructure(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"  # what _pack_ has always meant; Python 3.14 wants it said


class PackedUnion(ctypes.Union):
    _pack_ = 1
    _layout_ = "ms"


# Adapters.


class TCP_AdapterList(PackedStructure):
    _fields_ = (
        ("m_nAdapterCount", DWORD),
        ("m_szAdapterNameList", c_uint8 * ADAPTER_NAME_SIZE * ADAPTER_LIST_SIZE),
        ("m_nAdapterHandle", HANDLE * ADAPTER_LIST_SIZE),
        ("m_nAdapterMediumList", c_uint32 * ADAPTER_LIST_SIZE),
        ("m_czCurrentAddress", ETHER_ADDR * ADAPTER_LIST_SIZE),
        ("m_usMTU", c_uint16 * ADAPTER_LIST_SIZE),
    )


class ADAPTER_MODE(PackedStructure):
    _fields_ = (("hAdapterHandle", HANDLE), ("dwFlags", DWORD))


class ADAPTER_EVENT(PackedStructure):
    _fields_ = (("hAdapterHandle", HANDLE), ("hEvent", HANDLE))


class PACKET_OID_DATA(PackedStructure):
    _fields_ = (("hAdapterHandle", HANDLE), ("Oid", DWORD), ("Length", DWORD), ("Data", c_uint8 * ANY_SIZE))


class RAS_LINK_INFO(PackedStructure):
    _fields_ = (
        ("LinkSpeed", DWORD),  # in units of 100 bit/s
        ("MaximumTotalSize", DWORD),
        ("RemoteAddress", ETHER_ADDR),
        ("LocalAddress", ETHER_ADDR),
        ("ProtocolBufferLength", DWORD),
        ("ProtocolBuffer", c_uint8 * RAS_LINK_BUFFER_LENGTH),
    )


class RAS_LINKS(PackedStructure):
    _fields_ = (("nNumberOfLinks", DWORD), ("RasLinks", RAS_LINK_INFO * RAS_LINKS_MAX))


# Packets.


class LIST_ENTRY(PackedStructure):
    _fields_ = (("Flink", POINTER), ("Blink", POINTER))


class _AdapterOrLink(PackedUnion):
    _fields_ = (("m_hAdapter", HANDLE), ("m_qLink", LIST_ENTRY))  # the link is the driver's own


class INTERMEDIATE_BUFFER(PackedStructure):
    _anonymous_ = ("_adapter_or_link",)
    _fields_ = (
        ("_adapter_or_link", _AdapterOrLink),
        ("m_dwDeviceFlags", DWORD),
        ("m_Length", DWORD),
        ("m_Flags", DWORD),
        ("m_8021q", DWORD),
        ("m_FilterID", DWORD),
        ("m_Reserved", DWORD * 4),
        ("m_IBuffer", c_uint8 * MAX_ETHER_FRAME),
    )


class NDISRD_ETH_Packet(PackedStructure):
    _fields_ = (("Buffer", POINTER),)


class ETH_REQUEST(PackedStructure):
    _fields_ = (("hAdapterHandle", HANDLE), ("EthPacket", NDISRD_ETH_Packet))


class ETH_M_REQUEST(PackedStructure):
    _fields_ = (
        ("hAdapterHandle", HANDLE),
        ("dwPacketsNumber", c_uint32),
        ("dwPacketsSuccess", c_uint32),
        ("EthPacket", NDISRD_ETH_Packet * ANY_SIZE),
    )


class UNSORTED_READ_SEND_REQUEST(PackedStructure):
    _fields_ = (("packets", POINTER), ("packets_num", DWORD))


# Static filters.


class ETH_802_3_FILTER(PackedStructure):
    _fields_ = (
        ("m_ValidFields", DWORD),
        ("m_SrcAddress", ETHER_ADDR),
        ("m_DestAddress", ETHER_ADDR),
        ("m_Protocol", c_uint16),  # host order
        ("Padding", c_uint16),
    )


class IP_SUBNET_V4(PackedStructure):
    _fields_ = (("m_Ip", DWORD), ("m_IpMask", DWORD))  # bytes in network order


class IP_RANGE_V4(PackedStructure):
    _fields_ = (("m_StartIp", DWORD), ("m_EndIp", DWORD))  # bytes in network order


class _SubnetOrRangeV4(PackedUnion):
    _fields_ = (("m_IpSubnet", IP_SUBNET_V4), ("m_IpRange", IP_RANGE_V4))


class IP_ADDRESS_V4(PackedStructure):
    _anonymous_ = ("_subnet_or_range",)
    _fields_ = (("m_AddressType", DWORD), ("_subnet_or_range", _SubnetOrRangeV4))


class IP_V4_FILTER(PackedStructure):
    _fields_ = (
        ("m_ValidFields", DWORD),
        ("m_SrcAddress", IP_ADDRESS_V4),
        ("m_DestAddress", IP_ADDRESS_V4),
        ("m_Protocol", c_uint8),
        ("Padding", c_uint8 * 3),
    )


class IP_SUBNET_V6(PackedStructure):
    _fields_ = (("m_Ip", IN6_ADDR), ("m_IpMask", IN6_ADDR))


class IP_RANGE_V6(PackedStructure):
    _fields_ = (("m_StartIp", IN6_ADDR), ("m_EndIp", IN6_ADDR))


class _SubnetOrRangeV6(PackedUnion):
    _fields_ = (("m_IpSubnet", IP_SUBNET_V6), ("m_IpRange", IP_RANGE_V6))


class IP_ADDRESS_V6(PackedStructure):
    _anonymous_ = ("_subnet_or_range",)
    _fields_ = (("m_AddressType", DWORD), ("_subnet_or_range", _SubnetOrRangeV6))


class IP_V6_FILTER(PackedStructure):
    _fields_ = (
        ("m_ValidFields", DWORD),
        ("m_SrcAddress", IP_ADDRESS_V6),
        ("m_DestAddress", IP_ADDRESS_V6),
        ("m_Protocol", c_uint8),
        ("Padding", c_uint8 * 3),
    )


class PORT_RANGE(PackedStructure):
    _fields_ = (("m_StartRange", c_uint16), ("m_EndRange", c_uint16))  # host order, both included


class TCPUDP_FILTER(PackedStructure):
    _fields_ = (
        ("m_ValidFields", DWORD),
        ("m_SourcePort", PORT_RANGE),
        ("m_DestPort", PORT_RANGE),
        ("m_TCPFlags", c_uint8),
        ("Padding", c_uint8 * 3),
    )


class BYTE_RANGE(PackedStructure):
    _fields_ = (("m_StartRange", c_uint8), ("m_EndRange", c_uint8))


class ICMP_FILTER(PackedStructure):
    _fields_ = (("m_ValidFields", DWORD), ("m_TypeRange", BYTE_RANGE), ("m_CodeRange", BYTE_RANGE))


class DATA_LINK_LAYER_FILTER(PackedStructure):
    _fields_ = (("m_dwUnionSelector", DWORD), ("m_Eth8023Filter", ETH_802_3_FILTER))


class _NetworkUnion(PackedUnion):
    _fields_ = (("m_IPv4", IP_V4_FILTER), ("m_IPv6", IP_V6_FILTER))


class NETWORK_LAYER_FILTER(PackedStructure):
    _anonymous_ = ("_union",)
    _fields_ = (("m_dwUnionSelector", DWORD), ("_union", _NetworkUnion))


class _TransportUnion(PackedUnion):
    _fields_ = (("m_TcpUdp", TCPUDP_FILTER), ("m_Icmp", ICMP_FILTER))


class TRANSPORT_LAYER_FILTER(PackedStructure):
    _anonymous_ = ("_union",)
    _fields_ = (("m_dwUnionSelector", DWORD), ("_union", _TransportUnion))


class STATIC_FILTER(PackedStructure):
    _fields_ = (
        ("m_Adapter", ULARGE_INTEGER),
        ("m_dwDirectionFlags", DWORD),
        ("m_FilterAction", DWORD),
        ("m_ValidFields", DWORD),
        ("m_LastReset", DWORD),
        ("m_PacketsIn", ULARGE_INTEGER),
        ("m_BytesIn", ULARGE_INTEGER),
        ("m_PacketsOut", ULARGE_INTEGER),
        ("m_BytesOut", ULARGE_INTEGER),
        ("m_DataLinkFilter", DATA_LINK_LAYER_FILTER),
        ("m_NetworkFilter", NETWORK_LAYER_FILTER),
        ("m_TransportFilter", TRANSPORT_LAYER_FILTER),
    )


class STATIC_FILTER_TABLE(PackedStructure):
    _fields_ = (("m_TableSize", DWORD), ("Padding", DWORD), ("m_StaticFilters", STATIC_FILTER * ANY_SIZE))


class STATIC_FILTER_WITH_POSITION(PackedStructure):
    _fields_ = (("m_Position", c_uint32), ("m_StaticFilter", STATIC_FILTER))


# Fast I/O: memory that the driver fills without requests.


class _WriteSplit(PackedStructure):
    _fields_ = (("number_of_packets", c_uint16), ("write_in_progress_flag", c_uint16))


class _WriteUnion(PackedUnion):
    _fields_ = (("split", _WriteSplit), ("join", DWORD))


class FAST_IO_WRITE_UNION(PackedStructure):
    _fields_ = (("union_", _WriteUnion),)


class FAST_IO_SECTION_HEADER(PackedStructure):
    _fields_ = (("fast_io_write_union", FAST_IO_WRITE_UNION), ("read_in_progress_flag", DWORD))


class FAST_IO_SECTION(PackedStructure):
    _fields_ = (("fast_io_header", FAST_IO_SECTION_HEADER), ("fast_io_packets", INTERMEDIATE_BUFFER * ANY_SIZE))


class INITIALIZE_FAST_IO_PARAMS(PackedStructure):
    _fields_ = (("header_ptr", POINTER), ("data_size", DWORD))


# What the header's forms for 32-bit processes on 64-bit Windows become in a 64-bit compilation. No request uses them:
# they are here so that the layout can be compared with the header's as a whole.


class TCP_AdapterList_WOW64(TCP_AdapterList):
    pass


class _AdapterOrLinkWow64(PackedUnion):
    _fields_ = (("m_hAdapter", HANDLE * 2), ("m_qLink", LIST_ENTRY * 2))


class INTERMEDIATE_BUFFER_WOW64(PackedStructure):
    _anonymous_ = ("_adapter_or_link",)
    _fields_ = (("_adapter_or_link", _AdapterOrLinkWow64), *INTERMEDIATE_BUFFER._fields_[1:])


class NDISRD_ETH_Packet_WOW64(NDISRD_ETH_Packet):
    pass


class ETH_REQUEST_WOW64(ETH_REQUEST):
    pass


class ETH_M_REQUEST_WOW64(ETH_M_REQUEST):
    pass


class ADAPTER_MODE_WOW64(ADAPTER_MODE):
    pass


class ADAPTER_EVENT_WOW64(ADAPTER_EVENT):
    pass


class PACKET_OID_DATA_WOW64(PACKET_OID_DATA):
    pass


# Every structure the header names; those it leaves nameless begin with an underscore here, and LIST_ENTRY is Windows'.
STRUCTURES: tuple[type[PackedStructure], ...] = tuple(
    found
    for name, found in list(globals().items())
    if isinstance(found, type)
    and issubclass(found, PackedStructure)
    and not name.startswith("_")
    and found not in (PackedStructure, LIST_ENTRY)
)
