"""Sections of a report about the data: observations, region, events and why others were left out."""

import math
from typing import TYPE_CHECKING

from pymc_gamma.analysis.report_advice import OF_PYTHON
from pymc_gamma.analysis.report_input import LeftOut, ReportInput
from pymc_gamma.analysis.report_page import Column, Html, joined, paragraph, table

if TYPE_CHECKING:
    from pymc_gamma.geometry.outlines import SkyShape
    from pymc_gamma.instrument.domain import Domain
    from pymc_gamma.instrument.observation import Observation

__all__ = ["events_kept", "observations"]

_SHOWN = 20


def observations(subject: ReportInput) -> Html:
    """Region, observations with their instrument, pointing and times, and what is expected of each component."""
    response = subject.folded
    roi, count = response.roi, len(response.observations)
    hours = sum(one.livetime_s for one in response.observations) / 3600
    region = [
        (
            "Region",
            f"{_shape(roi.outline)}, {roi.solid_angle * (180 / math.pi) ** 2:.4g} deg² ({roi.solid_angle:.4g} sr)",
        ),
        ("Centre", f"longitude {roi.lon:.5g}, latitude {roi.lat:.5g} deg, {roi.frame}"),
        *(("Excluded", _shape(one)) for one in roi.exclude),
        ("Reconstructed energies", f"{roi.energy_min:g} to {roi.energy_max:g} TeV"),
        ("True energies", f"{response.energy_true_edges[0]:.3g} to {response.energy_true_edges[-1]:.3g} TeV"),
    ]
    told = f"{count} observation{'s' if count > 1 else ''}, {hours:.4g} h of live time in all."
    return joined(
        paragraph(told),
        table("Region of interest", (Column("Property"), Column("Value")), region),
        table(
            "Observations",
            (
                Column("Name"), Column("Events", True), Column("Instrument response"), Column("Pointing [deg]"),
                Column("Live time [h]", True), Column("On time [h]", True), Column("Energies kept [TeV]", True),
                Column("Largest offset [deg]", True),
            ),
            [
                _row(k, one, domain, _events_of(subject, k))
                for k, (one, domain) in enumerate(zip(response.observations, response.domains, strict=True))
            ],
            shown=_SHOWN,
        ),
    )  # fmt: skip


def _shape(shape: "SkyShape") -> str:
    """A shape on the sky in words: its kind and its numbers, in degrees."""
    known = {name: value for name, value in shape.to_dict().items() if isinstance(value, int | float)}
    sizes = ", ".join(f"{name.replace('_', ' ')} {value:.5g}" for name, value in known.items())
    return f"{type(shape).__name__} ({sizes} deg)" if sizes else type(shape).__name__


def _row(k: int, one: "Observation", domain: "Domain", events: str) -> tuple[str, ...]:
    low, high = domain.energy_range
    return (
        one.name or str(k),
        events,
        one.irfs.name,
        f"{one.lon:.4g}, {one.lat:.4g} ({one.frame})",
        f"{one.livetime_s / 3600:.4g}",
        f"{one.ontime_s / 3600:.4g}",
        f"{low:.3g} to {high:.3g}",
        f"{domain.offset_max:.3g}",
    )


def _events_of(subject: ReportInput, observation: int) -> str:
    try:
        events = subject.kept_events
    except LeftOut:
        return "–"
    return f"{events.multiplicity[events.observation == observation].sum():g}"


def events_kept(subject: ReportInput) -> Html:
    """How many events there are, how many are kept, and why others are not."""
    events, response = subject.events, subject.folded
    selection = events.selection(response.roi, response.observations)
    kept = selection.n_total - selection.n_outside
    rows = [("kept", f"{kept:g}"), *((reason, f"{count:g}") for reason, count in selection.left_out.items())]
    told = [f"{selection.n_total:g} events, {kept:g} of them in the domain of the analysis."]
    if events.cells is not None or not (events.multiplicity == 1).all():
        told.append(f"They are gathered in {len(events)} rows with multiplicities.")
    if not selection.n_outside and not subject.truth and subject.advice is OF_PYTHON:
        told.append(
            "None was left out of the list that was given here; a list as it was read (before Events.select) has those "
            "that were left out counted by reason."
        )
    return joined(paragraph(" ".join(told)), table("Events", (Column("Events"), Column("Number", True)), rows))
