"""The report of an analysis file: what a report of its results has besides, and how far a run came that failed."""

from collections.abc import Iterator, Sequence
from typing import Any

from pymc_gamma.analysis.observing import Selected
from pymc_gamma.analysis.plan import Plan
from pymc_gamma.analysis.report import html
from pymc_gamma.analysis.report_advice import OF_FILE
from pymc_gamma.analysis.report_input import ReportInput, Section
from pymc_gamma.analysis.report_page import Column, Html, joined, paragraph, table
from pymc_gamma.analysis.results import combined
from pymc_gamma.analysis.stages import Job
from pymc_gamma.analysis.steps import EventsMade

__all__ = ["page_of"]


def page_of(plan: Plan, job: Job, names: Sequence[str]) -> str:
    """The page of what stages have made.

    Parameters
    ----------
    plan : Plan
        The analysis.
    job : Job
        Its stages.
    names : sequence of str
        Names of those that the page is about.

    Returns
    -------
    str
        HTML.
    """
    response, made = job.found("fold"), job.found("events")
    events = None if made is None else made.selected.events
    posteriors = {one.sampler: job.found(one.sampler) for one in plan.config.fit.samplers}
    posteriors = {name: tree for name, tree in posteriors.items() if tree is not None}
    idata = combined(posteriors) if posteriors else None
    predicted = job.found("predict")
    if idata is not None and predicted is not None and predicted.predictive is not None:
        idata["posterior_predictive"] = predicted.predictive["posterior_predictive"]
    model, fault = None, ""
    if plan.config.of_tables or (response is not None and events is not None):
        try:
            model = plan.built(job).model
        except Exception as error:  # a model that cannot be made is told of, and the rest is worth having
            fault = f" The model cannot be made: {error}"
    subject = ReportInput(
        idata, response, events, model, plan.document.text, truth={} if made is None else made.truth, advice=OF_FILE
    )
    states = job.states()
    missing = any(not states[name].is_current for name in names)
    before = [Section("How far it came", lambda _: _stages(job, names, fault))] if missing else []
    return html(subject, before=before, after=list(_sections(plan, made)))


def _sections(plan: Plan, made: EventsMade | None) -> Iterator[Section]:
    from pymc_gamma import datasets

    if made is not None and plan.config.simulate is None:
        yield Section("Events that were read", lambda _: _of_selection(made.selected))
    elif made is not None:
        told = (
            f"The events are no data: {made.selected.n_read:g} were simulated, with the seed "
            f"{plan.config.general.seed} of general.seed. The table of the posterior has the true values."
        )
        yield Section("Events that were simulated", lambda _: paragraph(told))
    section = plan.config.observations
    if section is not None and section.datastore in datasets.names():
        cited = datasets.citation(section.datastore)
        terms = joined(paragraph(str(cited)), paragraph(cited.terms or ""))
        yield Section("Terms of the data", lambda _: terms)


def _of_selection(selected: Selected) -> Html:
    kept = selected.n_read - sum(selected.left_out.values())
    rows = [(reason, f"{n:g}") for reason, n in (*selected.left_out.items(), ("kept", kept))]
    return table("Events that were read", (Column("Events"), Column("Number", True)), rows)


def _stages(job: Job, names: Sequence[str], fault: str) -> Html:
    """Which stages are there, and why others are not."""
    states, failure = job.states(), job.failure
    failed = None if failure is None or failure.stage not in names or states[failure.stage].is_current else failure
    told = "Not all stages have run to their end, so that parts of this report are left out."
    told += fault if failed is None else f" The stage {failed.stage} failed ({failed.when}): {failed.error}"
    rows: list[tuple[Any, ...]] = []
    for name in names:
        state = states[name]
        word = "complete" if state.is_current else "failed" if failed and failed.stage == name else "not complete"
        rows.append((name, word, "" if state.is_current else state.why))
    return joined(
        paragraph(told),
        table("Stages", (Column("Stage"), Column("State"), Column("Why it has to run")), rows),
        paragraph("pymc-gamma run with the same file goes on from here."),
    )
