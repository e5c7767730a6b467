"""Who may read a file on Windows, by its access list.

Windows writes the list as text (SDDL): ``O:BAD:AI(A;ID;FA;;;SY)(A;ID;0x1200a9;;;BU)``, owner and entries, each with
kind, flags, rights and the account. Only what lets somebody read a file is looked for.
"""

import ctypes
import re
from pathlib import Path
from typing import Any

from wiresock_py.win32 import BOOL, DWORD, HANDLE, POINTER, TEXT, load

_SE_FILE_OBJECT = 1
_OWNER, _DACL = 0x1, 0x4
_SDDL_REVISION = 1
_FILE_READ_DATA = 0x1
# What of the rights' short names includes reading: everything, read, and execute (FILE_GENERIC_EXECUTE does not)
_READING = frozenset(("FA", "FR", "GA", "GR", "CC"))
_INHERIT_ONLY = "IO"
_MAY = frozenset(("SY", "BA", "OW", "CO", "S-1-5-18", "S-1-5-32-544", "S-1-3-0", "S-1-3-4"))
"""Who may read a key: the system, the administrators, the file's owner."""
_NAMES = {
    "WD": "Everyone",
    "BU": "Users",
    "AU": "Authenticated Users",
    "IU": "INTERACTIVE",
    "BG": "Guests",
    "AN": "Anonymous",
    "AC": "all app packages",
}
_ENTRY = re.compile(r"\(([^;]*);([^;]*);([^;]*);[^;]*;[^;]*;([^;)]*)[^)]*\)")


def other_readers(sddl: str) -> list[str]:
    """The accounts besides system, administrators and owner that *sddl* lets read the file; by name or SID."""
    owner = (re.match(r"O:(S-[\d-]+|[A-Z]{2})", sddl) or [None, ""])[1]
    _, found, entries = sddl.partition("D:")
    if not found or entries.startswith("NO_ACCESS_CONTROL"):
        return ["Everyone"]
    readers = [
        _NAMES.get(account, account)
        for kind, flags, rights, account in _ENTRY.findall(entries.partition("S:(")[0])
        if kind in ("A", "XA") and _INHERIT_ONLY not in _pairs(flags) and _reads(rights)
        if account not in _MAY and account != owner
    ]
    return list(dict.fromkeys(readers))


def _reads(rights: str) -> bool:
    if rights.startswith("0x"):
        return bool(int(rights, 16) & (_FILE_READ_DATA | 0x9000_0000))  # or GENERIC_READ, GENERIC_ALL
    return not _READING.isdisjoint(_pairs(rights))


def _pairs(text: str) -> list[str]:
    return [text[at : at + 2] for at in range(0, len(text), 2)]


def access_list(path: Path) -> str:
    """Owner and access list of *path* in SDDL. Raises OSError; Windows only."""
    advapi: Any = load(
        "advapi32",
        {
            "GetNamedSecurityInfoW": (DWORD, (TEXT, ctypes.c_int, DWORD, *(POINTER,) * 5)),
            "ConvertSecurityDescriptorToStringSecurityDescriptorW": (BOOL, (POINTER, DWORD, DWORD, POINTER, POINTER)),
        },
    )
    kernel: Any = load("kernel32", {"LocalFree": (HANDLE, (HANDLE,))})
    descriptor, text = ctypes.c_void_p(), ctypes.c_void_p()
    if code := advapi.GetNamedSecurityInfoW(
        str(path), _SE_FILE_OBJECT, _OWNER | _DACL, None, None, None, None, ctypes.byref(descriptor)
    ):
        raise OSError(code, f"Windows does not tell who may read {path}: error {code}")
    try:
        if not advapi.ConvertSecurityDescriptorToStringSecurityDescriptorW(
            descriptor, _SDDL_REVISION, _OWNER | _DACL, ctypes.byref(text), None
        ):
            code = advapi.last_error()
            raise OSError(code, f"Windows does not tell who may read {path}: error {code}")
        try:
            return ctypes.wstring_at(text.value or 0)
        finally:
            kernel.LocalFree(text)
    finally:
        kernel.LocalFree(descriptor)
