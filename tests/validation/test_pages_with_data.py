"""Pages of the documentation that are not executed with the site: their code runs, where there are the data."""

import importlib.util
import os
from pathlib import Path

import pytest

from pymc_gamma.datasets import MIRROR_VARIABLE

pytestmark = pytest.mark.slow

DOCS = Path(__file__).parents[2] / "docs"
NEEDED = {"flare": "hess_dl3_dr1_obs_id_033801.fits.gz", "joint_crab": "pha_obs5029747.fits"}


@pytest.mark.parametrize("name", list(NEEDED))
def test_the_code_of_a_page_runs(name, monkeypatch, tmp_path):
    pytest.importorskip("nbclient")
    mirror = os.environ.get(MIRROR_VARIABLE)
    if not mirror or not any(Path(mirror).rglob(NEEDED[name])):
        pytest.skip(f"needs {NEEDED[name]}")
    specification = importlib.util.spec_from_file_location("kept", DOCS / "kept.py")
    kept = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(kept)
    page = tmp_path / f"{name}.md"
    page.write_text((DOCS / "tutorials" / f"{name}.md").read_text(encoding="utf-8"), encoding="utf-8")
    kept.keep(page)
    now, before = kept.kept(page), kept.kept(DOCS / "tutorials" / f"{name}.md")
    assert [[one["kind"] for one in cell["outputs"]] for cell in now] == [
        [one["kind"] for one in cell["outputs"]] for cell in before
    ]
