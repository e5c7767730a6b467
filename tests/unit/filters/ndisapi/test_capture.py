"""The pleasant face."""

import threading

import pytest

from tests.support.drivers import Driver, Plugged
from wiresock_py.errors import BackendError
from wiresock_py.filters.ndisapi import (
    Adapter,
    AdapterMode,
    DeviceError,
    Direction,
    Ioctl,
    NdisApi,
    Packet,
    capture,
)
from wiresock_py.filters.ndisapi.emulator import EmulatedAdapter, Emulator
from wiresock_py.filters.ndisapi.raw.structures import INTERMEDIATE_BUFFER

FRAME = bytes(12) + b"\x88\xb5" + bytes(46)


def restored(api: NdisApi, plugged: Plugged) -> bool:
    found = api.find(plugged.name)
    return not (api.mode(found) or api.queue_size(found))


def test_packets_are_iterated_over_and_sent_on(api: NdisApi, adapter: Adapter, ethernet: Plugged) -> None:
    with api.capture(adapter, capacity=4) as packets:
        for i in range(10):
            ethernet.stack_sends(FRAME + bytes((i,)))
            ethernet.network_sends(FRAME + bytes((i,)))
        for seen, packet in enumerate(packets, 1):
            packet.send()
            if seen == 20:
                packets.stop()
        assert packets.statistics() == {"captured": 20, "malformed": 0, "recaptured": 0}
    assert ethernet.network_received() == ethernet.stack_received() == [FRAME + bytes((i,)) for i in range(10)]
    assert restored(api, ethernet)


def test_a_packet_that_is_not_sent_is_dropped(api: NdisApi, adapter: Adapter, ethernet: Plugged) -> None:
    with api.capture(adapter) as packets:
        ethernet.stack_sends(FRAME)
        assert isinstance(packets.receive(0), Packet)
    assert ethernet.network_received() == []


def test_nothing_within_the_timeout_is_none(api: NdisApi, adapter: Adapter) -> None:
    with api.capture(adapter) as packets:
        assert packets.receive(0) is None


def test_only_the_wanted_direction_is_captured(api: NdisApi, adapter: Adapter, ethernet: Plugged) -> None:
    with api.capture(adapter, mode=AdapterMode.SENT_TUNNEL) as packets:
        ethernet.network_sends(FRAME)
        ethernet.stack_sends(FRAME)
        packet = packets.receive(0)
        assert packet is not None
        assert packet.direction == Direction.SEND
        assert packets.receive(0) is None
        assert ethernet.stack_received() == [FRAME]


def test_several_adapters_are_captured_at_once_each_with_its_own(
    api: NdisApi, ethernet: Plugged, wifi: Plugged
) -> None:
    with api.capture(*api.adapters()) as packets:
        wifi.stack_sends(FRAME)
        ethernet.network_sends(FRAME)
        for _ in range(2):
            packet = packets.receive(0)
            assert packet is not None
            packet.send()
        assert wifi.network_received() == ethernet.stack_received() == [FRAME]
    assert restored(api, ethernet)
    assert restored(api, wifi)


def test_a_packet_wakes_whoever_waits(api: NdisApi, adapter: Adapter, ethernet: Plugged) -> None:
    with api.capture(adapter) as packets:
        threading.Timer(0.01, ethernet.stack_sends, [FRAME]).start()
        assert packets.receive(30) is not None


def test_stop_wakes_whoever_waits(api: NdisApi, adapter: Adapter) -> None:
    with api.capture(adapter) as packets:
        threading.Timer(0.01, packets.stop).start()
        assert list(packets) == []


def test_stop_ends_the_reading_though_packets_wait(api: NdisApi, adapter: Adapter, ethernet: Plugged) -> None:
    with api.capture(adapter) as packets:
        for _ in range(10):
            ethernet.stack_sends(FRAME)
        assert packets.receive(0) is not None
        packets.stop()
        assert packets.receive(0) is None
    packets.stop()


def test_an_adapter_is_looked_after_while_another_keeps_us_busy(
    api: NdisApi, emulated: EmulatedAdapter, wifi: EmulatedAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capture, "HEARTBEAT", 0.0)
    with api.capture(*api.adapters(), capacity=1) as packets:
        wifi.mode = 0
        emulated.stack_sends(FRAME)
        assert packets.receive(0) is not None
        assert wifi.mode == AdapterMode.TUNNEL


def test_without_an_adapter_there_is_nothing_to_capture(api: NdisApi) -> None:
    with pytest.raises(BackendError, match="no adapter to capture on"):
        api.capture().open()


def test_reading_outside_the_block_is_refused(api: NdisApi, adapter: Adapter) -> None:
    with pytest.raises(BackendError, match="the capture is not open"):
        next(iter(api.capture(adapter)))


def test_a_capture_opens_again(api: NdisApi, adapter: Adapter, ethernet: Plugged) -> None:
    packets = api.capture(adapter)
    for _ in range(2):
        with packets:
            ethernet.stack_sends(FRAME)
            assert packets.receive(0) is not None
            packets.stop()


def test_closing_a_capture_of_a_closed_handle_leaves_no_event(emulator: Emulator, adapter: Adapter) -> None:
    other = NdisApi(emulator.open())
    packets = other.capture(adapter)
    packets.open()
    other.close()
    with pytest.raises(DeviceError, match="error 6"):
        packets.close()
    assert len(emulator.events) == 0


def test_an_exception_restores_the_adapter(api: NdisApi, adapter: Adapter, ethernet: Plugged) -> None:
    def captured_and_failed() -> None:
        with api.capture(adapter):
            ethernet.stack_sends(FRAME)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        captured_and_failed()
    assert restored(api, ethernet)


def test_no_event_is_left_behind(api: NdisApi, emulator: Emulator, adapter: Adapter) -> None:
    with api.capture(adapter) as packets:
        assert len(emulator.events) == 3
    packets.close()
    assert len(emulator.events) == 0


def test_what_an_earlier_run_left_in_the_queue_is_not_shown(api: NdisApi, adapter: Adapter, ethernet: Plugged) -> None:
    api.set_mode(adapter, AdapterMode.TUNNEL)
    ethernet.stack_sends(FRAME)
    with api.capture(adapter) as packets:
        assert packets.receive(0) is None


@pytest.mark.parametrize("code", [Ioctl.FLUSH_ADAPTER_QUEUE, Ioctl.SET_EVENT, Ioctl.SET_ADAPTER_MODE])
def test_a_capture_that_cannot_open_restores_what_it_had_begun(
    api: NdisApi, emulator: Emulator, ethernet: Plugged, wifi: Plugged, code: Ioctl
) -> None:
    adapters = api.adapters()
    emulator.fail(code, 31)
    with pytest.raises(DeviceError, match=code.name), api.capture(*adapters):
        pytest.fail("opened")
    assert restored(api, ethernet)
    assert restored(api, wifi)
    assert len(emulator.events) == 0


def test_an_adapter_that_stays_captured_is_an_error(
    api: NdisApi, emulator: Emulator, adapter: Adapter, ethernet: Plugged
) -> None:
    packets = api.capture(adapter)
    packets.open()
    emulator.fail(Ioctl.SET_ADAPTER_MODE, 31)
    with pytest.raises(DeviceError, match="SET_ADAPTER_MODE failed: error 31"):
        packets.close()
    assert len(emulator.events) == 0


def test_a_removed_adapter_ends_the_reading_with_a_remedy(
    api: NdisApi, emulator: Emulator, adapter: Adapter, emulated: EmulatedAdapter
) -> None:
    with api.capture(adapter) as packets:
        emulator.remove_adapter(emulated)
        with pytest.raises(BackendError, match=r"the adapter .* was removed") as caught:
            packets.receive(0)
        assert "plug it in" in caught.value.remedy
    assert len(emulator.events) == 0


def test_an_adapter_under_a_new_handle_is_captured_again(
    api: NdisApi, driver: Driver, adapter: Adapter, ethernet: Plugged
) -> None:
    with api.capture(adapter) as packets:
        driver.reattach_adapter(ethernet)
        assert packets.receive(0) is None
        assert packets.adapters[0].handle == ethernet.handle != adapter.handle
        ethernet.stack_sends(FRAME)
        packet = packets.receive(0)
        assert packet is not None
        packet.send()
        assert ethernet.network_received() == [FRAME]
        assert packets.statistics()["recaptured"] == 1
    assert restored(api, ethernet)


def test_a_handle_that_became_another_adapters_is_not_captured(
    api: NdisApi, emulator: Emulator, adapter: Adapter, emulated: EmulatedAdapter
) -> None:
    with api.capture(adapter) as packets:
        emulator.remove_adapter(emulated)
        other = emulator.add_adapter("other", "\\DEVICE\\{OTHER}", handle=adapter.handle)
        with pytest.raises(BackendError, match="was removed"):
            packets.receive(0)
        assert other.mode == 0


def test_a_mode_that_was_lost_without_a_word_is_set_again(
    api: NdisApi, adapter: Adapter, emulated: EmulatedAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capture, "HEARTBEAT", 0.0)
    with api.capture(adapter) as packets:
        emulated.mode = emulated.event = 0
        assert packets.receive(0) is None
        assert emulated.mode == AdapterMode.TUNNEL
        assert emulated.event


def test_a_read_that_fails_though_the_adapter_is_there_raises(api: NdisApi, driver: Driver, adapter: Adapter) -> None:
    with api.capture(adapter) as packets:
        driver.fail(Ioctl.READ_PACKETS, 31)
        driver.fail(Ioctl.ADAPTER_QUEUE_SIZE, 31)
        with pytest.raises(DeviceError, match="ADAPTER_QUEUE_SIZE failed"):
            packets.receive(0)


@pytest.mark.parametrize("length", [0, 13, 1515, 9014, 2**32 - 1])
def test_a_frame_of_impossible_length_is_a_counted_drop(
    api: NdisApi, adapter: Adapter, emulated: EmulatedAdapter, length: int
) -> None:
    with api.capture(adapter) as packets:
        emulated.queue(INTERMEDIATE_BUFFER(m_dwDeviceFlags=1, m_Length=length))
        emulated.stack_sends(FRAME)
        packet = packets.receive(0)
        assert packet is not None
        assert packet.frame == FRAME
        assert packets.statistics() == {"captured": 1, "malformed": 1, "recaptured": 0}


@pytest.mark.parametrize(
    "frame",
    [
        bytes(12) + b"\x81\x00\x00\x05\x08\x00" + bytes(46),
        bytes(12) + b"\x08\x06" + bytes(28),
        bytes(12) + b"\x08\x00",
        bytes(12) + b"\x00\x40" + b"\xaa\xaa\x03" + bytes(40),
        bytes(1514),
    ],
    ids=["VLAN", "ARP", "cut off", "802.3", "largest"],
)
def test_any_frame_goes_on_unchanged(api: NdisApi, adapter: Adapter, ethernet: Plugged, frame: bytes) -> None:
    with api.capture(adapter) as packets:
        ethernet.stack_sends(frame)
        packet = packets.receive(0)
        assert packet is not None
        packet.send()
    assert ethernet.network_received() == [frame]
