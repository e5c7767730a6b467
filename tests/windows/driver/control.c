/* The test's side: control codes of our own, where the vendor leaves room for custom builds. Requests and answers are
 * those of tests/windows/double.py. */
#include "driver.h"

#define FAILURES 64

typedef struct { uint32_t code, error, times; } FAILURE;
static FAILURE failures[FAILURES];
static uint32_t failure_count;

#pragma pack(push, 1)
typedef struct { uint64_t handle; uint8_t mac[6]; uint16_t mtu; uint32_t medium; char name[ADAPTER_NAME_SIZE]; } NEW_ADAPTER;
typedef struct { uint64_t handle; uint32_t direction, vlan; } ARRIVAL; /* then items */
typedef struct { uint16_t length, direction; uint8_t content[]; } ITEM;
typedef struct { uint32_t pool_exhausted, unsent, open_handles, issued[REQUESTS]; } STATE;
#pragma pack(pop)

#define ADAPTER_OF(variable) \
    NEEDS(call, 8); \
    ADAPTER *variable = adapter_find(*(uint64_t *)call->buffer); \
    if (!variable) return REFUSED(ERROR_INVALID_HANDLE)

/* OPTIONS: a new system, no adapter in it. */
static NTSTATUS reset(CALL *call) {
    NEEDS(call, sizeof(OPTIONS));
    forget_clients();
    while (adapter_count) adapter_remove(adapters[0]);
    handle_close(onward_event);
    onward_event = NULL;
    failure_count = pool_exhausted = unsent = open_handles = 0;
    generation++;
    memset(issued, 0, sizeof issued);
    memcpy(&options, call->buffer, sizeof options);
    return STATUS_SUCCESS;
}

/* NEW_ADAPTER -> its handle */
static NTSTATUS add_adapter(CALL *call) {
    NEEDS(call, sizeof(NEW_ADAPTER));
    GIVES(call, 8);
    NEW_ADAPTER wanted = *(NEW_ADAPTER *)call->buffer;
    ADAPTER *adapter = adapter_find(wanted.handle) ? NULL : adapter_add(wanted.handle);
    if (!adapter) return REFUSED(ERROR_INVALID_PARAMETER);
    memcpy(adapter->name, wanted.name, ADAPTER_NAME_SIZE - 1);
    memcpy(adapter->mac, wanted.mac, 6);
    adapter->mtu = wanted.mtu;
    adapter->medium = wanted.medium;
    memcpy(call->buffer, &adapter->handle, 8);
    return STATUS_SUCCESS;
}

/* handle */
static NTSTATUS remove_adapter(CALL *call) {
    ADAPTER_OF(adapter);
    adapter_remove(adapter);
    return STATUS_SUCCESS;
}

/* handle -> its new handle */
static NTSTATUS reattach_adapter(CALL *call) {
    ADAPTER_OF(adapter);
    GIVES(call, 8);
    adapter_reattach(adapter);
    memcpy(call->buffer, &adapter->handle, 8);
    return STATUS_SUCCESS;
}

/* ARRIVAL and items, of which each says its length; the direction is the request's */
static NTSTATUS frames(CALL *call) {
    ADAPTER_OF(adapter);
    NEEDS(call, sizeof(ARRIVAL));
    ARRIVAL *arrival = call->buffer;
    uint8_t *at = (uint8_t *)(arrival + 1), *end = (uint8_t *)call->buffer + call->size;
    while (end - at >= (ptrdiff_t)sizeof(ITEM)) {
        ITEM *item = (ITEM *)at;
        if (!item->length || item->length > MAX_ETHER_FRAME || end - item->content < item->length)
            return REFUSED(ERROR_INVALID_PARAMETER);
        if (arrival->direction)
            traffic_frame(adapter, item->content, item->length, arrival->direction, arrival->vlan);
        else
            traffic_looped_back(adapter, item->content, item->length);
        at = item->content + item->length;
    }
    return STATUS_SUCCESS;
}

/* handle, u32 directions wanted -> as many items as there is room for, and taken with it */
static NTSTATUS take(CALL *call) {
    ADAPTER_OF(adapter);
    NEEDS(call, 12);
    uint32_t wanted = *(uint32_t *)((uint8_t *)call->buffer + 8), used = 0;
    for (int i = 0; i < 2; i++) {
        QUEUE *queue = &adapter->onward[i];
        while (wanted & (i + 1) && queue->first && used + sizeof(ITEM) + queue->first->length <= call->answer_size) {
            FRAME *frame = queue_take(queue);
            ITEM *item = (ITEM *)((uint8_t *)call->buffer + used);
            item->length = (uint16_t)frame->length;
            item->direction = (uint16_t)frame->direction;
            memcpy(item->content, frame->content, frame->length);
            used += sizeof(ITEM) + frame->length;
            ExFreePool(frame);
        }
    }
    call->answered = used;
    return STATUS_SUCCESS;
}

/* FAILURE: the next requests of a code fail with a Win32 error */
static NTSTATUS fail(CALL *call) {
    NEEDS(call, sizeof(FAILURE));
    if (failure_count == FAILURES) return REFUSED(ERROR_INVALID_PARAMETER);
    failures[failure_count++] = *(FAILURE *)call->buffer;
    return STATUS_SUCCESS;
}

BOOLEAN control_fails(uint32_t code, NTSTATUS *status) {
    for (uint32_t i = 0; i < failure_count; i++) {
        if (failures[i].code != code) continue;
        *status = REFUSED(failures[i].error);
        if (!--failures[i].times) {
            for (failure_count--; i < failure_count; i++) failures[i] = failures[i + 1];
        }
        return TRUE;
    }
    return FALSE;
}

/* -> STATE */
static NTSTATUS state(CALL *call) {
    GIVES(call, sizeof(STATE));
    STATE *found = call->buffer;
    found->pool_exhausted = pool_exhausted;
    found->unsent = unsent;
    found->open_handles = open_handles;
    memcpy(found->issued, issued, sizeof issued);
    return STATUS_SUCCESS;
}

/* event: to be set when there is something to take */
static NTSTATUS set_onward_event(CALL *call) {
    NEEDS(call, 8);
    return event_take(call, *(uint64_t *)call->buffer, &onward_event);
}

/* A dial-up link came or went. */
static NTSTATUS dial(CALL *call) {
    (void)call;
    event_signal(wan_event);
    return STATUS_SUCCESS;
}

/* handle, then RAS_LINK_INFOs */
static NTSTATUS set_links(CALL *call) {
    ADAPTER_OF(adapter);
    uint32_t count = (call->size - 8) / sizeof(RAS_LINK_INFO);
    if (count > LINKS) return REFUSED(ERROR_INVALID_PARAMETER);
    adapter->link_count = count;
    memset(adapter->links, 0, sizeof adapter->links);
    memcpy(adapter->links, (uint8_t *)call->buffer + 8, count * sizeof(RAS_LINK_INFO));
    return STATUS_SUCCESS;
}

/* -> u32 filter cache, u32 fragment cache */
static NTSTATUS caches(CALL *call) {
    GIVES(call, 8);
    ((uint32_t *)call->buffer)[0] = filter_cache;
    ((uint32_t *)call->buffer)[1] = fragment_cache;
    return STATUS_SUCCESS;
}

/* handle, u32 length to claim, u32 direction, u32: queue a packet that says of itself what no sound driver does */
static NTSTATUS queue_unsound(CALL *call) {
    ADAPTER_OF(adapter);
    NEEDS(call, 16);
    static const uint8_t nothing[14];
    uint32_t *wanted = (uint32_t *)((uint8_t *)call->buffer + 8);
    FRAME *before = adapter->queue.first;
    traffic_frame(adapter, nothing, sizeof nothing, wanted[1], 0);
    for (FRAME *frame = adapter->queue.first; frame && frame != before; frame = frame->next)
        if (!frame->next) frame->length = wanted[0];
    return STATUS_SUCCESS;
}

NTSTATUS control(uint32_t number, CALL *call) {
    static NTSTATUS (*const table[CONTROLS])(CALL *) = {
        reset, add_adapter, remove_adapter, reattach_adapter, frames, take, fail, state, set_onward_event, dial, set_links,
        caches, queue_unsound,
    };
    return table[number](call);
}
