"""Components of free spectrum: densities, acceptances, simulation, storage, bad input."""

import astropy.units as u
import numpy as np
import pytest
from galactic_centre import observe
from scipy import stats
from setups import P_VALUE, region, source

import pymc_gamma as pmg
from pymc_gamma.errors import EventError, ModelError, ResponseMismatchError, SkyModelError

N_EVENTS = 3000
POINT = {"lon": 0.3, "lat": -0.2}


def small_region():
    return region(width=2.0)


def point(index=2.2, cutoff=None, **place):
    from gammapy.modeling.models import ExpCutoffPowerLawSpectralModel, PointSpatialModel

    if cutoff is None:
        return source("crab", **(place or POINT), index=index)
    spatial = PointSpatialModel(lon_0=POINT["lon"] * u.deg, lat_0=POINT["lat"] * u.deg, frame="galactic")
    return pmg.SkySource("crab", spatial, ExpCutoffPowerLawSpectralModel(index=index, lambda_=1 / cutoff / u.TeV))


def pdf(response, rows, flux, smooth=("crab",)):
    """Density of the only free sky component for a spectrum, on the columns of smooth spectra or on all nodes."""
    component = response.free_components[0]
    smooth = () if smooth == () else (component.name,)
    one = component.smooth if smooth else component
    values = flux(one.energy) if callable(flux) else np.asarray(flux)[:: (component.size - 1) // (one.size - 1)]
    coefficients = one.coefficients(values)
    bands, acceptance = response.spectral_bands(rows, smooth), one.acceptance[0]
    norm = acceptance @ coefficients / acceptance.sum()
    spans = zip(bands.column[:, 0], bands.pointer[:-1], bands.pointer[1:], strict=True)
    return np.array([bands.values[a:b] @ coefficients[c : c + b - a] for c, a, b in spans]) / norm


@pytest.fixture(scope="module")
def response():
    return pmg.fold([point(), pmg.CosmicRayBackground()], observe(), small_region(), free_spectrum="crab")


@pytest.fixture(scope="module")
def rows(response):
    return response.simulate_rows([1, 0], N_EVENTS, np.random.default_rng(3))


def test_names_and_nodes(response):
    assert response.free_spectrum == ("crab",)
    assert response.energy_true.shape == (1217,)
    assert response.free_components[0].smooth.energy.shape == (153,)
    assert "spectrum free" in repr(response)
    np.testing.assert_allclose(response.free_components[0].nominal, 1e-12 * response.energy_true**-2.2, rtol=1e-12)


@pytest.mark.parametrize(("index", "cutoff"), [(2.2, None), (3.0, None), (1.8, 10.0)])
def test_density_is_that_of_a_component_folded_with_the_spectrum(response, rows, index, cutoff):
    fixed = pmg.fold(point(index, cutoff), observe(), small_region(), energy_true=600)
    energy = response.energy_true
    flux = energy**-index * (1 if cutoff is None else np.exp(-energy / cutoff))
    expected = fixed.component_pdf(rows)[:, 0]
    # the fixed component is folded on plain bins, whose own error is of this size
    np.testing.assert_allclose(pdf(response, rows, flux), expected, rtol=5e-3)
    assert abs(np.log(pdf(response, rows, flux) / expected).sum()) < 0.02


def test_log_likelihood_does_not_depend_on_the_number_of_bins(rows):
    """Against twice the bins: log L at the truth and its differences over several standard deviations."""
    spectra = [lambda e, g=g, c=c: e**-g * np.exp(-e * c) for g, c in ((2.2, 0), (2.15, 0.01), (2.25, 0), (2.1, 0.02))]
    totals = []
    for n in (75, 150, 300):
        response = pmg.fold(point(), observe(), small_region(), energy_true=n, free_spectrum="crab")
        totals.append([np.log(pdf(response, rows, flux)).sum() for flux in spectra])
    np.testing.assert_allclose(totals[0], totals[2], atol=1e-3, rtol=0)
    np.testing.assert_allclose(totals[1], totals[2], atol=3e-4, rtol=0)


def test_acceptance_is_that_of_the_component(response):
    free = response.free_components[0]
    counts = free.acceptance[0] @ free.coefficients(free.nominal)
    np.testing.assert_allclose(counts, response.acceptance.sel(component="crab"), rtol=1e-3)


def test_density_is_normalised(response, rng):
    """Importance sampling: the mean of q / p over draws from p is the integral of q."""
    rows = response.simulate_rows([1, 0], 20_000, rng)
    ratio = pdf(response, rows, response.energy_true**-2.4) / response.component_pdf(rows)[:, 0]
    error = ratio.std() / np.sqrt(len(ratio))
    assert abs(ratio.mean() - 1) < 3.3 * error + 1e-3


def test_simulated_events_follow_the_spectrum(response, rng):
    """Energies of events drawn with a spectrum against those of a component folded with it."""
    rows = response.simulate_rows([1, 0], N_EVENTS, rng, [response.energy_true**-3.0])
    fixed = pmg.fold(point(3.0), observe(), small_region())
    expected = fixed.simulate_rows([1], N_EVENTS, rng)
    assert stats.ks_2samp(rows[:, 0], expected[:, 0]).pvalue > P_VALUE
    assert stats.ks_2samp(rows[:, 1], expected[:, 1]).pvalue > P_VALUE
    plain = response.simulate_rows([1, 0], N_EVENTS, rng)
    assert stats.ks_2samp(rows[:, 0], plain[:, 0]).pvalue < P_VALUE


def test_simulate_takes_functions_and_values(response):
    one = response.simulate([1, 1], 200, rng=4, spectra={"crab": pmg.PowerLaw(index=3.0)})
    other = response.simulate([1, 1], 200, rng=4, spectra={"crab": 1e-12 * response.energy_true**-3.0})
    np.testing.assert_allclose(one.energy.value, other.energy.value)
    assert len(response.simulate([1, 1], 0, rng=4, spectra={"crab": pmg.PowerLaw()})) == 0


def test_parts_keep_their_shares(rng):
    """A catalogue is one component with one spectrum, which its sources share as theirs have it."""
    response = pmg.fold([pmg.HGPSCatalog()], observe(), region(), free_spectrum=["hgps"])
    rows = response.simulate_rows([1], 1000, rng)
    ratio = pdf(response, rows, response.free_components[0].nominal) / response.component_pdf(rows)[:, 0]
    np.testing.assert_allclose(ratio, 1, rtol=2e-2)
    assert abs(np.log(ratio).mean()) < 1e-3


def test_templates(rng):
    response = pmg.fold([pmg.GalacticDiffuse()], observe(), region(), free_spectrum=["diffuse"])
    rows = response.simulate_rows([1], 1000, rng)
    ratio = pdf(response, rows, response.free_components[0].nominal) / response.component_pdf(rows)[:, 0]
    np.testing.assert_allclose(ratio, 1, rtol=1e-2)


def test_several_observations(rng):
    """Rows in any order get the columns of their own observation."""
    pointings = [observe(-0.5, 0.3, 10.0), observe(0.6, -0.4, 30.0)]
    response = pmg.fold([point()], pointings, small_region(), free_spectrum="crab")
    rows = response.simulate_rows([1], 400, rng, [response.energy_true**-2.2])
    found = pdf(response, rows, response.energy_true**-2.2)
    np.testing.assert_allclose(found, response.component_pdf(rows)[:, 0], rtol=1e-2)
    shuffled = rng.permutation(len(rows))
    np.testing.assert_allclose(pdf(response, rows[shuffled], response.energy_true**-2.2), found[shuffled], rtol=1e-6)
    assert 0.5 < rows[:, 3].mean() < 0.9


def test_a_line_gives_no_negative_density(response, rows):
    """A spectrum that is one node high has no second difference worth the name."""
    flux = np.zeros(len(response.energy_true))
    flux[480] = 1e-12
    density = pdf(response, rows, flux, ())
    assert np.all(density >= 0)
    assert density.max() > 0


def test_no_events(response):
    bands = response.spectral_bands(np.empty((0, 3)))
    assert bands.values.shape == (0,)
    assert bands.pointer.tolist() == [0]
    assert bands.column.shape == (0, 1)


def test_storage(response, tmp_path):
    response.save(tmp_path / "free.zarr")
    again = pmg.Response.load(tmp_path / "free.zarr")
    assert again.free_spectrum == ("crab",)
    rows = response.simulate_rows([1, 1], 20, np.random.default_rng(1))
    np.testing.assert_array_equal(again.spectral_bands(rows).values, response.spectral_bands(rows).values)
    with pytest.raises(ResponseMismatchError, match="free spectra"):
        pmg.fold([point(), pmg.CosmicRayBackground()], observe(), small_region(), path=tmp_path / "free.zarr")


def test_bad_input(response):
    plain = pmg.fold([point()], observe(), small_region())
    with pytest.raises(ModelError, match="no component has a free spectrum"):
        _ = plain.free_components
    with pytest.raises(ModelError, match="components of free spectrum"):
        plain.simulate([1], 10, spectra={"crab": pmg.PowerLaw()})
    with pytest.raises(SkyModelError, match=r"names \['vela'\]"):
        pmg.fold([point()], observe(), small_region(), free_spectrum=["vela"])
    rng, nodes = np.random.default_rng(1), response.energy_true
    for flux in (-(nodes**-2.0), np.nan * nodes):
        with pytest.raises(ModelError, match="'crab' is negative or not finite"):
            response.simulate_rows([1, 1], 10, rng, [flux])
    with pytest.raises(ModelError, match=r"spectra of \['crab'\] are zero everywhere"):
        response.simulate_rows([1, 1], 10, rng, [0 * nodes])
    assert len(response.simulate_rows([0, 1], 10, rng, [0 * nodes])) == 10
    with pytest.raises(ModelError, match="must have 1217 values"):
        response.simulate_rows([1, 1], 10, rng, [[1.0, 2.0]])
    with pytest.raises(EventError, match="outside the region"):
        response.spectral_bands([[1.0, 30.0, 0.0]])


def test_number_of_events_follows_the_spectra(response):
    """Without weights the amplitudes count."""
    brighter = {"crab": 3e-12 * response.energy_true**-2.2}
    counts = len(response.simulate(spectra=brighter, rng=1)) - float(response.acceptance.sel(component="ccr"))
    expected = 3 * float(response.acceptance.sel(component="crab"))
    assert abs(counts - expected) < 4 * np.sqrt(float(response.acceptance.sum()) + 2 * expected)
