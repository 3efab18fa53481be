"""Components of free position and extension, against the same folded anew where they are moved to."""

from dataclasses import replace

import astropy.units as u
import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from gammapy.modeling.models import (
    DiskSpatialModel,
    GaussianSpatialModel,
    PointSpatialModel,
    PowerLawSpectralModel,
    ShellSpatialModel,
)
from setups import pointing, region

import pymc_gamma as pmg
from pymc_gamma.errors import ModelError, SkyModelError
from pymc_gamma.folding.free import hat_coefficients
from pymc_gamma.geometry import separation_deg, unit_vectors
from pymc_gamma.ops.live_counts import live_counts
from pymc_gamma.ops.live_density import live_density

POSITION = {"lon_0": 0.2 * u.deg, "lat_0": -0.1 * u.deg, "frame": "galactic"}
SHAPES = {
    "point": (PointSpatialModel(**POSITION), pmg.PointShape(0.206, -0.096)),
    "round": (GaussianSpatialModel(sigma=0.1 * u.deg, **POSITION), pmg.GaussianShape(0.206, -0.096, 0.11)),
    "elongated": (
        GaussianSpatialModel(sigma=0.15 * u.deg, e=0.7, phi=30 * u.deg, **POSITION),
        pmg.GaussianShape(0.206, -0.1, 0.16, 0.6, 40.0),
    ),
    "disc": (DiskSpatialModel(r_0=0.3 * u.deg, **POSITION), pmg.DiskShape(0.206, -0.1, 0.32)),
    "shell": (
        ShellSpatialModel(radius=0.25 * u.deg, width=0.1 * u.deg, **POSITION),
        pmg.ShellShape(0.206, -0.1, 0.26, 0.09),
    ),
}
IN_CLOSED_FORM = ["point", "round", "elongated"]


def sky(spatial):
    amplitude = u.Quantity(3e-12, "TeV-1 cm-2 s-1")
    spectral = PowerLawSpectralModel(index=2.3, amplitude=amplitude, reference=1 * u.TeV)
    return [pmg.CosmicRayBackground(), pmg.SkySource("msh", spatial, spectral)]


def fold(spatial, free_spectrum=(), **options):
    observations = [pointing(0.5, 0.3, hours=20), pointing(359.5, -0.4, hours=8)]
    options = {"free_spectrum": free_spectrum, "free_shape": "msh", "energy_true": 40} | options
    return pmg.fold(sky(spatial), observations, region(width=2.0, energy=(0.5, 20.0)), **options)


@pytest.fixture(scope="module", params=["fixed spectrum", "free spectrum"])
def free_spectrum(request):
    return ["msh"] if request.param == "free spectrum" else []


@pytest.fixture(scope="module", params=SHAPES)
def case(request, free_spectrum):
    spatial, shape = SHAPES[request.param]
    response = fold(spatial, free_spectrum)
    return request.param, response, response.live_source("msh"), shape


def rows_of(response, n=600):
    return response.event_rows(response.simulate([0.2, 1], n, rng=1))


def densities(response, rows):
    """Density of the free component for its nominal spectrum over its acceptance, and counts by observation."""
    counts = response.acceptance_by_observation.sel(component="msh").values
    if not response.free_spectrum:
        return response.component_pdf(rows)[:, 1], counts
    bands, (component,) = response.spectral_bands(rows, smooth=["msh"]), response.free_components
    coefficients = hat_coefficients(component.smooth.nominal, component.smooth.energy)
    dense = np.zeros((len(rows), len(coefficients)))
    for i, first in enumerate(bands.column[:, 0]):
        values = bands.values[bands.pointer[i] : bands.pointer[i + 1]]
        dense[i, first : first + len(values)] = values
    return dense @ coefficients * component.smooth.acceptance.sum() / counts.sum(), counts


def spectrum_of(response):
    """Coefficients of the nominal spectrum, and what densities have to be multiplied with."""
    if not response.free_spectrum:
        return np.ones(1), 1.0
    smooth = response.free_components[0].smooth
    total = smooth.acceptance.sum() / response.acceptance.sel(component="msh").item()
    return hat_coefficients(smooth.nominal, smooth.energy), total


def found(response, live, rows, shape):
    """The same from a live source."""
    rho, total = spectrum_of(response)
    counts = live.counts.per_coefficient(shape) @ rho
    return total * live.tables(rows).density(shape, rho), counts * total * response.acceptance.sel(
        component="msh"
    ).item()


def check(name, values, expected, tolerance):
    (r, c), (density, counts) = values, expected
    used = density > 1e-4 * density.max()
    ratio = r[used] / density[used] - 1
    if name in IN_CLOSED_FORM:
        assert np.sqrt(np.mean(ratio**2)) < tolerance
    else:  # templates are drawn on a grid
        assert np.median(np.abs(ratio)) < 5e-3
        assert np.abs(r - density).max() < 0.05 * density.max()
    np.testing.assert_allclose(c, counts, rtol=tolerance)


def test_at_the_reference(case):
    name, response, live, _ = case
    rows = rows_of(response)
    check(name, found(response, live, rows, live.reference), densities(response, rows), 1e-4)


def test_elsewhere(case):
    name, response, live, shape = case
    rows, moved = rows_of(response), response.with_shapes({"msh": shape})
    assert moved.components[1].shape.parameters == shape.parameters
    expected, counts = densities(moved, rows)
    scale = moved.acceptance.sel(component="msh").item() / response.acceptance.sel(component="msh").item()
    r, c = found(response, live, rows, shape)
    check(name, (r / scale, c), (expected, counts), 3e-4)


def test_a_response_with_other_shapes_is_that_folded_so(case):
    name, response, _, shape = case
    moved = response.with_shapes({"msh": shape})
    anew = fold(shape.spatial_model("galactic"), response.free_spectrum)
    rows = rows_of(response, 200)
    for k in range(2):
        found, expected = moved.component_pdf(rows)[:, k], anew.component_pdf(rows)[:, k]
        # pixels of templates follow the size of what is folded
        rtol, atol = (1e-6, 1e-9) if name in IN_CLOSED_FORM else (0.01, 1e-3)
        np.testing.assert_allclose(found, expected, rtol=rtol, atol=atol * expected.max())
    tolerance = 1e-9 if name in IN_CLOSED_FORM else 1e-4
    np.testing.assert_allclose(moved.acceptance, anew.acceptance, rtol=tolerance)
    assert moved.free_shape == ("msh",)
    assert moved.free_spectrum == response.free_spectrum
    np.testing.assert_allclose(
        response.npred([1, 5, 20] * u.TeV, shapes={"msh": shape}), anew.npred([1, 5, 20] * u.TeV), rtol=tolerance
    )
    if name in IN_CLOSED_FORM:
        again = moved.with_shapes({"msh": response.components[1].shape})
        np.testing.assert_allclose(again.component_pdf(rows), response.component_pdf(rows), rtol=1e-9, atol=1e-12)


def test_cells(case):
    name, response, live, shape = case
    events = response.simulate([0.2, 1], 3000, rng=3)
    cells = response.event_rows(events.binned([0.5, 1, 3, 20] * u.TeV, pixel=0.25 * u.deg))
    rows = np.delete(cells, len(response.reco), axis=1)
    # relative to a tenth of the brightest component, as the quadrature of cells is; templates are drawn on a grid
    tolerance = {"disc": 0.02, "shell": 0.06}.get(name, 0.01)
    tables, (rho, total) = live.tables(rows), spectrum_of(response)
    for one in (live.reference, shape):
        moved = response.with_shapes({"msh": one})
        scale = moved.acceptance.sel(component="msh").item() / response.acceptance.sel(component="msh").item()
        expected = densities(moved, rows)[0] * scale
        allowed = tolerance * (expected + 0.1 * moved.component_pdf(rows).max(axis=1))
        assert np.all(np.abs(total * tables.density(one, rho) - expected) < allowed)


def test_all_nodes_of_a_spectrum():
    spatial, shape = SHAPES["round"]
    response = fold(spatial, ["msh"])
    rows, (component,) = rows_of(response, 300), response.free_components
    live = response.live_source("msh", smooth=False)
    line = np.exp(-0.5 * (np.log(component.energy / 3.0) / 0.05) ** 2)
    tables = live.tables(rows)
    for one, tolerance in ((live.reference, 1e-4), (shape, 1e-3)):
        moved = response.with_shapes({"msh": one})
        bands, (elsewhere,) = moved.spectral_bands(rows), moved.free_components
        for spectrum in (component.nominal, component.nominal * (1 + 20 * line)):
            coefficients = component.coefficients(spectrum)
            expected = np.zeros(len(rows))
            for i, first in enumerate(bands.column[:, 0]):
                values = bands.values[bands.pointer[i] : bands.pointer[i + 1]]
                some = coefficients[first : first + len(values)]
                expected[i] = values[: len(some)] @ some * elsewhere.acceptance.sum() / component.acceptance.sum()
            r = tables.density(one, coefficients)
            used = expected > 1e-4 * expected.max()
            assert np.sqrt(np.mean((r[used] / expected[used] - 1) ** 2)) < tolerance
            counts = live.counts.per_coefficient(one) @ coefficients * component.acceptance.sum()
            assert counts.sum() == pytest.approx(elsewhere.acceptance[0] @ coefficients, rel=2e-4)


def test_ops_take_what_a_live_source_gives():
    spatial, shape = SHAPES["round"]
    response = fold(spatial, ["msh"])
    live, rows, (rho, _) = response.live_source("msh"), rows_of(response, 100), spectrum_of(response)
    tables, x = live.tables(rows), pt.vector("x", shape=(3,))
    theta = pt.stack([pt.as_tensor_variable(one) for one in pmg.GaussianShape(x[0], x[1], x[2]).theta()])
    density, counts = pytensor.function([x], [live_density(theta, rho, tables), live_counts(theta, live.counts)])(
        [shape.lon_0, shape.lat_0, shape.sigma]
    )
    np.testing.assert_allclose(density, tables.density(shape, rho), rtol=1e-12)
    np.testing.assert_allclose(counts, live.counts.per_coefficient(shape), rtol=1e-12)
    assert counts.shape == (2, len(rho))


def test_error_of_the_expansion():
    response = fold(SHAPES["round"][0], ["msh"])
    live, rows = response.live_source("msh"), rows_of(response, 300)
    near = replace(live.reference, lon_0=0.21, sigma=0.11)
    errors = [live.expansion_error(rows, one) for one in (live.reference, near, replace(near, lon_0=0.45))]
    assert errors[0] < 1e-9
    assert errors[0] < errors[1] < 1e-3
    assert errors[2] > 3 * errors[1]
    assert live.expansion_error(rows[:0], near) == 0
    with pytest.raises(SkyModelError, match="further than"):
        live.expansion_error(rows, replace(near, lon_0=0.7))


def test_order_of_events_and_events_out_of_reach():
    response = fold(SHAPES["point"][0])
    live, rows = response.live_source("msh"), rows_of(response, 300)
    order = np.random.default_rng(1).permutation(len(rows))
    both = [live.tables(one).density(live.reference, np.ones(1)) for one in (rows[order], rows)]
    np.testing.assert_allclose(both[0], both[1][order], rtol=1e-5)
    far = rows[:3].copy()
    far[:, 1:3] = -0.8, 0.8
    tables = live.tables(far)
    assert len(tables.near) == 0
    theta = np.array(live.reference.theta(), float)
    assert live_density(theta, np.ones(1), tables).eval().tolist() == [0.0, 0.0, 0.0]


def test_draws_follow_the_shape():
    response = fold(SHAPES["round"][0], ["msh"])
    shapes = {"msh": {"lon_0": 0.35, "lat_0": 0.05 * u.deg, "sigma": 0.2}}
    moved = response.with_shapes(shapes)
    np.testing.assert_allclose(
        [one[1] for one in response.expected_parts(shapes=shapes)], [one[1] for one in moved.expected_parts()]
    )
    flux = 2 * response.free_components[0].nominal
    np.testing.assert_allclose(
        [one[1] for one in response.expected_parts([flux], shapes)],
        [2 * one[1] for one in moved.expected_parts()],
        rtol=1e-3,
    )
    n = 20_000
    lon, lat = response.simulate_rows([0, 1], n, np.random.default_rng(1), shapes=shapes)[:, 1:3].T
    counts = np.array([[0, 0], [n, 0]])
    drawn = [
        response.draw_rows(counts, np.random.default_rng(2), [flux], shapes=shapes),
        moved.draw_rows(counts, np.random.default_rng(3)),
    ]
    lon = (lon + 180) % 360 - 180
    for values, middle in ((lon, 0.35), (lat, 0.05)):
        assert values.mean() == pytest.approx(middle, abs=0.01)  # the acceptance falls off to the edge
    for k in (1, 2):
        one, other = (((rows[:, k] + 180) % 360) - 180 for rows in drawn)
        assert abs(one.mean() - other.mean()) < 5 * np.sqrt(2 / n) * other.std()
        assert one.std() == pytest.approx(other.std(), rel=0.04)


def test_kept_in_stores_and_refolds(tmp_path):
    response = fold(SHAPES["disc"][0], ["msh"], path=tmp_path / "store")
    again = pmg.Response.load(tmp_path / "store")
    assert again.free_shape == response.free_shape == ("msh",)
    assert again.components[1].shape.parameters == {"lon_0": pytest.approx(0.2), "lat_0": -0.1, "r_0": 0.3}
    assert again.refold(again.observations[:1]).free_shape == ("msh",)
    assert again.with_spectra(norms={"msh": 2.0}).free_shape == ("msh",)
    shapes = {"msh": {"r_0": 0.4}}
    expected = response.with_shapes(shapes)
    np.testing.assert_allclose(again.with_shapes(shapes).acceptance, expected.acceptance, rtol=1e-12)
    expected.save(tmp_path / "moved")
    moved = pmg.Response.load(tmp_path / "moved")
    assert moved.components[1].shape.r_0 == 0.4
    np.testing.assert_allclose(moved.acceptance, expected.acceptance, rtol=1e-12)
    with pytest.raises(pmg.errors.ResponseMismatchError, match="free shapes"):
        fold(SHAPES["disc"][0], ["msh"], free_shape=(), path=tmp_path / "store")
    assert "shape free" in repr(response)


@pytest.mark.parametrize("scale", [0.95, 1.08])
def test_scale_of_the_psf(scale):
    response = fold(SHAPES["round"][0])
    live, rows = response.live_source("msh", widest_psf=1.15), rows_of(response)
    wider = response.with_systematics(psf_scale=scale)
    expected, counts = densities(wider, rows)
    reference = response.acceptance.sel(component="msh").item()
    r = live.tables(rows).density(live.reference, np.ones(1), scale) * reference / counts.sum()
    used = expected > 1e-3 * expected.max()
    assert np.sqrt(np.mean((r[used] / expected[used] - 1) ** 2)) < 1e-3
    np.testing.assert_allclose(live.counts.per_coefficient(live.reference, scale)[:, 0] * reference, counts, rtol=3e-4)


def test_what_cannot_be_free():
    with pytest.raises(SkyModelError, match=r"free_shape names \['crab'\], but the components are"):
        fold(SHAPES["point"][0], free_shape="crab")
    with pytest.raises(SkyModelError, match=r"'ccr' cannot have a free shape; .*one source.*DiskSpatialModel"):
        fold(SHAPES["point"][0], free_shape=["ccr"])
    with pytest.raises(SkyModelError, match="'msh' cannot have a free shape"):
        fold(DiskSpatialModel(r_0=0.3 * u.deg, e=0.5, **POSITION))
    with pytest.raises(SkyModelError, match="'msh' cannot have a free shape"):
        fold(DiskSpatialModel(r_0=0.3 * u.deg, edge_width=0.3, **POSITION))
    with pytest.raises(SkyModelError, match="'hgps' cannot have a free shape"):
        pmg.fold([pmg.HGPSCatalog()], pointing(), region(width=2.0, energy=(0.5, 20.0)), free_shape="hgps")
    with pytest.raises(TypeError, match="free_shape"):
        fold(SHAPES["point"][0], free_shape=3)


OUTSIDE = r"'msh': the position .* is outside the region .*\. Leave it out of free_shape"


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ((2.5, 0.0), OUTSIDE),
        ((0.0, -1.01), OUTSIDE),
        ((180.0, 0.0), "'msh' has no source in or near .*leave it out"),
        ((0.0, 89.0), "'msh' has no source in or near .*leave it out"),
    ],
)
def test_a_free_shape_outside_the_region_is_refused(place, message):
    """As one that is moved there; of a fixed shape it may shine into the region."""
    outside = {"lon_0": place[0] * u.deg, "lat_0": place[1] * u.deg, "frame": "galactic"}
    far = GaussianSpatialModel(sigma=0.6 * u.deg, **outside)
    with pytest.raises(SkyModelError, match=message):
        pmg.fold(sky(far), pointing(hours=20), region(width=2.0, energy=(0.5, 20.0)), energy_true=40, free_shape="msh")
    if message == OUTSIDE:
        assert fold(far, free_shape=()).acceptance.sel(component="msh") > 0


@pytest.fixture(scope="module")
def response():
    return fold(SHAPES["round"][0])


@pytest.mark.parametrize(
    ("shapes", "error", "message"),
    [
        ({"ccr": {"lon_0": 0.2}}, ModelError, r"shapes are given for \['ccr'\], but the components of free shape"),
        ([1], ModelError, "shapes must be a mapping"),
        ({"msh": {"r_0": 0.2}}, ModelError, r"the shape of 'msh' are given for \['r_0'\], but the parameters are"),
        ({"msh": {"sigma": -0.1}}, SkyModelError, "sigma of at least 0 deg, got -0.1"),
        ({"msh": {"e": 1.2}}, SkyModelError, "e between 0 and 1"),
        ({"msh": {"lon_0": np.nan}}, ValueError, "lon_0 of 'msh' must be finite"),
        ({"msh": {"lon_0": 5.0}}, SkyModelError, r"position \(5, -0.1\) deg is outside the region"),
        ({"msh": {"lat_0": 95.0}}, SkyModelError, "lat_0 must lie within -90 and 90"),
        ({"msh": {"sigma": [0.1, 0.2]}}, ModelError, "sigma of 'msh' must be one number"),
        ({"msh": {"sigma": 1 * u.TeV}}, u.UnitConversionError, "sigma of 'msh'"),
        ({"msh": pmg.PointShape(0.2, 0.1)}, SkyModelError, "must be a GaussianShape, got PointShape"),
        ({"msh": "large"}, ModelError, "mapping"),
    ],
)
def test_shapes_that_cannot_be(response, shapes, error, message):
    with pytest.raises(error, match=message):
        response.with_shapes(shapes)


def test_shapes_of_what_is_fixed():
    fixed = fold(SHAPES["round"][0], free_shape=())
    with pytest.raises(ModelError, match=r"the components of free shape are \(\)"):
        fixed.with_shapes({"msh": {"lon_0": 0.2}})
    with pytest.raises(ModelError, match=r"'msh' was folded with a fixed shape; .* Fold with free_shape=\['msh'\]"):
        fixed.live_source("msh")


@pytest.mark.parametrize(
    ("shape", "error", "message"),
    [
        (pmg.DiskShape(0.2, -0.1, 0.1), SkyModelError, "must be a GaussianShape, got DiskShape.*DiskSpatialModel"),
        (pmg.PointShape(0.2, -0.1), SkyModelError, "must be a GaussianShape, got PointShape"),
        (pmg.GaussianShape(0.2, -0.1, 0.5), SkyModelError, "sigma = 0.5 is outside 0 to 0.2.*nearer"),
        (pmg.GaussianShape(0.2, -0.1, 0.1, 0.99), SkyModelError, "e = 0.99 is outside 0 to 0.98"),
        (pmg.GaussianShape(0.7, -0.1, 0.1), SkyModelError, "0.5 deg from .* further than 0.3 deg"),
        (pmg.GaussianShape(3.0, -0.1, 0.1), SkyModelError, "outside the region"),
        ({"sigma": 0.1}, TypeError, "must be a GaussianShape, got dict"),
    ],
)
def test_shapes_a_model_may_not_have(response, shape, error, message):
    with pytest.raises(error, match=message):
        response.live_source("msh").check(shape)


def test_shapes_a_model_may_have(response):
    live = response.live_source("msh")
    sigma = pt.scalar("sigma")
    for shape in (live.reference, pmg.GaussianShape(0.3, 0.0, 0.15), pmg.GaussianShape(sigma, sigma, sigma)):
        assert live.check(shape) is shape
    fixed = response.live_source("msh", free=["lon_0", "lat_0"])
    with pytest.raises(SkyModelError, match=r"sigma = 0.15 is outside 0.1 to 0.1"):
        fixed.check(pmg.GaussianShape(0.2, -0.1, 0.15))
    with pytest.raises(SkyModelError, match=r"no parameters \['r_0'\]"):
        response.live_source("msh", free=["r_0"])
    assert live.reference.differs(live.reference) == ()
    assert pmg.GaussianShape(sigma, -0.1, 0.3).differs(live.reference) == ("lon_0", "sigma")


def test_where_tables_are_valid(response):
    live = response.live_source("msh")
    lon, lat, sigma = pt.scalars("lon", "lat", "sigma")
    valid = pytensor.function([lon, lat, sigma], live.valid(pmg.GaussianShape(lon, lat, sigma)))
    assert valid(0.2, -0.1, 0.1)
    assert valid(360.2, -0.1, 0.0)
    for at in ((0.2, -0.1, -1e-3), (0.2, -0.1, 0.21), (0.2, 0.21, 0.1), (0.2, 100.0, 0.1), (0.2, np.nan, 0.1)):
        assert not valid(*at)
    for angle in np.linspace(0, 2 * np.pi, 9):
        for distance, inside in ((0.299, True), (0.301, False)):
            at = 0.2 + distance * np.sin(angle) / np.cos(np.radians(0.1)), -0.1 + distance * np.cos(angle)
            assert separation_deg(unit_vectors(*at), unit_vectors(0.2, -0.1)) == pytest.approx(distance, rel=1e-4)
            assert valid(*at, 0.1) == inside
    number = live.valid(pmg.GaussianShape(0.2, -0.1, 0.1))
    assert number.eval()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: pmg.GaussianShape(0.2, 0.1, sigma=-0.1), SkyModelError, "sigma of at least 0 deg, got -0.1"),
        (lambda: pmg.DiskShape(0.2, 0.1, 0.0), SkyModelError, "r_0 of more than 0 deg, got 0"),
        (lambda: pmg.ShellShape(0.2, 0.1, 0.2, 0.0), SkyModelError, "width of more than 0 deg"),
        (lambda: pmg.ShellShape(0.2, 0.1, -0.2, 0.1), SkyModelError, "radius of more than 0 deg"),
        (lambda: pmg.PointShape(np.inf, 0.1), SkyModelError, "lon_0 must be finite"),
        (lambda: pmg.PointShape(0.1, -91.0), SkyModelError, "lat_0 must lie within"),
        (lambda: pmg.PointShape("0.1", 0.1), TypeError, "lon_0 must be numbers"),
        (lambda: pmg.PointShape([0.1, 0.2], 0.1), TypeError, "lon_0 must be one number or variable"),
        (lambda: pmg.PointShape(0.1 * u.TeV, 0.1), u.UnitConversionError, "lon_0"),
    ],
)
def test_numbers_without_meaning(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_quantities_are_degrees():
    assert pmg.PointShape(6 * u.arcmin, 0.2).parameters == {"lon_0": pytest.approx(0.1), "lat_0": 0.2}
    assert pmg.GaussianShape(0.1, 0.2, 0.1, phi=np.pi * u.rad).phi == pytest.approx(180)
    assert replace(pmg.GaussianShape(0.1, 0.2, 0.1), sigma=6 * u.arcmin).own[0] == pytest.approx(0.01)
