"""Write docs/analysis_keys.md, every key of an analysis file, from the schema."""

from pathlib import Path

from pymc_gamma.analysis.describe import page

DOCUMENT = Path(__file__).parents[1] / "docs" / "analysis_keys.md"

if __name__ == "__main__":
    DOCUMENT.write_text(page(), encoding="utf-8")
    print(f"{DOCUMENT} is written")
