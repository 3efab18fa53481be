"""Print what a run of the slow comparisons found: outcome, duration and figures of each, from pytest's JUnit file.

python scripts/validation_table.py validation.xml
"""

import sys
import xml.etree.ElementTree as ET
from pathlib import Path

OUTCOMES = {"failure": "FAILED", "error": "FAILED", "skipped": "skipped"}


def table(report: str) -> str:
    """The table of a JUnit file; figures that a test printed stand below its line."""
    lines, counts = [], dict.fromkeys(("passed", "FAILED", "skipped"), 0)
    for case in sorted(ET.fromstring(report).iter("testcase"), key=lambda one: str(one.get("classname"))):
        outcome = next((OUTCOMES[child.tag] for child in case if child.tag in OUTCOMES), "passed")
        counts[outcome] += 1
        where = str(case.get("classname")).removeprefix("tests.")
        lines.append(f"{outcome:8s}{float(case.get('time', 0)):8.1f} s  {where}: {case.get('name')}")
        if outcome == "skipped":
            lines += [f"{'':20s}{child.get('message')}" for child in case.iter("skipped")]
        for printed in case.iter("system-out"):
            lines += [f"{'':20s}{line}" for line in _figures(printed.text or "")]
    total = ", ".join(f"{n} {outcome}" for outcome, n in counts.items())
    return "\n".join(["", "outcome      time  comparison", *lines, "", total])


def _figures(printed: str) -> list[str]:
    """What a test printed itself; pytest puts rulers around what its stages printed."""
    return [line.rstrip() for line in printed.splitlines() if line.strip() and not line.startswith("----")]


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    print(table(Path(sys.argv[1]).read_text(encoding="utf-8")))
