/* The driver's interface as a 64-bit client sees it, in the names of the vendor's include/Common.h (driver API 3.6.1).
 * Written down apart from the bindings' own, so that a mistake in one of them shows. */
#ifndef ABI_H
#define ABI_H

#include <stddef.h>
#include <stdint.h>

#define ADAPTER_NAME_SIZE 256
#define ADAPTER_LIST_SIZE 32
#define MAX_ETHER_FRAME 1514
#define RAS_LINKS_MAX 256
#define FAST_IO_MAX_SECTIONS 16

#define MSTCP_FLAG_SENT_TUNNEL 0x01
#define MSTCP_FLAG_RECV_TUNNEL 0x02
#define MSTCP_FLAG_SENT_LISTEN 0x04
#define MSTCP_FLAG_RECV_LISTEN 0x08
#define MSTCP_FLAG_FILTER_DIRECT 0x10
#define MSTCP_FLAG_LOOPBACK_FILTER 0x20
#define MSTCP_FLAG_LOOPBACK_BLOCK 0x40

#define PACKET_FLAG_ON_SEND 1
#define PACKET_FLAG_ON_RECEIVE 2

enum { FILTER_PACKET_PASS = 1, FILTER_PACKET_DROP, FILTER_PACKET_REDIRECT, FILTER_PACKET_PASS_RDR, FILTER_PACKET_DROP_RDR };

#define OID_GEN_CURRENT_PACKET_FILTER 0x0001010E

#pragma pack(push, 1)

typedef struct {
    uint32_t m_nAdapterCount;
    char m_szAdapterNameList[ADAPTER_LIST_SIZE][ADAPTER_NAME_SIZE];
    uint64_t m_nAdapterHandle[ADAPTER_LIST_SIZE];
    uint32_t m_nAdapterMediumList[ADAPTER_LIST_SIZE];
    uint8_t m_czCurrentAddress[ADAPTER_LIST_SIZE][6];
    uint16_t m_usMTU[ADAPTER_LIST_SIZE];
} TCP_AdapterList;

typedef struct {
    uint64_t m_hAdapter, scratch; /* the second half is the driver's own link */
    uint32_t m_dwDeviceFlags, m_Length, m_Flags, m_8021q, m_FilterID, m_Reserved[4];
    uint8_t m_IBuffer[MAX_ETHER_FRAME];
} INTERMEDIATE_BUFFER;

typedef struct { uint64_t hAdapterHandle; uint64_t Buffer; } ETH_REQUEST;
typedef struct { uint64_t hAdapterHandle; uint32_t dwPacketsNumber, dwPacketsSuccess; uint64_t EthPacket[]; } ETH_M_REQUEST;
typedef struct { uint64_t packets; uint32_t packets_num; } UNSORTED_READ_SEND_REQUEST;
typedef struct { uint64_t hAdapterHandle; uint32_t dwFlags; } ADAPTER_MODE;
typedef struct { uint64_t hAdapterHandle; uint64_t hEvent; } ADAPTER_EVENT;
typedef struct { uint64_t hAdapterHandle; uint32_t Oid, Length; uint8_t Data[]; } PACKET_OID_DATA;
typedef struct { uint64_t header_ptr; uint32_t data_size; } INITIALIZE_FAST_IO_PARAMS;

typedef struct {
    uint32_t LinkSpeed, MaximumTotalSize;
    uint8_t RemoteAddress[6], LocalAddress[6];
    uint32_t ProtocolBufferLength;
    uint8_t ProtocolBuffer[2048];
} RAS_LINK_INFO;
typedef struct { uint32_t nNumberOfLinks; RAS_LINK_INFO RasLinks[RAS_LINKS_MAX]; } RAS_LINKS;

typedef struct { uint32_t m_ValidFields; uint8_t m_SrcAddress[6], m_DestAddress[6]; uint16_t m_Protocol, Padding; } ETH_802_3_FILTER;
typedef struct { uint32_t m_AddressType; uint8_t first[4], second[4]; } IP_ADDRESS_V4; /* address and mask, or a range */
typedef struct { uint32_t m_ValidFields; IP_ADDRESS_V4 m_SrcAddress, m_DestAddress; uint8_t m_Protocol, Padding[3]; } IP_V4_FILTER;
typedef struct { uint32_t m_AddressType; uint8_t first[16], second[16]; } IP_ADDRESS_V6;
typedef struct { uint32_t m_ValidFields; IP_ADDRESS_V6 m_SrcAddress, m_DestAddress; uint8_t m_Protocol, Padding[3]; } IP_V6_FILTER;
typedef struct { uint16_t m_StartRange, m_EndRange; } PORT_RANGE;
typedef struct { uint32_t m_ValidFields; PORT_RANGE m_SourcePort, m_DestPort; uint8_t m_TCPFlags, Padding[3]; } TCPUDP_FILTER;
typedef struct { uint8_t m_StartRange, m_EndRange; } BYTE_RANGE;
typedef struct { uint32_t m_ValidFields; BYTE_RANGE m_TypeRange, m_CodeRange; } ICMP_FILTER;

typedef struct {
    uint64_t m_Adapter;
    uint32_t m_dwDirectionFlags, m_FilterAction, m_ValidFields, m_LastReset;
    uint64_t m_PacketsIn, m_BytesIn, m_PacketsOut, m_BytesOut;
    struct { uint32_t m_dwUnionSelector; ETH_802_3_FILTER m_Eth8023Filter; } m_DataLinkFilter;
    struct { uint32_t m_dwUnionSelector; union { IP_V4_FILTER m_IPv4; IP_V6_FILTER m_IPv6; }; } m_NetworkFilter;
    struct { uint32_t m_dwUnionSelector; union { TCPUDP_FILTER m_TcpUdp; ICMP_FILTER m_Icmp; }; } m_TransportFilter;
} STATIC_FILTER;
typedef struct { uint32_t m_TableSize, Padding; STATIC_FILTER m_StaticFilters[]; } STATIC_FILTER_TABLE;
typedef struct { uint32_t m_Position; STATIC_FILTER m_StaticFilter; } STATIC_FILTER_WITH_POSITION;

#pragma pack(pop)

_Static_assert(sizeof(TCP_AdapterList) == 8836 && offsetof(TCP_AdapterList, m_nAdapterHandle) == 8196, "TCP_AdapterList");
_Static_assert(offsetof(TCP_AdapterList, m_usMTU) == 8772, "TCP_AdapterList");
_Static_assert(sizeof(INTERMEDIATE_BUFFER) == 1566 && offsetof(INTERMEDIATE_BUFFER, m_IBuffer) == 52, "INTERMEDIATE_BUFFER");
_Static_assert(sizeof(ETH_REQUEST) == 16 && sizeof(ETH_M_REQUEST) == 16, "ETH_M_REQUEST");
_Static_assert(sizeof(UNSORTED_READ_SEND_REQUEST) == 12 && sizeof(ADAPTER_MODE) == 12, "ADAPTER_MODE");
_Static_assert(sizeof(ADAPTER_EVENT) == 16 && sizeof(PACKET_OID_DATA) == 16, "PACKET_OID_DATA");
_Static_assert(sizeof(INITIALIZE_FAST_IO_PARAMS) == 12, "INITIALIZE_FAST_IO_PARAMS");
_Static_assert(sizeof(RAS_LINK_INFO) == 2072 && sizeof(RAS_LINKS) == 530436, "RAS_LINKS");
_Static_assert(sizeof(STATIC_FILTER) == 184 && sizeof(STATIC_FILTER_WITH_POSITION) == 188, "STATIC_FILTER");
_Static_assert(offsetof(STATIC_FILTER, m_DataLinkFilter) == 56 && offsetof(STATIC_FILTER, m_NetworkFilter) == 80, "STATIC_FILTER");
_Static_assert(offsetof(STATIC_FILTER, m_TransportFilter) == 164, "STATIC_FILTER");

#endif
