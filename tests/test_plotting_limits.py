"""Pictures of limits: what is drawn where."""

import astropy.units as u
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

import pymc_gamma as pmg
from pymc_gamma.errors import ModelError

CROSS_SECTION = u.cm**3 / u.s
MASSES = [0.5, 1.0, 2.0, 5.0] * u.TeV
LIMITS = np.array([3e-27, 2e-27, 4e-27, 1e-26])


def expected(asimov=True, scale=1.0):
    quantiles = LIMITS[:, None] * np.array([0.5, 0.7, 1.0, 1.4, 2.0]) / scale
    variables = {"quantiles": (("mass", "quantile"), quantiles)}
    if asimov:
        variables["asimov"] = ("mass", 1.05 * LIMITS / scale)
    return xr.Dataset(variables, {"mass": MASSES.value, "quantile": [0.025, 0.16, 0.5, 0.84, 0.975]})


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def lines(figure):
    return {line.get_label(): line for line in figure.axes[0].get_lines()}


def bands(figure):
    """Lower and upper ends of the bands at the masses, by label."""
    found = {}
    for band in figure.axes[0].collections:
        vertices = band.get_paths()[0].vertices
        found[band.get_label()] = np.array(
            [[vertices[vertices[:, 0] == m, 1].min(), vertices[vertices[:, 0] == m, 1].max()] for m in MASSES.value]
        )
    return found


def test_limits_bands_and_relic():
    figure = pmg.plot_limits(MASSES, LIMITS, expected=expected(), unit="cm3 s-1")
    drawn = lines(figure)
    np.testing.assert_array_equal(drawn["limit"].get_xydata(), np.column_stack([MASSES.value, LIMITS]))
    np.testing.assert_allclose(drawn["expected (Asimov data)"].get_ydata(), 1.05 * LIMITS)
    np.testing.assert_allclose(bands(figure)["68 % expected"], LIMITS[:, None] * [0.7, 1.4])
    np.testing.assert_allclose(bands(figure)["95 % expected"], LIMITS[:, None] * [0.5, 2.0])
    relic = drawn["thermal relic (Steigman et al. 2012)"]
    np.testing.assert_allclose(relic.get_ydata(), 2.3e-26, rtol=0.05)
    ax = figure.axes[0]
    low, high = ax.get_ylim()
    assert low < 0.5 * LIMITS.min()
    assert high > 2.3e-26
    assert "TeV" in ax.get_xlabel()
    assert "cm$^3$ s$^{-1}$" in ax.get_ylabel()


def test_units_and_order():
    """Numbers in units of 1e-26, quantities, arrays with a unit: the same points, in the order of masses."""
    order = [2, 0, 3, 1]
    labelled = xr.DataArray(LIMITS[order] * 1e-6, dims="mass", attrs={"units": "m3 s-1"})
    given = {
        "numbers": LIMITS[order] / 1e-26,
        "quantity": (LIMITS[order] * u.cm**3 / u.s).to("m3 h-1"),
        "labelled": labelled,
    }
    figure = pmg.plot_limits(MASSES[order], given, expected=expected(scale=1e-26), unit=1e-26 * u.cm**3 / u.s)
    drawn = lines(figure)
    for name in given:
        np.testing.assert_allclose(drawn[name].get_xydata(), np.column_stack([MASSES.value, LIMITS]))
    np.testing.assert_allclose(bands(figure)["68 % expected"], LIMITS[:, None] * [0.7, 1.4])


def test_expected_alone():
    figure = pmg.plot_limits(MASSES, expected=expected(asimov=False), thermal_relic=False)
    np.testing.assert_allclose(lines(figure)["median expected"].get_ydata(), LIMITS)
    assert not [name for name in lines(figure) if "relic" in name]


def test_lifetimes_have_no_relic_line():
    figure = pmg.plot_limits(MASSES, {"decay": np.full(4, 1e27)}, unit="s")
    assert set(lines(figure)) == {"decay"}
    assert figure.axes[0].get_ylabel() == "lifetime [s]"


def test_one_mass():
    figure = pmg.plot_limits([1] * u.TeV, [1e-26] * CROSS_SECTION)
    low, high = figure.axes[0].get_xlim()
    assert low < 1 < high


def of_masses(masses):
    return xr.DataArray(LIMITS, {"mass": ("mass", masses.value, {"units": f"{masses.unit}"})}, ("mass",))


def test_limits_that_know_their_masses():
    figure = pmg.plot_limits(MASSES, of_masses(MASSES.to("GeV")), thermal_relic=False)
    np.testing.assert_allclose(lines(figure)["limit"].get_xydata(), np.column_stack([MASSES.value, LIMITS]))


def test_figure_of_the_caller():
    fig = plt.figure()
    assert pmg.plot_limits(MASSES, LIMITS * CROSS_SECTION, fig=fig) is fig


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, ModelError, "nothing to draw"),
        (
            {"limits": LIMITS},
            ModelError,
            r"limits of 'limit' have no unit, .* unit='cm3 s-1', or .* thermal_relic=False",
        ),
        ({"limits": LIMITS * CROSS_SECTION, "expected": expected()}, ModelError, "those expected have no unit"),
        (
            {"limits": LIMITS[:2] * CROSS_SECTION},
            ModelError,
            r"limits of 'limit' have the shape \(2,\), and there are 4 masses",
        ),
        ({"limits": -LIMITS * CROSS_SECTION}, ModelError, "must be positive"),
        ({"limits": LIMITS * u.m}, u.UnitConversionError, "limits of 'limit'"),
        ({"limits": LIMITS, "unit": "m"}, u.UnitConversionError, "cross-section"),
        ({"limits": LIMITS, "unit": "parsnip"}, ModelError, "unit must be a unit"),
        (
            {"limits": of_masses(2 * MASSES), "thermal_relic": False},
            ModelError,
            r"are those of masses of \[.*\] TeV, and masses are",
        ),
        ({"expected": xr.Dataset(), "unit": "cm3 s-1"}, ModelError, "must be the result of expected_limits"),
    ],
)
def test_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        pmg.plot_limits(MASSES, **arguments)
