"""Whether numpy is there (the extra ``fast``), without which the data path does the same one packet at a time.

The modules named ``..._numpy`` are the only ones that import it, and each stands beside the pure one whose results it
has to equal, byte for byte. A call of numpy costs as much as a few packets do, so short runs are left to pure Python.
"""

from importlib.util import find_spec

AVAILABLE = find_spec("numpy") is not None

FEW = 4
"""Fewer packets than this are not worth a vector."""
