"""Scripts of the repository that CI and the Makefile call."""

import runpy
from pathlib import Path

SCRIPTS = Path(__file__).parents[1] / "scripts"

REPORT = """<?xml version="1.0" encoding="utf-8"?><testsuites><testsuite>
<testcase classname="tests.validation.test_points" name="test_b[x]" time="12.34">
<system-out>--------------------------------- Captured Out ---------------------------------
median 0.1 %

required 1 %
</system-out></testcase>
<testcase classname="tests.validation.test_areas" name="test_a" time="1"><skipped message="no data"/></testcase>
<testcase classname="tests.validation.test_points" name="test_c" time="2"><failure message="no">...</failure></testcase>
</testsuite></testsuites>"""


def test_the_table_of_the_validation_has_outcomes_and_figures():
    table = runpy.run_path(str(SCRIPTS / "validation_table.py"))["table"](REPORT).splitlines()
    assert [line.split() for line in table[2:]] == [
        ["skipped", "1.0", "s", "validation.test_areas:", "test_a"],
        ["no", "data"],
        ["passed", "12.3", "s", "validation.test_points:", "test_b[x]"],
        ["median", "0.1", "%"],
        ["required", "1", "%"],
        ["FAILED", "2.0", "s", "validation.test_points:", "test_c"],
        [],
        ["1", "passed,", "1", "FAILED,", "1", "skipped"],
    ]
