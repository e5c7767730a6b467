/* The parts of the double and what they share. Wine serves one request of a driver at a time, so nothing is locked. */
#ifndef DRIVER_H
#define DRIVER_H

#include <ntddk.h>

#include "abi.h"

/* Win32 errors; REFUSED makes the status that Windows shows the client as that error. */
#define ERROR_INVALID_FUNCTION 1
#define ERROR_INVALID_HANDLE 6
#define ERROR_GEN_FAILURE 31
#define ERROR_NOT_SUPPORTED 50
#define ERROR_INVALID_PARAMETER 87
#define ERROR_INSUFFICIENT_BUFFER 122
#define REFUSED(error) ((NTSTATUS)(0xC0010000 | (error)))

#define ADAPTERS 64
#define OIDS 32
#define OID_SIZE 256
#define LINKS 4

/* One request: its buffer holds the request and takes the answer, as METHOD_BUFFERED has it. */
typedef struct {
    void *buffer;
    ULONG size;        /* of the request */
    ULONG answer_size; /* room for the answer */
    ULONG answered;
    HANDLE client;     /* the calling process */
} CALL;

typedef struct frame {
    struct frame *next;
    uint32_t direction, length, vlan, filter;
    uint8_t content[MAX_ETHER_FRAME];
} FRAME;

typedef struct { FRAME *first, **end; uint32_t count; } QUEUE;
typedef struct { uint32_t oid, length; uint8_t value[OID_SIZE]; } OID_VALUE;

typedef struct {
    uint64_t handle;
    char name[ADAPTER_NAME_SIZE];
    uint8_t mac[6];
    uint16_t mtu;
    uint32_t medium, mode;
    HANDLE event, hardware_filter_event;
    QUEUE queue;     /* for the client */
    QUEUE onward[2]; /* what left the host, what reached its stack: for the test to take */
    OID_VALUE oids[OIDS];
    uint32_t oid_count, link_count;
    RAS_LINK_INFO links[LINKS];
} ADAPTER;

/* What the driver's documentation leaves open, and its version: the test's to choose. */
typedef struct {
    uint32_t version, pool_size;
    uint32_t empty_read;   /* the error of a read that finds nothing; 0: it succeeds */
    uint32_t stale_handle; /* the error of a request for an adapter that is gone */
    uint32_t resets_on_close;
} OPTIONS;

extern OPTIONS options;
extern ADAPTER *adapters[ADAPTERS]; /* oldest first */
extern uint32_t adapter_count, pool_exhausted, unsent, open_handles, generation;
extern HANDLE list_event, wan_event, onward_event;

/* client.c: the calling process's memory and events, which are in another address space */
NTSTATUS client_read(CALL *call, uint64_t address, void *to, size_t size);
NTSTATUS client_write(CALL *call, uint64_t address, const void *from, size_t size);
HANDLE client_open(void);
void handle_close(HANDLE handle);
NTSTATUS event_take(CALL *call, uint64_t handle, HANDLE *event);
void event_signal(HANDLE event);

/* traffic.c: adapters, and frames on their way past the driver */
ADAPTER *adapter_add(uint64_t handle);
ADAPTER *adapter_find(uint64_t handle);
void adapter_detach(ADAPTER *adapter);
void adapter_reattach(ADAPTER *adapter);
void adapter_remove(ADAPTER *adapter);
uint32_t parameter(const wchar_t *name, uint32_t otherwise);
void queue_empty(QUEUE *queue);
FRAME *queue_take(QUEUE *queue);
void queue_put(QUEUE *queue, const uint8_t *content, uint32_t length, uint32_t direction, uint32_t vlan, uint32_t filter);
void traffic_flush(ADAPTER *adapter);
FRAME *traffic_next(ADAPTER *adapter);
void traffic_onward(ADAPTER *adapter, const uint8_t *content, uint32_t length, uint32_t direction);
void traffic_frame(ADAPTER *adapter, const uint8_t *content, uint32_t length, uint32_t direction, uint32_t vlan);
void traffic_looped_back(ADAPTER *adapter, const uint8_t *content, uint32_t length);

/* filters.c: the static filters */
extern uint32_t filter_count;
extern uint32_t filter_cache, fragment_cache;
NTSTATUS filters_replace(const STATIC_FILTER *table, uint32_t count);
NTSTATUS filters_insert(uint32_t position, const STATIC_FILTER *filter);
NTSTATUS filters_remove(uint32_t position);
void filters_copy(STATIC_FILTER_TABLE *table);
void filters_restart(void);
uint32_t filters_decide(const uint8_t *content, uint32_t length, uint32_t direction, uint64_t adapter, uint32_t *number);

/* requests.c: the vendor's control codes; control.c: the test's */
#define REQUESTS 37
extern uint32_t issued[REQUESTS];
NTSTATUS request(uint32_t number, CALL *call);
void forget_clients(void);
#define CONTROLS 13
NTSTATUS control(uint32_t number, CALL *call);
BOOLEAN control_fails(uint32_t code, NTSTATUS *status);

/* A request of at least so many bytes. */
#define NEEDS(call, bytes) do { if ((call)->size < (bytes)) return REFUSED(ERROR_INVALID_PARAMETER); } while (0)
/* Room for an answer of so many bytes. */
#define GIVES(call, bytes) do { \
    if ((call)->answer_size < (bytes)) return REFUSED(ERROR_INSUFFICIENT_BUFFER); \
    (call)->answered = (ULONG)(bytes); } while (0)

#endif
