"""Flux points and light curves: against posteriors by brute force, Asimov data, gammapy's objects; bad input."""

from functools import cache

import astropy.units as u
import numpy as np
import pymc as pm
import pytest
import xarray as xr
from astropy.time import Time
from gammapy.estimators import FluxPoints
from setups import pointing, region, source

import pymc_gamma as pmg
from pymc_gamma.errors import ModelError, PymcGammaWarning, RegionError

EDGES = [1, 2, 5, 20] * u.TeV
SPAN = (1.0, 50.0)
START = Time("2025-03-01T22:00:00", scale="tt")


def sky(sigma=0.0):
    return [source("crab", 0.3, -0.2, sigma=sigma, index=2.3, amplitude=4e-12), pmg.CosmicRayBackground()]


def observation(hours=1.0, lon=0.0, start=0.0):
    one = pointing(lon=lon, hours=hours)
    return pmg.Observation(
        one.irfs,
        one.pointing,
        livetime=hours * u.h,
        name=f"run at {start:g}",
        good_time=START + [start, start + hours] * u.h,
    )


@cache
def response(n=1, sigma=0.0):
    runs = [observation(start=2.0 * k, lon=0.3 * k, hours=1.0 + k) for k in range(n)]
    return pmg.fold(sky(sigma), runs, region(width=1.6, energy=SPAN), free_spectrum=["crab"])


@cache
def events(n=1, sigma=0.0):
    return response(n, sigma).simulate(rng=5)


def model_of(folded, observed, **kwargs):
    with pm.Model(coords=folded.coords) as model:
        amplitude = pm.LogNormal("amplitude", np.log(4e-12), 1.0)
        norm = pm.LogNormal("norm", 0.0, 0.2)
        spectra = {"crab": pmg.PowerLaw(index=2.3, amplitude=amplitude)}
        pmg.ExtendedEventMixture(
            "events", response=folded, spectra=spectra, norms={"ccr": norm}, observed=observed, **kwargs
        )
    return model


def held(**values):
    """One draw: parameters that are held."""
    return xr.Dataset({name: (("chain", "draw"), [[value]]) for name, value in values.items()})


AT = held(amplitude=4e-12, norm=1.0)


def brute_force(energy, n=1, sigma=0.0):
    """The logarithm of the likelihood of a band, of norms of both components (they broadcast), and numbers of events.

    From a fold of its own of what the model was made of.
    """
    folded, observed = response(n, sigma), events(n, sigma)
    energies = folded.energy_true_edges * u.TeV
    band = pmg.fold(sky(sigma), folded.observations, region(width=1.6, energy=energy), energy_true=energies)
    inside = (observed.energy.value >= energy[0]) & (observed.energy.value < energy[1])
    density = band.density(observed[inside])
    signal, other = band.acceptance.values

    def log_likelihood(norm, background):
        norm, background = np.broadcast_arrays(norm, background)
        at_events = np.log(density[:, 0] * norm[..., None] + density[:, 1] * background[..., None]).sum(axis=-1)
        return at_events - signal * norm - other * background

    return log_likelihood, int(inside.sum()), float(signal)


def test_posterior_of_one_band():
    found = pmg.flux_points(model_of(response(), events()), EDGES, "crab", AT)
    norm = np.linspace(0, 6, 6001)
    for row, energy in zip(found.table, ((1, 2), (2, 5), (5, 20)), strict=True):
        log_likelihood, n, expected = brute_force(energy)
        log_like = log_likelihood(norm, 1.0)
        density = np.exp(log_like - log_like.max())
        density /= density.sum()
        mean = density @ norm
        sd = np.sqrt(density @ (norm - mean) ** 2)
        assert row["counts"] == n
        assert row["npred_excess"] == pytest.approx(row["norm"] * expected, rel=2e-3)
        assert abs(row["norm"] - norm[density.argmax()]) < 0.02 * sd + 0.001
        assert row["norm_err"] == pytest.approx(sd, rel=0.01)
        assert abs(row["norm_ul"] - norm[np.searchsorted(density.cumsum(), 0.95)]) < 0.02 * sd
        assert abs(row["norm_median"] - norm[np.searchsorted(density.cumsum(), 0.5)]) < 0.02 * sd
        assert row["ts"] == pytest.approx(2 * (log_like.max() - log_like[0]), rel=0.01, abs=0.01)
        at_one = log_likelihood(np.array([0.0, 1.0]), 1.0)
        assert row["log_bayes_factor"] == pytest.approx(at_one[1] - at_one[0], abs=0.02)
        ends = np.interp([row["norm"] - row["norm_errn"], row["norm"] + row["norm_errp"]], norm, density.cumsum())
        assert np.diff(ends) == pytest.approx(0.683, abs=0.005)
        densities = np.interp([row["norm"] - row["norm_errn"], row["norm"] + row["norm_errp"]], norm, density)
        assert row["norm_errn"] == row["norm"] or densities[0] == pytest.approx(densities[1], rel=0.02)


def test_fluxes_of_the_reference():
    """A power law: its fluxes are known."""
    table = pmg.flux_points(model_of(response(), events()), EDGES, "crab", AT).table
    low, high = EDGES[:-1].value, EDGES[1:].value
    np.testing.assert_allclose(table["e_ref"].value, np.sqrt(low * high))
    np.testing.assert_allclose(table["ref_dnde"].value, 4e-12 * np.sqrt(low * high) ** -2.3)
    np.testing.assert_allclose(table["ref_flux"].value, 4e-12 * (low**-1.3 - high**-1.3) / 1.3, rtol=1e-6)
    np.testing.assert_allclose(table["ref_eflux"].value, 4e-12 * (low**-0.3 - high**-0.3) / 0.3, rtol=1e-6)
    np.testing.assert_allclose(table["e2dnde"], table["e_ref"] ** 2 * table["dnde"])
    for name in ("", "_err", "_errn", "_errp", "_median", "_ul"):
        for sed in ("dnde", "e2dnde", "flux", "eflux"):
            np.testing.assert_allclose(table[sed + name], table["norm" + name] * table[f"ref_{sed}"])


def test_the_flux_of_a_band_is_free_in_averages_over_draws():
    """Against the integral over the norm of the background, with the flux of the band apart from that of the others."""
    energy, wide = (1.0, 2.0), {"sigma": 0.6}  # a source much like the background
    background, norm = np.linspace(0.3, 2.0, 341), np.linspace(0, 8, 801)
    of_band, of_rest = (brute_force(one, **wide)[0] for one in (energy, (2.0, 50.0)))
    log_prior = -0.5 * (np.log(background) / 0.2) ** 2 - np.log(background)
    log_joint = of_band(norm, background[:, None]) + (of_rest(1.0, background) + log_prior)[:, None]
    density = np.exp(log_joint - log_joint.max()).sum(axis=0)
    density /= density.sum()
    mean = density @ norm
    sd = np.sqrt(density @ (norm - mean) ** 2)
    # draws of the posterior in which the band has the flux of the others, at its quantiles
    posterior = of_band(1.0, background) + of_rest(1.0, background) + log_prior
    posterior = np.exp(posterior - posterior.max())
    middle = (np.cumsum(posterior) - 0.5 * posterior) / posterior.sum()
    draws = np.interp((np.arange(800) + 0.5) / 800, middle, background)[None]
    idata = xr.Dataset(
        {name: (("chain", "draw"), one) for name, one in (("norm", draws), ("amplitude", 4e-12 + 0 * draws))}
    )
    model = model_of(response(**wide), events(**wide))
    row = pmg.flux_points(model, energy * u.TeV, "crab", idata).table[0]
    assert row["norm_err"] == pytest.approx(sd, rel=0.01)
    assert abs(row["norm_median"] - norm[np.searchsorted(density.cumsum(), 0.5)]) < 0.03 * sd
    assert 50 < row["n_effective"] < 800


def test_asimov_data_have_the_norm_they_were_made_with():
    """Cells with what is expected of 1.7 times the flux; edges of bands are among theirs."""
    folded = response()
    edges = np.geomspace(1, 50, 13)
    cells = folded.asimov(energy=edges * u.TeV, pixel=0.1 * u.deg, norms={"crab": 1.7})
    table = pmg.flux_points(model_of(folded, cells), edges[[0, 3, 6, 12]] * u.TeV, "crab", AT).table
    np.testing.assert_allclose(table["norm"], 1.7, rtol=0.01)
    with pytest.raises(ModelError, match="cells lie across an end of 1-2 TeV"):
        pmg.flux_points(model_of(folded, cells), [1, 2] * u.TeV, "crab", AT)


def test_a_band_without_events_has_a_limit():
    observed = events()[events().energy.value < 5]
    row = pmg.flux_points(model_of(response(), observed), [5, 20] * u.TeV, "crab", AT).table[0]
    expected = brute_force((5.0, 20.0))[2]
    assert row["counts"] == 0
    assert row["norm"] == 0
    assert row["ts"] == 0
    assert row["is_ul"]
    assert row["norm_ul"] == pytest.approx(-np.log(0.05) / expected, rel=1e-3)  # of an exponential distribution
    assert row["norm_errn"] == 0


def test_systematics_are_taken_out_of_fluxes():
    """With 1.25 times the effective area the same events mean less flux."""
    values = []
    for factor in (1.0, 1.25):
        area = [pmg.EffectiveAreaNorm(sigma=0.1, value=factor)]
        model = model_of(response(), events(), systematics=area)
        values.append(pmg.flux_points(model, EDGES, "crab", AT).table["flux"].value)
    np.testing.assert_allclose(values[0] / values[1], 1.25, rtol=1e-3)


def test_several_variables_share_a_flux():
    """Two runs in one variable, or each in a variable of its own."""
    together = pmg.flux_points(model_of(response(2), events(2)), EDGES, "crab", AT).table
    with pm.Model() as model:
        amplitude, norm = pm.LogNormal("amplitude", np.log(4e-12), 1.0), pm.LogNormal("norm", 0.0, 0.2)
        for k, run in enumerate(response(2).observations):
            one = pmg.fold(sky(), run, response(2).roi, free_spectrum=["crab"])
            own = events(2)[events(2).observation == k]
            pmg.ExtendedEventMixture(
                f"events {k}",
                response=one,
                spectra={"crab": pmg.PowerLaw(index=2.3, amplitude=amplitude)},
                norms={"ccr": norm},
                observed=own.with_observation(np.zeros(len(own), int)),
            )
    apart = pmg.flux_points(model, EDGES, "crab", AT).table
    for name in ("norm", "norm_err", "norm_ul", "ts", "counts"):
        np.testing.assert_allclose(apart[name], together[name], rtol=5e-3)
    # and their light curves
    times = START + [0, 1.5, 6] * u.h
    curves = [pmg.light_curve(one, SPAN * u.TeV, "crab", AT) for one in (model, model_of(response(2), events(2)))]
    np.testing.assert_allclose(curves[0].table["norm"], curves[1].table["norm"], rtol=5e-3)
    binned = pmg.light_curve(model, SPAN * u.TeV, "crab", AT, times=times)
    np.testing.assert_allclose(binned.table["norm"], curves[0].table["norm"])
    np.testing.assert_allclose((binned.table["time_max"] - START).to_value("h"), [1.5, 6])


def test_light_curve_of_two_runs():
    """Against each run alone, and both in one bin against a point of the whole range."""
    model = model_of(response(2), events(2))
    curve = pmg.light_curve(model, SPAN * u.TeV, "crab", AT)
    np.testing.assert_allclose((curve.table["time_min"] - START).to_value("h"), [0, 2], atol=1e-6)
    np.testing.assert_allclose((curve.table["time_max"] - START).to_value("h"), [1, 4], atol=1e-6)
    for k, row in enumerate(curve.table):
        one = pmg.fold(sky(), response(2).observations[k], response(2).roi, free_spectrum=["crab"])
        own = events(2)[events(2).observation == k]
        alone = model_of(one, own.with_observation(np.zeros(len(own), int)))
        other = pmg.flux_points(alone, SPAN * u.TeV, "crab", AT).table[0]
        for name in ("flux", "flux_err", "flux_errn", "flux_errp", "flux_ul", "sqrt_ts"):
            np.testing.assert_allclose(row[name], other[name], rtol=5e-3)
        assert row["counts"] == len(own)
    both = pmg.light_curve(model, SPAN * u.TeV, "crab", AT, times=START + [-1, 5] * u.h).table[0]
    whole = pmg.flux_points(model, SPAN * u.TeV, "crab", AT).table[0]
    np.testing.assert_allclose(both["norm"], whole["norm"])
    np.testing.assert_allclose(both["norm_ul"], whole["norm_ul"])


def test_the_best_fit_is_found_and_copies_of_models_do():
    """Events observed in a copy; the default is the best fit, where a band of all energies has a norm of 1."""
    with pm.Model(coords=response().coords) as simulated:
        amplitude = pm.Uniform("amplitude", 0, 1e-10)
        spectra = {"crab": pmg.PowerLaw(index=2.3, amplitude=amplitude)}
        pmg.ExtendedEventMixture("events", response=response(), spectra=spectra)
    model = pmg.observe_events(simulated, events())
    row = pmg.flux_points(model, SPAN * u.TeV, "crab").table[0]
    assert row["norm"] == pytest.approx(1, abs=0.005)
    np.testing.assert_allclose(row["dnde_err"] / row["dnde"], row["norm_err"] / row["norm"], rtol=1e-12)


def test_to_gammapy(tmp_path):
    points = pmg.flux_points(model_of(response(2), events(2)), EDGES, "crab", AT)
    theirs = points.to_gammapy()
    for suffix in (".ecsv", ".fits"):
        file = tmp_path / f"points{suffix}"
        theirs.write(file)
        table = FluxPoints.read(file, reference_model=theirs.reference_model).to_table(sed_type="dnde")
        for name in ("e_min", "e_max", "dnde", "dnde_err", "dnde_errn", "dnde_errp", "dnde_ul"):
            np.testing.assert_allclose(table[name].quantity.to(points.table[name].unit), points.table[name], rtol=1e-6)
        np.testing.assert_allclose(table["sqrt_ts"], points.table["sqrt_ts"])
    np.testing.assert_allclose(theirs.flux.data.ravel(), points.table["flux"].to_value(theirs.flux.unit), rtol=1e-3)
    profile = theirs.stat_scan.interp_by_coord({"norm": [1.0] * 3, "energy": points.table["e_ref"]}, fill_value=None)
    own = [-2 * np.interp(1.0, one.norm.values, one.values) for one in points.posterior]
    np.testing.assert_allclose(np.ravel(profile), own, atol=0.1)

    curve = pmg.light_curve(model_of(response(2), events(2)), SPAN * u.TeV, "crab", AT)
    theirs = curve.to_gammapy()
    for suffix in (".ecsv", ".fits"):
        file = tmp_path / f"curve{suffix}"
        theirs.write(file, format="lightcurve")
        read = FluxPoints.read(file, format="lightcurve", reference_model=theirs.reference_model)
        table = read.to_table(sed_type="flux", format="lightcurve")
        np.testing.assert_allclose(np.ravel(table["flux"]), curve.table["flux"].value, rtol=1e-3)
        np.testing.assert_allclose(table["time_min"], curve.table["time_min"].tt.mjd, atol=1e-8)


def test_pictures():
    points = pmg.flux_points(model_of(response(2), events(2)), EDGES, "crab", AT)
    assert points.plot().get_ylabel().startswith("$E^2")
    curve = pmg.light_curve(model_of(response(2), events(2)), SPAN * u.TeV, "crab", AT)
    ax = curve.plot()
    assert ax.get_xlabel() == "hours since MJD 60735 (TT)"
    assert curve.plot(ax=ax) is ax
    assert "'crab'" in repr(points)
    assert len(repr(curve).splitlines()) == 2 + 2 + len(curve)


def test_few_draws_are_told():
    draws = np.geomspace(0.1, 10, 120)[None]
    columns = {"norm": draws, "amplitude": 4e-12 * draws}
    idata = xr.Dataset({name: (("chain", "draw"), values) for name, values in columns.items()})
    with pytest.warns(PymcGammaWarning, match=r"rests on \d+ of 120 draws"):
        pmg.flux_points(model_of(response(), events()), [1, 2] * u.TeV, "crab", idata)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"component": "crap"}, ModelError, r"no component 'crap'; it has \['crab', 'ccr'\]"),
        ({"component": "ccr"}, ModelError, "'ccr' is a residual background, which has no flux"),
        ({"edges": [0.5, 2] * u.TeV}, RegionError, "outside of the reconstructed energies of the data, 1-50 TeV"),
        ({"edges": [2, 1] * u.TeV}, ValueError, "ascending"),
        ({"edges": [1, 2]}, TypeError, "edges"),
        ({"probability": 1.0}, ValueError, "at most 0.9999"),
        ({"idata": AT.drop_vars("norm")}, ModelError, r"lacks \['norm'\]"),
        ({"idata": 3}, TypeError, "DataTree or Dataset"),
    ],
)
def test_bad_input(changes, error, message):
    arguments = {"model": model_of(response(), events()), "edges": EDGES, "component": "crab", "idata": AT} | changes
    with pytest.raises(error, match=message):
        pmg.flux_points(**arguments)
    if isinstance(changes.get("edges"), list):
        return
    energy = arguments.pop("edges")
    with pytest.raises(error, match=message):
        pmg.light_curve(energy=energy[:2], **arguments)


def test_models_without_fluxes():
    with pm.Model() as model:
        pm.Normal("y", 0, 1, observed=1.0)
    with pytest.raises(ModelError, match=r"observes no events with fluxes; \['y'\] have none"):
        pmg.flux_points(model, EDGES, "crab")
    fixed = pmg.fold(sky(), observation(), response().roi)
    with pm.Model(coords=fixed.coords) as mixture:
        fraction = pm.Dirichlet("fraction", np.ones(2), dims="component")
        pmg.EventMixture("events", fraction, response=fixed, observed=events())
    with pytest.raises(ModelError, match="an EventMixture knows shares of events, not fluxes"):
        pmg.flux_points(mixture, EDGES, "crab")
    with pm.Model(coords=fixed.coords) as unobserved:
        pmg.ExtendedEventMixture("events", response=fixed)
    with pytest.raises(ModelError, match="observes no events with fluxes"):
        pmg.flux_points(unobserved, EDGES, "crab")


def test_light_curves_that_have_no_times():
    one = pmg.fold(sky(), pointing(hours=1), response().roi, free_spectrum=["crab"])
    with pytest.raises(ModelError, match="has no good time"):
        pmg.light_curve(model_of(one, events()), SPAN * u.TeV, "crab", AT)
    model = model_of(response(2), events(2))
    with pytest.raises(ModelError, match="lie across an edge of the time bins"):
        pmg.light_curve(model, SPAN * u.TeV, "crab", AT, times=START + [0, 3, 5] * u.h)
    with pytest.raises(ModelError, match="lie outside of the time bins"):
        pmg.light_curve(model, SPAN * u.TeV, "crab", AT, times=START + [0, 1.5] * u.h)
    with pytest.raises(TypeError, match="times must be edges of bins"):
        pmg.light_curve(model, SPAN * u.TeV, "crab", AT, times=[0, 3])
    with pytest.raises(ValueError, match="two or more increasing edges"):
        pmg.light_curve(model, SPAN * u.TeV, "crab", AT, times=START + [3, 0] * u.h)
    with pytest.raises(ModelError, match="must be a range"):
        pmg.light_curve(model, EDGES, "crab", AT)


def plain_model(folded, **kwargs):
    """Events with what is left of the model once all parameters are numbers but one, which says nothing."""
    with pm.Model(coords=folded.coords) as model:
        nothing = pm.Normal("nothing")
        norms = {"ccr": 1.0 + 0 * nothing}
        pmg.ExtendedEventMixture("events", response=folded, norms=norms, observed=events(2), **kwargs)
    return model


FREE = {"spectra": {"crab": pmg.PowerLaw(index=2.3, amplitude=4e-12)}}


def refolded(**kwargs):
    runs, roi = response(2).observations, response(2).roi
    return pmg.fold(sky(), runs, roi, energy_true=response(2).energy_true_edges * u.TeV, **kwargs)


def scanned():
    """The index of the spectrum is scanned, and lies on a node."""

    def factory(index):
        return source("crab", 0.3, -0.2, index=float(index), amplitude=4e-12)

    sky_of_scan = [pmg.Scanned("crab", factory, nodes={"index": [2.1, 2.3, 2.5]}), sky()[1]]
    energies = response(2).energy_true_edges * u.TeV
    runs, roi = response(2).observations, response(2).roi
    folded = pmg.fold(sky_of_scan, runs, roi, energy_true=energies, progressbar=False)
    return plain_model(folded, scan={"index": 2.3})


KINDS = {
    "scan": scanned,
    "fixed spectrum": lambda: plain_model(refolded()),
    "free shape": lambda: plain_model(
        refolded(free_spectrum=["crab"], free_shape=["crab"]), **FREE, shapes={"crab": pmg.PointShape(0.3, -0.2)}
    ),
    "energy scale": lambda: plain_model(
        refolded(free_spectrum=["crab"]), **FREE, systematics=[pmg.EnergyScale(sigma=0.1, value=1.0)]
    ),
    "scale of the PSF": lambda: plain_model(
        refolded(free_spectrum=["crab"]), **FREE, systematics=[pmg.PSFScale(sigma=0.1, value=1.0)]
    ),
    "background of free shape": lambda: plain_model(
        refolded(free_spectrum=["crab", "ccr"]),
        spectra=FREE["spectra"] | {"ccr": pmg.PowerLawNorm(norm=[1.0, 1.0], tilt=0.0)},
    ),
    "a norm for each observation": lambda: plain_model(
        refolded(free_spectrum=["crab"]),
        spectra={"crab": lambda energy: np.array([[1.0], [1.0]]) * (4e-12 * energy**-2.3)},
    ),
}


@pytest.mark.parametrize("kind", list(KINDS))
def test_all_kinds_of_components(kind):
    """The same source said in another way has the same points."""
    points = pmg.flux_points(model_of(response(2), events(2)), EDGES, "crab", AT).table
    other = pmg.flux_points(KINDS[kind](), EDGES, "crab", held(nothing=0.0)).table
    curve = pmg.light_curve(model_of(response(2), events(2)), SPAN * u.TeV, "crab", AT).table
    other_curve = pmg.light_curve(KINDS[kind](), SPAN * u.TeV, "crab", held(nothing=0.0)).table
    for ours, theirs in ((other, points), (other_curve, curve)):
        np.testing.assert_allclose(ours["flux"], theirs["flux"], atol=0.03 * theirs["flux_err"].min())
        np.testing.assert_allclose(ours["flux_ul"], theirs["flux_ul"], rtol=5e-3)
        np.testing.assert_allclose(ours["npred_excess"], theirs["npred_excess"], rtol=5e-3)
