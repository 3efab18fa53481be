"""A population of sources with a common distribution of photon indices, fitted from events by partial pooling."""

import arviz as az
import astropy.units as u
import numpy as np
import pymc as pm
from astropy.coordinates import SkyCoord
from gammapy.modeling.models import GaussianSpatialModel, PointSpatialModel, PowerLawSpectralModel

import pymc_gamma as pmg

N_SOURCES = 9
REFERENCE = 2 * u.TeV
FLUX_UNIT = 1e-14
rng = np.random.default_rng(2)

# nature: indices scatter by 0.2 around 2.4, fluxes over a factor of thirty
true_index = rng.normal(2.4, 0.2, N_SOURCES)
true_amplitude = FLUX_UNIT * rng.permutation(np.geomspace(3, 100, N_SOURCES))  # TeV-1 cm-2 s-1 at 2 TeV
size = rng.permutation(np.repeat([0.0, 0.12], [5, 4]))  # deg; points, and Gaussians


def source(k: int) -> pmg.SkySource:
    """Source *k* on a wavy line along the Galactic plane."""
    place = {"lon_0": (-2.0 + 0.5 * k) * u.deg, "lat_0": 0.4 * np.sin(2.0 * k) * u.deg, "frame": "galactic"}
    spatial = GaussianSpatialModel(sigma=size[k] * u.deg, **place) if size[k] else PointSpatialModel(**place)
    spectral = PowerLawSpectralModel(
        index=true_index[k], amplitude=true_amplitude[k] * u.Unit("TeV-1 cm-2 s-1"), reference=REFERENCE
    )
    return pmg.SkySource(f"S{k}", spatial, spectral)


observations = [
    pmg.Observation(pmg.load_irfs("prod5-south-20deg-50h"), SkyCoord(lon * u.deg, 0 * u.deg, frame="galactic"), 2 * u.h)
    for lon in (-1.2, 1.2)
]
roi = pmg.RegionOfInterest(
    center=SkyCoord(0 * u.deg, 0 * u.deg, frame="galactic"), width=(5 * u.deg, 1.6 * u.deg), energy=(1, 100) * u.TeV
)
sources = [source(k) for k in range(N_SOURCES)]
names = [one.name for one in sources]
response = pmg.fold([*sources, pmg.CosmicRayBackground()], observations, roi, free_spectrum=names)
events = response.simulate(rng=3)


def population(*, pooled: bool) -> pm.Model:
    """Power laws whose indices come from one distribution, or from priors that know nothing of each other."""
    with pm.Model(coords=response.coords | {"source": names}) as model:
        if pooled:
            mu = pm.Normal("mu", 2.5, 0.5)
            tau = pm.HalfNormal("tau", 0.3)
            offset = pm.Normal("offset", 0.0, 1.0, dims="source")
            index = pm.Deterministic("index", mu + tau * offset, dims="source")
        else:
            index = pm.Normal("index", 2.5, 1.0, dims="source")
        amplitude = pm.LogNormal("amplitude", np.log(15 * FLUX_UNIT), 1.5, dims="source")
        spectra = {tuple(names): pmg.PowerLaw(index=index, amplitude=amplitude, reference=REFERENCE)}
        background = pm.LogNormal("background", 0.0, 0.1)
        pmg.ExtendedEventMixture(
            "events", response=response, spectra=spectra, norms={"ccr": background}, observed=events
        )
    return model


if __name__ == "__main__":
    for pooled in (True, False):
        idata = pm.sample(model=population(pooled=pooled), chains=4, target_accept=0.9, random_seed=1)
        print(az.summary(idata, var_names=["mu", "tau", "index"] if pooled else ["index"]))
    print(f"truth {true_index.round(2)}, mean 2.4, scatter 0.2")
