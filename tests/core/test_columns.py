"""Densities and acceptances of small responses, against brute force, sums of parts and integrals over the region."""

import dataclasses
import warnings

import astropy.units as u
import numpy as np
import pytest
from oracle import Oracle
from setups import direction, only, pointing, quick_start_irfs, region, source

import pymc_gamma as pmg
from pymc_gamma.datasets import Citation
from pymc_gamma.errors import EventError, IRFError, ModelError, RegionError, SkyModelError
from pymc_gamma.events.rows import EventRows
from pymc_gamma.folding.background_rate import BackgroundRate
from pymc_gamma.folding.energies import AtEnergies
from pymc_gamma.folding.engine import acceptance, density, density_in_bins, part_acceptance
from pymc_gamma.folding.sources import CompiledSources
from pymc_gamma.geometry import unit_vectors
from pymc_gamma.response import densities
from pymc_gamma.sky import SkyComponent, SkyGaussian, SkyPart

ENERGY_TRUE = np.geomspace(0.5, 60, 25) * u.TeV


class Pair(SkyComponent):
    """A point and a long Gaussian with spectra of their own."""

    def parts(self, roi, margin_deg=0.8):
        return (
            SkyPart("near", pmg.sky.SkyPoint(0.2, 0.1), lambda energy: 1e-11 * energy**-2.0),
            SkyPart("long", SkyGaussian(-0.3, 0.2, 0.2, 0.9, 40.0), lambda energy: 3e-11 * energy**-2.8),
        )


def small_region(**size):
    return region(**(size or {"radius": 1.0}), energy=(1.0, 30.0))


SKY = [
    source("point", 0.3, -0.2, index=2.2),
    source("gaussian", -0.4, 0.3, sigma=0.2, index=2.6),
    Pair("pair"),
    pmg.GalacticDiffuse(),
    pmg.CosmicRayBackground(),
]
NAMES = ["point", "gaussian", "pair", "diffuse", "ccr"]


@pytest.fixture(scope="module")
def observations():
    return [
        pmg.Observation(quick_start_irfs(), direction(0.1 * k, 0.5), livetime=(k + 1) * u.h, name=f"run {k}")
        for k in range(3)
    ]


@pytest.fixture(scope="module")
def response(observations):
    return pmg.fold(SKY, observations, small_region(), energy_true=ENERGY_TRUE)


@pytest.fixture(scope="module")
def single(observations):
    return pmg.fold(SKY, observations[1], small_region(), energy_true=ENERGY_TRUE)


@pytest.fixture(scope="module")
def rows(single):
    return single.simulate_rows(np.ones(len(NAMES)), 60, np.random.default_rng(3))


def test_names_and_shapes(response):
    assert response.component_names == tuple(NAMES)
    assert response.reco == ("energy", "lon", "lat", "observation")
    assert response.coords == {
        "component": NAMES,
        "observation": ["run 0", "run 1", "run 2"],
        "reco": list(response.reco),
    }
    assert response.instrumental == ("ccr",)
    assert response.free_spectrum == ()
    counts = response.acceptance_by_observation
    assert counts.dims == ("component", "observation")
    assert counts.shape == (5, 3)
    np.testing.assert_allclose(response.acceptance, counts.values.sum(axis=1), rtol=1e-12)
    shown = repr(response)
    assert "5 components, 3 observation(s)" in shown
    assert "spectrum free" not in shown


def test_densities_are_those_of_brute_force(single, rows):
    oracle = Oracle(
        single.observations[0], single.roi, single.energy_true_edges, n_energy=300, n_radius=20, n_azimuth=24
    )
    found = single.component_pdf(rows) * single.acceptance.values
    for name in ("point", "gaussian", "pair"):
        k = NAMES.index(name)
        expected = oracle.component(SKY[k], rows[:12])
        seen = expected > 1e-4 * expected.max()
        np.testing.assert_allclose(found[:12, k][seen], expected[seen], rtol=0.03)
    rate = single.observations[0].irfs.bkg.rate_at(
        unit_vectors(rows[:, 1], rows[:, 2]), np.log(rows[:, 0]), single.observations[0].background_basis("galactic")
    )
    np.testing.assert_allclose(found[:, 4], rate * single.observations[0].ontime_s, rtol=1e-12)


def test_densities_integrate_to_the_acceptance_in_bins(single):
    """Over the region and bins of energy: two paths to the same counts."""
    lon, lat, solid = single.roi.quadrature(0.03)
    vectors, edges = unit_vectors(lon, lat), np.array([0.5, 1.0, 2.0, 8.0, 30.0, 90.0])
    folded = single._fold.folded[0]
    found = density_in_bins(folded, single.components, vectors, edges) @ solid
    for k, component in enumerate(single.components):
        counts = acceptance(folded, component, edges)
        assert counts.shape == (5,)
        assert counts[0] == counts[-1] == found[k, 0] == found[k, -1] == 0
        np.testing.assert_allclose(found[k, 1:-1], counts[1:-1], rtol=4e-3)
        assert counts.sum() == pytest.approx(float(single.acceptance[k]), rel=1e-9)
        parts = part_acceptance(folded, component, edges)
        np.testing.assert_allclose(np.sum(parts, axis=0), counts, rtol=1e-12)
        assert isinstance(component, CompiledSources) == (component.name != "ccr")
        if isinstance(component, CompiledSources):
            by_true = component.part_acceptance_by_energy_true(folded)
            assert len(by_true) == len(parts)
            np.testing.assert_allclose(by_true.sum(axis=1), np.sum(parts, axis=1), rtol=1e-9)


def test_bins_outside_of_the_range_are_empty(single):
    folded = single._fold.folded[0]
    edges = np.array([0.1, 0.5, 0.9])
    for component in single.components:
        parts = part_acceptance(folded, component, edges)
        assert parts.tolist() == [[0.0, 0.0]] * (2 if component.name == "pair" else 1)
    assert not density_in_bins(folded, single.components, unit_vectors([0.0], 0.0), edges).any()
    both = unit_vectors([0.0, 1.5], [0.0, 0.0])
    outside = density_in_bins(folded, single.components, both, np.array([1.0, 2.0]))
    assert (outside[:, :, 0] > 0).all()
    assert not outside[:, :, 1].any()


def test_faint_components_are_faint(single, rows):
    """A billionth of the flux: a billionth of the densities, in bins and at events, and of the counts."""
    faint = single.with_spectra(norms=dict.fromkeys(NAMES, 1e-9))
    np.testing.assert_allclose(faint.acceptance, 1e-9 * single.acceptance, rtol=1e-9)
    np.testing.assert_allclose(faint.component_pdf(rows), single.component_pdf(rows), rtol=1e-9)
    arguments = unit_vectors(rows[:9, 1], rows[:9, 2]), np.array([1.0, 3.0, 30.0])
    found, expected = (density_in_bins(one._fold.folded[0], one.components, *arguments) for one in (faint, single))
    np.testing.assert_allclose(found, 1e-9 * expected, rtol=1e-9)


def test_densities_of_a_small_cell_are_those_of_its_middle(response, single, rows):
    """Rows with edges of cells, a thousandth of a degree and of the energy wide; one observation and three."""
    size = np.array([5e-4 * rows[0, 0], 5e-4, 5e-4])
    mine = rows[rows[:, 0] < 5][:6, :3]
    mine = mine[np.hypot(mine[:, 1], mine[:, 2]) < 0.98]
    cells = np.stack([mine - size, mine + size], axis=2).reshape(-1, 6)
    expected = single.component_pdf(mine)
    found = single.component_pdf(np.hstack([mine, cells]))
    near = expected > 1e-3 * expected.max(axis=0)
    np.testing.assert_allclose(found[near], expected[near], rtol=2e-2)
    fixed, _ = single.column_densities(np.hstack([mine, cells]))
    np.testing.assert_allclose(fixed, found, rtol=1e-12)
    second = np.full((len(mine), 1), 1.0)
    several = response.component_pdf(np.hstack([mine, second, cells])) * response.acceptance.values
    np.testing.assert_allclose(several, found * single.acceptance.values, rtol=1e-6)


def test_densities_in_bins_are_integrals_of_densities(single):
    vectors, edges = unit_vectors([0.3, -0.3, 0.1], [-0.2, 0.25, 0.6]), np.array([1.0, 1.5, 4.0, 30.0])
    folded = single._fold.folded[0]
    found = density_in_bins(folded, single.components, vectors, edges)
    for b in range(3):
        energy = np.geomspace(edges[b], edges[b + 1], 2001)
        at_points = np.empty((3 * len(energy), len(NAMES)))
        points = np.repeat(vectors, len(energy), axis=0), AtEnergies(np.tile(energy, 3))
        density(folded, single.components, *points, at_points)
        expected = np.trapezoid(at_points.reshape(3, len(energy), -1), energy, axis=1)
        np.testing.assert_allclose(found[:, b], expected.T, rtol=2e-3)


def test_many_events_go_in_chunks(single, rows):
    """More events than a chunk holds, on one thread or several: as one by one."""
    many = np.tile(rows, (160, 1))
    found = single.component_pdf(many)
    np.testing.assert_allclose(found, np.tile(found[: len(rows)], (160, 1)), rtol=1e-12)
    np.testing.assert_allclose(found[:3], [single.component_pdf(row[None])[0] for row in rows[:3]], rtol=1e-12)


def test_observations_have_columns_of_their_own(response, single, rows):
    """Rows in any order; those of the second observation have the densities of a response of it alone."""
    which = np.arange(len(rows)) % 3
    found = response.component_pdf(np.column_stack([rows, which]))
    mine = which == 1
    np.testing.assert_allclose(
        found[mine] * response.acceptance.values, single.component_pdf(rows[mine]) * single.acceptance.values, rtol=1e-9
    )
    np.testing.assert_allclose(response.acceptance_by_observation[:, 1], single.acceptance, rtol=1e-9)
    # near the axis the instrument sees the source alike: counts go with the live time
    per_hour = float(single.acceptance[0]) / 2
    np.testing.assert_allclose(response.acceptance_by_observation[0], [per_hour, 2 * per_hour, 3 * per_hour], rtol=0.02)
    backwards = response.component_pdf(np.column_stack([rows, which])[::-1])
    np.testing.assert_allclose(backwards[::-1], found, rtol=1e-12)
    others = response.component_pdf(np.column_stack([rows, (which + 1) % 3]))
    assert not np.allclose(others, found, rtol=0.1)


def test_densities_of_events(response, rows):
    table = np.column_stack([rows, np.arange(len(rows)) % 3])
    events = pmg.Events(
        table[:, 0] * u.TeV,
        table[:, 1] * u.deg,
        table[:, 2] * u.deg,
        frame="galactic",
        observation=table[:, 3].astype(int),
    )
    expected = response.component_pdf(table) * response.acceptance.values
    np.testing.assert_allclose(response.density(events), expected, rtol=1e-9)
    np.testing.assert_allclose(response.density(events.to_frame("icrs")), expected, rtol=1e-6)
    twice = pmg.Events(
        events.energy, events.lon, events.lat, frame="galactic", observation=events.observation,
        multiplicity=np.full(len(table), 2),
    )  # fmt: skip
    np.testing.assert_allclose(response.density(twice), expected, rtol=1e-9)
    assert response.event_rows(events).shape == (60, 4)
    assert response.event_rows(twice).shape == (60, 5)
    wrong = pmg.Events([1.0] * u.TeV, [0.0] * u.deg, [0.0] * u.deg, frame="galactic", observation=[3])
    with pytest.raises(
        EventError, match=r"1 of 1 events, first rows \[0\], belong to observation 3, but .* 3 observation"
    ):
        response.event_rows(wrong)


def test_other_norms_and_spectra(observations):
    sky = [source("point", 0.3, -0.2, index=2.2), pmg.CosmicRayBackground(), source("other", -0.3, 0.0)]
    response = pmg.fold(sky, observations[:2], small_region(), energy_true=ENERGY_TRUE, free_spectrum=["point", "ccr"])
    steep = 2e-12 * response.energy_true**-3.0
    tilted = response.free_components[1].energy ** -0.5
    changed = response.with_spectra({"point": steep, "ccr": tilted}, {"other": 3.0, "ccr": 2.0})
    direct = pmg.fold(
        source("point", 0.3, -0.2, index=3.0, amplitude=2e-12),
        observations[:2],
        small_region(),
        energy_true=ENERGY_TRUE,
    )
    np.testing.assert_allclose(changed.acceptance_by_observation[0], direct.acceptance_by_observation[0], rtol=3e-3)
    np.testing.assert_allclose(
        changed.acceptance_by_observation[2], 3 * response.acceptance_by_observation[2], rtol=1e-12
    )
    energy, one = np.geomspace(1, 30, 4001), observations[0]
    cells = response._fold.folded[0].background.cells
    rate = one.irfs.bkg.spectra_at(cells.vectors, np.log(energy), one.background_basis("galactic")) @ cells.solid_angle
    shape = np.exp(np.interp(np.log(energy), np.log(response.free_components[1].energy), np.log(tilted)))
    expected = 2 * one.ontime_s * np.trapezoid(rate * shape, energy)
    assert float(changed.acceptance_by_observation[1, 0]) == pytest.approx(expected, rel=5e-3)
    counts = response.expected_parts([steep, tilted])
    found = np.array([[parts.sum() for parts in of] for of in counts])
    np.testing.assert_allclose(found[:, 0], changed.acceptance_by_observation[0], rtol=3e-3)
    np.testing.assert_allclose(2 * found[:, 1], changed.acceptance_by_observation[1], rtol=5e-3)
    np.testing.assert_allclose(found[:, 2], response.acceptance_by_observation[2], rtol=1e-12)
    nominal = np.array([[parts.sum() for parts in of] for of in response.expected_parts()])
    np.testing.assert_allclose(nominal.T, response.acceptance_by_observation, rtol=1e-12)
    # changes of the background survive those of the response, and the rest is folded anew
    worse = changed.with_systematics(psf_scale=6.0)
    np.testing.assert_allclose(worse.acceptance_by_observation[1], changed.acceptance_by_observation[1], rtol=1e-9)
    assert float(worse.acceptance[0]) != pytest.approx(float(changed.acceptance[0]), rel=1e-4)
    scaled = response.with_systematics(energy_scale=1.1)
    assert float(scaled.acceptance[0]) != pytest.approx(float(response.acceptance[0]), rel=1e-2)
    with pytest.raises(ModelError, match=r"norms are given for \['vela'\]"):
        response.with_spectra(norms={"vela": 1.0})
    with pytest.raises(ModelError, match=r"spectra are given for \['other'\]"):
        response.with_spectra({"other": steep})
    for norm in (-1.0, np.nan, np.inf):
        with pytest.raises(ModelError, match="norm of 'other' must be a finite number"):
            response.with_spectra(norms={"other": norm})
    assert float(response.with_spectra(norms={"other": 1e-3}).acceptance[2]) > 0


def test_fluxes_and_exposures(response, observations):
    energy = np.array([0.6, 2.0, 50.0])
    np.testing.assert_allclose(response.nominal_flux("point", energy), 1e-12 * energy**-2.2, rtol=1e-3)
    pair = 1e-11 * energy**-2.0 + 3e-11 * energy**-2.8
    np.testing.assert_allclose(response.nominal_flux("pair", energy), pair, rtol=1e-3)
    for outside in (0.49, 60.1):
        with pytest.raises(ModelError, match=r"known at 0.5-60 TeV.*and not at"):
            response.nominal_flux("point", [1.0, outside])
    response.nominal_flux("point", [0.5, 60.0])
    oracle = Oracle(observations[2], response.roi, (0.5, 60.0))
    expected = [observations[2].livetime_s * oracle.area(e, np.hypot(0.1, 0.7)).item() for e in energy]
    found = response.mean_exposure("point", energy)
    assert found.shape == (3, 3)
    np.testing.assert_allclose(found[2], expected, rtol=2e-3)
    # an average over the parts with their shares of the flux, and over the width of one
    share = 1e-11 * energy**-2.0 / pair
    near, far = (
        [observations[0].livetime_s * oracle.area(e, np.hypot(*where)).item() for e in energy]
        for where in ((0.2, 0.4), (-0.3, 0.3))
    )
    np.testing.assert_allclose(
        response.mean_exposure("pair", energy)[0], share * near + (1 - share) * np.array(far), rtol=5e-3
    )
    for call in (response.nominal_flux, response.mean_exposure):
        with pytest.raises(SkyModelError, match="no component 'vela'"):
            call("vela", [1.0])
        with pytest.raises(
            SkyModelError, match="'ccr' is given in reconstructed coordinates, as a residual background is"
        ):
            call("ccr", [1.0])


def test_the_same_components_for_other_observations(response, single, observations):
    """As folded for these: densities, counts, citations; what cannot be folded is refused."""
    other = single.refold([observations[2], observations[0]], free_spectrum=["pair"])
    assert other.observations == (observations[2], observations[0])
    assert other.free_spectrum == ("pair",)
    assert single.free_spectrum == single.refold(observations[0]).free_spectrum == ()
    np.testing.assert_allclose(
        other.acceptance_by_observation, response.acceptance_by_observation.values[:, [2, 0]], rtol=1e-9
    )
    again = pmg.fold(SKY, [observations[2], observations[0]], small_region(), energy_true=ENERGY_TRUE)
    assert again.fingerprint() == other.refold(free_spectrum=[]).fingerprint()
    assert set(again.citations()) == set(other.citations())
    free = single.refold(free_spectrum="pair")
    assert free.free_spectrum == ("pair",)
    assert free.observations == single.observations
    elsewhere = dataclasses.replace(quick_start_irfs(), citations=(Citation("A. N. Other (2025)"),))
    cited = single.refold(observations[0].with_irfs(elsewhere)).citations()
    assert cited == (*single.citations(), Citation("A. N. Other (2025)"))
    with pytest.raises(ModelError, match=r"free_spectrum names \['vela'\]"):
        single.refold(free_spectrum=["vela"])
    with pytest.raises(RegionError, match="no observation to fold with"):
        single.refold([])
    aeff = observations[0].irfs.aeff
    short = dataclasses.replace(aeff, energy=aeff.energy[:-8], values=aeff.values[:-8])
    assert short.energy[-1] < 60
    few = dataclasses.replace(observations[0].irfs, aeff=short)
    with pytest.raises(RegionError, match=r"energy_true 0\.5-60 TeV exceeds the range of the IRFs"):
        single.refold(observations[0].with_irfs(few))


def test_a_shape_of_the_background_goes_with_its_observations(observations):
    """Each observation keeps the shape of its number; of other numbers of observations nothing is known."""
    sky = [source("point", 0.3, -0.2), pmg.CosmicRayBackground()]
    free = pmg.fold(sky, observations[:2], small_region(), energy_true=ENERGY_TRUE, free_spectrum=["ccr"])
    nodes = len(free.free_components[0].energy)
    shaped = free.with_spectra({"ccr": np.stack([np.full(nodes, 1.5), np.full(nodes, 0.5)])})
    factors = np.array([1.5, 0.5])
    np.testing.assert_allclose(
        shaped.acceptance_by_observation[1], factors * free.acceptance_by_observation.values[1], rtol=1e-6
    )
    turned = shaped.refold(observations[1::-1])
    np.testing.assert_allclose(
        turned.acceptance_by_observation[1], factors * free.acceptance_by_observation.values[1, ::-1], rtol=1e-6
    )
    for few in (observations[:1], observations):
        with pytest.raises(ModelError, match=rf"shape of 'ccr' was given for 2 observation\(s\).* of {len(few)}:"):
            shaped.refold(few)
    norm = shaped.refold().with_spectra(norms={"ccr": 2.0})
    np.testing.assert_allclose(norm.acceptance[1], 2 * shaped.acceptance[1], rtol=1e-9)
    scaled = free.with_spectra(norms={"ccr": 2.0}).refold(observations)  # a factor holds for any
    np.testing.assert_allclose(
        scaled.acceptance_by_observation[1, :2], 2 * free.acceptance_by_observation[1], rtol=1e-9
    )


def test_observations_by_name_or_index(response):
    assert response.observation_index("run 1") == 1
    assert response.observation_index(2) == 2
    assert response.observation_index(np.int64(0)) == 0
    for wrong, error, message in (
        ("run 9", EventError, "no observation named 'run 9'"),
        (3, EventError, "no observation 3; the response has 3, from 0"),
        (-1, EventError, "no observation -1"),
        (True, TypeError, "index or a name"),
        (1.0, TypeError, "index or a name"),
    ):
        with pytest.raises(error, match=message):
            response.observation_index(wrong)


def test_a_component_that_is_dark():
    far = source("far", 3.0, 3.0)
    with pytest.raises(SkyModelError, match="far"):
        pmg.fold([source("point", 0.3, -0.2), far], pointing(hours=1), small_region(), energy_true=ENERGY_TRUE)


# --------------------------------------------------------------------------------------------------------- background


@pytest.fixture(scope="module")
def rate(single):
    return single._fold.folded[0].background


def test_background_in_bins(rate):
    """Against integrals over fine energies, power laws between the nodes of the file."""
    edges, vectors = np.array([1.0, 1.7, 6.0, 30.0]), unit_vectors(np.array([0.1, -0.6]), np.array([0.4, 0.2]))
    shape_energy, shape = np.array([1.5, 4.0]), np.array([2.0, 0.5])
    for one in (
        rate,
        rate.scaled(2.5),
        rate.with_shape(shape_energy, shape),
        rate.with_shape(shape_energy, shape).scaled(2),
    ):
        found = one.density_in_bins(vectors, edges)
        for b in range(3):
            energy = np.geomspace(edges[b], edges[b + 1], 20_001)
            for i in range(2):
                density = one.density(np.tile(vectors[i], (len(energy), 1)), np.log(energy))
                # a shape linear in log E is taken as a power law between nodes
                assert found[b, i] == pytest.approx(np.trapezoid(density, energy), rel=3e-2 if one._shapes else 1e-4)
        counts = one.counts(edges)
        np.testing.assert_allclose(counts, one.density_in_bins(one.cells.vectors, edges) @ one.cells.solid_angle)
        per_cell, slope = one.cell_counts(one.segments(edges))
        assert per_cell.sum() == pytest.approx(counts.sum(), rel=1e-9)
        assert per_cell.shape == slope.shape
    basis = rate.domain.observation.background_basis("galactic")
    plain = rate._bkg.rate_at(vectors, np.log([2.0, 3.0]), basis) * rate.ontime_s
    np.testing.assert_allclose(rate.density(vectors, np.log([2.0, 3.0])), plain, rtol=1e-12)
    factor = np.interp(np.log([2.0, 3.0]), np.log(shape_energy), shape)
    shaped = rate.with_shape(shape_energy, shape)
    np.testing.assert_allclose(shaped.density(vectors, np.log([2.0, 3.0])), plain * factor, rtol=1e-12)
    np.testing.assert_allclose(rate.scaled(3.0).density(vectors, np.log([2.0, 3.0])), 3 * plain, rtol=1e-12)


def test_segments_hold_edges_and_nodes_once(rate):
    nodes = rate._bkg.energy
    inner = nodes[(nodes > 2) & (nodes < 9)]
    edges = np.array([2.0, 3.3, inner[1] * (1 + 1e-11), 9.0])
    expected = np.sort(np.concatenate([edges, np.delete(inner, 1)]))
    np.testing.assert_allclose(rate.segments(edges), expected, rtol=1e-12)
    assert len(rate.segments(edges)) == len(expected)
    shaped = rate.with_shape(np.array([1.0, 2.5, inner[0], 20.0]), np.ones(4))
    np.testing.assert_allclose(shaped.segments(edges), np.sort(np.r_[expected, 2.5]), rtol=1e-12)
    np.testing.assert_array_equal(rate.segments(np.array([2.0, 2.001])), [2.0, 2.001])


def test_contrast_of_the_background(rate):
    """The mean over the domain, at the energies of the events."""
    vectors, log_energy = unit_vectors(np.array([0.1, -0.6]), np.array([0.4, 0.2])), np.log([1.2, 7.0])
    for one in (rate, rate.with_shape(np.array([1.0, 30.0]), np.array([1.0, 3.0]))):
        cells = one.cells
        mean = [
            one.density(cells.vectors, np.full(len(cells.vectors), x)) @ cells.solid_angle / cells.solid_angle.sum()
            for x in log_energy
        ]
        found = one.contrast(vectors, log_energy)
        np.testing.assert_allclose(found, one.density(vectors, log_energy) / mean, rtol=2e-2)


@pytest.mark.parametrize("low", [1e-7, 1e7])
def test_a_shape_of_the_background_is_not_a_lack_of_it(observations, rows, low):
    """Where a shape takes it away everywhere nothing stands out: contrast is with the rest of that energy."""
    free = pmg.fold(SKY, observations[1], small_region(), energy_true=ENERGY_TRUE, free_spectrum=["ccr"])
    shaped = free.with_spectra({"ccr": lambda energy: np.where(energy < 2, low, 1.0)})
    inside = np.abs(np.log(rows[:, 0] / 2)) > 0.3  # not where the shape turns
    assert (rows[inside, 0] < 2).sum() > 5
    own = EventRows.from_array(rows[inside], free.reco)
    found, expected = (densities._contrast(one._fold, own) for one in (shaped, free))
    np.testing.assert_allclose(found, expected, rtol=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shaped.column_densities(rows)


class Hadrons(SkyComponent):
    """A residual background of another class."""

    instrumental = True

    def parts(self, roi, margin_deg=0.8):
        return ()


def test_what_is_instrumental_is_the_residual_background(observations):
    sky = [source("point", 0.3, -0.2), Hadrons("hadrons"), pmg.CosmicRayBackground()]
    response = pmg.fold(sky, observations[0], small_region(), energy_true=ENERGY_TRUE)
    assert response.instrumental == ("hadrons", "ccr")
    assert float(response.acceptance[1]) == float(response.acceptance[2]) > 0


def test_without_a_background():
    irfs = dataclasses.replace(quick_start_irfs(), bkg=None)
    observation = pmg.Observation(irfs, direction(0.0, 0.0), livetime=1 * u.h)
    response = pmg.fold(source("point", 0.3, -0.2), observation, small_region(), energy_true=ENERGY_TRUE)
    with pytest.raises(IRFError, match="no background"):
        _ = response._fold.folded[0].background
    assert isinstance(BackgroundRate, type)


def test_a_source_at_the_edge_counts_what_spills_in(rng):
    """Acceptance of points and Gaussians at the rim: the share of simulated events inside."""
    sky = [source("rim", 0.98, 0.0), source("wide rim", 0.0, 1.05, sigma=0.3)]
    response = pmg.fold(sky, pointing(hours=1), small_region(), energy_true=ENERGY_TRUE)
    whole = pmg.fold(sky, pointing(hours=1), small_region(radius=3.5), energy_true=ENERGY_TRUE)
    for name in ("rim", "wide rim"):
        rows = whole.simulate_rows(only(whole, name), 40_000, rng)
        share = response.roi.contains(rows[:, 1], rows[:, 2]).mean()
        k = NAMES.index("point") if name == "rim" else 1
        found = float(response.acceptance[k]) / float(whole.acceptance[k])
        assert found == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / 40_000) + 1e-3)
