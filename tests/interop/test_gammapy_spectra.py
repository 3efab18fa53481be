"""Spectral models of gammapy and the spectra made of them: the same values, with parameters as variables."""

import operator

import astropy.units as u
import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from gammapy.modeling import Parameter
from gammapy.modeling import models as gp

from pymc_gamma.errors import ModelError, SkyModelError
from pymc_gamma.interop.priors import Role
from pymc_gamma.interop.spectra import convert_spectrum, free_parameters, is_common_factor, spectral_roles

ENERGY = np.geomspace(0.03, 200, 50)
AMPLITUDE = "3.4e-14 GeV-1 cm-2 s-1"  # not in TeV: the conversion is part of the test


def ebl(alpha_norm=1.3):
    energy = np.geomspace(0.01, 300, 40) * u.TeV
    redshift = np.array([0.01, 0.1, 0.3])
    depth = redshift[:, None] * (energy.value[None, :]) ** 0.8
    return gp.EBLAbsorptionNormSpectralModel(
        energy=energy, param=redshift, data=np.exp(-depth), redshift=0.15, alpha_norm=alpha_norm
    )


def compound(first, second, join=operator.mul):
    return gp.CompoundSpectralModel(first, second, join)


def power_law(**changes):
    return gp.PowerLawSpectralModel(**{"index": 2.31, "amplitude": AMPLITUDE, "reference": "700 GeV", **changes})


MODELS = {
    "pl": power_law(),
    "pl, index 1": power_law(index=1.0),
    "pl-2": gp.PowerLaw2SpectralModel(index=2.6, amplitude="3e-12 cm-2 s-1", emin="300 GeV", emax="30 TeV"),
    "pl-2, nearly index 1": gp.PowerLaw2SpectralModel(index=1 + 1e-4, amplitude="3e-12 cm-2 s-1"),
    "ecpl": gp.ExpCutoffPowerLawSpectralModel(index=1.9, amplitude=AMPLITUDE, lambda_="5e-5 GeV-1", alpha=0.8),
    "ecpl-norm": compound(
        power_law(), gp.ExpCutoffPowerLawNormSpectralModel(index=0.2, norm=1.4, lambda_="0.05 TeV-1")
    ),
    "ecpl-3fgl": gp.ExpCutoffPowerLaw3FGLSpectralModel(index=1.4, amplitude=AMPLITUDE, ecut="7000 GeV"),
    "secpl-3fgl": gp.SuperExpCutoffPowerLaw3FGLSpectralModel(
        index_1=1.4, index_2=0.7, amplitude=AMPLITUDE, ecut="7 TeV", reference="2 TeV"
    ),
    "lp": gp.LogParabolaSpectralModel(amplitude=AMPLITUDE, reference="3 TeV", alpha=2.4, beta=0.2),
    "lp-norm": compound(
        power_law(), gp.LogParabolaNormSpectralModel(norm=0.7, reference="2 TeV", alpha=0.1, beta=0.05)
    ),
    "bpl": gp.BrokenPowerLawSpectralModel(index1=1.7, index2=2.9, amplitude=AMPLITUDE, ebreak="4000 GeV"),
    "sbpl": gp.SmoothBrokenPowerLawSpectralModel(
        index1=1.7, index2=2.9, amplitude=AMPLITUDE, ebreak="4 TeV", reference="500 GeV", beta=0.3
    ),
    "pl times pl-norm": compound(power_law(), gp.PowerLawNormSpectralModel(norm=1.2, tilt=0.3)),
    "sum": compound(power_law(), gp.LogParabolaSpectralModel(amplitude=AMPLITUDE), operator.add),
    "difference": compound(power_law(), power_law(amplitude="1e-15 GeV-1 cm-2 s-1", index=2.5), operator.sub),
    "quotient": compound(power_law(), gp.PowerLawNormSpectralModel(norm=1.2, tilt=0.3), operator.truediv),
    "nested": compound(compound(power_law(), gp.PowerLawNormSpectralModel(tilt=0.1)), ebl()),
    "absorbed": compound(power_law(), ebl()),
    "piecewise": compound(
        power_law(), gp.PiecewiseNormSpectralModel([0.1, 1, 5, 50] * u.TeV, norms=[0.8, 1.1, 1.3, 0.6] * u.one)
    ),
    "piecewise, linear": compound(
        power_law(), gp.PiecewiseNormSpectralModel([0.1, 1, 50] * u.TeV, norms=[0.8, 1.1, 0.6] * u.one, interp="lin")
    ),
    "template times pl-norm": compound(
        gp.TemplateSpectralModel(
            [0.01, 1, 300] * u.TeV,
            [1e-9, 1e-12, 1e-17] * u.Unit("cm-2 s-1 TeV-1"),
            interp_kwargs={"values_scale": "log"},
        ),
        gp.PowerLawNormSpectralModel(norm=1.2, tilt=0.3),
    ),
    "unknown times pl-norm": compound(
        gp.GaussianSpectralModel(amplitude="1e-12 cm-2 s-1", mean="3 TeV", sigma="5 TeV"),
        gp.PowerLawNormSpectralModel(norm=1.2, tilt=0.3),
    ),
    "constant": compound(gp.ConstantSpectralModel(const=AMPLITUDE), gp.PowerLawNormSpectralModel(norm=1.2, tilt=0.3)),
}


def of_gammapy(model):
    return u.Quantity(model(ENERGY * u.TeV)).to_value("TeV-1 cm-2 s-1")


def unfreeze(model, name):
    """Everything that has a role here varies: all of it, or all but what has no counterpart."""
    for parameter in model.parameters:
        parameter.frozen = parameter.name in ("redshift", "mean", "sigma") or (
            "unknown" in name and parameter.name == "amplitude"
        )


@pytest.mark.parametrize("name", MODELS)
def test_values_are_those_of_gammapy_at_any_parameters(name):
    model = MODELS[name].copy()
    unfreeze(model, name)
    assert set(spectral_roles("s", model)) == set(free_parameters(model))
    variables = {parameter: pt.dscalar(parameter.name) for parameter in free_parameters(model)}
    spectrum = convert_spectrum("s", model, variables)
    function = pytensor.function(list(variables.values()), spectrum(ENERGY), mode="FAST_COMPILE")
    for factor in (1.0, 1.07):
        start = [parameter.value for parameter in variables]
        for parameter in variables:
            parameter.value *= factor
        mine = function(*(parameter.value for parameter in variables))
        assert mine == pytest.approx(of_gammapy(model), rel=1e-10, abs=0)
        for parameter, value in zip(variables, start, strict=True):
            parameter.value = value


@pytest.mark.parametrize("name", ["pl", "pl-2", "ecpl", "sbpl", "absorbed", "piecewise"])
def test_gradients_are_finite(name):
    model = MODELS[name].copy()
    unfreeze(model, name)
    variables = {parameter: pt.dscalar(parameter.name) for parameter in free_parameters(model)}
    total = pt.log(convert_spectrum("s", model, variables)(ENERGY)).sum()
    gradient = pytensor.function(
        list(variables.values()), pytensor.grad(total, list(variables.values())), mode="FAST_COMPILE"
    )
    assert np.all(np.isfinite(gradient(*(parameter.value for parameter in variables))))


def test_power_law_of_integral_flux_at_index_one():
    # gammapy's form is 0 / 0 there; the flux integrates to the amplitude
    model = gp.PowerLaw2SpectralModel(index=1.0, amplitude="3e-12 cm-2 s-1", emin="1 TeV", emax="10 TeV")
    index = pt.dscalar("index")
    flux = convert_spectrum("s", model, {model.index: index})([2.0])
    assert flux.eval({index: 1.0})[0] == pytest.approx(3e-12 / (2 * np.log(10)), rel=1e-9)
    assert np.isfinite(pytensor.grad(flux.sum(), index).eval({index: 1.0}))


def test_frozen_parameters_are_constants():
    model = power_law()
    model.amplitude.frozen = True
    index = pt.dscalar("index")
    spectrum = convert_spectrum("s", model, {model.index: index})
    assert spectrum.amplitude == pytest.approx(3.4e-11)
    assert spectrum.reference == pytest.approx(0.7)


def test_a_shared_parameter_is_one_variable():
    first, second = power_law(), power_law(amplitude="1e-11 TeV-1 cm-2 s-1")
    second.index = first.index
    model = compound(first, second, operator.add)
    assert [parameter.name for parameter in free_parameters(model)] == ["index", "amplitude", "amplitude"]
    variables = {parameter: pt.dscalar(parameter.name) for parameter in free_parameters(model)}
    flux = convert_spectrum("s", model, variables)(ENERGY)
    values = {variable: parameter.value for parameter, variable in variables.items()}
    assert flux.eval(values) == pytest.approx(of_gammapy(model), rel=1e-10)


def fixed(model, *free):
    for parameter in model.parameters:
        parameter.frozen = parameter.name not in free
    return model


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (fixed(power_law(), "amplitude"), True),
        (fixed(power_law(), "amplitude", "index"), False),
        (fixed(power_law(), "index"), False),
        (fixed(power_law()), False),
        (fixed(gp.GaussianSpectralModel(), "amplitude"), True),
        (fixed(gp.ScaleSpectralModel(power_law()), "norm"), True),
        (fixed(compound(power_law(), gp.PowerLawNormSpectralModel()), "norm"), True),
        (fixed(compound(power_law(), gp.PowerLawNormSpectralModel()), "norm", "amplitude"), True),
        (fixed(compound(power_law(), power_law(), operator.add), "amplitude"), False),
        (fixed(power_law(amplitude="0 cm-2 s-1 TeV-1"), "amplitude"), False),
    ],
)
def test_common_factors_are_found(model, expected):
    before = [parameter.value for parameter in model.parameters]
    assert is_common_factor(model) is expected
    assert [parameter.value for parameter in model.parameters] == before


def test_any_model_may_have_a_free_factor():
    model = fixed(gp.GaussianSpectralModel(), "amplitude")
    assert list(spectral_roles("line", model).values()) == [Role.SCALE]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            fixed(gp.GaussianSpectralModel(), "mean"),
            "'mean' of the spectral model GaussianSpectralModel of 'line' is free",
        ),
        (fixed(compound(power_law(), ebl()), "redshift"), "'redshift' of the spectral model EBLAbsorptionNorm"),
        (
            fixed(gp.SuperExpCutoffPowerLaw4FGLSpectralModel(), "amplitude", "index_1"),
            "models\\['line'\\].spectral_model.amplitude.frozen = True",
        ),
    ],
)
def test_models_without_counterpart_are_named(model, message):
    with pytest.raises(SkyModelError, match=message):
        spectral_roles("line", model)


def test_wrong_units_and_symbolic_energies():
    model = gp.ConstantSpectralModel(const=Parameter("const", "3 TeV"))
    with pytest.raises(SkyModelError, match="'const' of the spectral model of 's' is in 'TeV'"):
        convert_spectrum("s", model, {model.const: pt.dscalar()})
    with pytest.raises(ModelError, match="PowerLawSpectralModel of 's'"):
        convert_spectrum("s", power_law(), {})(pt.dvector())
