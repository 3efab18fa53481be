"""A fit of events against gammapy's binned fit of the same events: estimates and errors.

The setting is in `benchmarks/gammapy_fit.py`. Both maximise the likelihood over index, amplitude and background norm.
What is left between them is gammapy's grid: it shares a point source among four pixels, which widens the PSF.
"""

import numpy as np
import pytest
from laplace import fit

from benchmarks.gammapy_fit import Binning, Setting, binned_dataset, unbinned_model

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::astropy.units.UnitsWarning"),
]

PARAMETERS = ("index", "log_amplitude", "log_norm")


def binned_fit(dataset, setting):
    """Estimates and standard deviations of gammapy's fit, of the same parameters as ours."""
    from gammapy.datasets import Datasets
    from gammapy.modeling import Fit

    assert Fit(backend="minuit").run(Datasets([dataset])).success
    spectrum, norm = dataset.models["source"].spectral_model, dataset.models["run-bkg"].spectral_model.norm
    amplitude = spectrum.amplitude
    values = [spectrum.index.value, np.log(amplitude.value / setting.amplitude), np.log(norm.value)]
    errors = [spectrum.index.error, amplitude.error / amplitude.value, norm.error / norm.value]
    return np.array(values), np.array(errors)


def compare(setting, binning):
    """Differences of the estimates in standard deviations, relative differences of the errors and expected counts."""
    response = setting.fold()
    events = response.simulate(rng=1)
    ours = fit(unbinned_model(response, events, setting))
    value = np.array([ours.value[name][0] for name in PARAMETERS])
    sd = np.array([ours.sd[name][0] for name in PARAMETERS])
    dataset = binned_dataset(response, events, setting, binning)
    assert dataset.counts.data.sum() == len(events)
    counts = dataset.npred_signal().data.sum() / float(response.acceptance.sel(component="source")) - 1
    theirs, errors = binned_fit(dataset, setting)
    pull, ratio = (theirs - value) / sd, errors / sd - 1
    print(f"{setting}, {binning}: {len(events)} events; counts of the source, gammapy / ours - 1: {counts:+.2%}")
    for name, *numbers in zip(PARAMETERS, value, sd, theirs, errors, pull, ratio, strict=True):
        print(
            "  {:14s}{:+.4f} +- {:.4f}, gammapy {:+.4f} +- {:.4f}: {:+.3f} sigma, errors {:+.2%}".format(name, *numbers)
        )
    return pull, ratio, counts


def test_near_the_pointing():
    pull, ratio, _ = compare(Setting(offset=0.4), Binning())
    assert np.all(np.abs(pull) < 0.3)
    assert np.all(np.abs(ratio) < 0.05)


def test_the_difference_is_that_of_the_pixels():
    """It goes with the square of the pixel: gammapy converges to the fit of events."""
    pulls = {pixel: np.abs(compare(Setting(), Binning(pixel=pixel))[0]).max() for pixel in (0.04, 0.02, 0.01)}
    assert pulls[0.04] > 2 * pulls[0.02]
    assert pulls[0.02] > 2 * pulls[0.01]
    assert pulls[0.01] < 0.05


def test_on_a_node_of_the_response():
    """At 2.5 deg, a node of the tables: interpolated twice by gammapy, once by us."""
    _, _, on_node = compare(Setting(offset=2.5), Binning())
    _, _, between = compare(Setting(offset=2.0), Binning())
    assert abs(on_node) < 0.01
    assert abs(between) < 0.002


def test_extended_off_axis():
    """A wide and bright source, 2 deg off axis: more events than the two agree for, see the documentation."""
    setting = Setting(offset=2.0, sigma=0.8, width=4, amplitude=3e-10, hours=10)
    pull, ratio, counts = compare(setting, Binning(pixel=0.04))
    assert abs(counts) < 0.005
    assert np.all(np.abs(ratio) < 0.05)
    assert np.abs(pull).max() < 3
