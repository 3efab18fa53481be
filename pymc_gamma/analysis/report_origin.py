"""Sections of a report about where it comes from: what to cite, the file that made it, versions."""

import platform
from importlib.metadata import PackageNotFoundError, version

import pymc_gamma
from pymc_gamma.analysis.report_input import LeftOut, ReportInput
from pymc_gamma.analysis.report_page import Column, Html, fold_out, joined, paragraph, plain_text, table

__all__ = ["citations", "made_by", "versions"]

_PACKAGES = (
    "pymc", "pytensor", "arviz", "numpy", "scipy", "numba", "astropy", "gammapy", "xarray", "dynesty", "nutpie",
    "numpyro", "jax",
)  # fmt: skip


def citations(subject: ReportInput) -> Html:
    """What a paper that uses these results should cite, with the terms of the data."""
    found = subject.folded.citations()
    if not found:
        raise LeftOut("The components and the instrument response name nothing to cite.")
    items = Html("\n").join(
        Html("<li>{}{}</li>").format(str(one), Html("<br>{}").format(one.terms) if one.terms else "") for one in found
    )
    entries = "\n\n".join(one.bibtex for one in found if one.bibtex)
    listing = Html("<ul>\n{}\n</ul>").format(items)
    return joined(listing, fold_out("BibTeX", plain_text(entries, "BibTeX"))) if entries else listing


def made_by(subject: ReportInput) -> Html:
    """The text of the file that made the results, in full."""
    if subject.config is None:
        raise LeftOut(subject.advice.text)
    if not subject.config.strip():
        raise LeftOut("The file that made these results is empty.")
    return plain_text(subject.config, "The file that made this")


def versions(subject: ReportInput) -> Html:
    """Versions of the programs."""
    rows = [("pymc-gamma", pymc_gamma.__version__), ("Python", platform.python_version())]
    for name in _PACKAGES:
        try:
            rows.append((name, version(name)))
        except PackageNotFoundError:
            continue
    told = f"{platform.system()} on {platform.machine()}."
    return joined(paragraph(told), table("Versions", (Column("Package"), Column("Version")), rows))
