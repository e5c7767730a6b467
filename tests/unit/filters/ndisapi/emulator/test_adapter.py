"""The test's hands at an emulated adapter."""

from wiresock_py.filters.ndisapi.emulator import Emulator


def test_frames_pass_where_nobody_captures() -> None:
    adapter = Emulator().add_adapter()
    adapter.stack_sends(bytearray(b"a" * 60))
    adapter.network_sends(memoryview(b"b" * 60))
    adapter.loops_back(b"c" * 60)
    assert adapter.network_received() == [b"a" * 60]
    assert adapter.stack_received() == [b"b" * 60, b"c" * 60]
    assert adapter.network_received() == adapter.stack_received() == []


def test_a_removed_adapter_captures_nothing() -> None:
    emulator = Emulator()
    adapter = emulator.add_adapter()
    adapter.mode = 3
    emulator.remove_adapter(adapter)
    adapter.mode = 3
    adapter.stack_sends(bytes(60))
    assert adapter.network_received() == [bytes(60)]


def test_each_adapter_has_names_and_addresses_of_its_own() -> None:
    emulator = Emulator()
    one, two = emulator.add_adapter(), emulator.add_adapter()
    assert len({one.name, two.name}) == len({one.mac, two.mac}) == len({one.handle, two.handle}) == 2
