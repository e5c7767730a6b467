"""Configurations that Windows keeps encrypted: ``wiresock-py import wg0.conf``, and then ``wiresock-py run wg0``.

They are encrypted for this machine (DPAPI, CryptProtectData), so that a stolen disk tells no key, and lie in a folder
that only the system and the administrators may enter, so that nobody else here can decrypt them. Not for one account:
a client that runs as a service is another one than who imported them.
"""

import ctypes
import sys
from pathlib import Path
from typing import Any

from platformdirs import site_data_path

from wiresock_py.errors import ConfigError
from wiresock_py.win32 import BOOL, DWORD, HANDLE, POINTER, TEXT, load

SUFFIX = ".dpapi"
# Full access for SYSTEM and the administrators, for the folder and all in it, and inherited from nowhere (SDDL).
ACCESS = "D:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)"
_SDDL_REVISION = 1
_CRYPTPROTECT_UI_FORBIDDEN, _CRYPTPROTECT_LOCAL_MACHINE = 0x1, 0x4
_ERROR_ALREADY_EXISTS = 183


class _Blob(ctypes.Structure):
    """DATA_BLOB."""

    _fields_ = (("size", DWORD), ("data", ctypes.c_void_p))


class _SecurityAttributes(ctypes.Structure):
    _fields_ = (("length", DWORD), ("descriptor", ctypes.c_void_p), ("inherit", BOOL))


def folder() -> Path:
    """Where imported configurations lie."""
    return site_data_path("wiresock-py", appauthor=False) / "configs"


def stored(path: Path, place: Path | None = None) -> Path:
    """The imported configuration that *path* names, if it is a bare name of one and no file; else *path* itself."""
    if path.name != str(path) or path.exists():
        return path
    found = (place or folder()) / f"{path.name.removesuffix('.conf')}.conf{SUFFIX}"
    return found if found.exists() else path


def save(name: str, text: bytes, place: Path | None = None) -> Path:
    """Keep *text* encrypted under *name*; returns where. Raises ConfigError."""
    if sys.platform != "win32":
        raise ConfigError("only Windows keeps configurations encrypted", "leave the file where it is: chmod 600")
    place = place or folder()
    file = place / f"{name}.conf{SUFFIX}"
    try:
        sealed = protect(text)
        _make_private(place)
        temporary = file.with_suffix(".new")
        temporary.write_bytes(sealed)
        temporary.replace(file)
    except OSError as error:
        raise ConfigError(
            f"it cannot be kept in {place}: {error.strerror or error}", "run this command as administrator", file=name
        ) from None
    return file


def protect(data: bytes) -> bytes:
    """*data* encrypted for this machine. Raises OSError; Windows only."""
    return _crypt("CryptProtectData", data)


def unprotect(data: bytes) -> bytes:
    """What ``protect`` encrypted on this machine. Raises OSError for anything else, and on other systems."""
    return _crypt("CryptUnprotectData", data)


def _crypt(call: str, data: bytes) -> bytes:
    if sys.platform != "win32":
        raise OSError(f"only Windows encrypts configurations, this is {sys.platform}; protect the file: chmod 600")
    signature = (BOOL, (POINTER, TEXT, POINTER, POINTER, POINTER, DWORD, POINTER))
    crypt: Any = load("crypt32", {call: signature})
    kernel: Any = load("kernel32", {"LocalFree": (HANDLE, (HANDLE,))})
    memory = ctypes.create_string_buffer(data, len(data))
    given, result = _Blob(len(data), ctypes.addressof(memory)), _Blob()
    flags = _CRYPTPROTECT_UI_FORBIDDEN | _CRYPTPROTECT_LOCAL_MACHINE
    if not getattr(crypt, call)(ctypes.byref(given), None, None, None, None, flags, ctypes.byref(result)):
        raise ctypes.WinError(crypt.last_error())
    try:
        return ctypes.string_at(result.data, result.size)
    finally:
        ctypes.memset(result.data, 0, result.size)
        kernel.LocalFree(result.data)


def _make_private(place: Path) -> None:
    """Make the folder, open to the system and the administrators alone."""
    if sys.platform != "win32":
        raise OSError(f"only Windows has such a folder, this is {sys.platform}")
    place.parent.mkdir(parents=True, exist_ok=True)
    advapi: Any = load(
        "advapi32",
        {"ConvertStringSecurityDescriptorToSecurityDescriptorW": (BOOL, (TEXT, DWORD, POINTER, POINTER))},
    )
    kernel: Any = load("kernel32", {"CreateDirectoryW": (BOOL, (TEXT, POINTER)), "LocalFree": (HANDLE, (HANDLE,))})
    descriptor = ctypes.c_void_p()
    if not advapi.ConvertStringSecurityDescriptorToSecurityDescriptorW(
        ACCESS, _SDDL_REVISION, ctypes.byref(descriptor), None
    ):
        raise ctypes.WinError(advapi.last_error())
    try:
        security = _SecurityAttributes(ctypes.sizeof(_SecurityAttributes), descriptor.value, False)
        if not kernel.CreateDirectoryW(str(place), ctypes.byref(security)):
            code = kernel.last_error()
            if code != _ERROR_ALREADY_EXISTS:
                raise ctypes.WinError(code)
    finally:
        kernel.LocalFree(descriptor)
