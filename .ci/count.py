"""Count the tests that were executed, group by group, and hold them against a committed minimum.

    count.py MINIMUM REPORT.xml…

A run that collects nothing, or skips what it is there to run, exits as happily as one that passed everything. MINIMUM
has a line "group count" each; a group is the folder below tests/. A skipped test is a failure here, unless its reason
begins with "for other systems", since this machine is expected to have all that the tests need.
"""

import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

EXCUSED = "for other systems"


def count(reports: list[str]) -> tuple[Counter[str], list[str]]:
    """Executed tests a group, and a line for each skip that is not excused."""
    executed: Counter[str] = Counter()
    skips = []
    for report in reports:
        for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314 - our own pytest wrote it
            name = f"{case.get('classname')}::{case.get('name')}"
            skipped = case.find("skipped")
            if skipped is None:
                executed[name.split(".")[1]] += 1
            elif skipped.get("type") != "pytest.xfail":
                # of a module that skips itself the reason is in the text
                reason = f"{skipped.get('message')}: {skipped.text or ''}"
                if EXCUSED not in reason:
                    skips.append(f"{name}: {reason}")
    return executed, skips


def main() -> int:
    minimum_file, *reports = sys.argv[1:]
    executed, problems = count(reports)
    problems = [f"skipped: {line}" for line in problems]
    for line in Path(minimum_file).read_text().splitlines():
        if line and not line.startswith("#"):
            group, minimum = line.split()
            print(f"   {group:<12} {executed[group]:5} executed, at least {minimum}")
            if executed[group] < int(minimum):
                problems.append(f"{group}: {executed[group]} tests executed, {minimum} expected")
    print("\n".join(problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
