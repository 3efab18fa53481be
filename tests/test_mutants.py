"""What the mutation tests count as killed, and how long a result holds."""

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "scripts" / "mutants.py"


@pytest.fixture
def mutants(monkeypatch):
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "1")  # the script sets them; put back afterwards
    spec = importlib.util.spec_from_file_location("mutants", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(importlib.import_module("sys").modules, "mutants", module)
    spec.loader.exec_module(module)
    return module


FAILED = {"failed": ["tests/a.py::test_b"], "error": "AssertionError: 1 != 2"}


@pytest.mark.parametrize(
    ("code", "report", "expected"),
    [
        (0, {}, "survived"),
        (1, FAILED, "killed"),
        (2, {"failed": ["tests/a.py"], "error": "ImportError: no f"}, "killed"),
        (None, {}, "timeout"),
        (2, {"failed": [], "error": ""}, "error"),  # interrupted
        (1, {}, "error"),
        (1, FAILED | {"error": "OSError: [Errno 28] No space left on device"}, "error"),
        (1, FAILED | {"error": "MemoryError"}, "error"),
        *((code, FAILED, "error") for code in (3, 4, 5, 99, -9, -11)),
    ],
)
def test_only_failures_of_tests_kill(mutants, code, report, expected):
    assert mutants.outcome(code, report) == expected


def test_results_hold_for_a_file_and_its_tests(mutants, tmp_path):
    file = "folding/tables.py"
    names = [f"pymc_gamma/{file}", *mutants.TESTS[file], "tests/setups.py", "tests/core/conftest.py"]
    for name in [*names, "pymc_gamma/folding/engine.py", "tests/test_other.py"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1")

    def key():
        mutants.key_of.cache_clear()
        return mutants.key_of(file, tmp_path)

    first = key()
    for other in ("pymc_gamma/folding/engine.py", "tests/test_other.py"):
        (tmp_path / other).write_text("2")
        assert key() == first
    seen = {first}
    for name in names:
        (tmp_path / name).write_text("2")
        seen.add(key())
    assert len(seen) == 1 + len(names)


def test_results_of_other_tests_are_not_read(mutants, tmp_path):
    file, path = "folding/tables.py", tmp_path / "mutants.jsonl"
    lines = [
        {"name": name, "file": file, "result": "killed", **key}
        for name, key in (("now", {"key": mutants.key_of(file)}), ("before", {"key": "0"}), ("unknown", {}))
    ]
    path.write_text("".join(mutants.json.dumps(line) + "\n" for line in lines))
    assert set(mutants.read_results(path)) == {"now"}


def test_mutants_of_one_line(mutants):
    found = mutants.Mutator("a.py", "def f(x):\n    return x + 1 if x < 2 else None\n").found
    assert {one.new for one in found} == {
        "return None",
        "(x - 1)",
        "(x <= 2)",
        "(x >= 2)",
        "2",
        "3",
        "(x + 1 if not x < 2 else None)",
    }
