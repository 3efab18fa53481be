"""Spectra at posterior draws, and their picture: numbers, units and errors."""

import astropy.units as u
import matplotlib.pyplot as plt
import numpy as np
import pymc as pm
import pytensor.tensor as pt
import pytest
import xarray as xr
from astropy.table import QTable, Table

import pymc_gamma as pmg
from pymc_gamma.errors import ModelError
from pymc_gamma.inference.posterior import posterior_dataset, resample_dataset
from pymc_gamma.plotting import plot_spectrum
from pymc_gamma.plotting.flux_points import read_flux_points

FLUX = u.Unit("TeV-1 cm-2 s-1")
ENERGY = np.geomspace(0.1, 100, 25)


class Variables:
    """Variables of a model: two random ones, one computed from a third, a vector and an integer."""

    def __init__(self):
        with pm.Model():
            self.index = pm.Normal("index", 2.0, 1.0)
            self.log_amplitude = pm.Normal("log_amplitude", -12.0, 1.0)
            self.amplitude = pm.Deterministic("amplitude", 10**self.log_amplitude)
            self.shift = pm.Normal("shift", 0.0, 1.0, shape=3)
            self.steps = pm.Poisson("steps", 2.0)
            self.mixed = pm.Mixture("mixed", [0.5, 0.5], [pm.Normal.dist(0, 1), pm.Normal.dist(1, 1)])


@pytest.fixture(scope="module")
def variables():
    return Variables()


def power_law(variables):
    return pmg.PowerLaw(index=variables.index, amplitude=variables.amplitude)


def posterior(rng, draws=200, **more):
    log_amplitude = rng.normal(-12, 0.05, (2, draws))
    data = {
        "index": (("chain", "draw"), rng.normal(2.4, 0.1, (2, draws))),
        "log_amplitude": (("chain", "draw"), log_amplitude),
        "amplitude": (("chain", "draw"), 10**log_amplitude),
        **more,
    }
    return xr.Dataset(data, coords={"draw": np.arange(draws) + 1000})


def test_draws_agree_with_the_formula(variables, rng):
    data = posterior(rng)
    flux = pmg.spectrum_draws(xr.DataTree.from_dict({"posterior": data}), power_law(variables), ENERGY * u.TeV)
    assert flux.dims == ("chain", "draw", "energy")
    assert flux.attrs["units"] == "TeV-1 cm-2 s-1"
    assert flux["energy"].attrs["units"] == "TeV"
    np.testing.assert_array_equal(flux["draw"], data["draw"])
    expected = data["amplitude"].values[..., None] * ENERGY ** -data["index"].values[..., None]
    np.testing.assert_allclose(flux.values, expected, rtol=1e-12)


def test_energies_are_converted(variables, rng):
    data = posterior(rng, 3)
    one = pmg.spectrum_draws(data, power_law(variables), 500 * u.GeV)
    np.testing.assert_allclose(one["energy"], [0.5])
    two = pmg.spectrum_draws(data, power_law(variables), [0.5] * u.TeV)
    np.testing.assert_allclose(one.values, two.values)


def test_deterministics_are_recomputed_when_the_posterior_lacks_them(variables, rng):
    data = posterior(rng, 20)
    with_it = pmg.spectrum_draws(data, power_law(variables), ENERGY * u.TeV)
    without = pmg.spectrum_draws(data.drop_vars("amplitude"), power_law(variables), ENERGY * u.TeV)
    np.testing.assert_allclose(without.values, with_it.values, rtol=1e-12)


def test_a_deterministic_in_the_posterior_stands_for_its_parents(variables, rng):
    data = posterior(rng, 20)
    flux = pmg.spectrum_draws(data.drop_vars("log_amplitude"), power_law(variables), [1.0] * u.TeV)
    np.testing.assert_allclose(flux.values[..., 0], data["amplitude"].values)


def test_vectors_integers_and_plain_functions(variables, rng):
    shift = rng.normal(size=(2, 10, 3))
    data = posterior(
        rng,
        10,
        shift=(("chain", "draw", "axis"), shift),
        steps=(("chain", "draw"), rng.integers(1, 4, (2, 10)).astype(float)),
    )

    def spectrum(energy):
        return pt.exp(variables.shift[1]) * 1e-12 * energy ** -pt.cast(variables.steps, "float64")

    flux = pmg.spectrum_draws(data, spectrum, ENERGY * u.TeV)
    expected = 1e-12 * np.exp(shift[..., 1])[..., None] * ENERGY ** -data["steps"].values[..., None]
    np.testing.assert_allclose(flux.values, expected, rtol=1e-12)


def test_a_spectrum_without_variables_is_the_same_for_all_draws(rng):
    flux = pmg.spectrum_draws(posterior(rng, 4), pmg.PowerLaw(index=2.0), [1.0, 10.0] * u.TeV)
    assert flux.shape == (2, 4, 2)
    np.testing.assert_allclose(flux.values, np.broadcast_to([1e-12, 1e-14], (2, 4, 2)))


def test_thinning_keeps_every_chain(variables, rng):
    data = posterior(rng, 100)
    flux = pmg.spectrum_draws(data, power_law(variables), [1.0] * u.TeV, max_draws=20)
    assert flux.sizes["chain"] == 2
    assert flux.sizes["draw"] == 10
    full = pmg.spectrum_draws(data, power_law(variables), [1.0] * u.TeV)
    np.testing.assert_array_equal(flux.values, full.sel(draw=flux["draw"]).values)


def test_stacked_draws(variables, rng):
    data = posterior(rng, 10)
    stacked = data.reset_coords(drop=True).drop_vars("draw").stack(sample=("chain", "draw")).reset_index("sample")
    flux = pmg.spectrum_draws(stacked, power_law(variables), [1.0] * u.TeV)
    assert flux.dims == ("sample", "energy")
    np.testing.assert_allclose(flux.values[:, 0], data["amplitude"].values.ravel())


@pytest.mark.parametrize(
    ("spectrum", "error", "message"),
    [
        (lambda v: pmg.PowerLaw(index=v.steps, amplitude=v.amplitude), ModelError, r"'steps'.*it has 'index'"),
        (lambda v: pmg.PowerLaw(index=v.mixed), ModelError, r"'mixed', which the posterior does not hold"),
        (lambda v: pmg.PowerLaw(index=pt.dscalar()), ModelError, "an unnamed variable"),
        (lambda v: lambda energy: v.amplitude, ModelError, r"one number for each of 25 energies, its shape is \(\)"),
        (lambda v: v.index, TypeError, "must be a function"),
    ],
)
def test_spectra_that_cannot_be_evaluated_are_named(variables, rng, spectrum, error, message):
    with pytest.raises(error, match=message):
        pmg.spectrum_draws(posterior(rng, 3), spectrum(variables), ENERGY * u.TeV)


def test_bad_energies_and_posteriors(variables, rng):
    data = posterior(rng, 3)
    with pytest.raises(TypeError, match="energy must be an astropy Quantity"):
        pmg.spectrum_draws(data, power_law(variables), ENERGY)
    with pytest.raises(u.UnitConversionError, match="energy must be convertible to TeV"):
        pmg.spectrum_draws(data, power_law(variables), ENERGY * u.m)
    with pytest.raises(ValueError, match="positive energies"):
        pmg.spectrum_draws(data, power_law(variables), [0.0, 1.0] * u.TeV)
    with pytest.raises(ModelError, match="no group 'posterior'"):
        pmg.spectrum_draws(xr.DataTree(), power_law(variables), ENERGY * u.TeV)
    with pytest.raises(ModelError, match="none of them chain or draw"):
        pmg.spectrum_draws(data.isel(chain=0, draw=0), power_law(variables), ENERGY * u.TeV)
    with pytest.raises(TypeError, match="DataTree or Dataset"):
        posterior_dataset({})


def test_resampled_posteriors_follow_the_weights(rng):
    data = xr.Dataset({"x": (("chain", "draw"), [[0.0, 1.0], [2.0, 3.0]])})
    equal = resample_dataset(data, [[0.0, 1.0], [0.0, 3.0]], 4000, rng)
    assert dict(equal.sizes) == {"chain": 1, "draw": 4000}
    assert set(np.unique(equal["x"])) == {1.0, 3.0}
    assert abs(float((equal["x"] == 3).mean()) - 0.75) < 3.3 * np.sqrt(0.75 * 0.25 / 4000)
    with pytest.raises(ValueError, match="weights must be 4"):
        resample_dataset(data, [1.0], 10, rng)


def bands(axes):
    """Lower and upper edges of the bands of a picture, in the order they were drawn, on its nodes."""
    edges = []
    for band in axes.collections:
        (path,) = band.get_paths()
        n = (len(path.vertices) - 3) // 2
        edges.append((path.vertices[1 : n + 1, 1], path.vertices[n + 2 : -1, 1][::-1]))
    return edges


def test_bands_hold_their_share_and_the_truth(variables, rng):
    data = posterior(rng, 500)
    figure = plot_spectrum(
        data,
        {"crab": power_law(variables)},
        energy=ENERGY * u.TeV,
        truths={"crab": pmg.PowerLaw(index=2.4, amplitude=1e-12)},
    )
    (axes,) = figure.axes
    wide, narrow = bands(axes)
    sed = data["amplitude"].values.ravel()[:, None] * ENERGY ** (2 - data["index"].values.ravel()[:, None])
    np.testing.assert_allclose(wide, np.quantile(sed, [0.025, 0.975], axis=0), rtol=1e-9)
    np.testing.assert_allclose(narrow, np.quantile(sed, [0.16, 0.84], axis=0), rtol=1e-9)
    median, truth = axes.lines
    np.testing.assert_allclose(median.get_ydata(), np.median(sed, axis=0), rtol=1e-9)
    assert np.all((narrow[0] < truth.get_ydata()) & (truth.get_ydata() < narrow[1]))
    np.testing.assert_allclose(truth.get_ydata(), 1e-12 * ENERGY**-0.4)
    assert axes.get_xscale() == axes.get_yscale() == "log"
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["crab", "68 %", "95 %", "truth"]


@pytest.mark.parametrize(
    ("power", "unit", "factor", "label"),
    [
        (2, None, 1.0, r"E^{2}"),
        (2, "erg cm-2 s-1", (1 * u.TeV).to_value("erg"), "erg"),
        (0, None, 1.0, r"$\mathrm{d}N/\mathrm{d}E$ ["),
        (1, "m-2 s-1", 1e4, r"m^{-2}"),
    ],
)
def test_powers_and_units(rng, power, unit, factor, label):
    spectra = {"crab": pmg.PowerLaw(index=2.0, amplitude=3e-12)}
    figure = plot_spectrum(posterior(rng, 2), spectra, energy=ENERGY * u.TeV, energy_power=power, unit=unit)
    np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), 3e-12 * factor * ENERGY ** (power - 2.0))
    assert label in figure.axes[0].get_ylabel()


def test_weights_pick_the_draws(variables, rng):
    data = posterior(rng, 300)
    weights = np.where(np.arange(600) == 17, 1.0, 0.0)
    figure = plot_spectrum(data, {"crab": power_law(variables)}, energy=ENERGY * u.TeV, weights=weights)
    only = data["amplitude"].values[0, 17] * ENERGY ** (2 - data["index"].values[0, 17])
    np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), only)


def test_colours_are_those_of_the_other_pictures(rng):
    fraction = (("chain", "draw", "component"), rng.dirichlet(np.ones(3), (2, 5)))
    data = posterior(rng, 5, fraction=fraction).assign_coords(component=["diffuse", "ccr", "crab"])
    spectra = {"crab": pmg.PowerLaw()}

    def color(**kwargs):
        return plot_spectrum(data, spectra, **kwargs).axes[0].lines[0].get_color()

    from pymc_gamma.plotting.style import component_color

    assert color() == component_color(2)
    assert color(components=["ccr", "crab"]) == component_color(1)


def test_a_cut_off_does_not_stretch_the_axis(rng):
    spectra = {"bright": pmg.PowerLaw(), "cut": pmg.ExpCutoffPowerLaw(index=2.0, amplitude=1e-14, lambda_=10.0)}
    low, high = plot_spectrum(posterior(rng, 3), spectra).axes[0].get_ylim()
    assert high > 1e-12
    assert 1e-20 < low < 1e-16


def test_truths_from_gammapy(rng):
    from gammapy.modeling.models import PowerLawSpectralModel, SkyModel

    spectral = PowerLawSpectralModel(index=2.2, amplitude=4e-12 * FLUX)
    spectra = {"crab": pmg.PowerLaw()}
    for model in (spectral, SkyModel(spectral_model=spectral)):
        figure = plot_spectrum(posterior(rng, 3), spectra, energy=ENERGY * u.TeV, truths={"crab": model})
        np.testing.assert_allclose(figure.axes[0].lines[1].get_ydata(), 4e-12 * ENERGY**-0.2)


def points(**columns):
    energy = np.array([0.5, 2.0, 10.0])
    table = {"e_ref": energy * u.TeV, "dnde": 1e-12 * energy**-2.0 * FLUX, **columns}
    return QTable({name: values for name, values in table.items() if values is not None})


def test_flux_points_are_converted_and_limits_found():
    read = read_flux_points(
        points(
            dnde=[4e-12, 2e-13, np.nan] * FLUX,
            e_ref=[500, 2000, 10000] * u.GeV,
            dnde_errn=[1e-12, 1e-13, np.nan] * FLUX,
            dnde_errp=[2e-12, 2e-13, np.nan] * FLUX,
            dnde_ul=[9e-8, 4e-9, 5e-11] * u.Unit("TeV-1 m-2 s-1"),
            is_ul=[False, True, False],
            e_min=[0.4, 1.5, 7] * u.TeV,
        )
    )
    np.testing.assert_allclose(read.energy, [0.5, 2, 10])
    assert read.is_limit.tolist() == [False, True, True]
    np.testing.assert_allclose(read.flux, [4e-12, 4e-13, 5e-15])
    np.testing.assert_allclose(read.error, [[1e-12, 0, 0], [2e-12, 0, 0]])
    np.testing.assert_allclose(read.width, [[0.1, 0.5, 3.0], [0, 0, 0]])


def test_flux_points_without_value_are_left_out():
    table = Table(points(dnde=[1e-12, np.nan, -1e-13] * FLUX, dnde_err=[1e-13] * 3 * FLUX))
    read = read_flux_points(table)
    np.testing.assert_allclose(read.energy, [0.5])
    np.testing.assert_allclose(read.error, [[1e-13], [1e-13]])


def test_masked_flux_points_are_left_out():
    table = Table(points(), masked=True)
    table["dnde"].mask = [False, True, False]
    assert read_flux_points(table).energy.tolist() == [0.5, 10.0]


def test_flux_points_of_gammapy():
    from gammapy.estimators import FluxPoints
    from gammapy.modeling.models import PowerLawSpectralModel

    table = points(e_min=[0.25, 1, 4] * u.TeV, e_max=[1, 4, 25] * u.TeV, dnde_err=[1e-13] * 3 * FLUX)
    model = PowerLawSpectralModel(index=2, amplitude=1e-12 * FLUX)
    gammapy_points = FluxPoints.from_table(Table(table), sed_type="dnde", reference_model=model)
    read = read_flux_points(gammapy_points)
    np.testing.assert_allclose(read.flux, 1e-12 * read.energy**-2.0)
    np.testing.assert_allclose(read.error, 1e-13, rtol=1e-6)


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (lambda: 3, TypeError, "must be gammapy FluxPoints or an astropy Table"),
        (lambda: points(dnde=None), ModelError, r"no column dnde; the columns are \['e_ref'\]"),
        (lambda: Table({"e_ref": [1.0], "dnde": [1e-12] * FLUX}), ModelError, "'e_ref' of the flux points has no unit"),
        (lambda: points(dnde=[1, 2, 3] * u.TeV), u.UnitConversionError, "'dnde' of the flux points is in TeV"),
    ],
)
def test_bad_flux_points_are_named(bad, error, message):
    with pytest.raises(error, match=message):
        read_flux_points(bad())


def test_flux_points_in_the_picture(rng):
    figure = plt.figure()
    table = points(dnde_err=[1e-13] * 3 * FLUX, dnde_ul=[1e-11] * 3 * FLUX, is_ul=[False, False, True])
    spectra = {"crab": pmg.PowerLaw()}
    for given in (table, {"crab": table}):
        figure.clear()
        assert plot_spectrum(posterior(rng, 3), spectra, flux_points=given, fig=figure) is figure
        measured, limits = figure.axes[0].containers
        np.testing.assert_allclose(measured.lines[0].get_ydata(), 1e-12)
        np.testing.assert_allclose(limits.lines[0].get_ydata(), 1e-9)
        assert "flux points" in [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
        assert figure.axes[0].get_ylim()[1] > 1e-9


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"unit": "TeV"}, u.UnitConversionError, "for energy_power=2"),
        ({"levels": (68, 95)}, ValueError, "between 0 and 1"),
        ({"levels": ()}, ValueError, "between 0 and 1"),
        ({"energy": [10, 1] * u.TeV}, ValueError, "a range or increasing"),
        ({"spectra": {}}, ModelError, "the mapping is empty"),
        ({"spectra": {"ccr": pmg.PowerLawNorm()}}, ModelError, "'ccr' is a factor without units"),
        ({"spectra": {"dark": pmg.PowerLaw(amplitude=0.0)}}, ModelError, "'dark' is nowhere positive"),
        ({"truths": {"crab": 1e-12}}, TypeError, r"truths\['crab'\] must be a spectrum"),
    ],
)
def test_pictures_that_cannot_be_drawn(rng, kwargs, error, message):
    with pytest.raises(error, match=message):
        plot_spectrum(posterior(rng, 3), **({"spectra": {"crab": pmg.PowerLaw()}} | kwargs))


def test_missing_variables_are_named_with_their_component(variables, rng):
    spectra = {"vela": pmg.PowerLaw(index=variables.steps)}
    with pytest.raises(ModelError, match=r"'vela' cannot be drawn.*'steps'"):
        plot_spectrum(posterior(rng, 3), spectra)
    with pytest.raises(ModelError, match=r"truths\['crab'\] depends on the variables"):
        plot_spectrum(posterior(rng, 3), {"crab": pmg.PowerLaw()}, truths={"crab": power_law(variables)})
