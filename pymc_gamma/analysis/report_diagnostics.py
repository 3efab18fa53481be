"""Section of a report about whether the sampler can be trusted: checks with verdicts in plain words.

A check is a function from what the report is about to a :class:`Verdict`, or to None where it does not apply to the
sampler that was used. The tuple :data:`CHECKS` is all that names them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from pymc_gamma.analysis.report_input import LeftOut, ReportInput
from pymc_gamma.analysis.report_page import Html, joined, listed, paragraph
from pymc_gamma.analysis.report_posterior import evidences
from pymc_gamma.inference.posterior import SAMPLE_DIMS

__all__ = ["CHECKS", "Verdict", "diagnostics", "in_brief", "verdicts"]

GOOD, CHECK, BAD = "good", "check", "bad"
# Vehtari, Gelman, Simpson, Carpenter & Bürkner (2021), Bayesian Analysis 16, 667
_R_HAT, _WORST_R_HAT = 1.01, 1.05
_ESS, _LEAST_ESS = 400, 100
# Betancourt (2016), arXiv:1604.00695
_BFMI = 0.3
_DIVERGENT = 0.01
_DEEP = 0.05
_EVIDENCE_ERROR = 0.5


@dataclass(frozen=True)
class Verdict:
    """What a check found.

    Parameters
    ----------
    name : str
        What was checked.
    level : {"good", "check", "bad"}
        The verdict.
    found : str
        What was found, a sentence.
    advice : str
        What to do; empty if nothing.
    """

    name: str
    level: str
    found: str
    advice: str = ""


def _level(bad: bool, doubtful: bool) -> str:
    return BAD if bad else CHECK if doubtful else GOOD


def _is_nested(subject: ReportInput) -> bool:
    """Whether the posterior is that of nested sampling, which has no chains."""
    return "nested" in subject.groups and "sample_stats" not in subject.groups


def finite_draws(subject: ReportInput) -> Verdict:
    """Draws that are no numbers, and parameters that never change."""
    broken, stuck = [], []
    # what is computed may be a constant
    computed = set() if subject.model is None else {one.name for one in subject.model.deterministics}
    for name, one in subject.posterior.data_vars.items():
        values = np.asarray(one.values)
        if not np.issubdtype(values.dtype, np.number):
            continue
        if not np.isfinite(values).all():
            broken.append(str(name))
        dims = [dim for dim in one.dims if dim in SAMPLE_DIMS]
        if name not in computed and values.size > 1 and bool((one.max(dims) == one.min(dims)).any()):
            stuck.append(str(name))
    if broken:
        return Verdict(
            "Draws", BAD, f"{listed(broken)} has draws that are infinite or no numbers.",
            "Look for what is undefined there (a logarithm, a division, a missing coordinate) and restrict its prior.",
        )  # fmt: skip
    if stuck:
        return Verdict(
            "Draws", CHECK, f"{listed(stuck)} holds numbers that are the same in all draws.",
            "If that is not meant (a constant), the sampler never moved: look at its initial value and prior.",
        )  # fmt: skip
    return Verdict("Draws", GOOD, "All draws are finite, and all parameters vary.")


def r_hat(subject: ReportInput) -> Verdict | None:
    """Whether chains agree."""
    if _is_nested(subject):
        return None
    if subject.posterior.sizes.get("chain", 1) < 2:
        return Verdict(
            "R-hat", CHECK, "There is one chain, and nothing to compare it with.",
            "Sample at least four chains: one alone may have missed a part of the posterior.",
        )  # fmt: skip
    values = subject.summary[0]["r_hat"]
    if not values.notna().any():
        return Verdict("R-hat", CHECK, "It is not known: there are too few draws.", "Sample longer.")
    worst, way = float(values.max()), subject.advice
    return Verdict(
        "R-hat", _level(worst > _WORST_R_HAT, worst > _R_HAT),
        f"The chains {'agree' if worst <= _R_HAT else 'disagree'}: at most {worst:.3f} ({values.idxmax()}); "
        f"up to {_R_HAT:g} is good.",
        "" if worst <= _R_HAT else f"Sample longer ({way.longer}) before using the posterior; if this does not help, "
        f"look at the chains ({way.chains}): several modes or parameters that nothing determines need another "
        "parametrisation or informative priors.",
    )  # fmt: skip


def effective_size(subject: ReportInput) -> Verdict | None:
    """Whether there are enough independent draws."""
    if _is_nested(subject):
        n = int(subject.posterior.sizes.get("draw", 0))
        return Verdict(
            "Effective sample size", _level(n < _LEAST_ESS, n < _ESS),
            f"Nested sampling gave {n} draws of equal weight; {_ESS} or more are good.",
            "" if n >= _ESS else f"Use more live points ({subject.advice.live_points}) for smoother posteriors and "
            "better intervals.",
        )  # fmt: skip
    table = subject.summary[0]
    least = table[["ess_bulk", "ess_tail"]].min(axis=1)
    if not least.notna().any():
        return Verdict("Effective sample size", CHECK, "It is not known: there are too few draws.", "Sample longer.")
    worst = float(least.min())
    return Verdict(
        "Effective sample size", _level(worst < _LEAST_ESS, worst < _ESS),
        f"At least {worst:.0f} independent draws ({least.idxmin()}), in bulk and tails; {_ESS} or more are good.",
        "" if worst >= _ESS else f"Sample longer ({subject.advice.draws}). Means may be fine, but the ends of "
        "intervals are noisy.",
    )  # fmt: skip


def divergences(subject: ReportInput) -> Verdict | None:
    """Whether Hamiltonian trajectories broke down."""
    values = _statistic(subject, "diverging", "divergences")
    if values is None:
        return None
    n, share = int(values.sum()), float(values.mean())
    return Verdict(
        "Divergences", _level(share > _DIVERGENT, n > 0),
        f"{n or 'None'} of {values.size} trajectories diverged.",
        "" if not n else f"Parts of the posterior may be missing. Raise {subject.advice.target_accept} (0.95, 0.99); "
        "if some remain, write tight hierarchical or correlated parameters in a non-centred form.",
    )  # fmt: skip


def tree_depth(subject: ReportInput) -> Verdict | None:
    """Whether trajectories were cut short."""
    values = _statistic(subject, "reached_max_treedepth", "maxdepth_reached")
    if values is None:
        return None
    share = float(values.mean())
    return Verdict(
        "Tree depth", CHECK if share > _DEEP else GOOD,
        f"{100 * share:.2g} % of the trajectories were cut at the greatest tree depth.",
        "" if share <= _DEEP else "The draws are right but few are independent. Tune longer, scale parameters to be of "
        f"the order of one, or raise {subject.advice.tree_depth}.",
    )  # fmt: skip


def energy(subject: ReportInput) -> Verdict | None:
    """Whether the momenta reach the tails."""
    values = _statistic(subject, "energy")
    if values is None or values.sizes.get("draw", 0) < 3:
        return None
    spread = values.var("draw")
    fraction = ((values.diff("draw") ** 2).mean("draw") / spread.where(spread > 0)).values
    if not np.isfinite(fraction).any():
        return None
    least = float(np.nanmin(fraction))
    return Verdict(
        "Energy (E-BFMI)", CHECK if least < _BFMI else GOOD,
        f"At least {least:.2f} in every chain; above {_BFMI:g} is good.",
        "" if least >= _BFMI else "The tails of the posterior are reached slowly. Tune longer, or transform parameters "
        "with heavy tails.",
    )  # fmt: skip


def evidence_error(subject: ReportInput) -> Verdict | None:
    """Whether the evidence is known well enough."""
    found = evidences(subject)
    if not found:
        return None
    known = [one for one in found if np.isfinite(one.value)]
    if not known:
        return Verdict("Evidence", BAD, "It is not finite.", "No point of the prior is possible: look at the model.")
    told = "; ".join(
        f"ln Z = {one.value:.2f} ± {one.error:.2f} ({one.sampler})" if np.isfinite(one.error) else
        f"ln Z = {one.value:.2f}, its error is not known ({one.sampler})" for one in known
    )  # fmt: skip
    doubtful = any(not one.error <= _EVIDENCE_ERROR for one in known)
    advice = f"Use more live points ({subject.advice.live_points}), or more chains of SMC." if doubtful else ""
    dlogz = subject.attribute("dlogz")
    if dlogz is not None:
        told += f"; the evidence that remained when the run stopped was below {float(dlogz):g} in the logarithm"
    return Verdict("Evidence", CHECK if doubtful else GOOD, f"{told}.", advice)


CHECKS: tuple[Callable[[ReportInput], Verdict | None], ...] = (
    finite_draws,
    r_hat,
    effective_size,
    divergences,
    tree_depth,
    energy,
    evidence_error,
)


def _statistic(subject: ReportInput, *names: str) -> xr.DataArray | None:
    """A statistic of a sampler, under the first of its names that is there."""
    stats = subject.group("sample_stats")
    found = [] if stats is None else [stats[name] for name in names if name in stats and stats[name].size]
    return found[0] if found else None


def verdicts(subject: ReportInput) -> list[Verdict]:
    """Verdicts of all checks that apply.

    Raises
    ------
    LeftOut
        If there is no posterior.
    """
    _ = subject.posterior
    return [found for check in CHECKS if (found := check(subject)) is not None]


def diagnostics(subject: ReportInput) -> Html:
    """Each check with its verdict, what was found and what to do."""
    found = verdicts(subject)
    total, looked_at = subject.summary[1], len(subject.summary[0])
    told = (
        ""
        if total == looked_at
        else f" R-hat and sample sizes are those of the first {looked_at} parameters of {total}."
    )
    items = Html("\n").join(map(_item, found))
    return joined(paragraph(overall(found) + told), Html('<ul class="checks">\n{}\n</ul>').format(items))


def _item(one: Verdict) -> Html:
    advice = Html("<p><strong>What to do:</strong> {}</p>").format(one.advice) if one.advice else Html("")
    return Html('<li class="{0}"><p><strong>{1}:</strong> <span class="mark">{0}</span>. {2}</p>{3}</li>').format(
        one.level, one.name, one.found, advice
    )


def overall(found: list[Verdict]) -> str:
    """All verdicts in a sentence."""
    bad = [one.name for one in found if one.level == BAD]
    doubtful = [one.name for one in found if one.level == CHECK]
    if not bad and not doubtful:
        return f"All {len(found)} checks of the sampler are good."
    told = f"Do not trust the posterior yet: bad are {listed(bad)}." if bad else "The posterior can be used with care."
    return f"{told} To be checked: {listed(doubtful)}." if doubtful else told


def in_brief(subject: ReportInput) -> Html:
    """What a reader in a hurry needs: how much data, how many parameters, whether to trust the sampler."""
    told: list[str] = []
    for part in (_data_in_brief, _sampler_in_brief):
        try:
            told.append(part(subject))
        except LeftOut as why:
            told.append(str(why))
    return joined(*map(paragraph, told))


def _data_in_brief(subject: ReportInput) -> str:
    response = subject.folded
    n, hours = len(response.observations), sum(one.livetime_s for one in response.observations) / 3600
    names = list(response.component_names)
    told = f"{n} observation{'s' if n > 1 else ''} ({hours:.4g} h), {len(names)} components ({listed(names)})"
    try:
        return f"{subject.kept_events.n_total:g} events in {told}."
    except LeftOut as why:
        return f"{told}. {why}"


def _sampler_in_brief(subject: ReportInput) -> str:
    found = verdicts(subject)
    scalars: Any = subject.summary[1]
    return f"The posterior of {scalars} parameter{'s' if scalars > 1 else ''}: {_lower(overall(found))}"


def _lower(text: str) -> str:
    return text[0].lower() + text[1:]
