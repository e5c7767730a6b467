/* The vendor's control codes, in the order of their numbers. */
#include "driver.h"

/* Of an INTERMEDIATE_BUFFER, before the frame. */
#define HEADER offsetof(INTERMEDIATE_BUFFER, m_IBuffer)

uint32_t issued[REQUESTS];
OPTIONS options;
uint32_t unsent;
static uint32_t fast_io_sections;

#define ADAPTER_OF(variable, handle) \
    ADAPTER *variable = adapter_find(handle); \
    if (!variable) return REFUSED(options.stale_handle)

static NTSTATUS give_u32(CALL *call, uint32_t value) {
    GIVES(call, 4);
    memcpy(call->buffer, &value, 4);
    return STATUS_SUCCESS;
}

static NTSTATUS nothing(void) {
    return options.empty_read ? REFUSED(options.empty_read) : STATUS_SUCCESS;
}

/* Adapters. */

static NTSTATUS get_version(CALL *call) { return give_u32(call, options.version); }

static NTSTATUS get_interfaces(CALL *call) {
    GIVES(call, sizeof(TCP_AdapterList));
    TCP_AdapterList *list = call->buffer;
    memset(list, 0, sizeof *list);
    uint32_t decrement = parameter(L"MTUDecrement", 0);
    for (uint32_t i = 0; i < adapter_count && i < ADAPTER_LIST_SIZE; i++) {
        memcpy(list->m_szAdapterNameList[i], adapters[i]->name, ADAPTER_NAME_SIZE - 1);
        list->m_nAdapterHandle[i] = adapters[i]->handle;
        list->m_nAdapterMediumList[i] = adapters[i]->medium;
        memcpy(list->m_czCurrentAddress[i], adapters[i]->mac, 6);
        list->m_usMTU[i] = (uint16_t)(adapters[i]->mtu - decrement);
        list->m_nAdapterCount = i + 1;
    }
    return STATUS_SUCCESS;
}

static NTSTATUS set_mode(CALL *call) {
    NEEDS(call, sizeof(ADAPTER_MODE));
    ADAPTER_MODE *mode = call->buffer;
    ADAPTER_OF(adapter, mode->hAdapterHandle);
    adapter->mode = mode->dwFlags;
    return STATUS_SUCCESS;
}

static NTSTATUS get_mode(CALL *call) {
    NEEDS(call, sizeof(ADAPTER_MODE));
    ADAPTER_MODE *mode = call->buffer;
    ADAPTER_OF(adapter, mode->hAdapterHandle);
    GIVES(call, sizeof *mode);
    mode->dwFlags = adapter->mode;
    return STATUS_SUCCESS;
}

static NTSTATUS flush(CALL *call) {
    NEEDS(call, 8);
    ADAPTER_OF(adapter, *(uint64_t *)call->buffer);
    traffic_flush(adapter);
    return STATUS_SUCCESS;
}

static NTSTATUS queue_size(CALL *call) {
    NEEDS(call, 8);
    ADAPTER_OF(adapter, *(uint64_t *)call->buffer);
    return give_u32(call, adapter->queue.count);
}

static NTSTATUS pool_size(CALL *call) { return give_u32(call, options.pool_size); }

static NTSTATUS ras_links(CALL *call) {
    NEEDS(call, 8);
    ADAPTER_OF(adapter, *(uint64_t *)call->buffer);
    GIVES(call, sizeof(RAS_LINKS));
    RAS_LINKS *links = call->buffer;
    memset(links, 0, sizeof *links);
    links->nNumberOfLinks = adapter->link_count;
    memcpy(links->RasLinks, adapter->links, sizeof adapter->links);
    return STATUS_SUCCESS;
}

static OID_VALUE *oid_find(ADAPTER *adapter, uint32_t oid) {
    for (uint32_t i = 0; i < adapter->oid_count; i++)
        if (adapter->oids[i].oid == oid) return &adapter->oids[i];
    return NULL;
}

static NTSTATUS get_oid(CALL *call) {
    NEEDS(call, sizeof(PACKET_OID_DATA));
    PACKET_OID_DATA *data = call->buffer;
    ADAPTER_OF(adapter, data->hAdapterHandle);
    OID_VALUE *value = oid_find(adapter, data->Oid);
    if (!value) return REFUSED(ERROR_NOT_SUPPORTED);
    if (value->length > data->Length) return REFUSED(ERROR_INSUFFICIENT_BUFFER);
    GIVES(call, sizeof *data + value->length);
    data->Length = value->length;
    memcpy(data->Data, value->value, value->length);
    return STATUS_SUCCESS;
}

static NTSTATUS set_oid(CALL *call) {
    NEEDS(call, sizeof(PACKET_OID_DATA));
    PACKET_OID_DATA *data = call->buffer;
    ADAPTER_OF(adapter, data->hAdapterHandle);
    NEEDS(call, sizeof *data + (size_t)data->Length);
    GIVES(call, sizeof *data);
    OID_VALUE *value = oid_find(adapter, data->Oid);
    if (data->Length > OID_SIZE || (!value && adapter->oid_count == OIDS)) return REFUSED(ERROR_NOT_SUPPORTED);
    BOOLEAN changed = !value || value->length != data->Length || memcmp(value->value, data->Data, data->Length);
    if (!value) value = &adapter->oids[adapter->oid_count++];
    value->oid = data->Oid;
    value->length = data->Length;
    memcpy(value->value, data->Data, data->Length);
    if (data->Oid == OID_GEN_CURRENT_PACKET_FILTER && changed) event_signal(adapter->hardware_filter_event);
    return STATUS_SUCCESS;
}

/* Events. */

static NTSTATUS set_event(CALL *call) {
    NEEDS(call, sizeof(ADAPTER_EVENT));
    ADAPTER_EVENT *wanted = call->buffer;
    ADAPTER_OF(adapter, wanted->hAdapterHandle);
    return event_take(call, wanted->hEvent, &adapter->event);
}

static NTSTATUS set_hardware_filter_event(CALL *call) {
    NEEDS(call, sizeof(ADAPTER_EVENT));
    ADAPTER_EVENT *wanted = call->buffer;
    ADAPTER_OF(adapter, wanted->hAdapterHandle);
    return event_take(call, wanted->hEvent, &adapter->hardware_filter_event);
}

static NTSTATUS set_list_event(CALL *call) {
    NEEDS(call, 8);
    return event_take(call, *(uint64_t *)call->buffer, &list_event);
}

static NTSTATUS set_wan_event(CALL *call) {
    NEEDS(call, 8);
    return event_take(call, *(uint64_t *)call->buffer, &wan_event);
}

/* Packets, from and to buffers in the client's memory. */

/* Put the adapter's next packet, which there is, into the client's INTERMEDIATE_BUFFER. */
static NTSTATUS give_next(CALL *call, ADAPTER *adapter, uint64_t address, uint64_t handle) {
    static INTERMEDIATE_BUFFER buffer;
    if (!address) return REFUSED(ERROR_INVALID_PARAMETER);
    FRAME *frame = traffic_next(adapter);
    memset(&buffer, 0, HEADER);
    buffer.m_hAdapter = handle;
    buffer.m_dwDeviceFlags = frame->direction;
    buffer.m_Length = frame->length;
    buffer.m_8021q = frame->vlan;
    buffer.m_FilterID = frame->filter;
    memcpy(buffer.m_IBuffer, frame->content, frame->length);
    NTSTATUS status = client_write(call, address, &buffer, HEADER + frame->length);
    ExFreePool(frame);
    return status;
}

/* Send the client's INTERMEDIATE_BUFFER; without an adapter, by that which it names. */
static NTSTATUS send_buffer(CALL *call, uint64_t address, ADAPTER *adapter, uint32_t direction) {
    static INTERMEDIATE_BUFFER buffer;
    NTSTATUS status = client_read(call, address, &buffer, HEADER);
    if (!NT_SUCCESS(status)) return status;
    if (!buffer.m_Length || buffer.m_Length > MAX_ETHER_FRAME) return REFUSED(ERROR_INVALID_PARAMETER);
    if (!adapter && !(adapter = adapter_find(buffer.m_hAdapter))) return REFUSED(options.stale_handle);
    status = client_read(call, address + HEADER, buffer.m_IBuffer, buffer.m_Length);
    if (NT_SUCCESS(status)) traffic_onward(adapter, buffer.m_IBuffer, buffer.m_Length, direction);
    return status;
}

static NTSTATUS send_one(CALL *call, uint32_t direction) {
    NEEDS(call, sizeof(ETH_REQUEST));
    ETH_REQUEST *wanted = call->buffer;
    ADAPTER_OF(adapter, wanted->hAdapterHandle);
    return send_buffer(call, wanted->Buffer, adapter, direction);
}

static NTSTATUS send_down(CALL *call) { return send_one(call, PACKET_FLAG_ON_SEND); }
static NTSTATUS send_up(CALL *call) { return send_one(call, PACKET_FLAG_ON_RECEIVE); }

static NTSTATUS read_one(CALL *call) {
    NEEDS(call, sizeof(ETH_REQUEST));
    ETH_REQUEST *wanted = call->buffer;
    ADAPTER_OF(adapter, wanted->hAdapterHandle);
    if (!adapter->queue.count) return nothing();
    NTSTATUS status = give_next(call, adapter, wanted->Buffer, 0);
    if (NT_SUCCESS(status) && call->answer_size) GIVES(call, sizeof *wanted);
    return status;
}

static NTSTATUS batch_check(CALL *call) {
    NEEDS(call, sizeof(ETH_M_REQUEST));
    ETH_M_REQUEST *wanted = call->buffer;
    NEEDS(call, sizeof *wanted + 8 * (size_t)wanted->dwPacketsNumber);
    return STATUS_SUCCESS;
}

static NTSTATUS send_batch(CALL *call, uint32_t direction) {
    NTSTATUS status = batch_check(call);
    if (!NT_SUCCESS(status)) return status;
    ETH_M_REQUEST *wanted = call->buffer;
    ADAPTER_OF(adapter, wanted->hAdapterHandle);
    for (uint32_t i = 0; i < wanted->dwPacketsNumber; i++)
        if (!NT_SUCCESS(send_buffer(call, wanted->EthPacket[i], adapter, direction))) unsent++;
    return STATUS_SUCCESS;
}

static NTSTATUS send_batch_down(CALL *call) { return send_batch(call, PACKET_FLAG_ON_SEND); }
static NTSTATUS send_batch_up(CALL *call) { return send_batch(call, PACKET_FLAG_ON_RECEIVE); }

static NTSTATUS read_batch(CALL *call) {
    NTSTATUS status = batch_check(call);
    if (!NT_SUCCESS(status)) return status;
    ETH_M_REQUEST *wanted = call->buffer;
    ADAPTER_OF(adapter, wanted->hAdapterHandle);
    GIVES(call, sizeof *wanted);
    wanted->dwPacketsSuccess = 0;
    while (wanted->dwPacketsSuccess < wanted->dwPacketsNumber && adapter->queue.count) {
        status = give_next(call, adapter, wanted->EthPacket[wanted->dwPacketsSuccess], 0);
        if (!NT_SUCCESS(status)) return status;
        wanted->dwPacketsSuccess++;
    }
    call->answered = call->size < call->answer_size ? call->size : call->answer_size;
    return wanted->dwPacketsSuccess ? STATUS_SUCCESS : nothing();
}

static NTSTATUS read_unsorted(CALL *call) {
    NEEDS(call, sizeof(UNSORTED_READ_SEND_REQUEST));
    UNSORTED_READ_SEND_REQUEST *wanted = call->buffer;
    GIVES(call, sizeof *wanted);
    uint32_t count = 0;
    for (uint32_t i = 0; i < adapter_count; i++)
        while (count < wanted->packets_num && adapters[i]->queue.count) {
            uint64_t address;
            NTSTATUS status = client_read(call, wanted->packets + 8 * (uint64_t)count, &address, sizeof address);
            if (NT_SUCCESS(status)) status = give_next(call, adapters[i], address, adapters[i]->handle);
            if (!NT_SUCCESS(status)) return status;
            count++;
        }
    wanted->packets_num = count;
    return count ? STATUS_SUCCESS : nothing();
}

static NTSTATUS send_unsorted(CALL *call, uint32_t direction) {
    NEEDS(call, sizeof(UNSORTED_READ_SEND_REQUEST));
    UNSORTED_READ_SEND_REQUEST *wanted = call->buffer;
    GIVES(call, sizeof *wanted);
    uint32_t sent = 0;
    for (uint32_t i = 0; i < wanted->packets_num; i++) {
        uint64_t address;
        NTSTATUS status = client_read(call, wanted->packets + 8 * (uint64_t)i, &address, sizeof address);
        if (NT_SUCCESS(status)) status = send_buffer(call, address, NULL, direction);
        if (NT_SUCCESS(status)) sent++; else unsent++;
    }
    wanted->packets_num = sent;
    return STATUS_SUCCESS;
}

static NTSTATUS send_unsorted_down(CALL *call) { return send_unsorted(call, PACKET_FLAG_ON_SEND); }
static NTSTATUS send_unsorted_up(CALL *call) { return send_unsorted(call, PACKET_FLAG_ON_RECEIVE); }

/* Sections are taken and never filled: packets are queued all the same. */
static NTSTATUS fast_io(CALL *call, BOOLEAN first) {
    NEEDS(call, sizeof(INITIALIZE_FAST_IO_PARAMS));
    INITIALIZE_FAST_IO_PARAMS *wanted = call->buffer;
    BOOLEAN room = wanted->header_ptr && wanted->data_size >= 8 + sizeof(INTERMEDIATE_BUFFER);
    if (!room || first != !fast_io_sections || fast_io_sections >= FAST_IO_MAX_SECTIONS)
        return REFUSED(ERROR_INVALID_PARAMETER);
    fast_io_sections++;
    return STATUS_SUCCESS;
}

static NTSTATUS fast_io_first(CALL *call) { return fast_io(call, TRUE); }
static NTSTATUS fast_io_more(CALL *call) { return fast_io(call, FALSE); }

/* Static filters. */

static NTSTATUS set_filters(CALL *call) {
    NEEDS(call, 4);
    STATIC_FILTER_TABLE *table = call->buffer;
    NEEDS(call, sizeof *table + table->m_TableSize * sizeof(STATIC_FILTER));
    return filters_replace(table->m_StaticFilters, table->m_TableSize);
}

static NTSTATUS reset_filters(CALL *call) { (void)call; return filters_replace(NULL, 0); }
static NTSTATUS get_filter_count(CALL *call) { return give_u32(call, filter_count); }

static NTSTATUS get_filters(CALL *call) {
    GIVES(call, sizeof(STATIC_FILTER_TABLE) + filter_count * sizeof(STATIC_FILTER));
    filters_copy(call->buffer);
    return STATUS_SUCCESS;
}

static NTSTATUS get_filters_and_restart(CALL *call) {
    NTSTATUS status = get_filters(call);
    if (NT_SUCCESS(status)) filters_restart();
    return status;
}

static NTSTATUS add_filter_front(CALL *call) {
    NEEDS(call, sizeof(STATIC_FILTER));
    return filters_insert(0, call->buffer);
}

static NTSTATUS add_filter_back(CALL *call) {
    NEEDS(call, sizeof(STATIC_FILTER));
    return filters_insert(filter_count, call->buffer);
}

static NTSTATUS remove_filter(CALL *call) {
    NEEDS(call, 4);
    return filters_remove(*(uint32_t *)call->buffer);
}

static NTSTATUS insert_filter(CALL *call) {
    NEEDS(call, sizeof(STATIC_FILTER_WITH_POSITION));
    STATIC_FILTER_WITH_POSITION *wanted = call->buffer;
    return filters_insert(wanted->m_Position, &wanted->m_StaticFilter);
}

static NTSTATUS set_filter_cache(CALL *call) {
    NEEDS(call, 4);
    filter_cache = *(uint32_t *)call->buffer;
    return STATUS_SUCCESS;
}

static NTSTATUS set_fragment_cache(CALL *call) {
    NEEDS(call, 4);
    fragment_cache = *(uint32_t *)call->buffer;
    return STATUS_SUCCESS;
}

/* Each request, and the first driver version that has it: 0x030601 is 3.6.1. */
static const struct { NTSTATUS (*serve)(CALL *); uint32_t since; } table[REQUESTS] = {
    {get_version, 0}, {get_interfaces, 0}, {send_down, 0}, {send_up, 0}, {read_one, 0}, {set_mode, 0}, {flush, 0},
    {set_event, 0}, {set_oid, 0}, {get_oid, 0}, {set_wan_event, 0}, {set_list_event, 0}, {queue_size, 0}, {get_mode, 0},
    {set_filters, 0}, {reset_filters, 0}, {get_filter_count, 0}, {get_filters, 0}, {get_filters_and_restart, 0},
    {ras_links, 0}, {send_batch_down, 0}, {send_batch_up, 0}, {read_batch, 0}, {set_hardware_filter_event, 0},
    {fast_io_first, 0x030214}, {read_unsorted, 0x030214}, {send_unsorted_down, 0x030214}, {send_unsorted_up, 0x030214},
    {fast_io_more, 0x03021C}, {pool_size, 0x030403}, {add_filter_front, 0x030601}, {add_filter_back, 0x030601},
    {remove_filter, 0x030601}, {NULL, 0x030601}, {insert_filter, 0x030601}, {set_filter_cache, 0x030601},
    {set_fragment_cache, 0x030601},
};

/* major << 16 | minor << 8 | revision of the version word. */
static uint32_t version(void) {
    uint32_t word = options.version;
    return (word >> 12 & 15) << 16 | (word >> 24 & 255) << 8 | (word >> 16 & 255);
}

NTSTATUS request(uint32_t number, CALL *call) {
    issued[number]++;
    if (!table[number].serve || version() < table[number].since) return REFUSED(ERROR_INVALID_FUNCTION);
    return table[number].serve(call);
}

/* As if nobody had ever opened the driver; the test's adapters stay. */
void forget_clients(void) {
    filters_replace(NULL, 0);
    filter_cache = fragment_cache = 0;
    fast_io_sections = 0;
    handle_close(list_event);
    handle_close(wan_event);
    list_event = wan_event = NULL;
    for (uint32_t i = 0; i < adapter_count; i++) adapter_detach(adapters[i]);
}
