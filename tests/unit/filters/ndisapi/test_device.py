"""Opening the driver, and what its errors say."""

import sys

import pytest

from wiresock_py.errors import BackendError
from wiresock_py.filters.ndisapi import device
from wiresock_py.filters.ndisapi.device import DeviceError, open_device, open_error, request_name
from wiresock_py.filters.ndisapi.raw.ioctl import Ioctl


def test_a_32_bit_python_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "POINTER_SIZE", 4)
    with pytest.raises(BackendError, match="need a 64-bit Python, this one is 32-bit") as caught:
        open_device()
    assert "64-bit Python" in caught.value.remedy


@pytest.mark.skipif(sys.platform == "win32", reason="for other systems: Windows has the driver's kind of system")
def test_another_system_is_refused_with_the_way_out() -> None:
    with pytest.raises(BackendError, match=f"exists for Windows only, this is {sys.platform}") as caught:
        open_device()
    assert "Emulator" in caught.value.remedy


def test_a_missing_driver_is_named_with_where_to_get_it() -> None:
    error = open_error("NDISRD", 2)
    assert "no device NDISRD" in str(error)
    assert "https://github.com/wiresock/ndisapi" in error.remedy
    assert "sc start ndisrd" in error.remedy


def test_denied_access_says_who_may() -> None:
    error = open_error("NDISRD", 5)
    assert str(error) == "access to the driver NDISRD is denied"
    assert error.remedy == "run as administrator"


def test_any_other_error_of_opening_keeps_its_number() -> None:
    error = open_error("NDISRD", 1450)
    assert isinstance(error, DeviceError)
    assert "error 1450" in str(error)
    assert error.code == 1450


def test_an_error_names_its_request_and_a_remedy() -> None:
    error = DeviceError(Ioctl.READ_PACKETS, 87)
    assert str(error) == "IOCTL_NDISRD_READ_PACKETS failed: error 87, the driver refused the arguments"
    assert "enumerate the adapters again" in error.remedy


def test_requests_without_a_name_show_their_code() -> None:
    assert request_name(0x830022C0) == "control code 0x830022c0"
    assert request_name("CreateEventW") == "CreateEventW"
