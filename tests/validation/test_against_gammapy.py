"""npred of every component against gammapy's `MapDataset`, on the same IRFs.

What gammapy gets is put right first, as `load_irfs` does (PITFALLS of CTAO files: dispersion normalised, invalid PSF
cells filled), so that what is compared is the folding. Its limits: one PSF and one dispersion kernel for the whole
field of a component, exposure and flux at the centres of pixels and true-energy bins.
"""

import dataclasses

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


@pytest.fixture(scope="module", params=["real", "constant"])
def irfs(request):
    """The IRFs of the quick start; and with the dispersion and PSF of the axis everywhere, as gammapy assumes."""
    real = quick_start_irfs()
    if request.param == "real":
        return real
    edisp = np.broadcast_to(real.edisp.density[:, :1], real.edisp.density.shape).copy()
    sigma = np.broadcast_to(real.psf.sigma[..., :1], real.psf.sigma.shape).copy()
    return dataclasses.replace(
        real,
        name="constant",
        edisp=dataclasses.replace(real.edisp, density=edisp),
        psf=dataclasses.replace(real.psf, sigma=sigma),
    )


@pytest.fixture(scope="module")
def response(irfs):
    components = [*SOURCES.values(), pmg.GalacticDiffuse(), pmg.CosmicRayBackground()]
    return pmg.fold(components, pointing(irfs=irfs), region())


@pytest.fixture(scope="module")
def ours(response):
    return response.npred(energy=ENERGY * u.TeV, lon=CELLS * u.deg, lat=CELLS * u.deg, step=0.025 * u.deg)


@pytest.fixture(scope="module")
def dataset(response, irfs):
    """Empty dataset on a galactic CAR map that reaches 0.8 deg beyond the region, with a fine true-energy axis."""
    from gammapy.data import FixedPointingInfo, Observation
    from gammapy.datasets import MapDataset
    from gammapy.irf import load_irf_dict_from_file
    from gammapy.makers import MapDatasetMaker
    from gammapy.maps import MapAxis, WcsGeom

    tables = load_irf_dict_from_file(pmg.datasets.fetch("prod5-south-20deg-50h"))
    repair(tables, irfs)
    observation = Observation.create(
        pointing=FixedPointingInfo(fixed_icrs=direction(0, 0).icrs),
        livetime=50 * u.h,
        irfs=tables,
        deadtime_fraction=0.0,
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


def repair(tables, clean):
    """Put the normalised dispersion and the filled widths of the PSF into gammapy's objects."""
    tables["edisp"].data = np.moveaxis(clean.edisp.density, 2, 1).copy()
    psf = tables["psf"]
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
    """Print and return the differences in the total and, median, in cells above ``limit`` counts."""

    def difference(one, other, least):
        many = other > least
        return one[many] / other[many] - 1

    total = ours.sum() / theirs.sum() - 1
    cube = np.abs(difference(ours, theirs, limit))
    image = np.abs(difference(ours.sum(axis=0), theirs.sum(axis=0), limit))
    energies = difference(ours.sum(axis=(1, 2)), theirs.sum(axis=(1, 2)), 0)
    print(
        f"{name}: {ours.sum():.5g} counts, gammapy {theirs.sum():.5g} ({total:+.2%}); {len(cube)} cells in energy and "
        f"sky: median {np.median(cube):.2%}, p95 {np.quantile(cube, 0.95):.2%}; {len(image)} cells of the sky: median "
        f"{np.median(image):.2%}, p95 {np.quantile(image, 0.95):.2%}; by energy {np.round(energies, 4).tolist()}"
    )
    return abs(total), float(np.median(cube))


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


@pytest.mark.parametrize(("name", "median"), [("point", None), ("gaussian", 0.005), ("diffuse", 0.01)])
def test_source(name, median, irfs, ours, dataset, models):
    theirs = gammapy_npred(dataset, models[name])
    total, cube = report(f"{irfs.name}, {name}", ours.sel(component=name).values, theirs)
    # where gammapy's one kernel for the field is exact the difference is that of the grids
    assert total < (0.001 if irfs.name == "constant" else 0.005)
    if median is not None:  # the cells of a point source are a matter of gammapy's pixels
        assert cube < (0.002 if irfs.name == "constant" else median)


def test_background(irfs, ours, dataset):
    total, cube = report(f"{irfs.name}, ccr", ours.sel(component="ccr").values, cells(dataset.background, dataset))
    assert total < 0.005
    assert cube < 0.005
