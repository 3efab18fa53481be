"""The example that newcomers see first: the same code in the README and in examples/, and it runs."""

import ast
import re
import runpy
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "quickstart.py"


def test_readme_shows_the_example():
    (shown, *_) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    source = EXAMPLE.read_text(encoding="utf-8")
    docstring, *_ = ast.parse(source).body
    after_docstring = "\n".join(source.splitlines()[docstring.end_lineno :])
    assert shown.strip() == after_docstring.strip()


def test_example_recovers_the_truth(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    matplotlib.use("Agg")
    names = runpy.run_path(str(EXAMPLE))
    plt.close("all")

    assert {path.name for path in tmp_path.iterdir()} == {"corner.png", "events.png"}
    draws = names["idata"]["posterior"]["fraction"]
    mean, sd = draws.mean(("chain", "draw")), draws.std(("chain", "draw"))
    assert (abs(mean - names["truth"]) < 3.9 * sd).all()  # 99.9 % for three fractions
    nested = names["nested"]["posterior"]["fraction"]
    assert (abs(nested.mean(("chain", "draw")) - mean) < sd).all()
