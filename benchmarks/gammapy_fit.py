"""A source on its background, unbinned here and binned in gammapy: the same events, response and parameters.

Run ``python -m benchmarks.gammapy_fit`` for the time of one evaluation of the likelihood. `tests/validation` takes the
setting from here and compares what the two fits find.

gammapy gets the instrument tables as `pymc_gamma.load_irfs` cleans them (dispersion normalised, invalid cells of the
PSF filled), so that what is compared is the folding and the binning.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import warnings
from dataclasses import dataclass
from typing import Any

import astropy.units as u
import numpy as np
import pymc as pm
from astropy.coordinates import SkyCoord

import pymc_gamma as pmg
from benchmarks._timing import Figures, interleaved_times

IRFS = "prod5-south-20deg-50h"
FLUX_UNIT = u.Unit("TeV-1 cm-2 s-1")


@dataclass(frozen=True)
class Setting:
    """A source in the middle of a square region, observed from a pointing some way off.

    Attributes
    ----------
    offset : float
        Distance of the source from the pointing in deg.
    sigma : float
        Width of the source in deg; 0 for a point.
    hours, width : float
        Livetime in h, and width of the region in deg.
    energy : tuple of float
        Range of reconstructed energies in TeV.
    index, amplitude : float
        Power law of the source, TeV-1 cm-2 s-1 at 1 TeV.
    """

    offset: float = 0.4
    sigma: float = 0.0
    hours: float = 5.0
    width: float = 1.6
    energy: tuple[float, float] = (0.2, 50.0)
    index: float = 2.3
    amplitude: float = 3e-12

    @property
    def source(self) -> SkyCoord:
        """Where the source is."""
        return SkyCoord(self.offset * u.deg, 0 * u.deg, frame="galactic")

    def sky_model(self) -> Any:
        """The source as a gammapy model."""
        from gammapy.modeling.models import GaussianSpatialModel, PointSpatialModel, PowerLawSpectralModel, SkyModel

        place = {"lon_0": self.offset * u.deg, "lat_0": 0 * u.deg, "frame": "galactic"}
        spatial = GaussianSpatialModel(sigma=self.sigma * u.deg, **place) if self.sigma else PointSpatialModel(**place)
        spatial.freeze()
        spectral = PowerLawSpectralModel(index=self.index, amplitude=self.amplitude * FLUX_UNIT, reference=1 * u.TeV)
        return SkyModel(spectral, spatial, name="source")

    def fold(self) -> pmg.Response:
        """Our response."""
        pointing = SkyCoord(0 * u.deg, 0 * u.deg, frame="galactic")
        observation = pmg.Observation(pmg.load_irfs(IRFS), pointing=pointing, livetime=self.hours * u.h)
        roi = pmg.RegionOfInterest(center=self.source, width=self.width * u.deg, energy=self.energy * u.TeV)
        model = self.sky_model()
        source = pmg.SkySource("source", model.spatial_model, model.spectral_model)
        return pmg.fold([source, pmg.CosmicRayBackground()], observation, roi, free_spectrum="source")


@dataclass(frozen=True)
class Binning:
    """gammapy's grids.

    Attributes
    ----------
    pixel : float
        Pixel in deg.
    reco, true : int
        Bins of reconstructed and true energy per decade.
    migra : int
        Bins of the ratio of reconstructed to true energy, from 0.2 to 5.
    rad : float
        Step in deg of the radius at which the PSF is tabulated.
    irf : float
        Spacing in deg of the directions for which PSF and dispersion are tabulated.
    """

    pixel: float = 0.02
    reco: int = 20
    true: int = 40
    migra: int = 320
    rad: float = 0.0025
    irf: float = 0.2


def unbinned_model(response: pmg.Response, events: pmg.Events, setting: Setting) -> pm.Model:
    """Index, logarithms of amplitude and background norm relative to the truth; priors flat."""
    with pm.Model(coords=response.coords) as model:
        index = pm.Flat("index", initval=setting.index)
        amplitude = setting.amplitude * pm.math.exp(pm.Flat("log_amplitude", initval=0.0))
        norm = pm.math.exp(pm.Flat("log_norm", initval=0.0))
        pmg.ExtendedEventMixture(
            "events",
            response=response,
            spectra={"source": pmg.PowerLaw(index=index, amplitude=amplitude)},
            norms={"ccr": norm},
            observed=events,
        )
    return model


def binned_dataset(response: pmg.Response, events: pmg.Events, setting: Setting, binning: Binning) -> Any:
    """Dataset of gammapy: counts of the events, response in maps, source and background norm as models."""
    from gammapy.data import FixedPointingInfo, Observation
    from gammapy.datasets import MapDataset
    from gammapy.makers import MapDatasetMaker
    from gammapy.maps import MapAxis, WcsGeom
    from gammapy.modeling.models import FoVBackgroundModel

    pointing = FixedPointingInfo(fixed_icrs=SkyCoord(0 * u.deg, 0 * u.deg, frame="galactic").icrs)
    observation = Observation.create(
        pointing=pointing, livetime=setting.hours * u.h, irfs=repaired_tables(), deadtime_fraction=0.0
    )
    low, high = setting.energy
    energy = MapAxis.from_energy_bounds(low * u.TeV, high * u.TeV, binning.reco, per_decade=True)
    low, high = response.energy_true_edges[[0, -1]]
    true = MapAxis.from_energy_bounds(low * u.TeV, high * u.TeV, binning.true, per_decade=True, name="energy_true")
    # a CAR map on the equator has square pixels where the region is square
    geom = WcsGeom.create(
        skydir=setting.source, frame="galactic", proj="CAR", binsz=binning.pixel, width=setting.width, axes=[energy]
    )
    migra = MapAxis.from_bounds(0.2, 5, binning.migra, name="migra", node_type="edges")
    rad = MapAxis.from_bounds(0, 0.6, round(0.6 / binning.rad), unit="deg", name="rad")
    empty = MapDataset.create(
        geom, name="run", energy_axis_true=true, migra_axis=migra, rad_axis=rad, binsz_irf=binning.irf
    )
    dataset = MapDatasetMaker(selection=["exposure", "background", "psf", "edisp"]).run(empty, observation)
    reco, lon, lat = events.to_rows(response.reco).T
    where = SkyCoord(lon * u.deg, lat * u.deg, frame="galactic")
    dataset.counts.fill_by_coord({"skycoord": where, "energy": reco * u.TeV})
    dataset.models = [setting.sky_model(), FoVBackgroundModel(dataset_name="run")]
    return dataset


def repaired_tables() -> dict[str, Any]:
    """Tables of gammapy with the normalised dispersion and the filled widths of the PSF."""
    from gammapy.irf import load_irf_dict_from_file

    clean, path = pmg.load_irfs(IRFS), pmg.datasets.fetch(IRFS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", u.UnitsWarning)
        tables: dict[str, Any] = load_irf_dict_from_file(path)
    tables["edisp"].data = np.moveaxis(clean.edisp.density, 2, 1).copy()
    psf = tables["psf"]
    where = np.searchsorted(clean.psf.offset, psf.axes["offset"].center.to_value("deg") - 1e-9)
    (sigma,) = clean.psf.sigma[:, :, where]
    psf.data["sigma_1"], psf.data["scale"] = sigma, 1 / (2 * np.pi * np.radians(sigma) ** 2)
    for g in (2, 3):
        psf.data[f"ampl_{g}"], psf.data[f"sigma_{g}"] = 0, 1
    return tables


def main() -> None:
    figures = Figures("A point source 0.4 deg off axis on its background, one call of the likelihood, one process")
    setting, binning = Setting(), Binning()
    response = setting.fold()
    events = response.simulate(rng=1)
    wrapper = unbinned_model(response, events, setting).logp_dlogp_function(ravel_inputs=True)
    wrapper.set_extra_values({})
    function = wrapper._pytensor_function
    function.trust_input = True
    point = np.array([setting.index, 0.0, 0.0])
    dataset = binned_dataset(response, events, setting, binning)
    index, step = dataset.models["source"].spectral_model.index, iter(range(10**9))

    def stat_sum() -> float:
        index.value = setting.index + 1e-6 * next(step)  # gammapy keeps what it computed for the last value
        return float(dataset.stat_sum())

    times = interleaved_times({"ours": lambda: function(point), "gammapy": stat_sum})
    ours, theirs = times["ours"], times["gammapy"]
    figures.add(
        "events, filled bins, bins", "", f"{len(events)}, {np.sum(dataset.counts.data > 0)}, {dataset.counts.data.size}"
    )
    figures.add("log L + gradient, pymc_gamma", "", f"{ours * 1e3:.3f} ms")
    figures.add("stat_sum, gammapy (no gradient)", "", f"{theirs * 1e3:.1f} ms")
    figures.add("ratio", "", f"{theirs / ours:.0f}")
    figures.show()


if __name__ == "__main__":
    main()
