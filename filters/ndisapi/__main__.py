"""``python -m wiresock_py.filters.ndisapi --layout``: the driver's interface as these bindings see it, as JSON."""

import argparse
import json
import sys
from collections.abc import Sequence

from wiresock_py.filters.ndisapi.raw.layout import layout


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m wiresock_py.filters.ndisapi", description=__doc__)
    parser.add_argument("--layout", action="store_true", required=True, help="sizes, offsets, constants and codes")
    parser.parse_args(arguments)
    json.dump(layout(), sys.stdout, indent=1)
    print()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
