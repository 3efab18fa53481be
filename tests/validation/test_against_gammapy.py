"""npred of every component against gammapy's `MapDataset`, on the same IRFs.

What gammapy gets is put right first, as `load_irfs` does (PITFALLS of CTAO files: dispersion normalised, invalid PSF
cells filled), so that what is compared is the folding. Its limits: one PSF and one dispersion kernel for the whole
field of a component, exposure and flux at the centres of pixels and true-energy bins.
"""

import astropy.units as u
import numpy as np
import pytest
from setups import direction, pointing, quick_start_irfs, region, source

import pymc_gamma as pmg

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::astropy.units.UnitsWarning"),
]

PIXEL = 0.05
MARGIN = 0.8
ENERGY = np.geomspace(0.1, 100, 10)
FINE = np.geomspace(0.1, 100, 9 * 8 + 1)
"""gammapy integrates the background over an energy bin from its edges alone, so its bins are narrow."""
CELLS = np.linspace(-3.2, 3.2, 17)
TRUE_PER_DECADE = 60
SOURCES = {
    "point": source("point", 0.31, -0.22, index=2.3, amplitude=5e-12),
    "gaussian": source("gaussian", 0.4, 0.3, sigma=0.35, index=2.3, amplitude=2e-11),
}


@pytest.fixture(scope="module")
def response():
    components = [*SOURCES.values(), pmg.GalacticDiffuse(), pmg.CosmicRayBackground()]
    return pmg.fold(components, pointing(), region())


@pytest.fixture(scope="module")
def ours(response):
    return response.npred(energy=ENERGY, lon=CELLS, lat=CELLS, step=0.025)


@pytest.fixture(scope="module")
def dataset(response):
    """Empty dataset on a galactic CAR map that reaches 0.8 deg beyond the region, with a fine true-energy axis."""
    from gammapy.data import FixedPointingInfo, Observation
    from gammapy.datasets import MapDataset
    from gammapy.irf import load_irf_dict_from_file
    from gammapy.makers import MapDatasetMaker
    from gammapy.maps import MapAxis, WcsGeom

    irfs = load_irf_dict_from_file(pmg.datasets.fetch("prod5-south-20deg-50h"))
    repair(irfs, quick_start_irfs())
    observation = Observation.create(
        pointing=FixedPointingInfo(fixed_icrs=direction(0, 0).icrs), livetime=50 * u.h, irfs=irfs, deadtime_fraction=0.0
    )
    energy = MapAxis.from_energy_edges(FINE * u.TeV)
    low, high = response.energy_true_edges[[0, -1]]
    true = MapAxis.from_energy_bounds(low * u.TeV, high * u.TeV, TRUE_PER_DECADE, per_decade=True, name="energy_true")
    geom = WcsGeom.create(
        skydir=(0, 0), frame="galactic", proj="CAR", binsz=PIXEL, width=6.4 + 2 * MARGIN, axes=[energy]
    )
    migra = MapAxis.from_bounds(0.2, 5, 320, name="migra", node_type="edges")
    rad = MapAxis.from_bounds(0, 1.2, 240, unit="deg", name="rad")
    empty = MapDataset.create(geom, energy_axis_true=true, migra_axis=migra, rad_axis=rad, binsz_irf=0.5)
    return MapDatasetMaker(selection=["exposure", "background", "psf", "edisp"]).run(empty, observation)


def repair(irfs, clean):
    """Put the normalised dispersion and the filled widths of the PSF into gammapy's objects."""
    irfs["edisp"].data = np.moveaxis(clean.edisp.density, 2, 1).copy()
    psf = irfs["psf"]
    nodes = psf.axes["offset"].center.to_value("deg")
    where = np.searchsorted(clean.psf.offset, nodes - 1e-9)
    np.testing.assert_allclose(clean.psf.offset[where], nodes)
    assert len(clean.psf.sigma) == 1
    sigma = clean.psf.sigma[0][:, where]
    psf.data["sigma_1"] = sigma
    psf.data["scale"] = 1 / (2 * np.pi * np.radians(sigma) ** 2)
    for g in (2, 3):
        psf.data[f"ampl_{g}"], psf.data[f"sigma_{g}"] = 0, 1


def gammapy_npred(dataset, model):
    dataset.models = [model]
    predicted = dataset.npred_signal()
    return cells(predicted, dataset)


def cells(counts, dataset):
    """Sum a map into the cells of the region: (energy, lat, lon), both ascending."""
    margin = round(MARGIN / PIXEL)
    per_cell = round((CELLS[1] - CELLS[0]) / PIXEL)
    inner = counts.data[:, margin:-margin, margin:-margin][:, :, ::-1]  # longitude grows to the left
    n = len(CELLS) - 1
    n_energy = len(ENERGY) - 1
    return inner.reshape(n_energy, -1, n, per_cell, n, per_cell).sum(axis=(1, 3, 5))


def report(name, ours, theirs, limit=100):
    total = ours.sum() / theirs.sum() - 1
    many = theirs > limit
    error = np.abs(ours[many] / theirs[many] - 1)
    flat_ours, flat = ours.sum(axis=0), theirs.sum(axis=0)
    wide = np.abs(flat_ours / flat - 1)[flat > limit]
    print(
        f"{name:10s} total {ours.sum():12.5g} gammapy {theirs.sum():12.5g} ({total:+.3%})  cells in energy: {many.sum():5d}, "
        f"median {np.median(error):.3%} p95 {np.quantile(error, 0.95):.3%}; cells of the sky: median {np.median(wide):.3%} "
        f"p95 {np.quantile(wide, 0.95):.3%}"
    )
    print("           by energy", np.round(ours.sum((1, 2)) / theirs.sum((1, 2)) - 1, 4).tolist())
    return abs(total), float(np.median(error)), float(np.median(wide))


@pytest.fixture(scope="module")
def models():
    """The same sources as gammapy models; the diffuse template drawn from our own brightness function."""
    from gammapy.maps import Map, WcsGeom
    from gammapy.modeling.models import (
        GaussianSpatialModel,
        PointSpatialModel,
        PowerLawSpectralModel,
        SkyModel,
        TemplateSpatialModel,
    )

    def power_law(index, amplitude):
        return PowerLawSpectralModel(index=index, amplitude=amplitude * u.Unit("TeV-1 cm-2 s-1"), reference="1 TeV")

    point = PointSpatialModel(lon_0="0.31 deg", lat_0="-0.22 deg", frame="galactic")
    gaussian = GaussianSpatialModel(lon_0="0.4 deg", lat_0="0.3 deg", sigma="0.35 deg", frame="galactic")
    roi = region()
    (part,) = pmg.GalacticDiffuse().parts(roi)
    geom = WcsGeom.create(skydir=(0, 0), frame="galactic", proj="CAR", binsz=0.02, width=8.4)
    sky = geom.get_coord()
    lon = (sky.lon.to_value("deg") + 180) % 360 - 180
    values = part.shape.brightness(lon, sky.lat.to_value("deg"))
    template = TemplateSpatialModel(Map.from_geom(geom, data=values, unit="sr-1"), normalize=False)
    return {
        "point": SkyModel(power_law(2.3, 5e-12), point, name="point"),
        "gaussian": SkyModel(power_law(2.3, 2e-11), gaussian, name="gaussian"),
        "diffuse": SkyModel(power_law(2.41, float(part.spectrum(np.array([1.0]))[0])), template, name="diffuse"),
    }


@pytest.mark.parametrize(
    ("name", "median"), [("point", None), ("gaussian", 0.005), ("diffuse", 0.01)]
)
def test_source(name, median, ours, dataset, models):
    total, cell, _ = report(name, ours.sel(component=name).values, gammapy_npred(dataset, models[name]))
    assert total < 0.005
    if median is not None:
        assert cell < median


def test_background(ours, dataset):
    total, cell, _ = report("ccr", ours.sel(component="ccr").values, cells(dataset.background, dataset))
    assert total < 0.005
    assert cell < 0.005
