"""A pytest plugin, ``-p tests.windows.plugin``: the double is one of the drivers that tests run over.

It stands for two, with both answers that a read of an empty queue may have.
"""

from tests.support.drivers import DRIVERS
from tests.windows.double import doubled
from wiresock_py.filters.ndisapi.device import ERROR_GEN_FAILURE

DRIVERS["double, empty read fails"] = lambda: doubled(ERROR_GEN_FAILURE)
DRIVERS["double, empty read succeeds"] = lambda: doubled(None)
