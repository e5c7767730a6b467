"""What a test may do to the emulated system."""

import ctypes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wiresock_py.filters.ndisapi import Action, AdapterMode, DeviceError, Ioctl, NdisApi, StaticFilter, Version
from wiresock_py.filters.ndisapi.emulator import Emulator


def test_only_as_many_requests_fail_as_were_told_to() -> None:
    emulator = Emulator()
    with NdisApi(emulator.open()) as api:
        emulator.fail(Ioctl.GET_TCPIP_INTERFACES, 21, times=2)
        for _ in range(2):
            with pytest.raises(DeviceError, match="error 21"):
                api.adapters()
        assert api.adapters() == []


def test_state_belongs_to_the_driver_and_not_to_the_handle() -> None:
    emulator = Emulator()
    emulator.add_adapter()
    with NdisApi(emulator.open()) as one, NdisApi(emulator.open()) as two:
        (adapter,) = one.adapters()
        one.set_mode(adapter, AdapterMode.TUNNEL)
        one.set_filters([StaticFilter(Action.PASS)])
        assert two.mode(adapter) == AdapterMode.TUNNEL
        assert two.filter_count() == 1


@pytest.mark.parametrize("resets", [False, True])
def test_what_the_last_closed_handle_does_is_the_tests_choice(resets: bool) -> None:
    emulator = Emulator(resets_on_close=resets)
    plugged = emulator.add_adapter()
    other = emulator.open()
    with NdisApi(emulator.open()) as api:
        (adapter,) = api.adapters()
        api.set_mode(adapter, AdapterMode.TUNNEL)
        api.set_filters([StaticFilter(Action.REDIRECT)])
        plugged.stack_sends(bytes(60))
    assert plugged.mode == AdapterMode.TUNNEL
    other.close()
    other.close()
    assert (plugged.mode, len(plugged.entries), len(emulator.filters.filters)) == ((0, 0, 0) if resets else (3, 1, 1))
    assert emulator.traffic.queued == len(plugged.entries)


def test_an_older_driver_does_not_know_what_came_later() -> None:
    opened = Emulator(Version(3, 4, 3)).open()
    with pytest.raises(DeviceError, match="ADD_PACKET_FILTER_BACK failed: error 1,"):
        opened.control(Ioctl.ADD_PACKET_FILTER_BACK, 0, 0, 0, 0)


# These follow pointers in the request: a wrong one is as deadly as it is to the real driver.
POINTING = {code for code in Ioctl if "SEND_PACKET" in code.name or "READ_PACKET" in code.name}
ODD = Emulator()
HANDLE = ODD.add_adapter().handle


@given(
    st.sampled_from(sorted(set(Ioctl) - POINTING))
    | st.integers(0, 2**32 - 1).filter(lambda code: code not in POINTING),
    st.builds(lambda handle, rest: handle + rest, st.sampled_from([b"", HANDLE.to_bytes(8, "little")]), st.binary()),
    st.integers(0, 600),
)
def test_no_request_does_more_than_fail(code: int, content: bytes, room: int) -> None:
    request = (ctypes.c_uint8 * len(content)).from_buffer_copy(content)
    answer = (ctypes.c_uint8 * (room + 1))()
    answer[room] = 0xA5
    device = ODD.open()
    try:
        size = device.control(code, ctypes.addressof(request), len(content), ctypes.addressof(answer), room)
        assert 0 <= size <= room
    except DeviceError:
        pass  # refused, as it should be
    finally:
        device.close()
    assert answer[room] == 0xA5


@pytest.mark.parametrize("code", sorted(POINTING))
def test_a_request_without_its_pointers_is_refused(code: Ioctl) -> None:
    device = ODD.open()
    for size in (0, 8, 11):
        request = (ctypes.c_uint8 * 11)()
        with pytest.raises(DeviceError, match="error 87"):
            device.control(code, ctypes.addressof(request), size, 0, 0)
    device.close()


def test_an_adapter_that_goes_gives_its_packets_room_back() -> None:
    emulator = Emulator(pool_size=1)
    plugged, other = emulator.add_adapter("one"), emulator.add_adapter("two")
    with NdisApi(emulator.open()) as api:
        for adapter in api.adapters():
            api.set_mode(adapter, AdapterMode.TUNNEL)
        plugged.stack_sends(bytes(60))
        other.stack_sends(bytes(60))
        assert (len(other.entries), emulator.traffic.pool_exhausted) == (0, 1)
        emulator.remove_adapter(plugged)
        other.stack_sends(bytes(60))
        assert len(other.entries) == 1


def test_a_handle_in_use_is_not_given_twice() -> None:
    emulator = Emulator()
    plugged = emulator.add_adapter()
    with pytest.raises(ValueError, match="is in use"):
        emulator.add_adapter(handle=plugged.handle)
