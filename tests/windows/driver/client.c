/* A driver runs in the calling process on Windows. In Wine it runs in one of its own, so what a request points to is
 * read and written from there, and the client's events are duplicated. The functions are kernelbase.dll's: Wine takes
 * a driver that imports kernel32.dll or ntdll.dll for an ordinary library and does not start it. */
#include "driver.h"

__declspec(dllimport) HANDLE NTAPI OpenProcess(ULONG access, int inherit, ULONG pid);
__declspec(dllimport) int NTAPI ReadProcessMemory(HANDLE process, const void *from, void *to, SIZE_T size, SIZE_T *done);
__declspec(dllimport) int NTAPI WriteProcessMemory(HANDLE process, void *to, const void *from, SIZE_T size, SIZE_T *done);
__declspec(dllimport) int NTAPI DuplicateHandle(HANDLE, HANDLE, HANDLE, HANDLE *, ULONG access, int inherit, ULONG options);
__declspec(dllimport) int NTAPI SetEvent(HANDLE event);
__declspec(dllimport) int NTAPI CloseHandle(HANDLE handle);
__declspec(dllimport) HANDLE NTAPI GetModuleHandleW(const wchar_t *name);
__declspec(dllimport) void *NTAPI GetProcAddress(HANDLE module, const char *name);

HANDLE client_open(void) {
    return OpenProcess(PROCESS_ALL_ACCESS, FALSE, (ULONG)(ULONG_PTR)PsGetCurrentProcessId());
}

void handle_close(HANDLE handle) {
    if (handle) CloseHandle(handle);
}

NTSTATUS client_read(CALL *call, uint64_t address, void *to, size_t size) {
    SIZE_T done = 0;
    if (!address || !ReadProcessMemory(call->client, (void *)address, to, size, &done) || done != size)
        return REFUSED(ERROR_INVALID_PARAMETER);
    return STATUS_SUCCESS;
}

NTSTATUS client_write(CALL *call, uint64_t address, const void *from, size_t size) {
    SIZE_T done = 0;
    if (!address || !WriteProcessMemory(call->client, (void *)address, from, size, &done) || done != size)
        return REFUSED(ERROR_INVALID_PARAMETER);
    return STATUS_SUCCESS;
}

/* Wine gives the number of a handle just closed to things of its own, and they can be duplicated like an event. */
static BOOLEAN is_event(HANDLE handle) {
    static NTSTATUS (NTAPI *query)(HANDLE, int, void *, ULONG, ULONG *);
    int state[2];
    if (!query) query = GetProcAddress(GetModuleHandleW(L"ntdll.dll"), "NtQueryEvent");
    return NT_SUCCESS(query(handle, 0, state, sizeof state, NULL));
}

/* Put the client's event, or none for 0, in the place of *event. */
NTSTATUS event_take(CALL *call, uint64_t handle, HANDLE *event) {
    HANDLE taken = NULL;
    if (handle && !DuplicateHandle(call->client, (HANDLE)handle, (HANDLE)-1, &taken, 0, FALSE, DUPLICATE_SAME_ACCESS))
        return REFUSED(ERROR_INVALID_HANDLE);
    if (taken && !is_event(taken)) {
        CloseHandle(taken);
        return REFUSED(ERROR_INVALID_HANDLE);
    }
    handle_close(*event);
    *event = taken;
    return STATUS_SUCCESS;
}

void event_signal(HANDLE event) {
    if (event) SetEvent(event);
}
