import sys

import pytest

from wiresock_py.win32 import ERROR_CALL_NOT_IMPLEMENTED, FILETIME_EPOCH, load, not_implemented, unix_time

windows = pytest.mark.skipif(sys.platform != "win32", reason="for other systems: loads a DLL of Windows")


@pytest.mark.skipif(sys.platform == "win32", reason="for other systems: says what other systems lack")
def test_on_other_systems_there_is_no_dll() -> None:
    with pytest.raises(OSError, match="iphlpapi is a part of Windows"):
        load("iphlpapi", {})


def test_a_missing_call_answers_with_a_win32_error() -> None:
    assert not_implemented(1, None) == ERROR_CALL_NOT_IMPLEMENTED


@windows
def test_a_call_this_windows_lacks_is_missing_only_if_it_may_be() -> None:
    calls = {"NoSuchCall": (None, ())}
    assert load("kernel32", calls, late=calls).NoSuchCall() == ERROR_CALL_NOT_IMPLEMENTED
    with pytest.raises(OSError, match="no NoSuchCall in kernel32"):
        load("kernel32", calls)


def test_filetimes_count_from_1601() -> None:
    assert unix_time(FILETIME_EPOCH * 10_000_000) == 0
    assert unix_time(133_485_408_000_000_000) == 1_704_067_200  # 2024-01-01
