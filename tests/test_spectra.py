"""Spectra with parameters: gammapy's values, units, sums and products, bad input."""

import astropy.units as u
import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from gammapy.modeling import models as gp
from pytensor.gradient import verify_grad

import pymc_gamma as pmg
from pymc_gamma.model.spectra import Spectrum

ENERGY = np.geomspace(0.02, 250, 60)
AMPLITUDE = 3.4e-11 * u.Unit("TeV-1 cm-2 s-1")
CASES = [
    ("PowerLaw", "PowerLawSpectralModel", {"index": 2.31, "amplitude": AMPLITUDE, "reference": 700 * u.GeV}),
    (
        "ExpCutoffPowerLaw",
        "ExpCutoffPowerLawSpectralModel",
        {"index": 1.9, "amplitude": AMPLITUDE, "reference": 2 * u.TeV, "lambda_": 0.05 / u.TeV, "alpha": 0.7},
    ),
    (
        "LogParabola",
        "LogParabolaSpectralModel",
        {"amplitude": AMPLITUDE, "reference": 3 * u.TeV, "alpha": 2.4, "beta": 0.2},
    ),
    (
        "BrokenPowerLaw",
        "BrokenPowerLawSpectralModel",
        {"index1": 1.7, "index2": 2.9, "amplitude": AMPLITUDE, "ebreak": 4 * u.TeV},
    ),
    (
        "SmoothBrokenPowerLaw",
        "SmoothBrokenPowerLawSpectralModel",
        {
            "index1": 1.7,
            "index2": 2.9,
            "amplitude": AMPLITUDE,
            "ebreak": 4 * u.TeV,
            "reference": 0.5 * u.TeV,
            "beta": 0.3,
        },
    ),
    (
        "SmoothBrokenPowerLaw",
        "SmoothBrokenPowerLawSpectralModel",
        {"index1": 2.9, "index2": 1.7, "amplitude": AMPLITUDE},
    ),
]
UNITS = {"amplitude": "TeV-1 cm-2 s-1", "reference": "TeV", "ebreak": "TeV", "lambda_": "TeV-1"}


def of_gammapy(model, energy=ENERGY):
    return model(energy * u.TeV).to_value("TeV-1 cm-2 s-1")


@pytest.mark.parametrize(("name", "counterpart", "parameters"), CASES)
def test_values_are_those_of_gammapy(name, counterpart, parameters):
    expected = of_gammapy(getattr(gp, counterpart)(**parameters))
    spectrum = getattr(pmg, name)
    np.testing.assert_allclose(spectrum(**parameters)(ENERGY).eval(), expected, rtol=1e-10)
    variables = {
        key: pytensor.shared(float(u.Quantity(value).to_value(UNITS.get(key, "")))) for key, value in parameters.items()
    }
    energy = pt.vector("energy")
    function = pytensor.function([energy], spectrum(**variables)(energy))
    np.testing.assert_allclose(function(ENERGY), expected, rtol=1e-10)


@pytest.mark.parametrize(("name", "counterpart"), dict([case[:2] for case in CASES]).items())
def test_defaults_are_those_of_gammapy(name, counterpart):
    if name == "SmoothBrokenPowerLaw":
        pytest.skip("gammapy's defaults have equal indices, where its formula is 0 / 0")
    expected = of_gammapy(getattr(gp, counterpart)())
    np.testing.assert_allclose(getattr(pmg, name)()(ENERGY).eval(), expected, rtol=1e-10)


def test_equal_indices_are_no_break():
    np.testing.assert_allclose(
        pmg.SmoothBrokenPowerLaw(index1=2.2, index2=2.2)(ENERGY).eval(), pmg.PowerLaw(2.2)(ENERGY).eval(), rtol=1e-12
    )


@pytest.mark.parametrize("zero_from", [None, 12])
def test_template(zero_from):
    nodes = np.geomspace(0.05, 100, 17) * u.TeV
    values = gp.LogParabolaSpectralModel()(nodes)
    if zero_from is not None:
        values[zero_from:] = 0
    model = gp.TemplateSpectralModel(nodes, values) * gp.PowerLawNormSpectralModel(norm=2.0, tilt=0.3)
    ours = pmg.TemplateSpectrum(nodes.to("GeV"), values, norm=2.0, tilt=0.3)
    np.testing.assert_allclose(ours(ENERGY).eval(), of_gammapy(model), rtol=1e-10)
    energy = pt.vector("energy")
    np.testing.assert_allclose(ours(energy).eval({energy: ENERGY}), of_gammapy(model), rtol=1e-10)


@pytest.mark.parametrize("alpha_norm", [1.0, 0.4])
def test_ebl_absorption(alpha_norm):
    energy = np.geomspace(0.01, 100, 40) * u.TeV
    redshift = np.array([0.01, 0.1, 0.5])
    data = np.exp(-redshift[:, None] * 3 * np.sqrt(energy.to_value("TeV")))
    model = gp.EBLAbsorptionNormSpectralModel(energy, redshift, data, redshift=0.17, alpha_norm=alpha_norm)
    absorbed = gp.PowerLawSpectralModel() * model
    factor = pmg.EBLAbsorption.from_gammapy(model)
    for ours in (pmg.PowerLaw() * factor, factor * pmg.PowerLaw()):
        np.testing.assert_allclose(ours(ENERGY).eval(), of_gammapy(absorbed), rtol=1e-10)
    free = pmg.PowerLaw() * pmg.EBLAbsorption.from_gammapy(model, alpha_norm=pytensor.shared(alpha_norm))
    np.testing.assert_allclose(free(ENERGY).eval(), of_gammapy(absorbed), rtol=1e-10)


def test_sums_and_products():
    one, other = pmg.PowerLaw(index=2.0), pmg.LogParabola()
    total = 2 * one + other * pytensor.shared(0.5) + (lambda energy: 1e-12 * pt.ones_like(energy))
    assert isinstance(total, Spectrum)
    expected = 2 * one(ENERGY).eval() + 0.5 * other(ENERGY).eval() + 1e-12
    np.testing.assert_allclose(total(ENERGY).eval(), expected, rtol=1e-12)


def test_energies_of_any_kind():
    spectrum = pmg.PowerLaw()
    np.testing.assert_allclose(spectrum([1, 10] * u.TeV).eval(), spectrum([1000, 10000] * u.GeV).eval())
    assert spectrum(np.empty(0)).eval().shape == (0,)
    assert spectrum(2.0).eval().shape == ()


@pytest.mark.parametrize(("name", "counterpart", "parameters"), CASES[:5])
def test_gradients(rng, name, counterpart, parameters):
    names = [key for key in parameters if key != "amplitude"]
    point = [np.asarray(u.Quantity(parameters[key]).to_value(UNITS.get(key, "")) + 0.0123) for key in names]
    spectrum = getattr(pmg, name)

    def log_flux(*values):
        return pt.log(spectrum(**dict(zip(names, values, strict=True)))(ENERGY[::7]) * 1e12)

    verify_grad(log_flux, point, rng=rng, mode="FAST_COMPILE")


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: pmg.PowerLaw(index=2 * u.TeV), u.UnitConversionError, r"PowerLaw\(index"),
        (lambda: pmg.PowerLaw(amplitude=1 * u.Unit("TeV-1")), u.UnitConversionError, r"PowerLaw\(amplitude"),
        (lambda: pmg.ExpCutoffPowerLaw(lambda_=10 * u.TeV), u.UnitConversionError, r"lambda_"),
        (lambda: pmg.PowerLaw(index=[[2.0, 2.1]]), TypeError, "must be a number"),
        (lambda: pmg.PowerLaw(index="2"), TypeError, "must be a number"),
        (lambda: pmg.PowerLaw(index=np.nan), ValueError, "finite"),
        (lambda: pmg.PowerLaw(index=pt.matrix()), TypeError, "scalar or a vector"),
        (lambda: pmg.PowerLaw()([1] * u.deg), u.UnitConversionError, "energy"),
        (lambda: pmg.TemplateSpectrum([1, 2] * u.TeV, [1, 2]), TypeError, "values"),
        (lambda: pmg.TemplateSpectrum([2, 1] * u.TeV, [1, 2] * AMPLITUDE), ValueError, "ascending"),
        (lambda: pmg.TemplateSpectrum([1, 2] * u.TeV, [1, -2] * AMPLITUDE), ValueError, ">= 0"),
        (lambda: pmg.TemplateSpectrum([] * u.TeV, [] * AMPLITUDE), ValueError, "at least two"),
        (lambda: pmg.EBLAbsorption([1, 2] * u.TeV, [1, 2]), ValueError, "between 0 and 1"),
        (lambda: pmg.PowerLaw() * "2", TypeError, "factor"),
        (lambda: pmg.PowerLaw() + 1, TypeError, "unsupported"),
    ],
)
def test_bad_input(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_which_spectra_are_smooth():
    """Sums and products are smooth if all of them are; tables are looked at; a user's own class has to say."""

    class Own(Spectrum):
        def evaluate(self, energy):
            return energy**-2.0

    class Smooth(Own):
        smooth = True

    energy = np.geomspace(0.05, 200, 300)
    flux_unit = u.Unit("TeV-1 cm-2 s-1")
    bent = pmg.TemplateSpectrum(energy * u.TeV, energy**-2.0 * np.exp(-energy / 10) * flux_unit)
    line = np.exp(-0.5 * (np.log(energy) / 0.03) ** 2)
    lined = pmg.TemplateSpectrum(energy * u.TeV, (energy**-2.0 + line) * flux_unit)
    ebl = pmg.EBLAbsorption(energy * u.TeV, np.exp(-energy / 10))
    opaque = pmg.EBLAbsorption([0.1, 1, 1.01, 10] * u.TeV, [1.0, 1.0, 0.0, 0.0])
    law = pmg.PowerLaw()
    for smooth in (
        law,
        pmg.LogParabola(),
        pmg.ExpCutoffPowerLaw(),
        2 * law + bent,
        law * ebl,
        Smooth(),
        Smooth() + law,
    ):
        assert smooth.smooth
    for unknown in (Own(), law + Own(), lined, law + lined, law * opaque, law * (lambda e: e), law + (lambda e: e)):
        assert not unknown.smooth


def test_vectors_give_a_row_for_each_entry():
    index, energy = [2.0, 2.5, 3.0], np.array([0.5, 2.0, 7.0, 20.0])
    spectrum = pmg.PowerLaw(index=index, amplitude=pt.constant([1e-12, 2e-12, 3e-12]))
    rows = spectrum(energy).eval()
    for k, one in enumerate(index):
        alone = pmg.PowerLaw(index=one, amplitude=(k + 1) * 1e-12)
        np.testing.assert_allclose(rows[k], alone(energy).eval(), rtol=1e-14)
        both = (spectrum + 2 * pmg.PowerLaw(index=2.2))(energy).eval()[k]
        np.testing.assert_allclose(both, (alone + 2 * pmg.PowerLaw(index=2.2))(energy).eval(), rtol=1e-14)
    absorbed = spectrum * pmg.EBLAbsorption([0.1, 10] * u.TeV, [1.0, 0.5])
    assert absorbed(energy).eval().shape == (3, 4)
    np.testing.assert_allclose((spectrum * pt.constant([1.0, 2.0, 3.0]))(energy).eval()[2], 3 * rows[2], rtol=1e-14)
