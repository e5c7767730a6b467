"""The driver's control codes, and the driver version each came with."""

from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType

from wiresock_py.filters.ndisapi.raw.constants import FILE_DEVICE_NDISRD, NDISRD_IOCTL_INDEX

PREFIX = "IOCTL_NDISRD_"
METHOD_BUFFERED = FILE_ANY_ACCESS = 0


def control_code(number: int) -> int:
    """CTL_CODE of the Windows headers for the driver's *number*-th request."""
    return FILE_DEVICE_NDISRD << 16 | FILE_ANY_ACCESS << 14 | (NDISRD_IOCTL_INDEX + number) << 2 | METHOD_BUFFERED


class Ioctl(IntEnum):
    """``IOCTL_NDISRD_`` and the member's name is the vendor's name. In brackets: request -> answer."""

    GET_VERSION = control_code(0)  # u32, ignored -> u32
    GET_TCPIP_INTERFACES = control_code(1)  # -> TCP_AdapterList
    SEND_PACKET_TO_ADAPTER = control_code(2)  # ETH_REQUEST
    SEND_PACKET_TO_MSTCP = control_code(3)  # ETH_REQUEST
    READ_PACKET = control_code(4)  # ETH_REQUEST -> ETH_REQUEST
    SET_ADAPTER_MODE = control_code(5)  # ADAPTER_MODE
    FLUSH_ADAPTER_QUEUE = control_code(6)  # adapter handle
    SET_EVENT = control_code(7)  # ADAPTER_EVENT; event 0 takes it back
    NDIS_SET_REQUEST = control_code(8)  # PACKET_OID_DATA -> the same; may pend
    NDIS_GET_REQUEST = control_code(9)  # PACKET_OID_DATA -> the same; may pend
    SET_WAN_EVENT = control_code(10)  # event handle
    SET_ADAPTER_EVENT = control_code(11)  # event handle
    ADAPTER_QUEUE_SIZE = control_code(12)  # adapter handle -> u32
    GET_ADAPTER_MODE = control_code(13)  # ADAPTER_MODE -> the same
    SET_PACKET_FILTERS = control_code(14)  # STATIC_FILTER_TABLE
    RESET_PACKET_FILTERS = control_code(15)
    GET_PACKET_FILTERS_TABLESIZE = control_code(16)  # -> u32
    GET_PACKET_FILTERS = control_code(17)  # -> STATIC_FILTER_TABLE
    GET_PACKET_FILTERS_RESET_STATS = control_code(18)  # -> STATIC_FILTER_TABLE, counters then start again
    GET_RAS_LINKS = control_code(19)  # adapter handle -> RAS_LINKS
    SEND_PACKETS_TO_ADAPTER = control_code(20)  # ETH_M_REQUEST
    SEND_PACKETS_TO_MSTCP = control_code(21)  # ETH_M_REQUEST
    READ_PACKETS = control_code(22)  # ETH_M_REQUEST -> the same
    SET_ADAPTER_HWFILTER_EVENT = control_code(23)  # ADAPTER_EVENT
    INITIALIZE_FAST_IO = control_code(24)  # INITIALIZE_FAST_IO_PARAMS
    READ_PACKETS_UNSORTED = control_code(25)  # UNSORTED_READ_SEND_REQUEST -> the same
    SEND_PACKET_TO_ADAPTER_UNSORTED = control_code(26)  # UNSORTED_READ_SEND_REQUEST -> the same
    SEND_PACKET_TO_MSTCP_UNSORTED = control_code(27)  # UNSORTED_READ_SEND_REQUEST -> the same
    ADD_SECOND_FAST_IO_SECTION = control_code(28)  # INITIALIZE_FAST_IO_PARAMS
    QUERY_IB_POOL_SIZE = control_code(29)  # -> u32
    ADD_PACKET_FILTER_FRONT = control_code(30)  # STATIC_FILTER
    ADD_PACKET_FILTER_BACK = control_code(31)  # STATIC_FILTER
    REMOVE_FILTER_BY_INDEX = control_code(32)  # u32
    GET_ADP_FILTERS_LIST = control_code(33)  # not described anywhere, used by no known program
    INSERT_FILTER_BY_INDEX = control_code(34)  # STATIC_FILTER_WITH_POSITION
    SET_FILTER_CACHE_STATE = control_code(35)  # u32: 0 off, 1 on
    SET_FRAGMENT_CACHE_STATE = control_code(36)  # u32: 0 off, 1 on

    @property
    def windows_name(self) -> str:
        return PREFIX + self.name

    @property
    def since(self) -> tuple[int, int, int]:
        """The first driver version that has it."""
        return SINCE.get(self, (3, 0, 0))


SINCE: Mapping[Ioctl, tuple[int, int, int]] = MappingProxyType(
    {
        Ioctl.INITIALIZE_FAST_IO: (3, 2, 20),
        Ioctl.READ_PACKETS_UNSORTED: (3, 2, 20),
        Ioctl.SEND_PACKET_TO_ADAPTER_UNSORTED: (3, 2, 20),
        Ioctl.SEND_PACKET_TO_MSTCP_UNSORTED: (3, 2, 20),
        Ioctl.ADD_SECOND_FAST_IO_SECTION: (3, 2, 28),
        Ioctl.QUERY_IB_POOL_SIZE: (3, 4, 3),
        Ioctl.ADD_PACKET_FILTER_FRONT: (3, 6, 1),
        Ioctl.ADD_PACKET_FILTER_BACK: (3, 6, 1),
        Ioctl.REMOVE_FILTER_BY_INDEX: (3, 6, 1),
        Ioctl.GET_ADP_FILTERS_LIST: (3, 6, 1),
        Ioctl.INSERT_FILTER_BY_INDEX: (3, 6, 1),
        Ioctl.SET_FILTER_CACHE_STATE: (3, 6, 1),
        Ioctl.SET_FRAGMENT_CACHE_STATE: (3, 6, 1),
    }
)
# These two wait for the network card's own driver; everything else answers at once.
MAY_PEND = frozenset((Ioctl.NDIS_SET_REQUEST, Ioctl.NDIS_GET_REQUEST))
