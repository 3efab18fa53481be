"""A report of an analysis: one HTML page with everything in it.

A report is a list of sections (:data:`SECTIONS`, :data:`ORIGIN`), each a title and a function from what the report is
about to HTML. A section whose input is missing says so in a sentence, one that fails says what went wrong, and the
others are not affected: the report of a run that stopped half-way shows what there is.
"""

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from pymc_gamma.analysis.report_data import events_kept, observations
from pymc_gamma.analysis.report_diagnostics import diagnostics, in_brief
from pymc_gamma.analysis.report_input import LeftOut, ReportInput, Section
from pymc_gamma.analysis.report_model import components, variables
from pymc_gamma.analysis.report_origin import citations, made_by, versions
from pymc_gamma.analysis.report_page import Html, PageSection, embedded, joined, page
from pymc_gamma.analysis.report_pictures import corner, counts_map, counts_spectrum, predictive_check, spectra
from pymc_gamma.analysis.report_posterior import evidence, parameters
from pymc_gamma.arguments import checked, kind, mapping, text
from pymc_gamma.arguments import path as path_argument
from pymc_gamma.errors import PymcGammaWarning
from pymc_gamma.events import Events
from pymc_gamma.files import atomic_path, refuse_overwrite, refuse_unwritable, user_path
from pymc_gamma.inference.annotate import annotate

if TYPE_CHECKING:
    import pymc as pm

    from pymc_gamma.response import Response

__all__ = ["ORIGIN", "SECTIONS", "html", "report"]

SECTIONS = (
    Section("In brief", in_brief),
    Section("What was observed", observations),
    Section("Events", events_kept),
    Section("Components", components),
    Section("Model", variables),
    Section("Posterior", parameters),
    Section("Diagnostics", diagnostics),
    Section("Evidence", evidence),
    Section("Joint distributions", corner),
    Section("Counts map", counts_map),
    Section("Counts spectrum", counts_spectrum),
    Section("Spectra", spectra),
    Section("Predictive check", predictive_check),
)
"""Sections of a report about an analysis, in their order."""

ORIGIN = (
    Section("What to cite", citations),
    Section("The file that made this", made_by),
    Section("Versions", versions),
)
"""Sections after those and those of the user: where it all comes from."""


@checked(
    idata=kind("DataTree", "Dataset"),
    response=kind("Response"),
    path=path_argument,
    events=kind("Events"),
    model=kind("Model"),
    config=text,
    title=text,
    spectra=mapping,
    truth=mapping,
    sections=mapping,
)
def report(
    idata: xr.DataTree | xr.Dataset | None,
    response: "Response | None",
    path: str | os.PathLike[str],
    *,
    events: Events | None = None,
    model: "pm.Model | None" = None,
    config: str | None = None,
    title: str | None = None,
    spectra: Mapping[str, Callable[[Any], Any]] | None = None,
    truth: Mapping[str, Any] | None = None,
    sections: Mapping[str, Callable[[ReportInput], Any]] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a report of an analysis: one HTML page that needs no other file and no network.

    It says what was analysed, shows the model, the posterior with its units, whether the sampler can be trusted and
    what to do if not, pictures of data and predictions, and what to cite. A section whose input is missing is left out
    with the reason why, so that a run that failed half-way has a report too.

    Parameters
    ----------
    idata : `xarray.DataTree`, `xarray.Dataset` or None
        Results of any sampler: of ``pm.sample``, `sample_nested`, ``pm.sample_smc``. Posterior predictive draws in it
        (``pm.sample_posterior_predictive(idata, model=model, extend_inferencedata=True)``) are needed for pictures of
        predictions where fractions alone do not fix them.
    response : Response or None
        The response of the model.
    path : path-like
        The file, usually ``*.html``. It appears whole or not at all.
    events : Events, optional
        Events as they were read: those outside the domain of the analysis are counted by reason. Default: the observed
        events that ``idata`` or ``model`` hold.
    model : pymc.Model, optional
        The model, for its variables, priors and spectra.
    config : str, optional
        Text of the file that made the results, shown in full.
    title : str, optional
        Heading of the page.
    spectra : mapping of str to callable, optional
        Spectra of components as the model has them, for their picture. Default: their values at the nodes of the
        response, systematics included, from ``model``.
    truth : mapping of str to array_like, optional
        Values that simulated events were made with, by the name of the variable, in its unit: they stand beside the
        posterior.
    sections : mapping of str to callable, optional
        More sections, before those on where the results come from: a title, and a function of one argument that returns
        HTML or a `matplotlib.figure.Figure`. The argument has ``idata``, ``response``, ``posterior``, ``events``,
        ``model`` and ``config``. The HTML is not escaped (``markupsafe.escape`` does that); scripts and links to
        pictures elsewhere do not work in a report.
    overwrite : bool
        Replace the file if it is there.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    FileExistsError
        If the file is there and ``overwrite`` is false. Checked before the work starts.
    OSError
        If it cannot be written; what was there is unchanged.
    TypeError
        If an argument is of another kind.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> import xarray as xr
    >>> draws = np.random.default_rng(1).normal(2.3, 0.1, (4, 500))
    >>> posterior = xr.Dataset({"index": (("chain", "draw"), draws)})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     page = report(posterior, None, f"{folder}/report.html", title="An index").read_text(encoding="utf-8")
    >>> "All 3 checks of the sampler are good" in page
    True
    """
    destination = user_path(path)
    refuse_overwrite(destination, overwrite=overwrite)
    refuse_unwritable(destination)
    tree = xr.DataTree.from_dict({"posterior": idata}) if isinstance(idata, xr.Dataset) else idata
    subject = ReportInput(tree, response, events, model, config, spectra, truth or {})
    own = tuple(Section(name, _of_user(name, write)) for name, write in (sections or {}).items())
    content = html(subject, title, after=own)
    with atomic_path(destination, overwrite=overwrite) as temporary:
        temporary.write_text(content, encoding="utf-8")
    return destination


def html(
    subject: ReportInput, title: str | None = None, *, before: Sequence[Section] = (), after: Sequence[Section] = ()
) -> str:
    """The page of a report.

    Parameters
    ----------
    subject : ReportInput
        What it is about.
    title : str, optional
        Heading of the page.
    before, after : sequence of Section
        More sections, before all others and before those on where the results come from.

    Returns
    -------
    str
        HTML.
    """
    if subject.idata is not None and subject.model is not None:
        subject = replace(subject, idata=annotate(subject.idata, subject.model))
    written = [_written(one, subject) for one in (*before, *SECTIONS, *after, *ORIGIN)]
    return page(title or _title(subject), f"Report of {_now()}", written)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _title(subject: ReportInput) -> str:
    names = () if subject.response is None else subject.response.component_names
    return f"Analysis of {', '.join(names)}" if 0 < len(names) <= 5 else "Analysis"


def _of_user(title: str, write: Any) -> Callable[[ReportInput], Html]:
    """Section of a user: a function that gives HTML or a figure."""
    if not callable(write):
        raise TypeError(f"sections[{title!r}] must be a function that gives HTML or a figure, got {write!r}.")

    def written(subject: ReportInput) -> Html:
        content = write(subject)
        if hasattr(content, "savefig"):
            return embedded(content, title)
        if not isinstance(content, str):
            raise TypeError(f"it must give HTML, a text, or a matplotlib figure, and gave {type(content).__name__}")
        return Html(content)

    return written


def _written(section: Section, subject: ReportInput) -> PageSection:
    """A section as it stands on the page, whatever happens while it is written."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", PymcGammaWarning)
        try:
            content, complete = section.write(subject), True
        except LeftOut as why:
            content, complete = Html('<p class="left-out">{}</p>').format(str(why)), False
        except Exception as error:  # whatever it is: the rest of the report is worth having
            fault = f"This section could not be made ({type(error).__name__}: {error})."
            content, complete = Html('<p class="left-out failed">{}</p>').format(fault), False
    ours = [one for one in told if issubclass(one.category, PymcGammaWarning)]
    for one in told:
        if one not in ours:
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
    messages = dict.fromkeys(str(one.message) for one in ours)
    notes = [Html('<p class="told">Note: {}</p>').format(message) for message in messages]
    return PageSection(section.title, joined(content, *notes), complete)
