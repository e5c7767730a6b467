"""The raw floor: NDISRD's constants, control codes and structures in their own names and layouts (driver API 3.6.1)."""

from wiresock_py.filters.ndisapi.raw.ioctl import Ioctl

__all__ = ["Ioctl"]
