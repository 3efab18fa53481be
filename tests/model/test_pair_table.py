"""Dark matter of two kinds: shares of pairs, kinematics of semi-annihilation, files of micrOMEGAs."""

import os
from pathlib import Path

import astropy.units as u
import h5py
import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.gradient import verify_grad

import pymc_gamma as pmg
from pymc_gamma import darkmatter, datasets
from pymc_gamma.darkmatter import AnnihilationTable, PairTable
from pymc_gamma.errors import DataFileError

SMALL = """\
version: 1
pointings: [{lon: 0 deg, lat: 0 deg, livetime: 1 h}]
datasets:
  geom:
    wcs: {skydir: {frame: galactic, lon: 0 deg, lat: 0 deg}, width: {width: 1 deg}}
    axes: {energy: {min: 0.5 TeV, max: 10 TeV}}
components: [{kind: dark_matter}, {kind: ccr}]
simulate: {n_events: 40, values: {fraction: [0.5, 0.5]}}
"""

FIRST, SECOND = np.geomspace(0.3, 20, 6), np.geomspace(0.4, 10, 5)
ENERGY = [0.05, 0.1, 0.4]
HIGGS = 0.12520


def shares(first, second):
    """Fall as powers of the masses, so that all points have other ones."""
    one = np.ones(np.broadcast_shapes(np.shape(first), np.shape(second)))
    return {
        "x1X1": {"W+W-": 0.4 / first * one, "bB": 0.1 * second * one, "dD": 0.05 * one, "uU": 0.07 * one},
        "x1X2": {"hX1": 0.2 * one, "hh": 0.0 * one},
        "x2X2": {"ZZ": 1e-30 * one},
    }


@pytest.fixture(scope="module")
def table():
    return PairTable({"m1": FIRST, "m2": SECOND}, shares(FIRST[:, None], SECOND))


def pairs(mass, channel):
    """Photons per energy of pairs from dark matter of a mass."""
    return darkmatter.dnde(mass * u.TeV, channel, ENERGY * u.TeV).value


def test_numbers_of_the_table(table):
    assert table.states == (("x1X1", "W"), ("x1X1", "b"), ("x1X1", "q"), ("x1X2", "hx1"))
    for m1 in FIRST:
        for m2 in SECOND:
            own = shares(m1, m2)
            total = sum(one for of in own.values() for one in of.values())
            found = table.fractions(m1=m1, m2=m2 * u.TeV)
            assert sum(found.values()) == pytest.approx(1, rel=1e-14)
            assert found["x1X1", "W"] == pytest.approx(own["x1X1"]["W+W-"] / total, rel=1e-9)
            assert found["x1X1", "q"] == pytest.approx(0.12 / total, rel=1e-9)
            assert found["x1X2", "hx1"] == pytest.approx(0.2 / total, rel=1e-9)


@pytest.mark.parametrize(("m1", "m2"), [(FIRST[2], SECOND[3]), (FIRST[4], SECOND[0]), (0.5, 0.6)])
def test_spectrum_by_hand(m1, m2, table):
    """Rates go with the product of the masses of the pair; the Higgs boson of a semi-annihilation has what remains."""
    share = table.fractions(m1=m1, m2=m2)
    energy = m1 + m2
    boson = (energy**2 + HIGGS**2 - m1**2) / (2 * energy)
    assert energy == pytest.approx(boson + np.sqrt(boson**2 - HIGGS**2 + m1**2), rel=1e-12)  # momenta are opposite
    wanted = sum(share["x1X1", one] * pairs(m1, one) for one in ("W", "b", "q")) / m1**2
    wanted = wanted + share["x1X2", "hx1"] * 0.5 * pairs(boson, "h") / (m1 * m2)
    wanted *= 3e-26 * 1e15 / (4 * np.pi * 4)
    found = table.annihilation(sigmav=3e-26 * u.cm**3 / u.s, j_factor=1e15, m1=m1, m2=m2)(ENERGY).eval()
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_one_kind_is_plain_annihilation():
    one = PairTable({"mass": [0.5, 5.0]}, {"x1X1": {"W": [0.3, 0.3], "b": [0.7, 0.7]}})
    found = one.annihilation(sigmav=2e-26, k=2.0, mass=1.3)(ENERGY).eval()
    same = darkmatter.Annihilation(1.3, 2e-26, {"W": 0.3, "b": 0.7})(ENERGY).eval()
    np.testing.assert_allclose(found, same, rtol=1e-12)


def test_variables_are_numbers(table):
    m1, m2 = pt.dscalars("m1", "m2")
    spectrum = table.annihilation(sigmav=3e-26, m1=m1, m2=m2)
    known = pt.all([fulfilled for fulfilled, _ in spectrum.conditions])
    function = pytensor.function([m1, m2], [spectrum(ENERGY), known])
    for at in ((0.31, 0.41), (1.3, 2.2), (20.0, 10.0)):
        flux, fulfilled = function(*at)
        assert fulfilled
        wanted = table.annihilation(sigmav=3e-26, m1=at[0], m2=at[1])(ENERGY).eval()
        np.testing.assert_allclose(flux, wanted, rtol=1e-6, atol=1e-60)
    assert not function(20.1, 1.0)[1]


def test_nothing_is_known_of_a_share_that_is_zero():
    """Where there are no pairs of W their threshold does not matter."""
    mass = np.array([0.01, 0.05, 0.1, 1.0])
    table = PairTable(
        {"m": mass}, {"x1X1": {"W": [0, 0, 0.5, 0.5], "b": [1, 1, 0.5, 0.5]}, "x1x1": {"hx1": [0, 0, 0, 1]}}
    )
    m = pt.dscalar("m")
    spectrum = table.annihilation(sigmav=3e-26, m=m)
    function = pytensor.function([m], [spectrum([0.01]), pt.all([one for one, _ in spectrum.conditions])])
    for at, known in ((0.02, True), (0.049, True), (0.07, False), (0.5, True)):
        flux, fulfilled = function(at)
        assert np.isfinite(flux).all()
        assert bool(fulfilled) == known


def test_derivatives(table):
    def flux(m1, m2):
        return table.annihilation(sigmav=1.0, j_factor=1e12, m1=m1, m2=m2)(ENERGY)

    verify_grad(flux, [np.array(1.234), np.array(1.456)], rng=np.random.default_rng(1), eps=1e-6)


def written(folder, states=None, drop=(), **changes):
    """A file as those of the Z5 model, with points in another order."""
    order = np.random.default_rng(1).permutation(len(FIRST) * len(SECOND))
    order = [k for k in order if k not in drop]
    m1, m2 = (one.ravel()[order] for one in np.meshgrid(FIRST, SECOND, indexing="ij"))
    own = shares(m1, m2) if states is None else states
    file = folder / "z.h5"
    with h5py.File(file, "w") as held:
        held["mdm1"], held["mdm2"] = 1e3 * m1, 1e3 * m2
        held["initial_state_options"] = [one.encode() for one in own]
        held["final_state_options"] = [one.encode() for one in dict.fromkeys(f for of in own.values() for f in of)]
        for initial in own:
            for final in dict.fromkeys(f for of in own.values() for f in of):
                held[f"{initial}/{final}"] = own[initial].get(final, np.zeros(len(m1)))
        for name in changes:
            del held[name]
    return file


class TestHalos:
    """Tables of pairs shine from halos, in Python and in analysis files, and are the sum of those of each pair."""

    def test_expected_counts(self, table, tmp_path):
        profile, sigmav = darkmatter.NFW(), 2e-25
        spectrum = table.annihilation(sigmav=sigmav * u.cm**3 / u.s, m1=1.3, m2=2.2)
        changes = [
            f"components.0={{kind: dark_matter, name: dm, profile: {{type: NFW}}, sigmav: {sigmav} cm3 s-1, "
            f"model: {{table: {written(tmp_path)}, masses: {{mdm1: 1300 GeV, mdm2: 2.2 TeV}}}}}}"
        ]
        analysis = pmg.Analysis.from_yaml(SMALL, set=changes)
        assert analysis.check() == []
        with analysis._plan(None) as plan:
            response = plan.modelling.fold()
        halos = [darkmatter.DarkMatterHalo(profile, one) for one in (spectrum, *spectrum.terms)]
        fold = [[one, pmg.CosmicRayBackground()] for one in halos]
        whole, *parts = (pmg.fold(one, list(response.observations), response.roi).acceptance.values[0] for one in fold)
        assert whole == pytest.approx(sum(parts), rel=1e-5)
        assert response.acceptance.values[0] == pytest.approx(whole, rel=1e-8)

    def test_free_masses_and_cross_section_of_a_fraction(self, tmp_path, table):
        change = (
            "components.0={kind: dark_matter, name: dm, profile: {type: NFW}, "
            f"model: {{table: {written(tmp_path)}, masses: {{mdm1: {{prior: Uniform, lower: 1, upper: 3}}, "
            "mdm2: 2.2 TeV}}}"
        )
        analysis = pmg.Analysis.from_yaml(SMALL, set=[change])
        (note,) = analysis.check()
        assert "nothing of dm.mdm1" in note
        with analysis._plan(None) as plan:
            response = plan.modelling.fold()
            built = plan.modelling.build(response)
        assert built.units["dm.mdm1"] == "TeV"
        model = built.model
        found = model["dm.sigmav"].eval({model["dm.mdm1"]: 1.5, model["fraction"]: np.array([0.25, 0.75])})
        spectrum = table.annihilation(sigmav=1e-26, m1=1.5, m2=2.2)
        expected = float(response.npred(spectra={"dm": spectrum}).sel(component="dm"))
        assert float(found) == pytest.approx(1e-26 * 0.25 * 40 / expected, rel=1e-3, abs=0)

    def test_what_does_not_go_together(self, tmp_path):
        file = written(tmp_path)
        single = tmp_path / "z.csv"
        single.write_text('"mS [GeV]" bb W+W-\n1000 1e-26 2e-26\n9000 1e-26 2e-26\n')
        keys = "components.0={{kind: dark_matter, name: dm, {}model: {{table: {}, {}}}}}"
        for text, told in (
            (
                keys.format("mass: 1 TeV, ", file, "parameters: {}"),
                r"give their masses, model\.masses: \['mdm1', 'mdm2'\]",
            ),
            (keys.format("", single, "masses: {mdm1: 1 TeV}"), "is of one kind of particles"),
            (keys.format("mass: 1 TeV, ", file, "masses: {mdm1: 1 TeV, mdm2: 1 TeV}"), "'dm' has mass, but its model"),
            (keys.format("", file, "masses: {mdm1: 1 TeV}"), r"missing \['mdm2'\]"),
        ):
            with pytest.raises(pmg.errors.AnalysisFileError, match=told):
                pmg.Analysis.from_yaml(SMALL, set=[text]).check()
        free = PairTable.read(file).annihilation(sigmav=pt.dscalar(), mdm1=pt.dscalar(), mdm2=1.0)
        with pytest.raises(pmg.errors.SkyModelError, match="mass, sigmav, channels are variables"):
            darkmatter.DarkMatterHalo(darkmatter.NFW(), free)


class TestFiles:
    def test_any_order(self, tmp_path, table):
        found = AnnihilationTable.read(written(tmp_path))
        assert isinstance(found, PairTable)
        assert found.parameters == ("mdm1", "mdm2")
        wanted = table.fractions(m1=1.3, m2=2.2)
        assert found.fractions(mdm1=1.3, mdm2=2.2) == pytest.approx(wanted, rel=1e-9)

    def test_malformed(self, tmp_path):
        with pytest.raises(DataFileError, match=r"z.h5 is no table of two kinds.*2 are missing"):
            PairTable.read(written(tmp_path, drop=(3, 4)))
        with pytest.raises(DataFileError, match=r"z.h5 is no table of two kinds.*mdm2"):
            PairTable.read(written(tmp_path, mdm2=None))
        states = {"x1X1": {"Q+Q-": np.ones(30)}}
        with pytest.raises(DataFileError, match=r"no channel 'Q\+Q-'"):
            PairTable.read(written(tmp_path, states))
        file = tmp_path / "text.h5"
        file.write_text("nothing")
        with pytest.raises(DataFileError, match=r"text.h5 is no table"):
            PairTable.read(file)

    @pytest.mark.parametrize("name", ["z5-101x101", "z5-11x11"])
    def test_z5(self, name):
        if not os.environ.get(datasets.MIRROR_VARIABLE) or not list(
            Path(os.environ[datasets.MIRROR_VARIABLE]).rglob(datasets.info(name).file_name)
        ):
            pytest.skip(f"needs the file {datasets.info(name).file_name} in {datasets.MIRROR_VARIABLE}")
        file = datasets.path(name)
        found = AnnihilationTable.read(file)
        with h5py.File(file) as held:
            for k in (len(found.axes["mdm1"]) * 3 + 3, 40):
                at = {one: float(held[one][k]) / 1e3 for one in ("mdm1", "mdm2")}
                total = sum(held[i][f][k] for i in ("x1X1", "x1X2", "x2X2", "x1x1") for f in held["x1X1"])
                own = found.fractions(**at)
                assert own["x1X1", "Z"] == pytest.approx(held["x1X1/ZZ"][k] / total, abs=2e-5)
                pair_of_w = held["x1X1/W+W-"][k] + held["x1X1/AW+W-"][k]
                assert own["x1X1", "W"] == pytest.approx(pair_of_w / total, abs=2e-5)
                assert own["x1x1", "hx2"] == pytest.approx(held["x1x1/hx2"][k] / total, abs=2e-5)


class TestBadInput:
    @pytest.mark.parametrize(
        ("masses", "error", "message"),
        [
            ({"m1": 1.0}, ValueError, r"missing \['m2'\]"),
            ({"m1": 1.0, "m2": 1.0, "x": 1}, TypeError, r"unknown \['x'\]"),
            ({"m1": 21.0, "m2": 1.0}, ValueError, r"m1=.*from 0.3 to 20, got 21"),
            ({"m1": 1 * u.kg, "m2": 1.0}, u.UnitConversionError, "m1="),
            ({"m1": [1.0, 2.0], "m2": 1.0}, TypeError, "m1=.*single number"),
        ],
    )
    def test_of_masses(self, masses, error, message, table):
        for method in (table.fractions, lambda **given: table.annihilation(sigmav=1.0, **given)):
            with pytest.raises(error, match=message):
                method(**masses)

    @pytest.mark.parametrize(
        ("own", "message"),
        [
            ({"x1X3": {"W": [1, 1]}}, r"two of the 1 kinds.*'x1X3'"),
            ({"W": {"W": [1, 1]}}, r"two of the 1 kinds"),
            ({"x1X1": {"hx2": [1, 1]}}, r"there are 1 kinds"),
            ({"x1X1": {"Y": [1, 1]}}, r"no channel 'Y'"),
            ({"x1X1": {"W": [1, -1]}}, r"not be negative"),
            ({"x1X1": {"W": [1]}}, r"shape"),
            ({"x1X1": {"W": [1, 0]}}, r"above zero everywhere"),
            ({}, r"above zero everywhere"),
        ],
    )
    def test_of_shares(self, own, message):
        with pytest.raises(ValueError, match=message):
            PairTable({"mass": [1.0, 2.0]}, own)

    def test_a_prior_that_reaches_out_of_the_table(self, table):
        with pm.Model():
            mass = pm.LogNormal("mass", 5.0, 1.0)
            spectrum = table.annihilation(sigmav=3e-26, m1=mass, m2=1.0)
        assert any("from 0.3 to 20" in message for _, message in spectrum.conditions)
