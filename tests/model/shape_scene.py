"""A source of free shape in models, and the same folded anew.

Values are compared with the response folded anew at the parameters (`with_shapes`). Near the reference, densities of
live shapes are exact to 1e-4 rms and counts to 1e-4 (`tests/folding/test_live_density.py`): of some hundred events of
the source, 0.05 in the log likelihood, which is 1/20 of what a parameter changes it by within one standard deviation.
"""

import astropy.units as u
import numpy as np
import pymc as pm
from gammapy.modeling.models import (
    DiskSpatialModel,
    GaussianSpatialModel,
    PointSpatialModel,
    PowerLawSpectralModel,
    ShellSpatialModel,
)
from laplace import compiled
from setups import pointing, region, source

import pymc_gamma as pmg

LON, LAT, INDEX, AMPLITUDE = 0.2, -0.1, 2.3, 4e-12
KINDS = {
    "point": (pmg.PointShape, PointSpatialModel, {}, {}),
    "round": (pmg.GaussianShape, GaussianSpatialModel, {"sigma": 0.1}, {"sigma": 0.104}),
    "elongated": (
        pmg.GaussianShape,
        GaussianSpatialModel,
        {"sigma": 0.12, "e": 0.7, "phi": 30.0},
        {"sigma": 0.125, "e": 0.73, "phi": 26.0},
    ),
    "disk": (pmg.DiskShape, DiskSpatialModel, {"r_0": 0.2}, {"r_0": 0.205}),
    "shell": (pmg.ShellShape, ShellSpatialModel, {"radius": 0.2, "width": 0.08}, {"radius": 0.205, "width": 0.074}),
}
POSITION = {"lon_0": LON, "lat_0": LAT}
BESIDE = {"lon_0": LON + 0.004, "lat_0": LAT - 0.003}
"""Two posterior standard deviations away, for a thousand events from a source of 0.1 deg."""


SCALES = {
    "lon_0": 0.02,
    "lat_0": 0.04,
    "sigma": 0.05,
    "e": 0.1,
    "phi": 0.1,
    "r_0": 0.02,
    "radius": 0.05,
    "width": 0.1,
}
"""What changes the log likelihood by about one, over the value of a parameter; of the others, their value does."""
TOLERANCE = 0.02
"""Of log likelihoods: densities exact to 1e-4, and 3e-5 of the counts of 300 events of the source."""
OF_TEMPLATES = 0.05
"""Where a disc or a shell is folded as a template, whose densities are exact to 1e-3 rms."""


def spatial_source(kind, **changes):
    _, model, start, _ = KINDS[kind]
    values = {**POSITION, **start, **changes}
    quantities = {key: value if key == "e" else value * u.deg for key, value in values.items()}
    spectral = PowerLawSpectralModel(index=INDEX, amplitude=AMPLITUDE * u.Unit("TeV-1 cm-2 s-1"), reference=1 * u.TeV)
    return pmg.SkySource("msh", model(frame="galactic", **quantities), spectral)


def sky(kind):
    return [
        spatial_source(kind),
        source("halo", 0.0, 0.0, sigma=0.3, index=2.5, amplitude=1e-12),
        pmg.CosmicRayBackground(),
    ]


def runs(n):
    return [pointing(hours=1), pointing(lon=0.5, hours=0.7)][:n]


def folded(kind, n=1, **free):
    return pmg.fold(sky(kind), runs(n), region(width=1.6, energy=(0.7, 20)), energy_true=80, free_shape=["msh"], **free)


def logp(model, **values):
    """Log likelihood, for values of variables that are not transformed."""
    function = model.compile_logp(vars=[model["events"]], jacobian=False, mode="FAST_COMPILE")
    return float(function(numbers(**values)))


def numbers(**values):
    return {name: np.asarray(value, float) for name, value in values.items()}


def power_law(response, index, amplitude):
    """Values of a power law where a response has its spectrum."""
    return {"msh": amplitude * response.energy_true**-index}


def refolded(response, kind, shape, spectrum=None):
    """The response with the source at a shape and with a spectrum."""
    again = response.with_shapes({"msh": shape})
    return again if spectrum is None else again.with_spectra(power_law(again, **spectrum))


def variables(values):
    """Flat variables, one for each parameter of a shape."""
    return {name: pm.Flat(name, initval=value) for name, value in values.items()}


def poisson(response, kind, events, *, free, **options):
    with pm.Model(coords=response.coords) as model:
        shape = KINDS[kind][0](**variables(start_of(kind)[0]))
        spectra = {}
        if free:
            spectra = {
                "msh": pmg.PowerLaw(
                    index=pm.Flat("index", initval=INDEX), amplitude=pm.Flat("amplitude", initval=AMPLITUDE)
                )
            }
        norms = {"ccr": pm.Flat("norm", initval=1.0)}
        pmg.ExtendedEventMixture(
            "events", response=response, shapes={"msh": shape}, spectra=spectra, norms=norms, observed=events, **options
        )
    return model


def start_of(kind):
    return {**POSITION, **KINDS[kind][2]}, {"index": INDEX, "amplitude": AMPLITUDE}


def beside(kind):
    return {**BESIDE, **KINDS[kind][3]}, {"index": 2.4, "amplitude": 4.4e-12}


def tolerance(kind):
    return OF_TEMPLATES if kind in ("disk", "shell") else TOLERANCE


def poisson_value(response, events, norms=1.0):
    weights = np.broadcast_to(norms, (len(response.component_names),))
    return np.log(response.density(events) @ weights).sum() - response.acceptance.values @ weights


def check_gradient(model, point):
    """All derivatives against central differences of the fourth order."""
    function, start = compiled(model)
    assert set(start) == set(point)
    x = np.concatenate([np.ravel(point[name]) for name in start])
    scale = np.maximum(np.abs(x), 1e-13) * np.array(
        [SCALES.get(name, 1.0) for name in start for _ in np.ravel(start[name])]
    )
    _, gradient = function(x)
    numeric = np.array([difference(lambda y: function(y)[0], x, step) for step in np.diag(2e-3 * scale)])
    np.testing.assert_allclose(gradient * scale, numeric * scale, rtol=1e-6, atol=1e-6)


def difference(function, x, step):
    """Derivative along a step, over its length."""
    size = np.abs(step).sum()
    return (8 * (function(x + step) - function(x - step)) - (function(x + 2 * step) - function(x - 2 * step))) / (
        12 * size
    )
