"""The scalar singlet at the Galactic centre: a hundred million events of CTAO, from nothing to mass and cross-section.

One in a thousand events is from dark matter, a scalar singlet of 1 TeV in an Einasto profile; the others are the
Galactic diffuse emission, catalogued sources and residual cosmic rays. That is the headline of arXiv:2401.13876.

In one pointing and a region of 6.4 deg, with the instrument response functions that come with the package, 10^8 events
are expected in 525 h above 0.086 TeV, or in 6000 h above 0.5 TeV. How well they know the mass differs: by their Fisher
information to 0.1 TeV in the first, where most events are near the threshold and spectra of all masses rise alike, to
0.025 TeV in the second, which is what the paper states for its simulation of 525 h. The second is the default,
``--hours 525`` the first.

Events are simulated one by one through the instrument response, five million at a time, and gathered into cells of
0.2 deg and 20 to 26 per decade of energy, whose numbers are multiplicities: the likelihood costs as much as there are
cells, with densities averaged over them. Chains start at the best fit.

The branching fractions are those of darkSUSY, from the data set ``z2-darksusy`` (see ``pymc_gamma.datasets``); with
``--channel W`` the example needs no data::

    python examples/scalar_singlet.py [--hours 525] [--events 1e8] [--channel W]
"""

import argparse
import resource
import time

import arviz as az
import astropy.units as u
import numpy as np
import pymc as pm
from astropy.coordinates import SkyCoord

import pymc_gamma as pmg
from pymc_gamma import darkmatter

EVENTS = 1e8
THRESHOLDS = {525: 0.086, 6000: 0.5}
"""TeV: above it 10^8 events are expected in so many hours."""
SHARE = 1e-3
"""Of the events that are from dark matter."""
MASS, COUPLING = 1.0, 0.1
N_ENERGY = 61
PIXEL = 0.2 * u.deg
AT_ONCE = 5_000_000
STARTS = 0.5, 5.0
"""TeV: masses to start a fit from."""
PRIOR_WIDTHS = np.array([0.05, 0.05, 0.01])
"""Of the norms of diffuse emission, sources and cosmic rays."""


def fold(hours: float, threshold: float) -> pmg.Response:
    """The response: the halo has a free spectrum."""
    centre = SkyCoord(0 * u.deg, 0 * u.deg, frame="galactic")
    observation = pmg.Observation(pmg.load_irfs("prod5-south-20deg-50h"), centre, hours * u.h)
    roi = pmg.RegionOfInterest(center=centre, width=6.4 * u.deg, energy=(threshold, 100) * u.TeV)
    halo = darkmatter.DarkMatterHalo(darkmatter.Einasto(), darkmatter.Annihilation(MASS, 1e-26, "W"), name="dm")
    components = [halo, pmg.GalacticDiffuse(), pmg.HGPSCatalog(), pmg.CosmicRayBackground()]
    # one event in a thousand is looked for: templates have to be better than that
    return pmg.fold(components, observation, roi, free_spectrum=["dm"], pixel=0.02 * u.deg)


def singlet(channel):
    """From mass and cross-section to the spectrum."""
    if channel:
        return lambda mass, sigmav: darkmatter.Annihilation(mass, sigmav, channel)
    table = darkmatter.AnnihilationTable.read(pmg.datasets.path("z2-darksusy"))
    return lambda mass, sigmav: darkmatter.Annihilation(mass, sigmav, table.fractions(mass=mass, lahS=COUPLING))


def simulate(response, spectrum, seed):
    """Events through the response, in cells."""
    rng = np.random.default_rng(seed)
    edges = np.geomspace(response.roi.energy_min, response.roi.energy_max, N_ENERGY + 1) * u.TeV
    expected = response.npred(spectra={"dm": spectrum}).values
    left, cells = rng.poisson(expected.sum()), None
    while left:
        events = response.simulate(expected, min(AT_ONCE, left), spectra={"dm": spectrum}, rng=rng)
        left -= len(events)
        own = events.binned(edges, pixel=PIXEL)
        cells = own if cells is None else (cells + own).binned(edges, pixel=PIXEL)
    return cells


def model_of(response, spectrum_of, cells):
    """Mass and cross-section over four decades, and the norms of what is not dark matter."""
    with pm.Model(coords=response.coords) as model:
        log_mass = pm.Uniform("log_mass", np.log(0.25), np.log(20.0))
        mass = pm.Deterministic("mass", pm.math.exp(log_mass))  # TeV
        log_sigmav = pm.Uniform("log_sigmav", -28.0, -23.0)
        sigmav = pm.Deterministic("sigmav", 10**log_sigmav)  # cm3 s-1
        z = pm.Normal("z", 0, 1, shape=3)
        norm = pm.Deterministic("norm", 1 + PRIOR_WIDTHS * z)
        pmg.ExtendedEventMixture(
            "events",
            response=response,
            spectra={"dm": spectrum_of(mass, sigmav)},
            norms={"diffuse": norm[0], "hgps": norm[1], "ccr": norm[2]},
            observed=cells,
        )
    return model


def main() -> None:
    """Simulate, fit, and print what is found and how long it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--hours", type=int, default=6000, choices=THRESHOLDS, help="of 10^8 events; with its threshold"
    )
    parser.add_argument("--events", type=float, default=EVENTS, help="expected number; hours in proportion")
    parser.add_argument("--channel", help="one channel instead of the branching fractions of the scalar singlet")
    parser.add_argument("--draws", type=int, default=1000, help="draws of each of four chains")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    start = time.perf_counter()

    def tell(text: str) -> None:
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(f"{time.perf_counter() - start:6.0f} s {memory:5.1f} GB  {text}", flush=True)

    response, spectrum_of = (
        fold(arguments.hours * arguments.events / EVENTS, THRESHOLDS[arguments.hours]),
        singlet(arguments.channel),
    )
    per_sigmav = float(response.npred(spectra={"dm": spectrum_of(MASS, 1e-26)}).sel(component="dm")) / 1e-26
    sigmav = SHARE * arguments.events / per_sigmav
    tell(f"folded; <sigma v> = {sigmav:.3g} cm3/s")
    cells = simulate(response, spectrum_of(MASS, sigmav), arguments.seed)
    tell(f"simulated: {cells}")
    model = model_of(response, spectrum_of, cells)
    # one maximum may lie beside another: from light and from heavy dark matter
    best = pmg.best_fit(model, start=[{"log_mass": np.log(mass)} for mass in STARTS])
    tell(f"best fit: {best}")
    idata = pm.sample(
        arguments.draws,
        tune=500,
        chains=4,
        cores=2,
        model=model,
        nuts_sampler="nutpie",
        initvals=best.initvals,
        compile_kwargs={"jitter_rvs": set()},  # chains start at the best fit
        random_seed=arguments.seed,
        progressbar=False,
    )
    names = ["mass", "sigmav", "norm"]
    r_hat = az.summary(idata, var_names=names, kind="diagnostics", round_to="none")["r_hat"].max()
    tell(f"sampled, r_hat up to {r_hat:.3f}")
    for name, truth in (("mass", MASS), ("sigmav", sigmav)):
        low, high = idata.posterior[name].quantile([0.025, 0.975], ("chain", "draw")).values
        print(f"{name:7s} {low:.4g} to {high:.4g} (95 %), truth {truth:.4g}")


if __name__ == "__main__":
    main()
