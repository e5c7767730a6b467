/* The static filters: tested in order, the first that matches decides and counts. Where the vendor's headers and
 * programs are silent: TCP flags must be equal, IPv6 extension headers are not followed, and a frame with an 802.1Q tag
 * in it is no IP packet. */
#include "driver.h"

#define FRAGMENTS 1024
#define SECONDS_1601_TO_1980 11960006400ULL

enum { DATA_LINK_LAYER_VALID = 1, NETWORK_LAYER_VALID = 2, TRANSPORT_LAYER_VALID = 4 };
enum { ETH_802_3 = 1, IPV4 = 1, IPV6 = 2, TCPUDP = 1, ICMP = 2, RANGE = 2 };
enum { SOURCE = 1, DESTINATION = 2, PROTOCOL = 4, FLAGS = 4, TYPE = 1, CODE = 2 };
enum { PROTOCOL_ICMP = 1, PROTOCOL_TCP = 6, PROTOCOL_UDP = 17, PROTOCOL_ICMPV6 = 58 };

/* A frame taken apart; what it does not have is 0, NULL or -1. */
typedef struct {
    const uint8_t *ethernet, *source, *destination, *transport;
    int ethertype, version, protocol;
    uint32_t transport_length, fragment; /* fragment: identifies an IPv4 datagram that came in several; 0: whole */
    BOOLEAN first;
} PACKET;

/* What all fragments of a datagram share, and what was decided of the first. */
typedef struct { uint8_t addresses[8], protocol; uint16_t identification; int filter; } VERDICT;

static STATIC_FILTER *filters;
uint32_t filter_count;
uint32_t filter_cache, fragment_cache; /* the former is only kept: nothing of it can be seen from outside */
static VERDICT verdicts[FRAGMENTS];
static uint32_t verdict_count, next_verdict;

static uint32_t big_endian(const uint8_t *bytes) {
    return (uint32_t)bytes[0] << 8 | bytes[1];
}

static PACKET dissect(const uint8_t *frame, uint32_t length) {
    PACKET packet = {.ethernet = frame, .ethertype = -1, .protocol = -1, .first = TRUE};
    if (length < 14) return packet;
    packet.ethertype = (int)big_endian(frame + 12);
    uint32_t start = 0;
    if (packet.ethertype == 0x0800 && length >= 34 && frame[14] >> 4 == 4) {
        packet.version = 4;
        packet.source = frame + 26;
        packet.destination = frame + 30;
        packet.protocol = frame[23];
        uint32_t word = big_endian(frame + 20); /* 0x2000: more fragments; below: where this one belongs */
        packet.fragment = (word & 0x3FFF) != 0;
        packet.first = !(word & 0x1FFF);
        start = packet.first ? 14 + (frame[14] & 15) * 4u : length;
    } else if (packet.ethertype == 0x86DD && length >= 54 && frame[14] >> 4 == 6) {
        packet.version = 6;
        packet.source = frame + 22;
        packet.destination = frame + 38;
        packet.protocol = frame[20];
        start = 54;
    } else {
        return packet;
    }
    packet.transport = frame + start;
    packet.transport_length = start < length ? length - start : 0;
    return packet;
}

static BOOLEAN address_matches(uint32_t type, const uint8_t *first, const uint8_t *second, const uint8_t *address, int size) {
    if (type == RANGE) return memcmp(first, address, size) <= 0 && memcmp(address, second, size) <= 0;
    for (int i = 0; i < size; i++)
        if ((address[i] ^ first[i]) & second[i]) return FALSE;
    return TRUE;
}

static BOOLEAN link_matches(const STATIC_FILTER *filter, const PACKET *packet) {
    const ETH_802_3_FILTER *part = &filter->m_DataLinkFilter.m_Eth8023Filter;
    uint32_t valid = part->m_ValidFields;
    return filter->m_DataLinkFilter.m_dwUnionSelector == ETH_802_3 &&
           (!(valid & SOURCE) || !memcmp(part->m_SrcAddress, packet->ethernet + 6, 6)) &&
           (!(valid & DESTINATION) || !memcmp(part->m_DestAddress, packet->ethernet, 6)) &&
           (!(valid & PROTOCOL) || part->m_Protocol == packet->ethertype);
}

#define NETWORK_MATCHES(part, packet, size) \
    ((!((part)->m_ValidFields & SOURCE) || \
      address_matches((part)->m_SrcAddress.m_AddressType, (part)->m_SrcAddress.first, (part)->m_SrcAddress.second, (packet)->source, size)) && \
     (!((part)->m_ValidFields & DESTINATION) || \
      address_matches((part)->m_DestAddress.m_AddressType, (part)->m_DestAddress.first, (part)->m_DestAddress.second, (packet)->destination, size)) && \
     (!((part)->m_ValidFields & PROTOCOL) || (part)->m_Protocol == (packet)->protocol))

static BOOLEAN network_matches(const STATIC_FILTER *filter, const PACKET *packet) {
    switch (filter->m_NetworkFilter.m_dwUnionSelector) {
    case IPV4: return packet->version == 4 && NETWORK_MATCHES(&filter->m_NetworkFilter.m_IPv4, packet, 4);
    case IPV6: return packet->version == 6 && NETWORK_MATCHES(&filter->m_NetworkFilter.m_IPv6, packet, 16);
    default: return FALSE;
    }
}

static BOOLEAN within(uint32_t first, uint32_t last, uint32_t number) {
    return first <= number && number <= last;
}

static BOOLEAN ports_match(const TCPUDP_FILTER *part, const PACKET *packet) {
    if ((packet->protocol != PROTOCOL_TCP && packet->protocol != PROTOCOL_UDP) || packet->transport_length < 4) return FALSE;
    uint32_t source = big_endian(packet->transport), destination = big_endian(packet->transport + 2);
    int flags = packet->protocol == PROTOCOL_TCP && packet->transport_length >= 14 ? packet->transport[13] : -1;
    return (!(part->m_ValidFields & SOURCE) || within(part->m_SourcePort.m_StartRange, part->m_SourcePort.m_EndRange, source)) &&
           (!(part->m_ValidFields & DESTINATION) || within(part->m_DestPort.m_StartRange, part->m_DestPort.m_EndRange, destination)) &&
           (!(part->m_ValidFields & FLAGS) || part->m_TCPFlags == flags);
}

static BOOLEAN icmp_matches(const ICMP_FILTER *part, const PACKET *packet) {
    if (packet->protocol != (packet->version == 4 ? PROTOCOL_ICMP : PROTOCOL_ICMPV6) || packet->transport_length < 2) return FALSE;
    return (!(part->m_ValidFields & TYPE) || within(part->m_TypeRange.m_StartRange, part->m_TypeRange.m_EndRange, packet->transport[0])) &&
           (!(part->m_ValidFields & CODE) || within(part->m_CodeRange.m_StartRange, part->m_CodeRange.m_EndRange, packet->transport[1]));
}

static BOOLEAN transport_matches(const STATIC_FILTER *filter, const PACKET *packet) {
    switch (filter->m_TransportFilter.m_dwUnionSelector) {
    case TCPUDP: return ports_match(&filter->m_TransportFilter.m_TcpUdp, packet);
    case ICMP: return icmp_matches(&filter->m_TransportFilter.m_Icmp, packet);
    default: return FALSE;
    }
}

static BOOLEAN matches(const STATIC_FILTER *filter, const PACKET *packet, uint32_t direction, uint64_t adapter) {
    if ((filter->m_Adapter && filter->m_Adapter != adapter) || !(filter->m_dwDirectionFlags & direction)) return FALSE;
    uint32_t valid = filter->m_ValidFields;
    return (!(valid & DATA_LINK_LAYER_VALID) || link_matches(filter, packet)) &&
           (!(valid & NETWORK_LAYER_VALID) || network_matches(filter, packet)) &&
           (!(valid & TRANSPORT_LAYER_VALID) || transport_matches(filter, packet));
}

static VERDICT *remembered(const PACKET *packet) {
    for (uint32_t i = 0; i < verdict_count; i++)
        if (!memcmp(verdicts[i].addresses, packet->source, 8) && verdicts[i].protocol == packet->protocol &&
            verdicts[i].identification == big_endian(packet->ethernet + 18))
            return &verdicts[i];
    return NULL;
}

static void remember(const PACKET *packet, int filter) {
    VERDICT *verdict = remembered(packet);
    if (!verdict) {
        verdict = &verdicts[next_verdict];
        next_verdict = (next_verdict + 1) % FRAGMENTS;
        if (verdict_count < FRAGMENTS) verdict_count++;
    }
    memcpy(verdict->addresses, packet->source, 8); /* source and destination lie side by side */
    verdict->protocol = (uint8_t)packet->protocol;
    verdict->identification = (uint16_t)big_endian(packet->ethernet + 18);
    verdict->filter = filter;
}

/* The index of the filter that decides; -1 if none does. */
static int find(const PACKET *packet, uint32_t direction, uint64_t adapter) {
    BOOLEAN cached = fragment_cache && packet->fragment;
    VERDICT *verdict;
    if (cached && !packet->first && (verdict = remembered(packet))) return verdict->filter;
    int found = -1;
    for (uint32_t i = 0; i < filter_count && found < 0; i++)
        if (matches(&filters[i], packet, direction, adapter)) found = (int)i;
    if (cached && packet->first) remember(packet, found);
    return found;
}

/* The action for a frame, which is counted, and the filter's number from 1; 0 if no filter matches. */
uint32_t filters_decide(const uint8_t *content, uint32_t length, uint32_t direction, uint64_t adapter, uint32_t *number) {
    PACKET packet = dissect(content, length);
    int found = filter_count ? find(&packet, direction, adapter) : -1;
    if (found < 0) return 0;
    STATIC_FILTER *filter = &filters[found];
    if (direction == PACKET_FLAG_ON_SEND) {
        filter->m_PacketsOut++;
        filter->m_BytesOut += length;
    } else {
        filter->m_PacketsIn++;
        filter->m_BytesIn += length;
    }
    *number = (uint32_t)found + 1;
    return filter->m_FilterAction;
}

static void restart(STATIC_FILTER *filter) {
    LARGE_INTEGER now;
    KeQuerySystemTime(&now);
    filter->m_PacketsIn = filter->m_BytesIn = filter->m_PacketsOut = filter->m_BytesOut = 0;
    filter->m_LastReset = (uint32_t)(now.QuadPart / 10000000 - SECONDS_1601_TO_1980);
}

void filters_restart(void) {
    for (uint32_t i = 0; i < filter_count; i++) restart(&filters[i]);
}

/* A table of *count* filters in the place of the old one, with a gap of *gap* filters at *position*. */
static NTSTATUS resize(uint32_t count, uint32_t position, int gap) {
    STATIC_FILTER *table = count ? ExAllocatePool(NonPagedPool, count * sizeof *table) : NULL;
    if (count && !table) return STATUS_INSUFFICIENT_RESOURCES;
    uint32_t kept = position < filter_count ? position : filter_count;
    if (kept) memcpy(table, filters, kept * sizeof *table);
    uint32_t from = gap < 0 ? position - gap : position, to = gap > 0 ? position + gap : position;
    if (from < filter_count && to < count) memcpy(table + to, filters + from, (filter_count - from) * sizeof *table);
    if (filters) ExFreePool(filters);
    filters = table;
    filter_count = count;
    verdict_count = next_verdict = 0;
    return STATUS_SUCCESS;
}

NTSTATUS filters_replace(const STATIC_FILTER *table, uint32_t count) {
    NTSTATUS status = resize(0, 0, 0);
    if (NT_SUCCESS(status)) status = resize(count, 0, (int)count);
    if (NT_SUCCESS(status) && count) {
        memcpy(filters, table, count * sizeof *filters);
        filters_restart();
    }
    return status;
}

NTSTATUS filters_insert(uint32_t position, const STATIC_FILTER *filter) {
    if (position > filter_count) return REFUSED(ERROR_INVALID_PARAMETER);
    NTSTATUS status = resize(filter_count + 1, position, 1);
    if (NT_SUCCESS(status)) {
        filters[position] = *filter;
        restart(&filters[position]);
    }
    return status;
}

NTSTATUS filters_remove(uint32_t position) {
    if (position >= filter_count) return REFUSED(ERROR_INVALID_PARAMETER);
    return resize(filter_count - 1, position, -1);
}

void filters_copy(STATIC_FILTER_TABLE *table) {
    table->m_TableSize = filter_count;
    table->Padding = 0;
    if (filter_count) memcpy(table->m_StaticFilters, filters, filter_count * sizeof *filters);
}
