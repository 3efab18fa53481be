"""The joint Crab (Nigro et al. 2019, A&A 625, A10): published fits of five instruments, from their OGIP files.

The files are looked for in or below the folder that PYMC_GAMMA_DATA names, in joint-crab/spectra; the tests are skipped
without them. Published values are those of the files fit/*.yaml there, amplitudes in 1e-12 TeV-1 cm-2 s-1, curvatures
with the logarithm to the base of ten.
"""

import importlib.util
import os
import warnings
from pathlib import Path

import astropy.units as u
import numpy as np
import pymc as pm
import pytest
import yaml

import pymc_gamma as pmg
from pymc_gamma.datasets import MIRROR_VARIABLE

pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).parents[2] / "examples" / "joint_crab.py"
JOINT = (38.485, 2.50541, 0.23624)
WITH_SCALES, SCALE_ERRORS = (38.80, 2.5108, 0.2424), (3.5, 0.038, 0.027)


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("joint_crab", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def folder():
    root = Path(os.environ.get(MIRROR_VARIABLE, ""))
    found = [one for one in (root / "joint-crab", root) if (one / "spectra" / "magic").is_dir()]
    if not os.environ.get(MIRROR_VARIABLE) or not found:
        pytest.skip("no joint-crab data")
    return found[0]


@pytest.fixture(scope="module")
def data(example, folder):
    return example.read(folder / "spectra")


def fitted(example, data, **given):
    value = pmg.best_fit(example.model_of(data, **given)).value
    return np.array([1e12 * float(value.amplitude), float(value.alpha), float(value.beta)])


def profiled(data):
    """The maximum of the likelihood of WStat: flat priors."""
    with pm.Model() as model:
        log_amplitude, alpha, beta = (pm.Normal(name, 0.0, 1e4) for name in ("log_amplitude", "alpha", "beta"))
        crab = pmg.LogParabola(
            amplitude=1e-11 * pm.math.exp(log_amplitude), alpha=alpha, beta=beta / np.log(10), reference=1 * u.TeV
        )
        for name, spectra in data.items():
            pmg.OnOffCounts(name, spectra, spectrum=crab, background=pmg.ProfiledBackground())
    value = pmg.best_fit(model, start={"log_amplitude": 1.4, "alpha": 2.5, "beta": 0.2}).value
    return np.array([10 * np.exp(float(value.log_amplitude)), float(value.alpha), float(value.beta)])


def published(folder, name):
    found = {
        one["name"]: one["value"]
        for one in yaml.safe_load((folder / "fit" / f"fit_{name}.yaml").read_text())["parameters"]
    }
    return np.array([1e12 * found["amplitude"], found["alpha"], found["beta"]])


@pytest.mark.parametrize("name", ["fermi", "magic", "hess", "fact", "veritas"])
def test_each_instrument_alone(data, folder, name):
    np.testing.assert_allclose(profiled({name: data[name]}), published(folder, name), rtol=2e-3)


def test_all_together(data, folder):
    found = profiled(data)
    np.testing.assert_allclose(found, JOINT, rtol=1e-3)
    np.testing.assert_allclose(found, published(folder, "joint"), rtol=2e-3)


def test_the_joint_fit_with_energy_scales(example, data):
    found = fitted(example, data, profiled=True, scales=True)
    assert np.all(np.abs(found - WITH_SCALES) < 0.1 * np.array(SCALE_ERRORS))


def test_measured_backgrounds_agree_with_profiled_ones(example, data):
    best = pmg.best_fit(example.model_of(data))
    found = np.array([1e12 * float(best.value.amplitude), float(best.value.alpha), float(best.value.beta)])
    errors = np.array([1e12 * float(best.sd.amplitude), float(best.sd.alpha), float(best.sd.beta)])
    assert np.all(np.abs(found - JOINT) < 0.3 * errors)


@pytest.fixture(scope="module")
def events(example, folder, data):
    with warnings.catch_warnings(action="ignore"):
        return example.read_events(folder / "data", data)


def estimates(best):
    value, sd = best.value, best.sd
    return (
        np.array([1e12 * float(value.amplitude), float(value.alpha), float(value.beta)]),
        np.array([1e12 * float(sd.amplitude), float(sd.alpha), float(sd.beta)]),
    )


@pytest.mark.parametrize(
    "names", [["magic"], ["veritas"], ["fact"], ["hess"], ["fermi", "magic", "veritas", "fact", "hess"]]
)
def test_events_one_by_one_agree_with_channels(example, data, events, names):
    in_channels, errors = estimates(pmg.best_fit(example.model_of({name: data[name] for name in names})))
    both = {name: events.get(name, data[name]) for name in names}
    one_by_one, own = estimates(pmg.best_fit(example.model_of(both)))
    print(f"{' '.join(names)}: {in_channels.round(4)} in channels, {one_by_one.round(4)} one by one; errors "
          f"{(own / errors).round(3)} of those in channels")  # fmt: skip
    assert np.all(np.abs(one_by_one - in_channels) < 0.5 * errors)
    assert np.all(own < 1.05 * errors)


@pytest.mark.parametrize(
    ("names", "expected", "sigma"),
    [
        (["fermi", "magic", "veritas", "fact", "hess"], (38.00, 2.523, 0.248), (1.17, 0.027, 0.025)),
        (["magic"], (39.4, 2.72, 0.56), (3.2, 0.12, 0.13)),
    ],
)
def test_the_posterior_for_a_flat_prior_of_each_channel(data, names, expected, sigma):
    with pm.Model():
        amplitude, alpha, beta = (
            pm.Flat(name, initval=at) for name, at in (("amplitude", 4), ("alpha", 2.5), ("beta", 0.2))
        )
        crab = pmg.LogParabola(amplitude=1e-11 * amplitude, alpha=alpha, beta=beta / np.log(10), reference=1 * u.TeV)
        for name in names:
            pmg.OnOffCounts(name, data[name], spectrum=crab, background=pmg.FlatBackground())
        draws = pm.sample(2000, chains=4, cores=2, random_seed=1, progressbar=False).posterior
    values = np.array([10 * draws.amplitude.values, draws.alpha.values, draws.beta.values]).reshape(3, -1)
    print(f"flat priors, {' '.join(names)}: {values.mean(axis=1).round(4)} +- {values.std(axis=1).round(4)}")
    assert np.all(np.abs(values.mean(axis=1) - expected) < 0.1 * np.array(sigma))
    np.testing.assert_allclose(values.std(axis=1), sigma, rtol=0.06)
