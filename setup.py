"""What pyproject.toml cannot say: whether the compiled data path is built. All else stands there.

WIRESOCK_PY_NATIVE=1 demands it, 0 leaves it out and so makes a wheel for any system. Without either it is built where
there is a Rust toolchain, else the installation goes on without it.
"""

import os

from setuptools import setup
from setuptools_rust import RustExtension

wanted = os.environ.get("WIRESOCK_PY_NATIVE", "")
if wanted == "0":
    setup()
else:
    setup(
        rust_extensions=[
            RustExtension(
                "wiresock_py._native", "native/Cargo.toml", args=["--locked"], debug=False, optional=wanted != "1"
            )
        ],
        options={"bdist_wheel": {"py_limited_api": "cp311"}},  # one wheel for every Python from 3.11 on
    )
