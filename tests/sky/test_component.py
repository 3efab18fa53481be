"""The contract of components: names, citations, parts near a region."""

import subprocess
import sys

import numpy as np
import pytest

from pymc_gamma.errors import SkyModelError
from pymc_gamma.geometry import separation_deg, unit_vectors
from pymc_gamma.sky import (
    CosmicRayBackground,
    GalacticDiffuse,
    HGPSCatalog,
    SkyGaussian,
    SkyPart,
    SkyPoint,
    TemplateShape,
    check_unique_names,
)
from pymc_gamma.sky.frames import distance_to_region, extent_deg, parts_near
from pymc_gamma.sky.spectra import PowerLawSpectrum

SPECTRUM = PowerLawSpectrum(1e-12, 2.0)


@pytest.mark.parametrize("name", ["", "  ", None, 3])
def test_names_must_not_be_empty(name):
    with pytest.raises(SkyModelError, match="non-empty name"):
        CosmicRayBackground(name)


def test_duplicate_names_are_refused():
    with pytest.raises(SkyModelError, match="named 'ccr'"):
        check_unique_names([CosmicRayBackground(), CosmicRayBackground()])
    components = [CosmicRayBackground(), CosmicRayBackground("other")]
    assert check_unique_names(iter(components)) == tuple(components)


def test_empty_and_foreign_components_are_refused():
    with pytest.raises(SkyModelError, match="at least one"):
        check_unique_names([])
    with pytest.raises(SkyModelError, match="not a sky component"):
        check_unique_names(["diffuse"])


def test_background_is_instrumental_and_has_no_parts(roi):
    background = CosmicRayBackground()
    assert background.instrumental
    assert not HGPSCatalog.instrumental
    assert background.parts(roi) == ()
    assert background.name == "ccr"


def test_components_cite_what_they_use():
    identifiers = {c.arxiv for c in (*GalacticDiffuse().citations, *HGPSCatalog().citations)}
    assert identifiers == {"1602.07246", "1504.00227", "1804.02432"}
    own = GalacticDiffuse(index=2.5)
    assert [c.arxiv for c in own.citations] == ["1602.07246"]


def test_distance_is_from_the_edge_of_the_region(roi, region):
    lon, lat = np.array([0.0, 3.2, 4.2, -3.5, 6.2]), np.array([0.0, 3.2, 0.0, 3.6, 7.2])
    np.testing.assert_allclose(distance_to_region(roi, lon, lat), [0, 0, 1, 0.5, 5], atol=2e-2)
    import astropy.units as u

    from pymc_gamma.geometry import RegionOfInterest

    circle = RegionOfInterest(center=roi.center, radius=2 * u.deg, energy=(1, 2) * u.TeV)
    np.testing.assert_allclose(distance_to_region(circle, [0.0, 0.0], [1.0, 5.0]), [0, 3], atol=1e-9)


def test_selection_is_by_extent_not_by_centre(roi):
    shapes = {
        "point inside the margin": SkyPoint(3.9, 0.0),
        "point outside": SkyPoint(4.1, 0.0),
        "wide enough": SkyGaussian(6.0, 0.0, 0.41),
        "too narrow": SkyGaussian(6.0, 0.0, 0.39),
        "template reaches in": TemplateShape(9.0, 0.0, 5.1, lambda lon, lat: lon * 0, True, 1.0),
        "template does not": TemplateShape(9.0, 0.0, 4.9, lambda lon, lat: lon * 0, True, 1.0),
        "everywhere": TemplateShape(90.0, 0.0, np.inf, lambda lon, lat: lon * 0, False, 1.0),
    }
    parts = [SkyPart(name, shape, SPECTRUM) for name, shape in shapes.items()]
    kept = [part.name for part in parts_near(parts, "galactic", roi, 0.8)]
    assert kept == ["point inside the margin", "wide enough", "template reaches in", "everywhere"]
    assert parts_near([], "galactic", roi, 0.8) == ()


def test_extent():
    assert extent_deg(SkyPoint(0, 0)) == 0
    assert extent_deg(SkyGaussian(0, 0, 0.2)) == pytest.approx(1.0)


def test_shapes_are_moved_into_the_frame_of_the_region(region):
    here, there = region(frame="galactic"), region(frame="icrs")

    def brightness(lon, lat):
        return np.exp(-separation_deg(unit_vectors(lon, lat), unit_vectors(0.5, 1.0)))

    parts = [
        SkyPart("point", SkyPoint(359.5, -1.0), SPECTRUM),
        SkyPart("template", TemplateShape(0.5, 1.0, 2.0, brightness, True, 0.1), SPECTRUM),
        SkyPart("sky", TemplateShape(77.0, 1.0, np.inf, brightness, False, 0.1), SPECTRUM),
    ]
    kept = parts_near(parts, "galactic", there, 0.8)
    direction = here.center.__class__(kept[0].shape.lon, kept[0].shape.lat, unit="deg", frame="icrs").galactic
    assert direction.l.wrap_at("180d").deg == pytest.approx(-0.5, abs=1e-9)
    assert direction.b.deg == pytest.approx(-1.0, abs=1e-9)
    # The brightness is the same physical direction by direction.
    lon, lat, _ = there.quadrature(0.5)
    galactic = here.center.__class__(lon, lat, unit="deg", frame="icrs").galactic
    expected = brightness(galactic.l.deg, galactic.b.deg)
    np.testing.assert_allclose(kept[1].shape.brightness(lon, lat), expected, rtol=1e-9)
    assert (kept[2].shape.lon, kept[2].shape.lat) == (there.lon, there.lat)
    # In the frame of the shapes nothing is wrapped.
    assert parts_near(parts, "galactic", here, 0.8)[1].shape.brightness is brightness
    assert parts_near(parts, "galactic", here, 0.8)[0].shape.lon == pytest.approx(-0.5)


@pytest.mark.parametrize("values", [(-1.0, 2.0), (np.nan, 2.0), (1.0, np.inf), (1.0, 2.0, 0.0)])
def test_power_law_checks_its_numbers(values):
    with pytest.raises(SkyModelError, match="power law"):
        PowerLawSpectrum(*values)


def test_bundled_sky_does_not_import_gammapy():
    """It takes seconds to import, and only models and files of the user need it."""
    code = """
import sys
import astropy.units as u
from astropy.coordinates import SkyCoord
from pymc_gamma.geometry import RegionOfInterest
from pymc_gamma.sky import CosmicRayBackground, GalacticDiffuse, HGPSCatalog
centre = SkyCoord(0, 0, unit="deg", frame="galactic")
roi = RegionOfInterest(centre, width=6.4 * u.deg, energy=(0.1, 100) * u.TeV)
assert sum(len(c.parts(roi)) for c in (GalacticDiffuse(), HGPSCatalog(), CosmicRayBackground())) == 8
print([name for name in ("gammapy", "matplotlib", "pymc", "pooch", "requests") if name in sys.modules])
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stdout.strip() == "[]", result.stdout + result.stderr
