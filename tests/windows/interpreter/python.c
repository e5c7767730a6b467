/* python.exe: CPython's own is a call of Py_Main too. Py_Main is looked up, so that no import library is needed. */
#include <stdio.h>
#include <windows.h>

int wmain(int argc, wchar_t **argv) {
    HMODULE library = LoadLibraryW(L"python311.dll");
    if (!library) {
        fprintf(stderr, "python311.dll: error %lu\n", GetLastError());
        return 103;
    }
    int (*run)(int, wchar_t **) = (void *)GetProcAddress(library, "Py_Main");
    return run(argc, argv);
}
