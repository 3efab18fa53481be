"""ON and OFF events of runs, against gammapy and counts written out."""

import dataclasses
import warnings

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from gammapy.data import DataStore
from gammapy.datasets import SpectrumDataset
from gammapy.makers import (
    ReflectedRegionsBackgroundMaker,
    ReflectedRegionsFinder,
    SpectrumDatasetMaker,
    WobbleRegionsFinder,
)
from gammapy.maps import MapAxis, RegionGeom, WcsGeom
from gammapy.modeling.models import PowerLawSpectralModel, SkyModel
from point_like import OFFSET, POINTING, SOURCE, full_enclosure, point_like, run, scattered, tables
from regions import CircleAnnulusSkyRegion, CircleSkyRegion
from setups import pointing, quick_start_irfs, region, source

import pymc_gamma as pmg
from pymc_gamma.errors import EventError, IRFError, PymcGammaWarning, RegionError
from pymc_gamma.geometry import unit_vectors
from pymc_gamma.on_off.region_response import _exposure

CRAB = SkyCoord(83.633 * u.deg, 22.014 * u.deg)
LAW = {"index": 2.5, "amplitude": 3e-11}


def circle(radius, centre=SOURCE):
    return CircleSkyRegion(centre, radius * u.deg)


def offset_of(events, centre):
    return events.coords.separation(centre).deg


def spectrum_of_gammapy(observation, on, edges, *, containment):
    """ON and OFF counts, alpha and expected counts in channels, by gammapy."""
    true = MapAxis.from_energy_bounds("0.1 TeV", "150 TeV", nbin=100, per_decade=True, name="energy_true")
    geom = RegionGeom.create(on, axes=[MapAxis.from_energy_edges(edges)])
    maker = SpectrumDatasetMaker(selection=["counts", "exposure", "edisp"], containment_correction=containment)
    dataset = maker.run(SpectrumDataset.create(geom, energy_axis_true=true), observation)
    found = ReflectedRegionsBackgroundMaker().run(dataset, observation)
    law = PowerLawSpectralModel(index=LAW["index"], amplitude=LAW["amplitude"] * u.Unit("TeV-1 cm-2 s-1"))
    dataset.models = [SkyModel(law, name="law")]
    return dataset, found, dataset.npred_signal().data.ravel()


def test_runs_of_hess_have_the_counts_and_the_response_of_gammapy():
    store = DataStore.from_dir(pmg.datasets.path("hess-dl3-dr1-crab"))
    with warnings.catch_warnings(action="ignore"):
        runs = pmg.Observation.list_from_gammapy(store)
        events = pmg.Events.from_gammapy(store, frame="icrs")
    edges = np.geomspace(0.9, 30, 9) * u.TeV
    on = circle(0.11, CRAB)
    data = pmg.OnOffEvents.extract(runs, events, on, energy_range=edges[[0, -1]])
    assert [one.name for one in data] == ["23523", "23526", "23559", "23592"]
    for one, observation in zip(data, store.get_observations(), strict=True):
        # events outside of the good time, which gammapy counts
        observation = observation.select_time(observation.gti.time_intervals[0])
        empty, found, theirs = spectrum_of_gammapy(observation, on, edges, containment=True)
        ours = one.binned(edges)
        np.testing.assert_array_equal(ours.counts.values, empty.counts.data.ravel())
        np.testing.assert_array_equal(ours.counts_off.values, found.counts_off.data.ravel())
        np.testing.assert_allclose(ours.alpha.values, found.alpha.data.ravel(), rtol=1e-6)
        law = pmg.PowerLaw(**LAW)
        # a table of the PSF becomes Gaussians here, whose containment at this radius is right to 1 %
        np.testing.assert_allclose(ours.npred(law).values, theirs, rtol=0.012)
        np.testing.assert_allclose(one.npred(law), ours.npred(law).values.sum(), rtol=2e-4)


def test_a_point_like_response_has_the_expected_counts_of_gammapy():
    made = run()
    with warnings.catch_warnings(action="ignore"):
        one = pmg.Observation.from_gammapy(made)
    assert one.irfs.is_point_like
    edges = np.geomspace(0.3, 30, 13) * u.TeV
    data = pmg.OnOffEvents.extract(one, scattered(), SOURCE, energy_range=edges[[0, -1]])
    true = MapAxis.from_energy_bounds("0.05 TeV", "190 TeV", nbin=120, per_decade=True, name="energy_true")
    geom = RegionGeom.create(circle(0.1), axes=[MapAxis.from_energy_edges(edges)])
    dataset = SpectrumDatasetMaker(selection=["exposure", "edisp"]).run(
        SpectrumDataset.create(geom, energy_axis_true=true), made
    )
    law = PowerLawSpectralModel(index=LAW["index"], amplitude=LAW["amplitude"] * u.Unit("TeV-1 cm-2 s-1"))
    dataset.models = [SkyModel(law, name="law")]
    theirs = dataset.npred_signal().data.ravel()
    np.testing.assert_allclose(data.binned(edges).npred(pmg.PowerLaw(**LAW)).values, theirs, rtol=3e-3)


def test_events_are_counted_in_circles_turned_around_the_pointing():
    with warnings.catch_warnings(action="ignore"):
        one = pmg.Observation.from_gammapy(run())
    events = scattered()
    low, high = 0.2, 20.0
    used = events[(events.energy.value >= low) & (events.energy.value <= high)]
    data = pmg.OnOffEvents.extract(one, events, SOURCE, off=WobbleRegionsFinder(3), energy_range=[low, high] * u.TeV)
    centres = [POINTING.directional_offset_by(180 * u.deg + k * 90 * u.deg, OFFSET * u.deg) for k in range(4)]
    inside = [offset_of(used, centre) <= 0.1 for centre in centres]
    np.testing.assert_array_equal(data.energy.value, np.sort(used.energy.value[inside[0]]))
    np.testing.assert_array_equal(data.energy_off.value, np.sort(used.energy.value[np.any(inside[1:], axis=0)]))
    np.testing.assert_allclose(data.alpha, 1 / 3)
    assert np.ptp(data.acceptance_off) == 0


def test_a_radius_that_depends_on_energy_and_offset():
    made = point_like(table=True)
    with warnings.catch_warnings(action="ignore"):
        irfs = pmg.load_irfs(made)
    again = pmg.instrument.irfs.IRFs.from_arrays(irfs.arrays(), "again")
    assert again.fingerprint() == irfs.fingerprint()
    assert again.is_point_like
    one = pmg.Observation(irfs, POINTING, livetime=0.5 * u.h)
    events = scattered()
    low, high = 0.2, 20.0
    data = pmg.OnOffEvents.extract(one, events, SOURCE, off=WobbleRegionsFinder(1), energy_range=[low, high] * u.TeV)
    edges, nodes = made["rad_max"].axes["energy"].edges.value, made["rad_max"].axes["offset"].center.value

    def radius(energy):  # the table of the file, written out
        row = made["rad_max"].quantity.value[np.searchsorted(edges, energy, side="right") - 1]
        return np.array([np.interp(OFFSET, nodes, values) for values in row])

    used = events[(events.energy.value >= low) & (events.energy.value <= high)]
    cut = radius(used.energy.value)
    opposite = POINTING.directional_offset_by(0 * u.deg, OFFSET * u.deg)
    np.testing.assert_array_equal(data.energy.value, np.sort(used.energy.value[offset_of(used, SOURCE) <= cut]))
    np.testing.assert_array_equal(data.energy_off.value, np.sort(used.energy.value[offset_of(used, opposite) <= cut]))
    np.testing.assert_allclose(data.alpha, 1.0)
    solid = radius(data.energy_nodes.value) ** 2
    np.testing.assert_allclose(data.acceptance_off, np.pi * np.radians(1) ** 2 * solid, rtol=1e-4)


def test_stacked_runs_have_as_many_regions_as_all():
    one = full_enclosure()
    given = {"energy_range": [0.3, 10] * u.TeV}
    runs = [
        pmg.OnOffEvents.extract(one, scattered(seed=n), circle(0.1), off=WobbleRegionsFinder(n), **given)
        for n in (2, 6)
    ]
    both = pmg.OnOffEvents.stack(runs, "both")
    np.testing.assert_allclose(both.alpha, 2 / 8)  # as many hours in the ON region, and in eight of its size
    # a background that is uniform
    assert abs(both.alpha[0] * len(both.energy_off) - len(both.energy)) < 4 * np.sqrt(len(both.energy) * 1.25)


def test_a_ring_has_the_acceptance_of_the_background():
    one = full_enclosure()
    ring = CircleAnnulusSkyRegion(SOURCE, 0.5 * u.deg, 0.9 * u.deg)
    events = scattered()
    data = pmg.OnOffEvents.extract(one, events, circle(0.2), off=ring, energy_range=[0.3, 10] * u.TeV)
    used = events[(events.energy.value >= 0.3) & (events.energy.value <= 10)]
    away = offset_of(used, SOURCE)
    assert len(data.energy_off) == ((away >= 0.5) & (away <= 0.9)).sum()
    # the same integrals with gammapy's background on points
    bkg = tables()["bkg"]
    rng = np.random.default_rng(1)
    lon, lat = (rng.uniform(-1, 1, 100_000) for _ in range(2))
    where = SOURCE.spherical_offsets_by(lon * u.deg, lat * u.deg)
    x, y = POINTING.spherical_offsets_to(where)
    away = where.separation(SOURCE).deg
    for energy in (0.5, 5.0):
        rate = bkg.evaluate(energy=energy * u.TeV, fov_lon=x, fov_lat=y).to_value("TeV-1 s-1 sr-1")
        expected = rate[away <= 0.2].sum() / rate[(away >= 0.5) & (away <= 0.9)].sum()
        found = np.interp(energy, data.energy_nodes.value, data.alpha)
        assert abs(found / expected - 1) < 0.05, "3 % of it is the number of points in the ON region"
    flat = 0.2**2 / (0.9**2 - 0.5**2)
    assert (np.abs(data.alpha / flat - 1) < 0.3).all()
    # what is left to the free shape is the spectrum of the background, and not what its model says of that
    assert data.acceptance_off.max() / data.acceptance_off.min() < 1.3


def test_events_beyond_the_background_are_not_those_of_a_ring():
    one = full_enclosure()
    reach = float(one.irfs.bkg.fov_lon_edges.max())
    given = {"energy_range": [0.3, 10] * u.TeV}
    wide = CircleAnnulusSkyRegion(POINTING, (reach - 1) * u.deg, (reach + 1) * u.deg)
    events = scattered(spread=reach + 1)
    data = pmg.OnOffEvents.extract(one, events, circle(0.2), off=wide, **given)
    used = events[(events.energy.value >= 0.3) & (events.energy.value <= 10)]
    away = offset_of(used, POINTING)
    seen = one.irfs.bkg.covers(unit_vectors(used.lon.value, used.lat.value), one.background_basis("icrs"))
    assert 0 < len(data.energy_off) == (seen & (away >= reach - 1)).sum() < (away >= reach - 1).sum()


def test_without_a_background_a_run_sees_as_far_as_its_response():
    bare = dataclasses.replace(quick_start_irfs(), bkg=None)
    one = pmg.Observation(bare, POINTING, livetime=0.5 * u.h)
    far = circle(0.5, POINTING.directional_offset_by(0 * u.deg, (bare.offset_max + 2) * u.deg))
    with pytest.raises(RegionError, match="nothing of the OFF region is left, the run did not look there"):
        pmg.OnOffEvents.extract(one, scattered(100), circle(0.2), off=far, energy_range=[0.3, 10] * u.TeV)


@pytest.mark.parametrize("radius", [0.01, 0.03])
def test_regions_of_small_radius_do_not_overlap(radius):
    one = full_enclosure(offset=OFFSET)
    data = pmg.OnOffEvents.extract(one, scattered(), circle(radius), energy_range=[0.3, 10] * u.TeV)
    # as many as fit on the circle around the pointing, less two on either side of the source
    fit = np.pi / np.arcsin(np.sin(np.radians(radius)) / np.sin(np.radians(OFFSET)))
    assert 0.9 * (fit - 5) < 1 / data.alpha[0] < 1.1 * fit


def test_without_a_background_acceptances_are_solid_angles():
    bare = dataclasses.replace(quick_start_irfs(), bkg=None)
    one = pmg.Observation(bare, POINTING, livetime=0.5 * u.h)
    two = [circle(0.3, POINTING.directional_offset_by(angle * u.deg, 0.7 * u.deg)) for angle in (0, 5)]
    with pytest.warns(PymcGammaWarning, match=r"solid angles \(alpha = 0\.3"):
        data = pmg.OnOffEvents.extract(one, scattered(), circle(0.2), off=two, energy_range=[0.3, 10] * u.TeV)
    # what both circles share counts once, in solid angle and in events
    rng = np.random.default_rng(2)
    at = two[0].center.spherical_offsets_by(*(rng.uniform(-0.5, 0.5, 200_000) * u.deg for _ in range(2)))
    union = np.any([at.separation(one.center).deg <= 0.3 for one in two], axis=0).mean()
    np.testing.assert_allclose(data.alpha, np.pi * 0.2**2 / union, rtol=0.01)
    used = scattered()
    used = used[(used.energy.value >= 0.3) & (used.energy.value <= 10)]
    inside = np.any([offset_of(used, one.center) <= 0.3 for one in two], axis=0)
    assert len(data.energy_off) == inside.sum()


def test_nothing_is_taken_from_what_is_excluded():
    one = full_enclosure()
    other = circle(0.25, POINTING.directional_offset_by(100 * u.deg, OFFSET * u.deg))
    given = {"energy_range": [0.3, 10] * u.TeV}
    free = pmg.OnOffEvents.extract(one, scattered(), circle(0.1), **given)
    less = pmg.OnOffEvents.extract(one, scattered(), circle(0.1), exclude=other, **given)
    assert less.alpha[0] > free.alpha[0]
    by_map = WcsGeom.create(skydir=POINTING, binsz=0.02, width=4).region_mask([other], inside=False)
    mapped = pmg.OnOffEvents.extract(one, scattered(), circle(0.1), exclude=by_map, **given)
    assert abs(1 / mapped.alpha[0] - 1 / less.alpha[0]) < 1.5, "one region more or less by the pixels of the map"
    ring = CircleAnnulusSkyRegion(SOURCE, 0.3 * u.deg, 1.0 * u.deg)
    whole = pmg.OnOffEvents.extract(one, scattered(), circle(0.1), off=ring, **given)
    cut = pmg.OnOffEvents.extract(one, scattered(), circle(0.1), off=ring, exclude=other, **given)
    hole = circle(0.25, other.center)
    assert cut.alpha[0] > whole.alpha[0]
    events = scattered()
    events = events[(events.energy.value >= 0.3) & (events.energy.value <= 10)]
    away = offset_of(events, SOURCE)
    ring_events = (away >= 0.3) & (away <= 1.0) & (offset_of(events, hole.center) > 0.25)
    assert len(cut.energy_off) == ring_events.sum()


def test_events_and_runs_of_safe_energies_alone():
    one = full_enclosure()
    one.energy_range = (0.5, 7.0)
    data = pmg.OnOffEvents.extract(one, scattered(), circle(0.2))
    np.testing.assert_allclose(data.energy_range.value, [0.5, 7.0])
    assert data.energy.value.min() >= 0.5
    given = {"off": circle(0.2, POINTING), "energy_range": [1, 2] * u.TeV}
    with pytest.warns(PymcGammaWarning, match="the OFF region holds no event from 1 to 2 TeV"):
        nothing = pmg.OnOffEvents.extract(one, scattered()[:0], circle(0.2), **given)
    assert len(nothing) == len(nothing.energy_off) == 0


def test_exposures_of_a_small_circle_are_smaller():
    one = full_enclosure()
    law = pmg.PowerLaw(**LAW)
    given = {"energy_range": [0.3, 10] * u.TeV, "off": WobbleRegionsFinder(1)}
    wide, narrow = (pmg.OnOffEvents.extract(one, scattered(), circle(r), **given).npred(law) for r in (0.6, 0.05))
    response = pmg.fold(
        source("law", SOURCE.galactic.l.deg, SOURCE.galactic.b.deg, **LAW),
        pmg.Observation(quick_start_irfs(), POINTING.galactic, livetime=0.5 * u.h),
        region(SOURCE.galactic.l.deg, SOURCE.galactic.b.deg, energy=(0.3, 10), radius=0.6),
        progressbar=False,
    )
    np.testing.assert_allclose(
        wide, sum(float(part.sum()) for run in response.expected_parts() for part in run), rtol=3e-3
    )
    assert narrow < 0.9 * wide


def test_photons_of_far_higher_energies_count():
    irfs = quick_start_irfs()
    edisp = irfs.edisp
    # any energy from zero to twice the true one, at the nodes of the table
    flat = np.where(edisp.migra <= 2, 1 / 2, 0.0) * np.ones_like(edisp.density)
    flat /= ((edisp.migra[1] - edisp.migra[0]) * flat.sum(axis=-1))[..., None]
    poor = dataclasses.replace(irfs, edisp=dataclasses.replace(edisp, density=flat))
    one = pmg.Observation(poor, POINTING, livetime=0.5 * u.h, name="run")
    low, high = 0.2, 0.4
    data = pmg.OnOffEvents.extract(
        one, scattered(), circle(0.2), off=WobbleRegionsFinder(1), energy_range=[low, high] * u.TeV
    )
    true = np.geomspace(*irfs.energy_true_range, 4000)
    area = _exposure(irfs, true, OFFSET, 0.2) * 1800
    step = edisp.migra[1] - edisp.migra[0]
    fine = np.linspace(0, 3, 300_001)
    density = np.interp(fine, np.insert(edisp.migra, 0, edisp.migra[0] - step), np.insert(flat[0, 0], 0, 0.0))
    below = np.insert(np.cumsum(0.5 * (density[1:] + density[:-1]) * fine[1]), 0, 0.0)
    share = np.interp(high / true, fine, below) - np.interp(low / true, fine, below)
    hard = 1e-11 * true**-0.5
    np.testing.assert_allclose(
        data.npred(pmg.PowerLaw(index=0.5, amplitude=1e-11)), np.trapezoid(hard * area * share, true), rtol=2e-3
    )


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"region": circle(0.2)}, RegionError, r"radius of 0\.2 deg.*within 0\.1 deg of the source \(RAD_MAX\)"),
        ({"off": circle(0.1, SOURCE)}, RegionError, "overlaps the ON region"),
        ({"off": CircleAnnulusSkyRegion(SOURCE, 0.09 * u.deg, 1 * u.deg)}, RegionError, "overlaps the ON region"),
        ({"off": WobbleRegionsFinder(30)}, RegionError, "no OFF region fits"),
        ({"off": WobbleRegionsFinder}, TypeError, "finder of regions.*got the class WobbleRegionsFinder"),
        ({"off": ReflectedRegionsBackgroundMaker()}, TypeError, "give its region_finder"),
        ({"off": []}, RegionError, "off= is empty"),
        ({"region": "crab"}, TypeError, "region must be the position"),
        ({"region": POINTING}, RegionError, "no OFF region fits"),
        ({"energy_range": [500, 900] * u.TeV}, RegionError, "no energies are left.*900 TeV are asked for"),
        ({"energy_range": [5, 1] * u.TeV}, RegionError, "the lower first"),
        ({"events": "a.fits"}, TypeError, "events must be Events"),
        ({"observation": []}, RegionError, "no observation"),
        ({"observation": "a"}, TypeError, "observation must be one Observation"),
        ({"events": scattered(10).with_observation(3)}, EventError, "of observation 3, and there is 1"),
        ({"exclude": circle(5.0)}, RegionError, "no OFF region fits.*parts of the sky are excluded"),
    ],
)
def test_bad_regions(given, error, message):
    with warnings.catch_warnings(action="ignore"):
        one = pmg.Observation.from_gammapy(run())
    every = {"observation": one, "events": scattered(100), "region": SOURCE} | given
    with pytest.raises(error, match=message):
        pmg.OnOffEvents.extract(every.pop("observation"), every.pop("events"), every.pop("region"), **every)


def test_a_region_that_is_turned_onto_itself():
    near = pmg.Observation(
        quick_start_irfs(), SOURCE.directional_offset_by(0 * u.deg, 0.08 * u.deg), livetime=0.5 * u.h, name="near"
    )
    with pytest.raises(RegionError, match=r"WobbleRegionsFinder finds overlap.*radius of 0\.1 deg.*0\.16 deg apart"):
        pmg.OnOffEvents.extract(near, scattered(100), circle(0.1), off=WobbleRegionsFinder(1))


def test_binned_events_are_refused():
    binned = scattered(100).binned([0.1, 1, 10] * u.TeV, pixel=0.5 * u.deg)
    with pytest.raises(EventError, match="events were binned"):
        pmg.OnOffEvents.extract(full_enclosure(), binned, circle(0.1))


def test_the_size_of_the_region_must_be_known():
    with pytest.raises(IRFError, match="observation run: with a full-enclosure response the ON region may be of any"):
        pmg.OnOffEvents.extract(full_enclosure(), scattered(100), SOURCE)
    with warnings.catch_warnings(action="ignore"):
        one = pmg.Observation.from_gammapy(run(point_like(None)))
    assert one.irfs.rad_max is None
    with pytest.raises(IRFError, match=r"observation 7: its point-like response does not say.*\(RAD_MAX\)"):
        pmg.OnOffEvents.extract(one, scattered(100), SOURCE)
    assert len(pmg.OnOffEvents.extract(one, scattered(), circle(0.3)).energy) > 0


def test_a_source_beyond_the_field_of_view():
    far = full_enclosure(offset=8.0)
    with pytest.raises(RegionError, match="beyond the largest offset of the response"):
        pmg.OnOffEvents.extract(far, scattered(100), circle(0.1))
    near = full_enclosure()
    near.offset_max = 0.5
    with pytest.raises(RegionError, match=r"offsets up to 0\.5 deg are used"):
        pmg.OnOffEvents.extract(near, scattered(100), circle(0.1))


@pytest.mark.parametrize("value", [-0.1, 0.0, "wide", np.nan])
def test_a_rad_max_that_cannot_be(value):
    with pytest.raises(IRFError, match="RAD_MAX"), warnings.catch_warnings(action="ignore"):
        pmg.load_irfs(point_like(value))


def test_tables_of_two_kinds():
    mixed = point_like() | {"edisp": tables()["edisp"]}
    with pytest.raises(IRFError, match=r"\['aeff'\] alone is point-like"):
        pmg.load_irfs(mixed)


def test_a_model_of_the_sky_needs_a_point_spread_function():
    with warnings.catch_warnings(action="ignore"):
        one = pmg.Observation.from_gammapy(run())
    with pytest.raises(IRFError, match=r"observation 7 are point-like.*OnOffEvents\.extract"):
        pmg.fold(pmg.CosmicRayBackground(), one, region(83.63, 22.01, "icrs", width=1.0))


def test_pictures_of_a_point_like_response():
    with warnings.catch_warnings(action="ignore"):
        assert "distance" in pmg.load_irfs(point_like()).peek().axes[2].get_ylabel()
        assert "distance" in pmg.load_irfs(point_like(table=True)).peek().axes[2].get_ylabel()
        assert "not known" in pmg.load_irfs(point_like(None)).peek().axes[2].texts[0].get_text()


def test_a_finder_of_gammapy_decides():
    one = full_enclosure()
    given = {"energy_range": [0.3, 10] * u.TeV}
    two = pmg.OnOffEvents.extract(
        one, scattered(), circle(0.1), off=ReflectedRegionsFinder(max_region_number=2), **given
    )
    np.testing.assert_allclose(two.alpha, 0.5)


def test_pointing_in_other_frames():
    given = {"energy_range": [0.3, 10] * u.TeV, "off": WobbleRegionsFinder(3)}
    one = full_enclosure()
    other = pmg.Observation(quick_start_irfs(), POINTING.galactic, livetime=0.5 * u.h)
    events = scattered()
    a = pmg.OnOffEvents.extract(one, events, circle(0.3), **given)
    b = pmg.OnOffEvents.extract(other, events.to_frame("galactic"), circle(0.3, SOURCE.galactic), **given)
    np.testing.assert_allclose(a.energy.value, b.energy.value)
    np.testing.assert_allclose(a.energy_off.value, b.energy_off.value)
    assert pointing().frame == "galactic"
