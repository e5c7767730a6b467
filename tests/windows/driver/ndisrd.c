/* A double of the Windows Packet Filter driver, for tests under Wine: the device \\.\NDISRD with the vendor's control
 * codes and, beyond them, the test's. What happens to packets is in traffic.c, what requests mean in requests.c. */
#include "driver.h"

#define FILE_DEVICE_NDISRD 0x8300
#define FIRST_REQUEST 0x830
#define FIRST_CONTROL 0x8C0
#define CODE(function) CTL_CODE(FILE_DEVICE_NDISRD, function, METHOD_BUFFERED, FILE_ANY_ACCESS)
#define FUNCTION(code) ((code) >> 2 & 0xFFF)

/* An open handle; the client's process is opened with it, because that takes as long as a request does. */
typedef struct { HANDLE process, client; uint32_t generation; BOOLEAN counts; } OPENED;

uint32_t open_handles; /* the test's own, and those of before its last reset, excepted */
uint32_t generation;

static NTSTATUS complete(IRP *irp, NTSTATUS status, ULONG_PTR information) {
    irp->IoStatus.Status = status;
    irp->IoStatus.Information = information;
    IoCompleteRequest(irp, IO_NO_INCREMENT);
    return status;
}

static NTSTATUS NTAPI create(DEVICE_OBJECT *device, IRP *irp) {
    (void)device;
    OPENED *opened = ExAllocatePool(NonPagedPool, sizeof *opened);
    if (!opened) return complete(irp, STATUS_INSUFFICIENT_RESOURCES, 0);
    opened->process = PsGetCurrentProcessId();
    opened->client = client_open();
    opened->generation = generation;
    opened->counts = TRUE;
    IoGetCurrentIrpStackLocation(irp)->FileObject->FsContext = opened;
    open_handles++;
    return complete(irp, STATUS_SUCCESS, 0);
}

/* Also when a process dies: what the real driver then does is not known, so the test chooses. */
static NTSTATUS NTAPI close(DEVICE_OBJECT *device, IRP *irp) {
    (void)device;
    OPENED *opened = IoGetCurrentIrpStackLocation(irp)->FileObject->FsContext;
    if (opened->counts && opened->generation == generation && !--open_handles && options.resets_on_close) forget_clients();
    handle_close(opened->client);
    ExFreePool(opened);
    return complete(irp, STATUS_SUCCESS, 0);
}

static NTSTATUS serve(OPENED *opened, uint32_t code, CALL *call) {
    uint32_t function = FUNCTION(code);
    NTSTATUS status;
    if (code != CODE(function)) return REFUSED(ERROR_INVALID_FUNCTION);
    if (function >= FIRST_CONTROL && function < FIRST_CONTROL + CONTROLS) {
        if (opened->counts && opened->generation == generation) open_handles--;
        opened->counts = FALSE;
        return control(function - FIRST_CONTROL, call);
    }
    if (function < FIRST_REQUEST || function >= FIRST_REQUEST + REQUESTS) return REFUSED(ERROR_INVALID_FUNCTION);
    if (control_fails(code, &status)) {
        issued[function - FIRST_REQUEST]++;
        return status;
    }
    return request(function - FIRST_REQUEST, call);
}

static NTSTATUS NTAPI device_control(DEVICE_OBJECT *device, IRP *irp) {
    (void)device;
    IO_STACK_LOCATION *location = IoGetCurrentIrpStackLocation(irp);
    OPENED *opened = location->FileObject->FsContext;
    CALL call = {
        .buffer = irp->AssociatedIrp.SystemBuffer,
        .size = location->Parameters.DeviceIoControl.InputBufferLength,
        .answer_size = location->Parameters.DeviceIoControl.OutputBufferLength,
        .client = opened->client,
    };
    BOOLEAN inherited = PsGetCurrentProcessId() != opened->process;
    if (inherited) call.client = client_open();
    NTSTATUS status = serve(opened, location->Parameters.DeviceIoControl.IoControlCode, &call);
    if (inherited) handle_close(call.client);
    return complete(irp, status, NT_SUCCESS(status) ? call.answered : 0);
}

static VOID NTAPI unload(DRIVER_OBJECT *driver) {
    UNICODE_STRING link;
    RtlInitUnicodeString(&link, L"\\DosDevices\\NDISRD");
    IoDeleteSymbolicLink(&link);
    IoDeleteDevice(driver->DeviceObject);
}

NTSTATUS NTAPI DriverEntry(DRIVER_OBJECT *driver, UNICODE_STRING *path) {
    (void)path;
    UNICODE_STRING name, link;
    DEVICE_OBJECT *device;
    RtlInitUnicodeString(&name, L"\\Device\\NDISRD");
    RtlInitUnicodeString(&link, L"\\DosDevices\\NDISRD");
    NTSTATUS status = IoCreateDevice(driver, 0, &name, FILE_DEVICE_UNKNOWN, 0, FALSE, &device);
    if (!NT_SUCCESS(status)) return status;
    status = IoCreateSymbolicLink(&link, &name);
    if (!NT_SUCCESS(status)) {
        IoDeleteDevice(device);
        return status;
    }
    driver->MajorFunction[IRP_MJ_CREATE] = create;
    driver->MajorFunction[IRP_MJ_CLOSE] = close;
    driver->MajorFunction[IRP_MJ_DEVICE_CONTROL] = device_control;
    driver->DriverUnload = unload;
    options.version = 0x06013000; /* 3.6.1 */
    options.pool_size = 2048;
    options.empty_read = ERROR_GEN_FAILURE;
    options.stale_handle = ERROR_INVALID_PARAMETER;
    return STATUS_SUCCESS;
}
