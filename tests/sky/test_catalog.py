"""H.E.S.S. Galactic plane survey: the bundled table against gammapy's models of the official file."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from pymc_gamma import datasets
from pymc_gamma.errors import DataFileError, SkyModelError
from pymc_gamma.sky import HGPSCatalog, SkyGaussian, SkyPoint, TemplateShape

ENERGY = np.array([0.3, 1.0, 10.0, 50.0])

# Differential flux in TeV-1 cm-2 s-1 at ENERGY: gammapy 2.1, SourceCatalogHGPS(official file).to_models().
FLUX = {
    "HESS J1745-290": [
        3.260800706861628e-11,
        2.3224795464523344e-12,
        7.255333264918517e-15,
        5.512272725921917e-18,
    ],
    "HESS J1741-302": [
        3.3484235160864827e-12,
        2.099999997029825e-13,
        1.05249330468801e-15,
        2.5976962364719036e-17,
    ],
    "HESS J1731-347": [
        4.3243698017218824e-11,
        2.647550006507312e-12,
        1.2671972988295227e-14,
        3.0285439123991967e-16,
    ],
    "HESS J0852-463": [
        2.72398133066852e-10,
        2.7691260045717216e-11,
        1.1102430093261012e-13,
        1.5082388127599843e-17,
    ],
    "HESS J1745-303": [
        3.760802088410972e-11,
        1.7094869299448456e-12,
        4.629265179086282e-15,
        7.430342187605927e-17,
    ],
}
# Components of one source: gammapy rounds their share of the flux to single precision.
COMPONENT_FLUX = {
    "HESS J1804-216/HGPSC 054": [
        1.5083568429732597e-10,
        5.8989411722205784e-12,
        1.198134172781868e-14,
        1.5728613953233741e-16,
    ],
    "HESS J1804-216/HGPSC 055": [
        7.052071649542359e-11,
        2.7579518730417822e-12,
        5.6016771307031406e-15,
        7.353651959940252e-17,
    ],
    "HESS J0835-455/HGPSC 003": [
        4.9011512235478236e-11,
        9.064204273186046e-12,
        1.9244495995851294e-13,
        8.346717807226105e-16,
    ],
}
# Brightness in sr-1, one standard deviation north of the centre; the two forms differ by the width squared.
GAUSSIAN = {
    "HESS J1804-216/HGPSC 054": (
        8.448796272277832,
        0.0035333349369466305,
        0.1951526403427124,
        8320.888689223364,
    ),
    "HESS J0835-455/HGPSC 003": (263.982666015625, -2.997220277786255, 0.6503797173500061, 749.1845988255245),
}
# Brightness in sr-1, 0, 0.2 and 0.26 deg north of the centre.
SHELL = {
    "HESS J1731-347": [7537.606173053701, 11604.514918070468, 40647.859913228065],
    "HESS J0852-463": [549.4915310954597, 561.4387526485025, 570.1523189199097],
}


@pytest.fixture(scope="module")
def catalog():
    return HGPSCatalog()


def part_of(catalog, name):
    return next(entry.part for entry in catalog._entries if entry.part.name == name)


def test_numbers_of_the_survey(catalog):
    assert len(catalog.source_names) == 78
    assert len(catalog) == 96
    shapes = [type(entry.part.shape) for entry in catalog._entries]
    assert [shapes.count(kind) for kind in (SkyGaussian, SkyPoint, TemplateShape)] == [83, 6, 7]
    assert sum(entry.part.spectrum.cutoff > 0 for entry in catalog._entries) == 21


@pytest.mark.parametrize("name", FLUX)
def test_fluxes_are_gammapys(catalog, name):
    np.testing.assert_allclose(part_of(catalog, name).spectrum(ENERGY), FLUX[name], rtol=1e-10)


@pytest.mark.parametrize("name", COMPONENT_FLUX)
def test_component_fluxes_are_gammapys(catalog, name):
    np.testing.assert_allclose(part_of(catalog, name).spectrum(ENERGY), COMPONENT_FLUX[name], rtol=2e-7)


@pytest.mark.parametrize("name", GAUSSIAN)
def test_gaussians_are_gammapys(catalog, name):
    lon, lat, sigma, brightness = GAUSSIAN[name]
    shape = part_of(catalog, name).shape
    np.testing.assert_allclose([shape.lon, shape.lat, shape.sigma], [lon, lat, sigma], rtol=1e-10)
    ours = np.exp(-0.5) / (2 * np.pi * np.radians(shape.sigma) ** 2)
    assert ours == pytest.approx(brightness, rel=np.radians(sigma) ** 2)


@pytest.mark.parametrize("name", SHELL)
def test_shells_are_gammapys(catalog, name):
    shape = part_of(catalog, name).shape
    lat = shape.lat + np.array([0.0, 0.2, 0.26])
    values = shape.brightness(np.full(3, shape.lon), lat)
    np.testing.assert_allclose(values, SHELL[name], rtol=2e-6)
    outside = shape.brightness(np.array([shape.lon]), np.array([shape.lat + 1.001 * shape.radius]))
    assert outside == 0


def test_shells_integrate_to_one(catalog):
    for entry in catalog._entries:
        shape = entry.part.shape
        if isinstance(shape, TemplateShape):
            nodes, weights = np.polynomial.legendre.leggauss(400)
            # Substituting r = R sin(t) removes the root at the rim; the inner one is split off.
            edge = np.arcsin(shape.brightness.inner / shape.radius)
            total = 0.0
            for low, high in ((0, edge), (edge, np.pi / 2)):
                t = 0.5 * (high - low) * nodes + 0.5 * (high + low)
                r = shape.radius * np.sin(t)
                values = shape.brightness(np.full(400, shape.lon), shape.lat + r)
                measure = 2 * np.pi * np.sin(np.radians(r)) * np.radians(shape.radius * np.cos(t))
                total += (values * measure) @ weights * 0.5 * (high - low)
            assert total == pytest.approx(1, abs=3e-4), entry.part.name


def test_components_share_the_flux_of_their_source(catalog):
    total = {}
    for entry in catalog._entries:
        total[entry.source] = total.get(entry.source, 0) + entry.part.spectrum.amplitude
    one = next(e.part for e in catalog._entries if e.source == "HESS J1804-216")
    assert total["HESS J1804-216"] == pytest.approx(2.131276e-11, rel=1e-6)
    assert one.spectrum.amplitude < total["HESS J1804-216"]


def test_sources_around_the_galactic_centre(catalog, roi, frame, region):
    names = [part.name for part in catalog.parts(roi)]
    assert names == [
        "HESS J1741-302",
        "HESS J1745-290",
        "HESS J1745-303",
        "HESS J1746-285",
        "HESS J1746-308",
        "HESS J1747-248",
        "HESS J1747-281",
    ]
    energy = np.geomspace(0.1, 100, 401)
    flux = sum(part.spectrum(energy) for part in catalog.parts(roi))
    assert np.trapezoid(flux * energy, np.log(energy)) == pytest.approx(1.531e-10, rel=1e-3)
    # The same sky in another frame, where the region is turned.
    assert "HESS J1745-290" in [part.name for part in catalog.parts(region(frame=frame))]


def test_positions_in_both_frames(catalog, region, frame):
    from astropy.coordinates import SkyCoord

    part = next(p for p in catalog.parts(region(frame=frame)) if p.name == "HESS J1745-290")
    position = SkyCoord(part.shape.lon, part.shape.lat, unit="deg", frame=frame)
    published = SkyCoord(359.94488525390625, -0.043911051005125046, unit="deg", frame="galactic")
    assert position.separation(published).deg < 1e-9


def test_far_from_the_survey_there_is_nothing(catalog, region):
    assert catalog.parts(region(lon=120, lat=60)) == ()


def test_selection_by_source_object_and_component():
    catalog = HGPSCatalog("some", sources=["Vela X", "HESS J1804-216/HGPSC 054", "HESS J1745-290"])
    assert catalog.source_names == ("HESS J0835-455", "HESS J1745-290", "HESS J1804-216")
    assert len(catalog) == 5
    assert len(HGPSCatalog(exclude=["Vela X"])) == 93


def test_bad_selections():
    with pytest.raises(SkyModelError, match="no source 'HESS J0000'"):
        HGPSCatalog(sources=["HESS J0000"])
    with pytest.raises(SkyModelError, match="no source 'nothing'"):
        HGPSCatalog(exclude=["nothing"])
    with pytest.raises(SkyModelError, match="leaves no source"):
        HGPSCatalog(sources=["Vela X"], exclude=["HESS J0835-455"])
    with pytest.raises(SkyModelError, match="leaves no source"):
        HGPSCatalog(sources=[])
    with pytest.raises(TypeError, match="list of names"):
        HGPSCatalog(sources="Vela X")


def test_bad_paths(tmp_path):
    with pytest.raises(DataFileError, match=r"no file .*missing.fits"):
        HGPSCatalog(path=tmp_path / "missing.fits")
    with pytest.raises(DataFileError, match=r"is not the H.E.S.S. Galactic plane survey"):
        HGPSCatalog(path=datasets.path("fermi-diffuse-template"))


def test_parts_survive_pickling(catalog, region):
    parts = catalog.parts(region(lon=353.5, frame="icrs"))
    copies = pickle.loads(pickle.dumps(parts))
    assert [p.name for p in copies] == [p.name for p in parts]


def test_bundled_table_against_the_official_file(catalog):
    """Every source, where the official catalogue is at hand."""
    mirror = os.environ.get(datasets.MIRROR_VARIABLE)
    found = list(Path(mirror).rglob("hgps_catalog_v1.fits.gz")) if mirror else []
    if not found:
        pytest.skip(f"needs hgps_catalog_v1.fits.gz in a folder named by {datasets.MIRROR_VARIABLE}")
    official = HGPSCatalog(path=found[0])
    assert official.source_names == catalog.source_names
    offsets = np.array([0.0, 0.3, 0.7])
    for ours, theirs in zip(catalog._entries, official._entries, strict=True):
        assert ours.identified == theirs.identified
        a, b = ours.part, theirs.part
        assert a.name == b.name
        assert type(a.shape) is type(b.shape)
        np.testing.assert_allclose([a.shape.lon, a.shape.lat], [b.shape.lon, b.shape.lat], rtol=1e-9)
        np.testing.assert_allclose(a.spectrum(ENERGY), b.spectrum(ENERGY), rtol=2e-7)
        if isinstance(a.shape, SkyGaussian):
            assert a.shape.sigma == pytest.approx(b.shape.sigma, rel=1e-9)
        if isinstance(a.shape, TemplateShape):
            lon, lat = np.full(3, a.shape.lon), a.shape.lat + offsets * a.shape.radius
            np.testing.assert_allclose(a.shape.brightness(lon, lat), b.shape.brightness(lon, lat), rtol=2e-6)
            assert a.shape.radius == pytest.approx(b.shape.radius, rel=1e-6)
            assert a.shape.feature == pytest.approx(b.shape.feature, rel=1e-6)
