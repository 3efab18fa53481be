"""What the intensity of events is a sum of: norms and spectra for each observation, groups, systematics of a user."""

from typing import ClassVar

import astropy.units as u
import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
from pymc.model.transform.conditioning import remove_value_transforms
from setups import pointing, region, source

import pymc_gamma as pmg
from pymc_gamma.errors import ModelError
from pymc_gamma.model.blocks import LinearBlock
from pymc_gamma.model.event_mixture import table_inputs
from pymc_gamma.model.intensity import Parameters
from pymc_gamma.model.poisson import PoissonSource
from pymc_gamma.model.systematics import Systematic

LON, HOURS = (0.0, 0.5, -0.3), (1, 2, 1.5)


def sky():
    return [
        source("crab", 0.3, -0.2, index=2.3, amplitude=3e-12),
        source("halo", 0.0, 0.0, sigma=0.3, index=2.5, amplitude=1e-12),
        pmg.CosmicRayBackground(),
    ]


def folded(observations, **kwargs):
    return pmg.fold(sky(), observations, region(width=2.0, energy=(0.5, 100)), **kwargs)


@pytest.fixture(scope="module")
def runs():
    return [pointing(lon=lon, hours=hours) for lon, hours in zip(LON, HOURS, strict=True)]


@pytest.fixture(scope="module")
def response(runs):
    return folded(runs, free_spectrum=["crab"])


@pytest.fixture(scope="module")
def events(response):
    return response.simulate(rng=3)


@pytest.fixture(scope="module")
def alone(runs):
    """Each observation by itself."""
    return [folded(run, free_spectrum=["crab"]) for run in runs]


def of_run(events, o):
    return events[events.observation == o].with_observation(0)


def logp(model, **point):
    free = remove_value_transforms(model)
    point = {name: np.asarray(value, float) for name, value in point.items()}
    return float(free.compile_logp(vars=[free["events"]], jacobian=False, mode="FAST_COMPILE")(point))


def poisson(response, events, **kwargs):
    with pm.Model(coords=response.coords) as model:
        pmg.ExtendedEventMixture("events", response=response, observed=events, **kwargs)
    return logp(model)


def crab(index=2.2, amplitude=2.5e-12):
    return pmg.PowerLaw(index=index, amplitude=amplitude)


class TestNormsByObservation:
    NORMS: ClassVar = {"crab": [0.5, 1.0, 2.0], "halo": [1.5, 0.7, 1.0], "ccr": [0.9, 1.1, 1.0]}

    def test_likelihood_is_the_sum_of_those_of_single_observations(self, response, events, alone):
        together = poisson(response, events, norms=self.NORMS, spectra={"crab": crab()})
        norms = [{name: values[o] for name, values in self.NORMS.items()} for o in range(3)]
        separate = [
            poisson(one, of_run(events, o), norms=norms[o], spectra={"crab": crab()}) for o, one in enumerate(alone)
        ]
        assert together == pytest.approx(sum(separate), abs=2e-3)

    def test_spectra_with_a_row_for_each_observation(self, response, events, alone):
        index, amplitude = np.array([2.0, 2.3, 2.6]), np.array([1e-12, 3e-12, 2e-12])
        together = poisson(response, events, spectra={"crab": crab(pt.constant(index), pt.constant(amplitude))})
        separate = [
            poisson(one, of_run(events, o), spectra={"crab": crab(index[o], amplitude[o])})
            for o, one in enumerate(alone)
        ]
        assert together == pytest.approx(sum(separate), abs=2e-3)

    def test_gradients(self, response, events):
        with pm.Model(coords=response.coords) as model:
            norm = pm.LogNormal("norm", 0.0, 0.3, dims="observation")
            halo = pm.LogNormal("halo", 0.0, 0.3, dims="observation")
            pmg.ExtendedEventMixture(
                "events",
                response=response,
                observed=events,
                norms={"crab": norm, "halo": halo},
                spectra={"crab": crab()},
            )
        value, gradient = model.compile_logp(mode="FAST_COMPILE"), model.compile_dlogp(mode="FAST_COMPILE")
        point = {"norm_log__": np.array([0.1, -0.2, 0.3]), "halo_log__": np.array([-0.1, 0.0, 0.2])}
        found = gradient(point)
        for k in range(6):
            name, j = list(point)[k // 3], k % 3
            shifted = []
            for step in (-1e-4, 1e-4):
                other = {key: one.copy() for key, one in point.items()}
                other[name][j] += step
                shifted.append(value(other))
            assert found[k] == pytest.approx((shifted[1] - shifted[0]) / 2e-4, rel=1e-5, abs=1e-3)

    def test_draws_and_expected_counts_follow(self, response):
        norms = {"crab": [0.0, 1.0, 3.0]}
        with pm.Model(coords=response.coords):
            given = pmg.ExtendedEventMixture(
                "events", response=response, norms={**norms, "ccr": 0.0, "halo": 0.0}, spectra={"crab": crab()}
            )
        rows = pm.draw(given, draws=20, random_seed=1)
        observation = rows[..., 3][~np.isnan(rows[..., 3])]
        counts = np.array([np.sum(observation == o) for o in range(3)]) / 20
        nominal = response.with_spectra({"crab": crab()}).acceptance_by_observation.sel(component="crab").values
        expected = nominal * norms["crab"]
        assert counts[0] == 0
        assert np.all(np.abs(counts - expected)[1:] < 4 * np.sqrt(expected[1:] / 20))

    def test_integrated_flux_has_one_for_each(self, response, events):
        with pm.Model(coords=response.coords) as model:
            pmg.ExtendedEventMixture(
                "events",
                response=response,
                observed=events,
                norms={"crab": [1.0, 2.0, 3.0]},
                spectra={"crab": crab()},
                integrated_flux=[1, 10] * u.TeV,
            )
        assert tuple(model.named_vars_to_dims["events_flux"]) == ("events_source", "observation")
        flux = model["events_flux"].eval()
        exact = 2.5e-12 * (1 - 10**-1.2) / 1.2
        np.testing.assert_allclose(flux[0], exact * np.array([1, 2, 3]), rtol=1e-4)
        assert np.ptp(flux[1]) == 0

    @pytest.mark.parametrize("norm", [[1.0, 2.0], np.ones((3, 1)), [1.0, -1.0, 1.0], [1.0, np.nan, 1.0]])
    def test_bad_norms_are_refused(self, response, events, norm):
        with pytest.raises(ModelError, match="crab"):
            poisson(response, events, norms={"crab": norm})


class TestGroups:
    def test_a_group_is_its_members(self, runs, events):
        response = folded(runs, free_spectrum=["crab", "halo"])
        index, amplitude = np.array([2.2, 2.6]), np.array([2e-12, 1.5e-12])
        together = poisson(response, events, spectra={("crab", "halo"): pmg.PowerLaw(index=index, amplitude=amplitude)})
        each = {name: crab(index[k], amplitude[k]) for k, name in enumerate(("crab", "halo"))}
        assert together == pytest.approx(poisson(response, events, spectra=each), rel=1e-13)

    def test_norms_of_a_group(self, response, events):
        together = poisson(response, events, norms={("crab", "ccr"): [1.3, 0.9]})
        assert together == pytest.approx(poisson(response, events, norms={"crab": 1.3, "ccr": 0.9}), rel=1e-14)

    @pytest.mark.parametrize(
        ("spectra", "message"),
        [
            ({("crab", "halo"): pmg.PowerLaw(index=[2.0, 2.1, 2.2])}, "one row for each"),
            ({("crab", "crab"): pmg.PowerLaw(index=[2.0, 2.1])}, "more than once"),
            ({("crab", "halo"): pmg.PowerLaw(), "crab": pmg.PowerLaw()}, "more than once"),
            ({("crab", "vela"): pmg.PowerLaw()}, "vela"),
        ],
    )
    def test_bad_groups_are_refused(self, runs, events, spectra, message):
        response = folded(runs, free_spectrum=["crab", "halo"])
        with pytest.raises(ModelError, match=message):
            poisson(response, events, spectra=spectra)


class Hazy:
    """The same as a factor that says that it is smooth."""

    smooth = True

    def __call__(self, energy):
        return pt.exp(-0.2 / energy)


class Haze(Systematic):
    """Absorbs low energies: a systematic of a user."""

    variable = "haze"

    def prior(self, n_observations, energy):
        return pm.HalfNormal(self.variable, self.sigma)

    def act(self, component, value):
        return component.with_factor(lambda energy: pt.exp(-value / energy)) if "aeff" in component.irfs else component


class TestSystematicOfAUser:
    def test_in_a_poisson_process(self, runs, events):
        response = folded(runs, free_spectrum=["crab", "halo"])
        hazy = {"crab": crab() * Hazy(), "halo": crab(2.5, 1e-12) * Hazy()}
        spectra = {"crab": crab(), "halo": crab(2.5, 1e-12)}
        found = poisson(response, events, spectra=spectra, systematics=[Haze(value=0.2)])
        assert found == pytest.approx(poisson(response, events, spectra=hazy), rel=1e-12)

    def test_in_a_mixture(self, runs, events):
        response = folded(runs, free_spectrum=["crab", "halo"])

        def mixture(spectra, **kwargs):
            with pm.Model(coords=response.coords) as model:
                pmg.EventMixture(
                    "events", [0.2, 0.1, 0.7], response=response, spectra=spectra, observed=events, **kwargs
                )
            return model

        hazy = {"crab": crab() * Hazy(), "halo": crab(2.5) * Hazy()}
        model = mixture({"crab": crab(), "halo": crab(2.5)}, systematics=[Haze(sigma=0.3)])
        assert "haze" in model.named_vars
        assert logp(model, haze=0.2) == pytest.approx(logp(mixture(hazy)), rel=1e-12)

    def test_without_effect_it_is_refused(self, runs):
        response = pmg.fold(pmg.CosmicRayBackground(), runs, region(width=2.0, energy=(0.5, 100)))
        with pytest.raises(ModelError, match="Haze would have no effect"), pm.Model():
            pmg.ExtendedEventMixture("events", response=response, systematics=[Haze()])

    def test_on_a_fixed_spectrum_it_is_refused(self, response):
        with pytest.raises(ModelError, match="Haze changes spectra"), pm.Model():
            pmg.ExtendedEventMixture("events", response=response, systematics=[Haze()])


class TestMixtures:
    def test_a_factor_on_all_events_cancels_and_is_refused(self, response, events):
        with pytest.raises(ModelError, match="cancels"), pm.Model(coords=response.coords):
            pmg.EventMixture(
                "events",
                [0.2, 0.1, 0.7],
                response=response,
                spectra={"crab": crab()},
                observed=events,
                systematics=[pmg.EffectiveAreaNorm()],
            )

    def test_norms_by_observation_share_a_fraction(self, response, events, alone):
        norm = np.array([0.8, 1.0, 1.3])
        fraction = np.array([0.2, 0.1, 0.7])
        with pm.Model(coords=response.coords) as model:
            pmg.EventMixture(
                "events",
                fraction,
                response=response,
                spectra={"crab": crab()},
                observed=events,
                systematics=[pmg.BackgroundNorm(value=norm)],
            )
        # the same by hand: shares of the background by observation, and densities there
        spectral = response.with_spectra({"crab": crab()})
        counts = spectral.acceptance_by_observation.values * np.array([[1, 1, 1], [1, 1, 1], norm])
        rows = spectral.density(events) * np.where(np.arange(3) == 2, norm[events.observation][:, None], 1.0)
        density = (rows / counts.sum(axis=1)) @ fraction
        # a free spectrum has columns of its own, which differ by 1e-3 in log L at 4500 events, and more where all do
        assert logp(model) == pytest.approx(np.log(density).sum(), abs=2e-2)


class TwoWidths(LinearBlock):
    """A source whose brightness is a mixture of two Gaussians, with the share of the first as a parameter."""

    n_dense = 2

    def __init__(self, widths, name):
        super().__init__(name, np.ones((1, 1)), theta=pt.zeros(1))
        self._widths = widths

    def columns(self, rows, observation):
        return self._widths.component_pdf(rows), None

    def spread(self, theta, v):
        return pt.stack([theta[0], 1 - theta[0]]) * v

    def frozen(self, theta):
        return {}


def test_a_linear_block_with_parameters_and_columns_of_its_own():
    halo, background = source("halo", 0.0, 0.0, sigma=0.3, amplitude=1e-12), pmg.CosmicRayBackground()
    wide = source("wide", 0.0, 0.0, sigma=0.6, amplitude=1e-12)
    roi, run = region(width=2.0, energy=(0.5, 100)), pointing(hours=1)
    response, widths = pmg.fold([halo, background], run, roi), pmg.fold([halo, wide], run, roi)
    rows = response.event_rows(response.simulate(rng=4))
    blocks = [TwoWidths(widths, "halo"), LinearBlock("ccr", np.array([[400.0]]))]
    intensity = PoissonSource(response, blocks, has_norms=True)
    share, norms = pt.dvector(), pt.dvector()
    parameters = Parameters(norms, None, (share,))
    value = intensity.log_densities(table_inputs(intensity, pt.constant(rows), ()), parameters, pt.constant(len(rows)))
    total = value.sum()
    function = pytensor.function([share, norms], [total, *pt.grad(total, [share, norms])], mode="FAST_COMPILE")
    pdf, of_background = widths.component_pdf(rows), response.component_pdf(rows)[:, 1]

    def expected(at, n):
        return (
            np.log(n[0] * (at * pdf[:, 0] + (1 - at) * pdf[:, 1]) + 400 * n[1] * of_background).sum()
            - n[0]
            - 400 * n[1]
        )

    n, step = np.array([900.0, 1.2]), 1e-5
    for at in (0.0, 0.3, 1.0):
        found, slope, of_norms = function(np.array([at]), n)
        assert found == pytest.approx(expected(at, n), rel=1e-10)
        assert slope[0] == pytest.approx(
            (expected(at + step, n) - expected(at - step, n)) / (2 * step), rel=1e-6, abs=1e-4
        )
        change = (expected(at, n * [1, 1 + step]) - expected(at, n * [1, 1 - step])) / (2 * step * n[1])
        assert of_norms[1] == pytest.approx(change, rel=1e-6, abs=1e-3)
