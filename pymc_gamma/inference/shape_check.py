r"""Whether tables of a free shape were made near enough to where a posterior lies.

Densities of a component of free shape are tabulated around the position and extension that it was folded with (the
*reference*), and known within limits. A posterior may be checked afterwards:

* **reach**: how far it extends from the reference, over how far the limits are: 1 at the edge;
* **bias**: by how much, in its standard deviations, each parameter is off because tables were made around the
  reference rather than around the posterior mean. With :math:`e(\theta)` the error of the log likelihood of the events
  of the component alone, which a background only makes smaller,

  .. math:: b_j = \tfrac{1}{2}\big[e(\bar\theta + s_j) - e(\bar\theta - s_j)\big], \qquad
      e(\theta) = \sum_i \ln\frac{r_i(\theta)}{r_i^*(\theta)} - [\Lambda(\theta) - \Lambda^*(\theta)] ,

  for events drawn at the mean, and :math:`r^*, \Lambda^*` from tables made there.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from pymc_gamma.arguments import checked, kind, mapping
from pymc_gamma.errors import ModelError, warn_user
from pymc_gamma.folding.live_shapes import LiveShape, is_number
from pymc_gamma.geometry import separation_deg, unit_vectors
from pymc_gamma.inference.evaluate import expression_draws

__all__ = ["ShapeCheck", "check_shapes"]

INTERVAL = 0.999
"""Central interval of the posterior whose ends say how far it reaches."""
LARGEST_BIAS = 0.1
LEAST_EVENTS, MOST_EVENTS = 100, 4000
SEED = 20
"""Of the events that tables are compared at: the same posterior gives the same numbers."""


@dataclass(frozen=True)
class ShapeCheck:
    """How free shapes of a posterior lie in the range for which their tables were made.

    Attributes
    ----------
    table : xarray.Dataset
        Over the dim ``parameter`` (such as ``msh.sigma``): ``reference``, ``mean`` and ``sd`` of the posterior, ``low``
        and ``high`` (limits), ``reach`` and ``bias``.
    shapes : dict
        Shapes of numbers at the posterior mean, by component, for :meth:`pymc_gamma.Response.with_shapes`.
    """

    table: xr.Dataset
    shapes: dict[str, LiveShape]

    @property
    def good(self) -> bool:
        """Whether the posterior lies within the limits, and no bias matters."""
        return bool((self.table.reach < 1).all() and (abs(self.table.bias) < LARGEST_BIAS).all())


@checked(idata=kind("DataTree", "Dataset"), response=kind("Response"), shapes=mapping)
def check_shapes(idata: Any, response: Any, shapes: Mapping[str, LiveShape]) -> ShapeCheck:
    """Check that tables of free shapes were made near enough to a posterior.

    Parameters
    ----------
    idata : `xarray.DataTree` or `xarray.Dataset`
        With a ``posterior`` group, or that group itself.
    response : Response
        With which the model was made.
    shapes : mapping of str to LiveShape
        As the model has them, with its variables; these are found in the posterior by their names.

    Returns
    -------
    ShapeCheck
        Its ``shapes`` are where to fold anew: ``response = response.with_shapes(check.shapes)``, and build the model
        again.

    Raises
    ------
    ModelError
        If a component has no free shape, or depends on a variable that the posterior does not hold.

    Warns
    -----
    PymcGammaWarning
        If the posterior comes to the limits, or a parameter is off by more than a tenth of its standard deviation.

    Examples
    --------
    >>> import astropy.units as u
    >>> import numpy as np
    >>> import pymc as pm
    >>> import pymc_gamma as pmg
    >>> import xarray as xr
    >>> from astropy.coordinates import SkyCoord
    >>> from gammapy.modeling.models import GaussianSpatialModel, PowerLawSpectralModel
    >>> centre = SkyCoord(0 * u.deg, 0 * u.deg, frame="galactic")
    >>> observation = pmg.Observation(pmg.load_irfs("prod5-south-20deg-50h"), pointing=centre, livetime=1 * u.h)
    >>> roi = pmg.RegionOfInterest(center=centre, width=1 * u.deg, energy=(0.5, 50) * u.TeV)
    >>> spatial = GaussianSpatialModel(lon_0="0 deg", lat_0="0 deg", sigma="0.1 deg", frame="galactic")
    >>> source = pmg.SkySource("msh", spatial, PowerLawSpectralModel(amplitude="4e-12 TeV-1 cm-2 s-1"))
    >>> response = pmg.fold([source], observation, roi, free_shape=["msh"], energy_true=40)
    >>> with pm.Model() as model:
    ...     shapes = {"msh": pmg.GaussianShape(0.0, 0.0, pm.LogNormal("sigma", np.log(0.1), 0.3))}
    >>> draws = np.random.default_rng(1).normal(0.103, 0.003, (2, 500))
    >>> posterior = xr.Dataset({"sigma": (("chain", "draw"), draws)})
    >>> check = check_shapes(posterior, response, shapes)
    >>> check.good, round(check.shapes["msh"].sigma, 3)
    (True, 0.103)
    """
    free = {one.name: one.shape for one in response.components if one.is_free and one.shape is not None}
    unknown = [name for name in shapes if name not in free]
    if not shapes:
        raise ModelError("shapes is empty, there is nothing to check; pass those of the model.")
    if unknown:
        raise ModelError(
            f"the components {unknown} have no free position or extension in the response; those that do are "
            f"{list(free)}."
        )
    rows: list[dict[str, Any]] = []
    means: dict[str, LiveShape] = {}
    for name, shape in shapes.items():
        varying = shape.differs(free[name]) if type(shape) is type(free[name]) else ()
        live = response.live_source(name, free=varying)
        live.check(shape)
        found, means[name] = _of_component(live, shape, idata)
        biases = _biases(response, name, live, means[name], found)
        rows += [{**row, "bias": biases[row["name"]], "parameter": f"{name}.{row['name']}"} for row in found]
    keys = ("reference", "mean", "sd", "low", "high", "reach", "bias")
    labels = [row["parameter"] for row in rows]
    table = xr.Dataset({key: ("parameter", [row[key] for row in rows]) for key in keys}, {"parameter": labels})
    check = ShapeCheck(table, means)
    _tell(check)
    return check


def _of_component(live: Any, shape: LiveShape, idata: Any) -> tuple[list[dict[str, Any]], LiveShape]:
    """Posterior, limits and reach of each parameter that is a variable, and the shape of the posterior means."""
    reference = live.reference.parameters
    draws = {}
    for name, value in shape.parameters.items():
        if not is_number(value):
            draws[name] = np.ravel(expression_draws(idata, value, f"the shape of {live.name!r}"))
    if "lon_0" in draws:
        draws["lon_0"] = reference["lon_0"] + (draws["lon_0"] - reference["lon_0"] + 180) % 360 - 180
    at = {name: draws.get(name, value) for name, value in shape.parameters.items()}
    away = separation_deg(unit_vectors(*np.broadcast_arrays(at["lon_0"], at["lat_0"])), live.source.basis[0])
    scale = {"lon_0": np.cos(np.radians(reference["lat_0"])), "lat_0": 1.0}
    rows = []
    for name, values in draws.items():
        if name in scale:
            half = live.reach / scale[name]
            low, high = reference[name] - half, reference[name] + half
            reach = np.quantile(away, INTERVAL) / live.reach
        else:
            low, high = live.limits[name]
            ends = np.quantile(values, [0.5 - INTERVAL / 2, 0.5 + INTERVAL / 2])
            reach = max(_share(end, reference[name], limit) for end, limit in zip(ends, (low, high), strict=True))
        row = {"name": name, "reference": reference[name], "mean": float(values.mean()), "sd": float(values.std())}
        rows.append({**row, "low": low, "high": high, "reach": float(reach)})
    numbers = {name: value for name, value in shape.parameters.items() if name not in draws}
    return rows, type(shape)(**numbers, **{row["name"]: row["mean"] for row in rows})


def _share(value: float, reference: float, limit: float) -> float:
    """Of the way from a reference to a limit, how much a value is away; 0 where there is none."""
    return (value - reference) / (limit - reference) if np.isfinite(limit) and limit != reference else 0.0


def _biases(response: Any, name: str, live: Any, mean: LiveShape, rows: list[dict[str, Any]]) -> dict[str, float]:
    """Bias of each parameter in its standard deviations."""
    again = response.with_shapes({name: mean})
    there = again.live_source(name, free=live.source.free)
    k = response.component_names.index(name)
    expected = float(again.acceptance[k])
    n = int(np.clip(round(expected), LEAST_EVENTS, MOST_EVENTS))
    events = again.event_rows(again.simulate(np.eye(len(response.component_names))[k], n, rng=SEED))
    coefficients = live.source.nominal
    here, anew = live.tables(events), there.tables(events)

    def error(parameter: str, value: float) -> float:
        shape = replace(mean, **{parameter: value})  # type: ignore[type-var]
        ratio = here.density(shape, coefficients) * live.total / (anew.density(shape, coefficients) * there.total)
        counts = [(one.counts.per_coefficient(shape) @ coefficients).sum() * one.total for one in (live, there)]
        return float(np.log(ratio).mean() * expected - (counts[0] - counts[1]))

    biases = {}
    for row in rows:
        low, high = (np.clip(row["mean"] + sign * row["sd"], row["low"], row["high"]) for sign in (-1, 1))
        change = error(row["name"], float(high)) - error(row["name"], float(low))
        biases[row["name"]] = change * row["sd"] / (high - low) if high > low else 0.0
    return biases


def _tell(check: ShapeCheck) -> None:
    """Warn of what is wrong."""
    table = check.table
    for problem, which in (
        ("comes to the limits of its tables", table.parameter[table.reach >= 1].values.tolist()),
        (
            f"is off by more than {LARGEST_BIAS} standard deviations",
            table.parameter[abs(table.bias) >= LARGEST_BIAS].values.tolist(),
        ),
    ):
        if which:
            warn_user(
                f"the posterior of {which} {problem}; fold around its mean, `response = response.with_shapes("
                "check.shapes)`, build the model again and sample."
            )
