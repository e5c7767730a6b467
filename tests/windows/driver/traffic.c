/* Adapters, and frames on their way past the driver: modes and filters decide, queues hold what is for the client. */
#include "driver.h"

static const uint64_t HANDLES = 0xFFFFA00000000000; /* like the kernel addresses that the real ones are */
static uint64_t handles = HANDLES;
static uint32_t queued;

ADAPTER *adapters[ADAPTERS];
uint32_t adapter_count, pool_exhausted;
HANDLE list_event, wan_event, onward_event;

/* A DWORD of the driver's Parameters key. */
uint32_t parameter(const wchar_t *name, uint32_t otherwise) {
    uint32_t value = otherwise;
    RTL_QUERY_REGISTRY_TABLE query[2] = {{0}};
    query[0].Flags = RTL_QUERY_REGISTRY_DIRECT;
    query[0].Name = (PWSTR)name;
    query[0].EntryContext = &value;
    query[0].DefaultType = REG_DWORD;
    query[0].DefaultData = &otherwise;
    query[0].DefaultLength = sizeof otherwise;
    RtlQueryRegistryValues(RTL_REGISTRY_SERVICES, L"ndisrd\\Parameters", query, NULL, NULL);
    return value;
}

/* A new adapter at the end of the list; a handle of 0 is replaced by one that was never used. */
ADAPTER *adapter_add(uint64_t handle) {
    if (adapter_count == ADAPTERS) return NULL;
    ADAPTER *adapter = ExAllocatePool(NonPagedPool, sizeof *adapter);
    if (!adapter) return NULL;
    memset(adapter, 0, sizeof *adapter);
    adapter->queue.end = &adapter->queue.first;
    for (int i = 0; i < 2; i++) adapter->onward[i].end = &adapter->onward[i].first;
    adapter->handle = handle ? handle : (handles += 0x10);
    adapter->mode = parameter(L"StartupMode", 0);
    adapters[adapter_count++] = adapter;
    event_signal(list_event);
    return adapter;
}

ADAPTER *adapter_find(uint64_t handle) {
    for (uint32_t i = 0; i < adapter_count; i++)
        if (adapters[i]->handle == handle) return adapters[i];
    return NULL;
}

/* What NDIS forgets of an adapter that goes. */
void adapter_detach(ADAPTER *adapter) {
    adapter->mode = 0;
    handle_close(adapter->event);
    handle_close(adapter->hardware_filter_event);
    adapter->event = adapter->hardware_filter_event = NULL;
    traffic_flush(adapter);
}

static void unlist(ADAPTER *adapter) {
    uint32_t i = 0;
    while (adapters[i] != adapter) i++;
    for (adapter_count--; i < adapter_count; i++) adapters[i] = adapters[i + 1];
    event_signal(list_event);
}

void adapter_reattach(ADAPTER *adapter) {
    adapter_detach(adapter);
    unlist(adapter);
    adapter->handle = handles += 0x10;
    adapter->mode = parameter(L"StartupMode", 0);
    adapters[adapter_count++] = adapter;
    event_signal(list_event);
}

void adapter_remove(ADAPTER *adapter) {
    adapter_detach(adapter);
    unlist(adapter);
    for (int i = 0; i < 2; i++) queue_empty(&adapter->onward[i]);
    ExFreePool(adapter);
}

FRAME *queue_take(QUEUE *queue) {
    FRAME *frame = queue->first;
    if (frame) {
        queue->count--;
        if (!(queue->first = frame->next)) queue->end = &queue->first;
    }
    return frame;
}

void queue_put(QUEUE *queue, const uint8_t *content, uint32_t length, uint32_t direction, uint32_t vlan, uint32_t filter) {
    FRAME *frame = ExAllocatePool(NonPagedPool, sizeof *frame);
    if (!frame) return;
    frame->next = NULL;
    frame->direction = direction;
    frame->length = length;
    frame->vlan = vlan;
    frame->filter = filter;
    memcpy(frame->content, content, length);
    *queue->end = frame;
    queue->end = &frame->next;
    queue->count++;
}

void queue_empty(QUEUE *queue) {
    for (FRAME *frame; (frame = queue_take(queue));) ExFreePool(frame);
}

void traffic_flush(ADAPTER *adapter) {
    queued -= adapter->queue.count;
    queue_empty(&adapter->queue);
}

/* The next packet for the client, which the caller frees; NULL if there is none. */
FRAME *traffic_next(ADAPTER *adapter) {
    FRAME *frame = queue_take(&adapter->queue);
    if (frame) queued--;
    return frame;
}

/* Where a frame that goes in this direction arrives. */
void traffic_onward(ADAPTER *adapter, const uint8_t *content, uint32_t length, uint32_t direction) {
    queue_put(&adapter->onward[direction == PACKET_FLAG_ON_RECEIVE], content, length, direction, 0, 0);
    event_signal(onward_event);
}

/* What the mode does with a packet that no filter decides. Tunnel and listen together count as tunnel. */
static uint32_t action_of_mode(uint32_t mode, uint32_t direction) {
    BOOLEAN sent = direction == PACKET_FLAG_ON_SEND;
    if (mode & (sent ? MSTCP_FLAG_SENT_TUNNEL : MSTCP_FLAG_RECV_TUNNEL)) return FILTER_PACKET_REDIRECT;
    return mode & (sent ? MSTCP_FLAG_SENT_LISTEN : MSTCP_FLAG_RECV_LISTEN) ? FILTER_PACKET_PASS_RDR : FILTER_PACKET_PASS;
}

/* A frame comes by. */
void traffic_frame(ADAPTER *adapter, const uint8_t *content, uint32_t length, uint32_t direction, uint32_t vlan) {
    uint32_t mode = adapter->mode, number = 0;
    if (!mode) {
        traffic_onward(adapter, content, length, direction);
        return;
    }
    if (direction == PACKET_FLAG_ON_RECEIVE && mode & MSTCP_FLAG_FILTER_DIRECT && !(content[0] & 1) &&
        memcmp(content, adapter->mac, 6))
        return; /* seen only because the adapter is promiscuous */
    uint32_t action = filters_decide(content, length, direction, adapter->handle, &number);
    if (!action) action = action_of_mode(mode, direction);
    if (action == FILTER_PACKET_REDIRECT || action == FILTER_PACKET_PASS_RDR || action == FILTER_PACKET_DROP_RDR) {
        if (queued >= options.pool_size) {
            pool_exhausted++;
        } else {
            queued++;
            queue_put(&adapter->queue, content, length, direction, vlan, number);
            event_signal(adapter->event);
        }
    }
    if (action == FILTER_PACKET_PASS || action == FILTER_PACKET_PASS_RDR)
        traffic_onward(adapter, content, length, direction);
}

/* NDIS loops a frame back that the host sent on this adapter. */
void traffic_looped_back(ADAPTER *adapter, const uint8_t *content, uint32_t length) {
    if (adapter->mode & MSTCP_FLAG_LOOPBACK_BLOCK && !(content[0] & 1)) return;
    if (adapter->mode & MSTCP_FLAG_LOOPBACK_FILTER)
        traffic_frame(adapter, content, length, PACKET_FLAG_ON_RECEIVE, 0);
    else
        traffic_onward(adapter, content, length, PACKET_FLAG_ON_RECEIVE);
}
