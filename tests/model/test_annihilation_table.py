"""Cross-sections of models of dark matter as tables: files, grids, what is between, and what is outside."""

import gzip
import os
from pathlib import Path

import astropy.units as u
import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.gradient import verify_grad

from pymc_gamma import darkmatter, datasets
from pymc_gamma.darkmatter import AnnihilationTable
from pymc_gamma.errors import DataFileError

MASS, COUPLING = np.geomspace(0.2, 20, 9), np.geomspace(0.01, 1, 5)


def cross_sections(mass, coupling):
    """Powers of the parameters: straight lines in the logarithms."""
    return {"W": 2e-26 * coupling**2 / mass, "b": 1e-26 * coupling**2 / mass**2, "tau": 0.5e-26 * coupling**3}


@pytest.fixture(scope="module")
def table():
    return AnnihilationTable(
        {"mass": MASS, "coupling": COUPLING}, cross_sections(MASS[:, None], COUPLING * np.ones((len(MASS), 1)))
    )


def lines(order=None, drop=()):
    """Rows of a file in the form of the tables of the scalar singlet."""
    rows = [
        f"{k} {1e3 * m} {c} {own['W']} {own['b'] / 2} {own['b'] / 2} {own['tau']} 1e-50 0.0"
        for k, (m, c) in enumerate((m, c) for m in MASS for c in COUPLING)
        for own in [cross_sections(m, c)]
    ]
    head = ' "mS [GeV]" coupling W+W- cc cc2 tau+tau- ZZ "hadrons (below confinement scale)"'.replace("cc2", "uu")
    order = range(len(rows)) if order is None else order
    return "\n".join([head, *(rows[k] for k in order if k not in drop)])


def test_numbers_of_the_table(table):
    for m in MASS:
        for c in COUPLING:
            own = cross_sections(m, c)
            total = sum(own.values())
            assert table.sigmav(mass=m, coupling=c) == pytest.approx(total, rel=1e-12)
            found = table.fractions(mass=m * u.TeV, coupling=c)
            assert found == pytest.approx({name: one / total for name, one in own.items()}, rel=1e-12)


def test_between_the_numbers(table):
    own = cross_sections(1.234, 0.123)
    total = sum(own.values())
    assert table.sigmav(mass=1.234, coupling=0.123) == pytest.approx(total, rel=0.02)
    found = table.fractions(mass=1.234, coupling=0.123)
    assert sum(found.values()) == pytest.approx(1, rel=1e-14)
    for name, one in own.items():
        assert found[name] == pytest.approx(one / total, abs=0.02)


def test_shares_stay_shares_at_a_threshold():
    mass = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
    table = AnnihilationTable(
        {"mass": mass}, {"t": [1e-50, 1e-50, 1e-26, 5e-26, 6e-26], "b": np.full(5, 1e-26), "Z": np.full(5, 1e-40)}
    )
    assert table.channels == ("t", "b")
    for m in np.linspace(0.1, 0.5, 101):
        found = table.fractions(mass=m)
        assert min(found.values()) >= 0
        assert sum(found.values()) == pytest.approx(1, rel=1e-14)
        assert found["t"] == 0 or m > 0.2
        assert 1e-26 * (1 - 1e-12) <= table.sigmav(mass=m) <= 7e-26 * (1 + 1e-12)


def test_variables_are_numbers(table):
    mass, coupling = pt.dscalars("mass", "coupling")
    outputs = [table.sigmav(mass=mass, coupling=coupling), *table.fractions(mass=mass, coupling=coupling).values()]
    function = pytensor.function([mass, coupling], outputs)
    for m, c in ((0.2, 0.01), (1.234, 0.123), (20.0, 1.0)):
        wanted = [table.sigmav(mass=m, coupling=c), *table.fractions(mass=m, coupling=c).values()]
        np.testing.assert_allclose(function(m, c), wanted, rtol=1e-12)
    assert np.isnan(function(20.1, 0.5)[0])


def test_derivatives(table):
    def shares(mass, coupling):
        found = table.fractions(mass=mass, coupling=coupling)
        return pt.stack([1e26 * table.sigmav(mass=mass, coupling=coupling), *found.values()])

    verify_grad(shares, [np.array(1.234), np.array(0.123)], rng=np.random.default_rng(1), eps=1e-6)


def test_spectrum(table):
    found = table.annihilation(mass=1.3, coupling=0.2, j_factor=1e15, k=4)([0.1, 0.4]).eval()
    same = darkmatter.Annihilation(
        1.3,
        table.sigmav(mass=1.3, coupling=0.2),
        dict(table.fractions(mass=1.3, coupling=0.2)),
        k=4,
        j_factor=1e15,
    )
    np.testing.assert_allclose(found, same([0.1, 0.4]).eval(), rtol=1e-12)
    with pm.Model():
        coupling = pm.LogNormal("coupling", -2.0, 1.0)
        free = table.annihilation(mass=1.3, coupling=coupling)
    fulfilled = pytensor.function([coupling], pt.all([one for one, _ in free.conditions]))
    assert [bool(fulfilled(value)) for value in (0.009, 0.011, 0.99, 1.01)] == [False, True, True, False]


class TestFiles:
    def test_any_order_and_compression(self, tmp_path, rng):
        wanted = None
        for k, order in enumerate([None, rng.permutation(len(MASS) * len(COUPLING))]):
            file = tmp_path / f"table{k}.csv.gz"
            file.write_bytes(gzip.compress(lines(order).encode()))
            found = AnnihilationTable.read(file, parameters=["coupling"])
            assert found.parameters == ("mass", "coupling")
            assert found.channels == ("W", "c", "q", "tau")
            point = found.fractions(mass=3.0, coupling=0.05)
            wanted = point if wanted is None else wanted
            assert point == wanted
        own = cross_sections(MASS[3], COUPLING[2])
        share = found.fractions(mass=MASS[3], coupling=COUPLING[2])
        assert share["q"] == pytest.approx(0.5 * own["b"] / sum(own.values()), rel=1e-9)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("", "it has no rows"),
            (lines(drop=[7]), r"1 of 45 are missing"),
            (lines(order=[*range(45), 7]), r"1 there more than once"),
            (lines().replace("mS [GeV]", "mS"), r"must be a mass with its unit"),
            (lines().replace(" 0.0\n", " 1e-26\n"), r"no spectrum for its final state 'hadrons"),
            (lines().replace("tau+tau-", ""), r"names for"),
            (
                lines().replace("W+W-", "W+W-*"),
                r"the column 'W\+W-\*': there is no channel 'W\+W-\*'\. The channels are eL, ",
            ),
            (lines().replace("tau+tau-", "couplnig"), r"no channel 'couplnig'.*parameters=\['couplnig'\]"),
            (lines().replace("coupling", "lahS"), r"no columns \['coupling'\] of parameters="),
            (lines().replace(" ZZ", " cc"), r"the columns \['cc'\] more than once"),
            (lines().replace("W+W- cc", "W+W-, cc"), r"could not convert string"),
        ],
    )
    def test_malformed(self, content, message, tmp_path):
        file = tmp_path / "table.csv"
        file.write_text(content, encoding="utf-8")
        with pytest.raises(DataFileError, match=rf"table.csv is no table of cross-sections: .*{message}"):
            AnnihilationTable.read(file, parameters=["coupling"])

    def test_columns_that_no_one_named_are_no_parameters(self, tmp_path):
        file = tmp_path / "table.csv"
        file.write_text(lines(), encoding="utf-8")
        with pytest.raises(DataFileError, match=r"no channel 'coupling'.*say so: parameters=\['coupling'\]"):
            AnnihilationTable.read(file)
        file.write_text(lines().replace("coupling", "lahS"), encoding="utf-8")
        assert AnnihilationTable.read(file).parameters == ("mass", "lahS")

    def test_commas_and_names_of_channels(self, tmp_path, table):
        first, *rows = lines().splitlines()
        first = ',mS [GeV],coupling,W,c, uu,tau,Z,"hadrons (below confinement scale)"'
        file = tmp_path / "table.csv"
        file.write_text("\n".join([first, *(row.replace(" ", ",") for row in rows)]), encoding="utf-8")
        found = AnnihilationTable.read(file, parameters=["coupling"])
        file.write_text(lines(), encoding="utf-8")
        same = AnnihilationTable.read(file, parameters=["coupling"])
        at = {"mass": 1.3, "coupling": 0.07}
        assert found.fractions(**at) == same.fractions(**at)
        assert found.sigmav(**at) == same.sigmav(**at) == pytest.approx(table.sigmav(**at), rel=1e-9)

    def test_truncated(self, tmp_path):
        file = tmp_path / "table.csv.gz"
        file.write_bytes(gzip.compress(lines().encode())[:-20])
        with pytest.raises(DataFileError, match=r"table.csv.gz is no table"):
            AnnihilationTable.read(file)

    @pytest.mark.parametrize("name", ["z2-dimauro", "z2-darksusy"])
    def test_scalar_singlet(self, name):
        if not os.environ.get(datasets.MIRROR_VARIABLE) or not list(
            Path(os.environ[datasets.MIRROR_VARIABLE]).rglob(datasets.info(name).file_name)
        ):
            pytest.skip(f"needs the file {datasets.info(name).file_name} in {datasets.MIRROR_VARIABLE}")
        found = AnnihilationTable.read(datasets.path(name))
        assert found.parameters == ("mass", "lahS")
        shares = found.fractions(mass=1.0, lahS=0.1)
        for channel, share in (("W", 0.605), ("Z", 0.308), ("h", 0.062)):
            assert shares[channel] == pytest.approx(share, abs=0.05)
            if name == "z2-dimauro":
                assert shares[channel] == pytest.approx(share, abs=2e-3)


class TestBadInput:
    @pytest.mark.parametrize(
        ("parameters", "error", "message"),
        [
            ({"mass": 1.0}, ValueError, r"missing \['coupling'\]"),
            ({"mass": 1.0, "coupling": 0.1, "x": 1}, TypeError, r"unknown \['x'\]"),
            ({"mass": 21.0, "coupling": 0.1}, ValueError, r"mass=.*from 0.2 to 20, got 21"),
            ({"mass": 1.0, "coupling": 2.0}, ValueError, r"coupling=.*from 0.01 to 1, got 2"),
            ({"mass": 1 * u.kg, "coupling": 0.1}, u.UnitConversionError, "mass="),
            ({"mass": [1.0, 2.0], "coupling": 0.1}, TypeError, "mass=.*single number"),
            ({"mass": pt.dvector(), "coupling": 0.1}, TypeError, "mass=.*single number"),
        ],
    )
    def test_of_parameters(self, parameters, error, message, table):
        for method in (table.sigmav, table.fractions, table.annihilation):
            with pytest.raises(error, match=message):
                method(**parameters)

    @pytest.mark.parametrize(
        ("axes", "sigmav", "message"),
        [
            ({"coupling": [0.1, 1.0]}, {"W": [1.0, 1.0]}, "first axis must be 'mass'"),
            ({"mass": [1.0, 1.0]}, {"W": [1.0, 1.0]}, "ascending"),
            ({"mass": [0.0, 1.0]}, {"W": [1.0, 1.0]}, "must be positive"),
            ({"mass": [1.0, 2.0]}, {"X": [1.0, 1.0]}, "no channel 'X'"),
            ({"mass": [1.0, 2.0]}, {"W": [1.0, -1.0]}, "not be negative"),
            ({"mass": [1.0, 2.0]}, {"W": [1.0]}, "shape"),
            ({"mass": [1.0, 2.0]}, {"W": [1.0, 0.0]}, "above zero everywhere"),
            ({"mass": [1.0, 2.0]}, {}, "above zero everywhere"),
        ],
    )
    def test_of_a_table(self, axes, sigmav, message):
        with pytest.raises(ValueError, match=message):
            AnnihilationTable(axes, sigmav)
