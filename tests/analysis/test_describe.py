"""The page of every key is that of the schema, and the commands say what they do."""

from pathlib import Path

from pymc_gamma.analysis.components import Component
from pymc_gamma.analysis.describe import page
from pymc_gamma.analysis.samplers import Sampler
from pymc_gamma.analysis.section import kinds_of

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_of_all_keys_is_up_to_date():
    written = (DOCS / "analysis_keys.md").read_text(encoding="utf-8")
    assert written == page(), "run `python scripts/analysis_keys.py`"


def test_every_kind_has_a_table():
    told = page()
    for base, key in ((Component, "kind"), (Sampler, "sampler")):
        own = {name: cls for name, cls in kinds_of(base, key).items() if cls.__module__.startswith("pymc_gamma.")}
        assert own
        for name, cls in own.items():
            assert f"{name}`" in told
            assert cls.summary in told
            for field in cls.model_fields.values():
                assert field.description
                assert field.description in told


def test_no_key_is_without_a_word():
    for line in page().splitlines():
        if line.startswith("| `") and line.count("|") == 5:
            assert line.rstrip("| ").split("|")[-1].strip(), line
