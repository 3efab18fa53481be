"""JAX by the plain mode string: models with all families of Ops, against the default mode."""

import astropy.units as u
import numpy as np
import pymc as pm
import pytest
from setups import pointing, region, source

import pymc_gamma as pmg

pytest.importorskip("jax")

PARAMETERS = {
    "lon": (0.15, 0.25),
    "lat": (-0.15, -0.05),
    "sigma": (0.08, 0.12),
    "e": (0.1, 0.6),
    "phi": (0, 90),
    "index": (2, 3),
    "radius": (0.16, 0.24),
    "psf": (0.9, 1.1),
}


def scanned(radius):
    return source("halo", -0.3, 0.2, sigma=radius.to_value("deg"), amplitude=3e-12)


class Widths(pmg.PSFScale):
    """A scale of the PSF for sources that are no scans."""

    def act(self, component, value):
        return component if component.scan is not None else super().act(component, value)


@pytest.fixture(scope="module")
def response():
    """A source of free shape and spectrum, one of free spectrum, a fixed one, a scan, and a free background."""
    sky = [
        source("shape", 0.2, -0.1, sigma=0.1, index=2.3, amplitude=4e-12),
        source("crab", -0.4, 0.4, amplitude=2e-12),
        source("fixed", 0.0, 0.0, sigma=0.3),
        pmg.Scanned("halo", scanned, nodes={"radius": np.linspace(0.15, 0.25, 5) * u.deg}),
        pmg.CosmicRayBackground(),
    ]
    options = {"free_spectrum": ["shape", "crab", "ccr"], "free_shape": ["shape"], "energy_true": 40}
    runs = [pointing(hours=1), pointing(lon=0.5, hours=0.7)]
    return pmg.fold(sky, runs, region(width=1.6, energy=(0.7, 20)), progressbar=False, **options)


def every_family(response, distribution):
    """Linear and banded columns, hats of spectra, live densities and counts, scans, scales of the PSF."""
    with pm.Model(coords=response.coords) as model:
        v = {name: pm.Uniform(name, low, high) for name, (low, high) in PARAMETERS.items()}
        options = {
            "response": response,
            "shapes": {"shape": pmg.GaussianShape(v["lon"], v["lat"], v["sigma"], v["e"], v["phi"])},
            "spectra": {
                "shape": pmg.PowerLaw(index=v["index"], amplitude=4e-12),
                "crab": pmg.PowerLaw(index=2.2, amplitude=2e-12),
                "ccr": pmg.PowerLawNorm(tilt=0.02),
            },
            "scan": {"radius": v["radius"]},
            "systematics": [Widths(value=v["psf"])],
            "observed": response.simulate(rng=1),
        }
        if distribution is pmg.EventMixture:
            options["fraction"] = pm.Dirichlet("fraction", np.ones(5), dims="component")
        distribution("events", **options)
    return model


# checks of PyTensor's that lengths agree, which JAX makes by itself while it traces
@pytest.mark.filterwarnings("ignore:Skipping Assert:UserWarning")
@pytest.mark.parametrize(
    "distribution", [pytest.param(pmg.EventMixture, marks=pytest.mark.slow), pmg.ExtendedEventMixture]
)
def test_every_family_of_ops(response, distribution):
    model = every_family(response, distribution)
    value, gradient = model.compile_logp(), model.compile_dlogp()
    in_jax = [model.compile_logp(mode="JAX"), model.compile_dlogp(mode="JAX")]
    names = {type(node.op).__name__ for node in value.f.maker.fgraph.apply_nodes}
    assert names & {"LogMatVec", "LogMatVecSum"}
    assert {"HatMap", "LiveDensity", "LiveCountsOp", "ScanDensity", "VariedDensity"} <= names
    start = model.initial_point()
    for shift in (0.0, 0.3):
        point = {name: value + shift for name, value in start.items()}
        assert np.isfinite(value(point))
        assert float(in_jax[0](point)) == pytest.approx(float(value(point)), rel=1e-10)
        slopes = gradient(point)
        np.testing.assert_allclose(in_jax[1](point), slopes, rtol=1e-6, atol=1e-8 * np.abs(slopes).max())
