"""Sections of a report about what was found: parameters and evidence."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from pymc_gamma.analysis.report_input import LeftOut, ReportInput
from pymc_gamma.analysis.report_page import Column, Html, joined, paragraph, table
from pymc_gamma.inference.posterior import SAMPLE_DIMS
from pymc_gamma.inference.scales import power_of_ten

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Evidence", "evidence", "evidences", "parameters"]

_SHOWN = 30


def parameters(subject: ReportInput) -> Html:
    """Posterior of all parameters, in readable units."""
    found, total = subject.summary
    n_draws = int(np.prod([subject.posterior.sizes[dim] for dim in SAMPLE_DIMS if dim in subject.posterior.sizes]))
    chains = subject.posterior.sizes.get("chain", 1)
    truth = _true_values(subject, found)
    columns = (
        Column("Parameter"), *([Column("Truth", True)] if truth else []), Column("Mean", True),
        Column("Standard deviation", True), Column("90 % interval", True), Column("Unit"), Column("R-hat", True),
        Column("ESS", True),
    )  # fmt: skip
    told = [f"{n_draws} draws in {chains} chain{'s' if chains > 1 else ''} of {total} parameters."]
    if unknown := [str(name) for name in subject.truth if name not in subject.posterior]:
        told.append(f"There are true values of {', '.join(unknown)}, which the posterior does not hold.")
    if total > len(found):
        told.append(f"Only the first {len(found)} of them are summarised here; {subject.advice.summary}.")
    return joined(
        paragraph(" ".join(told)),
        table("Posterior", columns, _rows(found, truth), shown=_SHOWN),
        paragraph(
            ("The truth is what the events were simulated with. " if truth else "")
            + "The interval leaves 5 % of the draws on either side. Numbers are in the unit of their row, with its "
            "power of ten. ESS is the effective number of independent draws, the smaller of those of the bulk and the "
            "tails."
        ),
    )


def _rows(found: "pd.DataFrame", truth: Mapping[str, float]) -> Iterator[tuple[str, ...]]:
    low, high = (name for name in found.columns if name.endswith(("_lb", "_ub")))
    for name, row in found.iterrows():
        digits = _digits(float(row["sd"]), float(row["mean"]))
        ends = (f"{row[end]:.{digits}f}" for end in (low, high))
        ess = np.fmin(row["ess_bulk"], row["ess_tail"])
        yield (
            str(name),
            *([_number(truth.get(str(name)), digits)] if truth else []),
            f"{row['mean']:.{digits}f}",
            f"{row['sd']:.{digits}f}",
            " to ".join(ends),
            str(row["unit"]),
            f"{row['r_hat']:.3f}" if np.isfinite(row["r_hat"]) else "–",
            f"{ess:.0f}" if np.isfinite(ess) else "–",
        )


def _true_values(subject: ReportInput, found: "pd.DataFrame") -> dict[str, float]:
    """True values of the rows of a summary, in the power of ten of each; empty if none is known."""
    values: list[float] = []
    if not subject.truth:
        return {}
    for name, array in subject.summarised.data_vars.items():
        dims = [dim for dim in SAMPLE_DIMS if dim in array.dims]
        draws = array.transpose(..., *dims).values
        draws = draws.reshape(*draws.shape[: draws.ndim - len(dims)], -1).astype(np.float64)
        if str(name) not in subject.truth:
            values += [np.nan] * int(np.prod(draws.shape[:-1], dtype=np.int64))
            continue
        true = np.asarray(subject.truth[str(name)], dtype=np.float64)
        whole = subject.posterior[name]
        shape = tuple(whole.sizes[dim] for dim in whole.dims if dim not in SAMPLE_DIMS)
        if true.shape != shape:
            raise ValueError(f"the truth of {name!r} has the shape {true.shape}, and the variable {shape}")
        true = true[tuple(map(slice, draws.shape[:-1]))]  # of a large variable the table has a part
        values += [
            float(true[index]) / float(f"1e{power_of_ten(draws[index])}") for index in np.ndindex(draws.shape[:-1])
        ]
    return {str(name): one for name, one in zip(found.index, values, strict=True) if np.isfinite(one)}


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _digits(spread: float, value: float) -> int:
    """Decimals with which a spread has two significant digits."""
    size = spread if spread > 0 and np.isfinite(spread) else abs(value)
    return int(np.clip(1 - np.floor(np.log10(size)), 0, 8)) if size > 0 and np.isfinite(size) else 3


@dataclass(frozen=True)
class Evidence:
    """The evidence of a model.

    Parameters
    ----------
    sampler : str
        What found it.
    value, error : float
        Its logarithm, and the standard deviation of this; NaN where it is not known.
    """

    sampler: str
    value: float
    error: float


def evidences(subject: ReportInput) -> list[Evidence]:
    """Evidences that the results hold."""
    found = []
    value = subject.attribute("log_evidence")
    if value is not None:
        error = subject.attribute("log_evidence_err")
        sampler = subject.attribute("sampler") or "nested sampling"
        found.append(Evidence(str(sampler), float(value), float("nan" if error is None else error)))
    stats = subject.group("sample_stats")
    if stats is not None and "log_marginal_likelihood" in stats:
        of_chains = _last_of_chains(stats["log_marginal_likelihood"])
        if len(of_chains):
            error = float(of_chains.std(ddof=1) / np.sqrt(len(of_chains))) if len(of_chains) > 1 else float("nan")
            found.append(Evidence("sequential Monte Carlo", float(of_chains.mean()), error))
    return found


def _last_of_chains(values: xr.DataArray) -> np.ndarray:
    """The last number of each chain: of all stages of SMC that has the evidence."""
    rows = np.atleast_1d(values.values) if values.ndim < 2 else values.values.reshape(values.sizes["chain"], -1)
    numbers = [np.asarray([one for one in np.ravel(row) if one is not None], dtype=np.float64) for row in rows]
    ends = [row[np.isfinite(row)][-1] for row in numbers if np.isfinite(row).any()]
    return np.asarray(ends, dtype=np.float64)


def evidence(subject: ReportInput) -> Html:
    """The evidence of the model, and what it is good for."""
    found = evidences(subject)
    if not found:
        raise LeftOut(f"The results hold no evidence; {subject.advice.evidence}, to compare models.")
    rows = [
        (one.sampler, f"{one.value:.2f}", "not known" if np.isnan(one.error) else f"{one.error:.2f}") for one in found
    ]
    return joined(
        table("Logarithm of the evidence", (Column("Found by"), Column("ln Z", True), Column("Error", True)), rows),
        paragraph(
            "Alone it says nothing: the difference of ln Z of two models of the same events is the logarithm of their "
            "Bayes factor. From 5 on (a factor of 150) it is strong."
        ),
    )
