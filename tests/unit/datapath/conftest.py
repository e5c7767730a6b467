"""Every test of the data path's faces runs over each implementation."""

from collections.abc import Iterator

import pytest

from tests.support import datapaths
from wiresock_py.datapath import NATIVE, PYTHON, DataPath


@pytest.fixture(scope="module", params=["python", "native"])
def datapath(request: pytest.FixtureRequest) -> Iterator[DataPath]:
    """The implementation that ``tests.support.datapaths`` uses meanwhile."""
    path = PYTHON if request.param == "python" else NATIVE
    if path is None:
        pytest.skip(datapaths.NOT_BUILT)
    datapaths.use(path)
    yield path
    datapaths.use(PYTHON)
