"""A handle to the emulated driver."""

import pytest

from wiresock_py.filters.ndisapi import DeviceError, Ioctl
from wiresock_py.filters.ndisapi.emulator import Emulator


def test_a_closed_handle_is_refused() -> None:
    device = Emulator().open()
    device.close()
    with pytest.raises(DeviceError, match="GET_VERSION failed: error 6"):
        device.control(Ioctl.GET_VERSION, 0, 0, 0, 0)


def test_settings_and_names_are_the_systems() -> None:
    emulator = Emulator()
    adapter = emulator.add_adapter("Ethernet")
    one, two = emulator.open(), emulator.open()
    one.set_parameter("PoolSize", 3)
    assert two.parameter("PoolSize") == 3
    assert two.parameter("MTUDecrement") is None
    assert two.friendly_name(adapter.name[8:].lower()) == "Ethernet"
    assert two.friendly_name("{NONE}") == ""
