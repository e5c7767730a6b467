"""Every request of the driver, through the safe floor, against the emulated driver."""

import ctypes
from collections.abc import Callable
from ipaddress import IPv4Network

import pytest

from tests.support.drivers import POOL_SIZE, Driver, Plugged
from wiresock_py.errors import BackendError
from wiresock_py.filters.ndisapi import (
    NO_EVENT,
    Action,
    Adapter,
    AdapterMode,
    DeviceError,
    Direction,
    Ioctl,
    NdisApi,
    PacketBlock,
    StaticFilter,
    Version,
    device,
)
from wiresock_py.filters.ndisapi.emulator import EmulatedAdapter, Emulator
from wiresock_py.filters.ndisapi.raw.structures import FAST_IO_SECTION, INTERMEDIATE_BUFFER, RAS_LINK_INFO

BLOCK = PacketBlock(4)
SECTION = (ctypes.c_uint8 * ctypes.sizeof(FAST_IO_SECTION))()
RULE = StaticFilter(Action.PASS, ethertype=0x0806)
OTHER = StaticFilter(Action.REDIRECT, source=IPv4Network("10.0.0.0/8"))


def frame(number: int, size: int = 60) -> bytes:
    return bytes(12) + b"\x88\xb5" + number.to_bytes(2, "big") + bytes(size - 16)


def one_packet(api: NdisApi, adapter: Adapter) -> PacketBlock:
    BLOCK.clear()
    BLOCK.append(frame(1), adapter=adapter.handle)
    return BLOCK


def both_sections(api: NdisApi) -> None:
    api.initialize_fast_io(SECTION)
    api.add_fast_io_section(SECTION)


def add_and_remove_filter(api: NdisApi) -> None:
    api.set_filters([RULE])
    api.remove_filter(0)


# Each request by the method that issues it.
CALLS: dict[Ioctl, Callable[[NdisApi, Adapter], object]] = {
    Ioctl.GET_VERSION: lambda api, _adapter: NdisApi(api._device),
    Ioctl.GET_TCPIP_INTERFACES: lambda api, _adapter: api.adapters(),
    Ioctl.SEND_PACKET_TO_ADAPTER: lambda api, adapter: api.send_to_adapter(api.new_packet(adapter, frame(1))),
    Ioctl.SEND_PACKET_TO_MSTCP: lambda api, adapter: api.send_to_stack(api.new_packet(adapter, frame(1))),
    Ioctl.READ_PACKET: lambda api, adapter: api.read_packet(adapter),
    Ioctl.SET_ADAPTER_MODE: lambda api, adapter: api.set_mode(adapter, AdapterMode.NONE),
    Ioctl.FLUSH_ADAPTER_QUEUE: lambda api, adapter: api.flush(adapter),
    Ioctl.SET_EVENT: lambda api, adapter: api.set_packet_event(adapter, NO_EVENT),
    Ioctl.NDIS_SET_REQUEST: lambda api, adapter: api.set_hardware_filter(adapter, 11),
    Ioctl.NDIS_GET_REQUEST: lambda api, adapter: api.query_oid(adapter, 1, 4),
    Ioctl.SET_WAN_EVENT: lambda api, _adapter: api.set_wan_event(NO_EVENT),
    Ioctl.SET_ADAPTER_EVENT: lambda api, _adapter: api.set_list_change_event(NO_EVENT),
    Ioctl.ADAPTER_QUEUE_SIZE: lambda api, adapter: api.queue_size(adapter),
    Ioctl.GET_ADAPTER_MODE: lambda api, adapter: api.mode(adapter),
    Ioctl.SET_PACKET_FILTERS: lambda api, _adapter: api.set_filters([RULE]),
    Ioctl.RESET_PACKET_FILTERS: lambda api, _adapter: api.reset_filters(),
    Ioctl.GET_PACKET_FILTERS_TABLESIZE: lambda api, _adapter: api.filter_count(),
    Ioctl.GET_PACKET_FILTERS: lambda api, _adapter: api.filters(),
    Ioctl.GET_PACKET_FILTERS_RESET_STATS: lambda api, _adapter: api.filters(reset_statistics=True),
    Ioctl.GET_RAS_LINKS: lambda api, adapter: api.ras_links(adapter),
    Ioctl.SEND_PACKETS_TO_ADAPTER: lambda api, adapter: api.send_packets_to_adapter(adapter, one_packet(api, adapter)),
    Ioctl.SEND_PACKETS_TO_MSTCP: lambda api, adapter: api.send_packets_to_stack(adapter, one_packet(api, adapter)),
    Ioctl.READ_PACKETS: lambda api, adapter: api.read_packets(adapter, BLOCK),
    Ioctl.SET_ADAPTER_HWFILTER_EVENT: lambda api, adapter: api.set_hardware_filter_event(adapter, NO_EVENT),
    Ioctl.INITIALIZE_FAST_IO: lambda api, _adapter: api.initialize_fast_io(SECTION),
    Ioctl.READ_PACKETS_UNSORTED: lambda api, _adapter: api.read_unsorted(BLOCK),
    Ioctl.SEND_PACKET_TO_ADAPTER_UNSORTED: lambda api, adapter: api.send_unsorted_to_adapters(one_packet(api, adapter)),
    Ioctl.SEND_PACKET_TO_MSTCP_UNSORTED: lambda api, adapter: api.send_unsorted_to_stack(one_packet(api, adapter)),
    Ioctl.ADD_SECOND_FAST_IO_SECTION: lambda api, _adapter: both_sections(api),
    Ioctl.QUERY_IB_POOL_SIZE: lambda api, _adapter: api.pool_size(),
    Ioctl.ADD_PACKET_FILTER_FRONT: lambda api, _adapter: api.add_filter_first(RULE),
    Ioctl.ADD_PACKET_FILTER_BACK: lambda api, _adapter: api.add_filter_last(RULE),
    Ioctl.REMOVE_FILTER_BY_INDEX: lambda api, _adapter: add_and_remove_filter(api),
    Ioctl.GET_ADP_FILTERS_LIST: lambda api, _adapter: api.request(Ioctl.GET_ADP_FILTERS_LIST),
    Ioctl.INSERT_FILTER_BY_INDEX: lambda api, _adapter: api.insert_filter(0, RULE),
    Ioctl.SET_FILTER_CACHE_STATE: lambda api, _adapter: api.set_filter_cache(True),
    Ioctl.SET_FRAGMENT_CACHE_STATE: lambda api, _adapter: api.set_fragment_cache(True),
}
# Nobody outside the vendor knows what it answers, so the emulator does not answer it.
UNANSWERED = (Ioctl.GET_ADP_FILTERS_LIST,)


def test_every_request_has_its_call() -> None:
    assert list(CALLS) == list(Ioctl)


@pytest.mark.parametrize("code", Ioctl, ids=lambda code: code.name)
def test_a_request_reaches_the_driver_and_is_answered(
    driver: Driver, ethernet: Plugged, api: NdisApi, adapter: Adapter, code: Ioctl
) -> None:
    api.set_oid(adapter, 1, bytes(4))
    before = driver.issued[code]
    if code in UNANSWERED:
        with pytest.raises(DeviceError, match="error 1"):
            CALLS[code](api, adapter)
    else:
        CALLS[code](api, adapter)
    assert driver.issued[code] == before + 1


@pytest.mark.parametrize(
    "code", [code for code in Ioctl if code not in (Ioctl.READ_PACKET, Ioctl.READ_PACKETS)], ids=lambda code: code.name
)
def test_a_refused_request_raises_with_its_name_and_error(
    driver: Driver, ethernet: Plugged, api: NdisApi, adapter: Adapter, code: Ioctl
) -> None:
    api.set_oid(adapter, 1, bytes(4))
    driver.fail(code, 1450)
    if code == Ioctl.READ_PACKETS_UNSORTED:
        assert api.read_unsorted(BLOCK) == 0  # as for an empty queue: the device still answers
        return
    with pytest.raises(DeviceError, match=f"IOCTL_NDISRD_{code.name} failed: error 1450") as caught:
        CALLS[code](api, adapter)
    assert caught.value.code == 1450


# Opening.


def test_an_old_driver_is_refused_and_its_handle_closed() -> None:
    opened = Emulator(Version(3, 2, 32)).open()
    with pytest.raises(BackendError, match=r"version is 3\.2\.32"):
        NdisApi(opened)
    with pytest.raises(DeviceError, match="error 6"):
        opened.control(Ioctl.GET_VERSION, 0, 0, 0, 0)


def test_a_32_bit_python_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "POINTER_SIZE", 4)
    with pytest.raises(BackendError, match="32-bit"):
        NdisApi(Emulator().open())


def test_an_older_driver_works_but_for_what_came_later() -> None:
    emulator = Emulator(Version(3, 4, 0))
    emulator.add_adapter()
    with NdisApi(emulator.open()) as api:
        api.set_filters([RULE])
        assert api.filters() == [RULE]
        with pytest.raises(BackendError, match=r"came with driver 3\.4\.3"):
            api.pool_size()
        with pytest.raises(BackendError, match=r"came with driver 3\.6\.1"):
            api.add_filter_first(RULE)


def test_a_closed_handle_says_so(api: NdisApi) -> None:
    api.close()
    api.close()
    with pytest.raises(DeviceError, match="closed or stale"):
        api.adapters()


# Adapters.


def test_adapters_are_listed_as_they_are(api: NdisApi, ethernet: Plugged, wifi: Plugged) -> None:
    found = api.adapters()
    assert [(a.handle, a.name, a.mac, a.mtu, a.medium) for a in found] == [
        (a.handle, a.name, a.mac, a.mtu, a.medium) for a in (ethernet, wifi)
    ]
    assert [api.friendly_name(a) for a in found] == ["Ethernet", "Wi-Fi"]


def test_an_adapter_is_found_by_each_of_its_names(api: NdisApi, wifi: Plugged) -> None:
    found = api.find("wi-fi")
    assert found.name == wifi.name
    assert api.find(wifi.name.lower()) == api.find(found.guid.lower()) == found


def test_an_unknown_adapter_is_an_error_that_lists_the_known_ones(api: NdisApi, wifi: Plugged) -> None:
    with pytest.raises(BackendError, match="no adapter 'eth0'") as caught:
        api.find("eth0")
    assert caught.value.remedy == "use one of: Ethernet, Wi-Fi"


def test_no_more_adapters_than_the_list_holds(api: NdisApi, driver: Driver) -> None:
    for i in range(40):
        driver.add_adapter(f"Ethernet {i}")
    assert len(api.adapters()) == 32


def test_a_mode_is_set_and_read(api: NdisApi, adapter: Adapter) -> None:
    api.set_mode(adapter, AdapterMode.SENT_TUNNEL | AdapterMode.RECV_LISTEN)
    assert api.mode(adapter) == AdapterMode.SENT_TUNNEL | AdapterMode.RECV_LISTEN


@pytest.mark.parametrize("stale_error", [6, 31, 87, 1168])
def test_a_stale_handle_is_an_error_with_a_remedy(stale_error: int) -> None:
    emulator = Emulator(stale_handle=stale_error)
    plugged = emulator.add_adapter()
    with NdisApi(emulator.open()) as api:
        (adapter,) = api.adapters()
        emulator.remove_adapter(plugged)
        for attempt in (api.mode, api.read_packet, api.queue_size, api.release):
            with pytest.raises(DeviceError) as caught:
                attempt(adapter)
            assert "enumerate the adapters again" in caught.value.remedy


def test_an_empty_queue_is_no_error(api: NdisApi, adapter: Adapter) -> None:
    assert api.read_packet(adapter) is None
    assert api.read_packets(adapter, BLOCK) == api.read_unsorted(BLOCK) == len(BLOCK) == 0


def test_restoring_undoes_what_a_killed_run_left(
    driver: Driver, api: NdisApi, adapter: Adapter, emulated: EmulatedAdapter
) -> None:
    with NdisApi(driver.open()) as killed:
        killed.set_mode(adapter, AdapterMode.TUNNEL)
        killed.set_filters([RULE, OTHER])
        killed.set_packet_event(adapter, killed.create_event())
    emulated.stack_sends(frame(1))
    assert api.restore() == ["removed 2 static filters", f"switched adapter {adapter.name} from mode 0x3 to 0"]
    assert (api.mode(adapter), api.queue_size(adapter), api.filter_count(), emulated.event) == (0, 0, 0, 0)
    assert api.restore() == []


# Events.


def test_queued_packets_set_the_event(api: NdisApi, adapter: Adapter, ethernet: Plugged) -> None:
    with api.event() as event:
        api.set_packet_event(adapter, event)
        api.set_mode(adapter, AdapterMode.TUNNEL)
        assert api.wait([event], 0) == -1
        ethernet.stack_sends(frame(1))
        assert api.wait([event], 0) == 0
        api.reset_event(event)
        assert api.wait([event], 0) == -1
        api.set_packet_event(adapter, NO_EVENT)
        ethernet.stack_sends(frame(2))
        assert api.wait([event], 0) == -1


def test_changes_of_the_adapter_list_set_their_event(api: NdisApi, driver: Driver) -> None:
    with api.event() as event, api.event() as other:
        api.set_list_change_event(event)
        plugged = driver.add_adapter("new")
        for change in (driver.reattach_adapter, driver.remove_adapter):
            assert api.wait([other, event], 0) == 1
            api.reset_event(event)
            change(plugged)
        assert api.wait([other, event], 0) == 1


def test_dialling_and_hardware_filters_set_their_events(api: NdisApi, emulator: Emulator, adapter: Adapter) -> None:
    with api.event() as wan, api.event() as hardware:
        api.set_wan_event(wan)
        api.set_hardware_filter_event(adapter, hardware)
        emulator.dial()
        assert api.wait([hardware, wan], 0) == 1
        api.set_hardware_filter(adapter, 0x2B)
        assert api.wait([hardware, wan], 0) == 0
        assert api.hardware_filter(adapter) == 0x2B


def test_an_unknown_event_is_refused(api: NdisApi, adapter: Adapter) -> None:
    event = api.create_event()
    api.close_event(event)
    with pytest.raises(DeviceError, match="SET_EVENT failed: error 6"):
        api.set_packet_event(adapter, event)


# Packets.


def test_a_single_packet_is_read_with_everything_it_has(api: NdisApi, adapter: Adapter, ethernet: Plugged) -> None:
    api.set_filters([RULE, StaticFilter(Action.REDIRECT)])
    api.set_mode(adapter, AdapterMode.RECV_TUNNEL)
    ethernet.network_sends(frame(7), vlan=0x8001)
    packet = api.read_packet(adapter)
    assert packet is not None
    assert (bytes(packet.frame), packet.direction, packet.adapter) == (frame(7), Direction.RECEIVE, adapter.handle)
    assert (packet.vlan, packet.filter_id) == (0x8001, 2)
    assert api.read_packet(adapter) is None


def test_an_impossible_length_is_an_error_and_not_a_crash(
    api: NdisApi, adapter: Adapter, emulated: EmulatedAdapter
) -> None:
    emulated.queue(INTERMEDIATE_BUFFER(m_dwDeviceFlags=1, m_Length=9014))
    with pytest.raises(BackendError, match="the driver gave a frame of 9014 bytes") as caught:
        api.read_packet(adapter)
    assert "standard build" in caught.value.remedy


@pytest.mark.parametrize("count", [1, 3, 4, 5])
def test_a_batch_is_read_in_order_and_sent_both_ways(
    api: NdisApi, adapter: Adapter, ethernet: Plugged, count: int
) -> None:
    api.set_mode(adapter, AdapterMode.TUNNEL)
    for i in range(count):
        (ethernet.stack_sends if i % 2 else ethernet.network_sends)(frame(i, 60 + i))
    assert (ethernet.network_received(), ethernet.stack_received()) == ([], [])
    block = PacketBlock(4)
    out, into = [], []
    while api.read_packets(adapter, block):
        sent = [i for i in range(len(block)) if block.direction(i) == Direction.SEND]
        arrived = [i for i in range(len(block)) if block.direction(i) == Direction.RECEIVE]
        api.send_packets_to_adapter(adapter, block, sent)
        api.send_packets_to_stack(adapter, block, arrived)
        out += ethernet.network_received()
        into += ethernet.stack_received()
    assert out == [frame(i, 60 + i) for i in range(count) if i % 2]
    assert into == [frame(i, 60 + i) for i in range(count) if not i % 2]


def test_an_unsorted_batch_covers_all_adapters_and_can_change_them(
    api: NdisApi, adapter: Adapter, ethernet: Plugged, wifi: Plugged
) -> None:
    for one in api.adapters():
        api.set_mode(one, AdapterMode.TUNNEL)
    ethernet.stack_sends(frame(1))
    wifi.network_sends(frame(2))
    block = PacketBlock(4)
    assert api.read_unsorted(block) == 2
    assert [block.adapter(i) for i in range(2)] == [ethernet.handle, wifi.handle]
    block.set_adapter(0, wifi.handle)
    assert api.send_unsorted_to_adapters(block, [0]) == 1
    assert api.send_unsorted_to_stack(block, [1]) == 1
    assert (wifi.network_received(), wifi.stack_received()) == ([frame(1)], [frame(2)])
    assert ethernet.network_received() == []


def test_an_empty_batch_is_no_request(api: NdisApi, driver: Driver, adapter: Adapter) -> None:
    before = dict(driver.issued)
    block = PacketBlock(2)
    api.send_packets_to_adapter(adapter, block)
    api.send_packets_to_stack(adapter, block, [])
    assert api.send_unsorted_to_adapters(block) == api.send_unsorted_to_stack(block, []) == 0
    assert dict(driver.issued) == before


def test_an_unsorted_send_counts_what_the_driver_took(
    api: NdisApi, emulator: Emulator, adapter: Adapter, ethernet: Plugged
) -> None:
    block = PacketBlock(3)
    for handle in (adapter.handle, 0xDEAD, adapter.handle):
        block.append(frame(1), adapter=handle)
    assert api.send_unsorted_to_adapters(block) == 2
    assert emulator.unsent == 1
    assert len(ethernet.network_received()) == 2


def test_a_full_pool_loses_packets_and_counts_them(
    api: NdisApi, emulator: Emulator, adapter: Adapter, ethernet: Plugged
) -> None:
    assert api.pool_size() == POOL_SIZE
    api.set_mode(adapter, AdapterMode.TUNNEL)
    for i in range(705):
        ethernet.stack_sends(frame(i))
    assert (api.queue_size(adapter), emulator.traffic.pool_exhausted) == (700, 5)
    api.flush(adapter)
    ethernet.stack_sends(frame(9))
    assert api.queue_size(adapter) == 1


# Static filters.


def test_a_table_is_replaced_and_changed_step_by_step(api: NdisApi) -> None:
    first, second, third, last = (StaticFilter(Action.DROP, ethertype=i) for i in range(4))
    api.set_filters([second])
    api.add_filter_first(first)
    api.add_filter_last(last)
    api.insert_filter(2, third)
    assert api.filters() == [first, second, third, last]
    api.remove_filter(1)
    assert api.filters() == [first, third, last]
    assert api.filter_count() == 3
    api.reset_filters()
    assert api.filters() == []
    with pytest.raises(DeviceError, match="REMOVE_FILTER_BY_INDEX failed: error 87"):
        api.remove_filter(0)
    with pytest.raises(DeviceError, match="INSERT_FILTER_BY_INDEX failed: error 87"):
        api.insert_filter(1, first)


def test_filters_count_and_start_again(api: NdisApi, adapter: Adapter, ethernet: Plugged) -> None:
    api.set_filters([RULE, StaticFilter(Action.PASS)])
    api.set_mode(adapter, AdapterMode.TUNNEL)
    ethernet.stack_sends(frame(1))
    ethernet.network_sends(frame(2, 100))
    ethernet.network_sends(frame(3, 100))
    for found in (api.filters()[1], api.filters(reset_statistics=True)[1]):
        counted = found.statistics
        assert (counted.packets_out, counted.bytes_out, counted.packets_in, counted.bytes_in) == (1, 60, 2, 200)
        assert counted.since > 0
    assert api.filters()[1].statistics[:4] == (0, 0, 0, 0)


def test_a_filter_without_a_form_here_is_an_error_that_says_which(api: NdisApi, emulator: Emulator) -> None:
    api.set_filters([RULE, RULE])
    emulator.filters.filters[1].m_FilterAction = 77
    with pytest.raises(BackendError, match="static filter 1: 77 is not a valid Action"):
        api.filters()


def test_an_answer_too_short_for_a_table_is_an_empty_one(api: NdisApi, emulator: Emulator) -> None:
    api.set_filters([RULE])
    emulator.filters.table = lambda: b""  # type: ignore[method-assign]  # the driver answers nothing
    assert api.filters() == []


def test_the_caches_are_switched(api: NdisApi, emulator: Emulator) -> None:
    api.set_filter_cache(True)
    api.set_fragment_cache(True)
    assert (emulator.filters.filter_cache, emulator.filters.fragment_cache) == (True, True)
    api.set_filter_cache(False)
    assert (emulator.filters.filter_cache, emulator.filters.fragment_cache) == (False, True)


# The rest.


@pytest.mark.parametrize("value", [b"", b"\x01", b"0123456789abcdef" * 4])
def test_an_oid_is_set_and_queried_at_any_length(api: NdisApi, adapter: Adapter, value: bytes) -> None:
    api.set_oid(adapter, 0x0101_0102, value)
    assert api.query_oid(adapter, 0x0101_0102, len(value)) == value
    assert api.query_oid(adapter, 0x0101_0102, len(value) + 10) == value


def test_an_oid_that_does_not_fit_or_is_not_known_is_an_error(api: NdisApi, adapter: Adapter) -> None:
    api.set_oid(adapter, 7, b"long value")
    with pytest.raises(DeviceError, match="the answer does not fit"):
        api.query_oid(adapter, 7, 4)
    with pytest.raises(DeviceError, match="does not support it"):
        api.query_oid(adapter, 8, 4)


def test_ras_links_are_read(api: NdisApi, adapter: Adapter, emulated: EmulatedAdapter) -> None:
    assert api.ras_links(adapter) == []
    emulated.ras_links.append(RAS_LINK_INFO(LinkSpeed=10, MaximumTotalSize=1492))
    (link,) = api.ras_links(adapter)
    assert (link.speed, link.mtu) == (1000, 1492)


def test_settings_are_kept_in_the_drivers_key(api: NdisApi, emulator: Emulator) -> None:
    assert (api.mtu_decrement, api.startup_mode, api.pool_units) == (None, None, None)
    api.mtu_decrement, api.startup_mode, api.pool_units = 80, AdapterMode.TUNNEL, 10
    assert emulator.parameters == {"MTUDecrement": 80, "StartupMode": 3, "PoolSize": 10}
    assert (api.mtu_decrement, api.startup_mode, api.pool_units) == (80, AdapterMode.TUNNEL, 10)
    with pytest.raises(ValueError, match="1 to 10 units, not 11"):
        api.pool_units = 11
    emulator.add_adapter("new")
    assert api.mode(api.find("new")) == AdapterMode.TUNNEL
    assert api.find("new").mtu == 1420


def test_a_section_of_fast_io_must_hold_a_packet_and_the_first_comes_first(api: NdisApi, emulator: Emulator) -> None:
    with pytest.raises(DeviceError, match="ADD_SECOND_FAST_IO_SECTION failed: error 87"):
        api.add_fast_io_section(SECTION)
    with pytest.raises(DeviceError, match="INITIALIZE_FAST_IO failed: error 87"):
        api.initialize_fast_io((ctypes.c_uint8 * 100)())
    api.initialize_fast_io(SECTION)
    assert emulator.fast_io == [(ctypes.addressof(SECTION), ctypes.sizeof(SECTION))]
    for _ in range(15):
        api.add_fast_io_section(SECTION)
    with pytest.raises(DeviceError, match="error 87"):
        api.add_fast_io_section(SECTION)


def test_a_code_of_a_custom_build_can_be_tried(api: NdisApi) -> None:
    with pytest.raises(DeviceError, match="control code 0x830022c0 failed: error 1"):
        api.request(0x830022C0, b"abc", 8)
