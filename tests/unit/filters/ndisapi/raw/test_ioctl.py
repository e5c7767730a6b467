"""Control codes."""

from wiresock_py.filters.ndisapi.raw.ioctl import Ioctl, control_code


def test_codes_count_up_from_the_base_in_steps_of_one_function() -> None:
    assert list(Ioctl) == [control_code(i) for i in range(37)]
    assert control_code(0) == 0x830020C0


def test_a_code_knows_the_driver_it_came_with() -> None:
    assert Ioctl.READ_PACKET.since == (3, 0, 0)
    assert Ioctl.INSERT_FILTER_BY_INDEX.since == (3, 6, 1)


def test_a_code_has_the_vendors_name() -> None:
    assert Ioctl.GET_RAS_LINKS.windows_name == "IOCTL_NDISRD_GET_RAS_LINKS"
