"""Gamma rays of dark matter: the table, between its numbers, its channels and lines, and what models make of them."""

import warnings

import astropy.units as u
import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
import xarray as xr
from pytensor.gradient import verify_grad
from setups import pointing, region, source

import pymc_gamma as pmg
from pymc_gamma import darkmatter
from pymc_gamma.darkmatter.tables import GEV, LOG_LINE, GammaTable, gamma_table
from pymc_gamma.errors import DataFileError, ModelError

CHANNELS = gamma_table().channels
FIRST_GEV = {"b": 6, "W": 90, "WL": 90, "Z": 100, "h": 130, "nu_e": 130, "nu_mu": 130, "nu_tau": 130, "t": 180}
EDGES = np.geomspace(0.1, 60, 921)
J_FACTOR = 1e17
"""TeV2 cm-5: some thousand events of 3e-26 cm3 s-1."""
LN10 = np.log(10)


def rows_of(channel):
    """Masses in TeV at which a channel is tabulated, and its numbers there."""
    values = gamma_table().values(channel)
    known = values.any(axis=1)
    return gamma_table().mass[known], values[known]


def per_log10(mass, channel, x, table=None):
    """dN/dlog10 x by the public function."""
    energy = x * mass * u.TeV
    return (darkmatter.dnde(mass * u.TeV, channel, energy, table) * energy).to_value("") * LN10


class TestTable:
    @pytest.mark.parametrize("channel", CHANNELS)
    def test_tabulated_numbers(self, channel):
        x, own = 10 ** gamma_table().log10_x, gamma_table().log10_x < (LOG_LINE if channel == "gamma" else 1)
        for mass, row in zip(*rows_of(channel), strict=True):
            found = per_log10(mass, channel, x)[own]
            # zeros are zeros but for the rounding of x, beside the noise of the smallest numbers
            np.testing.assert_allclose(found, row[own], rtol=1e-6, atol=1e-9 * row.max())

    def test_between_masses(self):
        """Each mass from 100 GeV on is left out in turn; the table has noise of 5e-4 itself."""
        table = gamma_table()
        middle = (table.log10_x >= -3) & (table.log10_x < -0.12)
        errors = []
        for k in range(np.searchsorted(table.mass, 0.1), len(table.mass) - 1):
            channels = [one for one in CHANNELS if table.first_mass(one) < table.mass[k] and not one.startswith("nu")]
            kept = np.arange(len(table.mass)) != k
            rest = GammaTable(table.mass[kept] / GEV, table.log10_x, {one: table.values(one)[kept] for one in channels})
            for channel in channels:
                row = table.values(channel)[k][middle]
                found = per_log10(table.mass[k], channel, 10 ** table.log10_x[middle], rest)
                bright = row > 0.01 * row.max()
                errors.append(np.abs(found / row - 1)[bright])
        errors = np.concatenate(errors)
        assert np.median(errors) < 1e-3
        assert np.percentile(errors, 95) < 1e-2

    @pytest.mark.parametrize("channel", ["b", "W", "tau", "e", "h"])
    def test_between_energies(self, channel):
        """Every second energy is left out: an error 8 to 16 times that of the table."""
        table = gamma_table()
        every_second = slice(0, None, 2)
        rest = GammaTable(
            table.mass / GEV, table.log10_x[every_second], {channel: table.values(channel)[:, every_second]}
        )
        middle = np.flatnonzero((table.log10_x > -3) & (table.log10_x < -0.2))
        row = table.values(channel)[np.searchsorted(table.mass, 0.999)][middle]
        found = per_log10(1.0, channel, 10 ** table.log10_x[middle], rest)
        assert np.max(np.abs(found / row - 1)[row > 0.01 * row.max()]) < 1e-2

    @pytest.mark.parametrize("channel", [one for one in CHANNELS if one != "gamma"])
    def test_monotone_to_the_endpoint(self, channel):
        """Between the last energies of the table nothing overshoots; above the mass there is nothing."""
        log10_x = np.linspace(-0.1, 0, 3 * 40 + 1)
        for mass in (0.2, 1.0, 80.0):
            values = per_log10(mass, channel, 10**log10_x)
            for part in (values[:61], values[60:]):
                assert np.all(np.diff(part) >= -1e-12) or np.all(np.diff(part) <= 1e-12)
            assert np.all(per_log10(mass, channel, np.array([1 + 1e-6, 2.0])) == 0)

    def test_first_masses(self):
        for channel in CHANNELS:
            assert gamma_table().first_mass(channel) / GEV == pytest.approx(FIRST_GEV.get(channel, rows_first(channel)))

    def test_of_another_file(self, tmp_path):
        file = tmp_path / "AtProduction_gammas.dat"
        rows = ["mDM Log[10,x] \\[Mu] b"]
        rows += [f"{m} {x:g} {m * (1 - x)} {x * x + 1}" for m in (10, 100) for x in np.linspace(-1, 0, 11)]
        file.write_text("\n".join(rows), encoding="utf-8")
        table = GammaTable.read(file)
        assert table.channels == ("mu", "b")
        np.testing.assert_allclose(table.values("mu")[1], 100 * (1 - np.linspace(-1, 0, 11)))
        assert per_log10(0.1, "b", np.array([1.0]), table)[0] == pytest.approx(1.0, rel=1e-4)
        for content in ("", "mDM x b\n1 2 3\n1 2", "\x00"):
            file.write_text(content, encoding="utf-8")
            with pytest.raises(DataFileError, match=r"AtProduction_gammas.dat is no table of gamma-ray spectra"):
                GammaTable.read(file)
        with pytest.raises(DataFileError, match=r"other.npz is no table"):
            GammaTable.read(tmp_path / "other.npz")

    @pytest.mark.parametrize("column", ["dNdLog10x[{}]", "dNdx[ {}\t]"])
    def test_of_bins(self, column, tmp_path):
        """CosmiXs has averages over bins, at their centres."""
        centres = -1.98 + 0.09 * (np.arange(22) + 0.5)
        file = tmp_path / "AtProduction-Gamma.dat"
        names = ["mu", "u", "d", "s", "a", "H", "aZ", "numu"]
        rows = ["# DM   Log10[x]  " + " \t".join(column.format(one) for one in names)]
        rows += [
            f"{m} {x:.4f} " + " ".join(f"{(k + 1) * m * np.exp(2 * x)}" for k in range(len(names)))
            for m in (10, 100)
            for x in centres
        ]
        file.write_text("\n".join(rows), encoding="utf-8")
        table = GammaTable.read(file)
        assert set(table.channels) == {"mu", "gamma", "h", "nu_mu", "q"}
        assert table.log10_x[-1] == pytest.approx(0, abs=1e-9)
        np.testing.assert_allclose(table.values("q")[1][::2], 300 * np.exp(2 * centres), rtol=1e-6)
        np.testing.assert_allclose(table.values("mu")[1][:-1], 100 * np.exp(2 * table.log10_x[:-1]), rtol=5e-3)
        assert table.values("mu")[1, -1] == pytest.approx(100 * (1.5 * np.exp(-0.09) - 0.5 * np.exp(-0.27)), rel=1e-6)
        at = 10 ** centres[[3, 10]] * 0.1
        np.testing.assert_allclose(per_log10(0.1, "mu", at / 0.1, table), 100 * np.exp(2 * centres[[3, 10]]), rtol=1e-4)
        file.write_text("\n".join(row.replace("-0.0450", "-0.0350") for row in rows), encoding="utf-8")
        with pytest.raises(DataFileError, match="its bins end at"):
            GammaTable.read(file)


def rows_first(channel):
    """First mass of a channel in GeV: 5, or that of its unpolarised kind."""
    return FIRST_GEV.get(channel.rstrip("LT"), 5) if channel[0] in "WZ" else 5


class TestLines:
    def test_photon_pair(self):
        """A line of two photons, less the share that the peak of the table loses."""
        edges = np.geomspace(0.9, 1.1, 2001)
        for mass, least, most in ((0.09, 1.99, 2.0), (1.0, 1.92, 1.96), (100.0, 1.5, 1.55)):
            energy = edges * mass
            flux = darkmatter.dnde(mass * u.TeV, "gamma", energy * u.TeV).value
            photons = np.sum(0.5 * (flux[1:] + flux[:-1]) * np.diff(energy))
            assert least < photons < most + 5e-3

    @pytest.mark.parametrize(("channel", "boson"), [("Zgamma", 0.0911880), ("hgamma", 0.12520)])
    @pytest.mark.parametrize("mass", [0.2, 1.0])
    def test_photon_and_boson(self, channel, boson, mass):
        """Energy and momentum are conserved: the photon and the boson share twice the mass."""
        photon = mass - boson**2 / (4 * mass)
        energy_of_boson = np.hypot(photon, boson)
        assert photon + energy_of_boson == pytest.approx(2 * mass)
        photons = darkmatter.Annihilation(mass, 1.0, channel).photons(EDGES)
        energy, flux = photons.energy.eval(), photons.flux.eval()
        interval, point = np.unravel_index(flux.argmax(), flux.shape)
        assert energy[interval, point] == pytest.approx(photon, rel=1e-12)
        assert EDGES[interval] <= photon <= EDGES[interval + 1]
        # far from the line: half of each pair
        low = np.array([0.12]) * u.TeV
        halves = [(energy_of_boson, channel.removesuffix("gamma")), (photon, "gamma")]
        wanted = sum(0.5 * darkmatter.dnde(m * u.TeV, one, low).value for m, one in halves)
        np.testing.assert_allclose(darkmatter.dnde(mass * u.TeV, channel, low).value, wanted, rtol=1e-10)


class TestSpectra:
    def test_annihilation_and_decay(self):
        energy = np.array([0.1, 0.5, 0.99])
        fractions = {"W": 0.5, "b": 0.3, "tau": 0.2}
        per_pair = sum(f * darkmatter.dnde(1 * u.TeV, c, energy * u.TeV).value for c, f in fractions.items())
        found = darkmatter.Annihilation(1.0, 3e-26, fractions, k=4, j_factor=2e15 * u.TeV**2 / u.cm**5)(energy)
        np.testing.assert_allclose(found.eval(), 3e-26 * 2e15 / (4 * np.pi * 4) * per_pair, rtol=1e-12)
        found = darkmatter.Decay(2000 * u.GeV, 1e26 * u.s, fractions, d_factor=3e19)(energy)
        np.testing.assert_allclose(found.eval(), 3e19 / (4 * np.pi * 2.0 * 1e26) * per_pair, rtol=1e-12)

    @pytest.mark.parametrize("channel", [*CHANNELS, "Zgamma", "hgamma"])
    def test_photons_are_the_integral(self, channel):
        """Counts and energies in intervals, against sums over fine steps."""
        mass = 1.2345
        photons = darkmatter.Annihilation(mass, 4 * np.pi * 2 * mass**2, channel).photons(EDGES)
        energy, flux = photons.energy.eval(), photons.flux.eval()
        assert np.all((energy >= EDGES[:-1, None] * (1 - 1e-12)) & (energy <= EDGES[1:, None] * (1 + 1e-12)))
        at = np.geomspace(0.1, 1.1 * mass, 400_001)
        density = darkmatter.dnde(mass * u.TeV, channel, at * u.TeV).value * at
        for power in (0, 1):
            wanted = np.trapezoid(density * at**power, dx=np.log(at[1] / at[0]))
            assert (flux * energy**power).sum() == pytest.approx(wanted, rel=2e-5)

    def test_a_line_on_an_edge_is_there_once(self):
        mass = pt.dscalar("mass")
        photons = darkmatter.Annihilation(mass, 8 * np.pi, "gamma").photons(EDGES)
        function = pytensor.function([mass], pt.sum(photons.flux) * mass**2)
        wanted = function(EDGES[300] * 1.001)
        for edge in EDGES[290:310]:
            for at in (np.nextafter(edge, 0), edge, np.nextafter(edge, 1)):
                assert function(at) == pytest.approx(wanted, rel=2e-2)

    def test_derivatives(self):
        def total(mass, sigmav, fractions):
            mixture = dict(zip(("W", "tau", "gamma"), [fractions[0], fractions[1], fractions[2]], strict=True))
            photons = darkmatter.Annihilation(mass, sigmav, mixture).photons(np.geomspace(0.1, 60, 61))
            return pt.sum(photons.flux * photons.energy**0.3)

        for mass in (0.951, 1.234, 47.0):
            verify_grad(
                total,
                [np.array(mass), np.array(3.0), np.array([0.5, 0.3, 0.2])],
                rng=np.random.default_rng(1),
                eps=1e-6,
            )

    def test_jax(self):
        pytest.importorskip("jax")
        mass = pt.dscalar("mass")
        spectrum = darkmatter.Annihilation(mass, 1e10, {"b": 0.4, "Zgamma": 0.6})
        photons = spectrum.photons(EDGES)
        outputs = [spectrum(np.geomspace(0.1, 2, 50)), photons.flux, pytensor.grad(pt.sum(photons.flux**2), mass)]
        found = [pytensor.function([mass], outputs, mode=mode)(1.3) for mode in ("FAST_COMPILE", "JAX")]
        for one, other in zip(*found, strict=True):
            np.testing.assert_allclose(other, one, rtol=1e-9, atol=1e-12 * np.max(np.abs(one)))

    def test_sums_and_products_keep_photons(self):
        dark = darkmatter.Annihilation(1.0, 1e-20, "gamma")
        law = pmg.PowerLaw(index=2.0, amplitude=1e-20)
        ebl = pmg.EBLAbsorption([0.1, 100] * u.TeV, [1.0, 0.5])
        plain = dark.photons(EDGES)
        total = (dark * 2.0 + law).photons(EDGES)
        wanted = 2 * plain.flux.eval().sum() + 1e-20 * (1 / EDGES[0] - 1 / EDGES[-1])
        assert total.flux.eval().sum() == pytest.approx(wanted, rel=1e-4)
        absorbed = (dark * ebl).photons(EDGES)
        wanted = (plain.flux * ebl(plain.energy.ravel()).reshape(plain.energy.shape)).eval()
        np.testing.assert_allclose(absorbed.flux.eval(), wanted, rtol=1e-12)
        rows = (dark * [1.0, 3.0]).photons(EDGES)
        np.testing.assert_allclose(rows.flux.eval(), plain.flux.eval() * np.array([1, 3])[:, None, None], rtol=1e-12)
        assert law.photons(EDGES) is None
        assert len(dark.conditions) == len((law + dark * ebl).conditions) == 1


@pytest.fixture(scope="module")
def response():
    components = [source("dwarf", 0.3, -0.2), source("other", -0.5, 0.3), pmg.CosmicRayBackground()]
    roi = region(width=2.0, energy=(0.2, 30.0))
    return pmg.fold(components, pointing(hours=50), roi, free_spectrum=["dwarf", "other"])


@pytest.fixture(scope="module")
def events(response):
    return response.simulate({"dwarf": 300, "other": 100, "ccr": 1000}, 1400, rng=1)


def model_of(response, events, channels, mass=None, key="dwarf", factor=J_FACTOR, **keywords):
    with pm.Model() as model:
        mass = pm.LogNormal("mass", 0.0, 1.0, initval=1.0) if mass is None else mass
        spectrum = darkmatter.Annihilation(mass, 3e-26, channels, j_factor=factor)
        pmg.ExtendedEventMixture(
            "events", response=response, spectra={key: spectrum}, observed=events, expected_counts=True, **keywords
        )
    return model


def counts_of(model):
    return pytensor.function([model["mass"]], model["events_expected_counts"])


def exposures(component):
    """Counts per flux at the nodes, cm2 s, from counts per coefficient of the hats of E^-2.5."""
    steps = np.linspace(0, 1, 201)
    ends = (
        np.log(component.energy[[0, *range(len(component.energy) - 1), -1]]),
        np.log(component.energy[[0, *range(1, len(component.energy)), -1]]),
    )
    nodes = np.log(component.energy)
    below, above = nodes - ends[0][:-1], ends[1][1:] - nodes
    integral = np.zeros(len(nodes))
    for sign, width in ((-1, below), (1, above)):
        at = np.exp(nodes[:, None] + sign * width[:, None] * steps)
        integral += np.trapezoid((1 - steps) * at ** (1 - 2.5), dx=1 / 200, axis=1) * width
    return component.acceptance[0] / integral


class TestModels:
    @pytest.mark.parametrize("channel", ["tau", "W", "gamma", "Zgamma"])
    def test_no_ripple_as_the_mass_passes_nodes(self, channel, response, events):
        """Against sums, much finer than the nodes, of the spectrum times the exposure."""
        component = response.free_components[0]
        nodes, exposure = component.energy, exposures(component)
        function = counts_of(model_of(response, events, channel))
        start = nodes[np.searchsorted(nodes, 1.0)]
        for shift in np.linspace(0, 2.2, 9):
            mass = start * (nodes[1] / nodes[0]) ** shift
            at = np.geomspace(nodes[0], 1.1 * mass, 200_001)
            per_pair = darkmatter.dnde(mass * u.TeV, channel, at * u.TeV).value
            flux = 3e-26 * J_FACTOR / (8 * np.pi * mass**2) * per_pair
            wanted = np.sum(flux * np.interp(np.log(at), np.log(nodes), exposure) * at) * np.log(at[1] / at[0])
            assert float(function(mass)[0]) == pytest.approx(wanted, rel=5e-4)

    def test_nothing_is_said_of_counts_outside_of_the_table(self, response, events):
        model = model_of(response, events, "W")
        outputs = [model["events_expected_counts"]]
        function = pytensor.function([model["mass"]], outputs)
        assert np.isfinite(function(0.0901)[0]).all()
        assert np.isnan(function(0.0899)[0]).all()

    @pytest.mark.parametrize("channel", ["tau", "gamma"])
    def test_simulations_and_counts_take_it_like_models(self, channel, response, events):
        """Nothing is said of features narrower than the nodes: its photons between them are known."""
        function = counts_of(model_of(response, events, channel))
        for mass in (0.9991, 1.0023):
            spectrum = darkmatter.Annihilation(mass, 3e-26, channel, j_factor=J_FACTOR)
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                found = response.npred(spectra={response.free_spectrum[0]: spectrum})[0]
            assert float(found) == pytest.approx(float(function(mass)[0]), rel=1e-4)

    def test_derivative_of_the_likelihood(self, response, events):
        model = model_of(response, events, {"b": 0.5, "tau": 0.3, "gamma": 0.2})
        logp, derivative = model.compile_logp(), model.compile_dlogp()
        for at in (0.123, 1.04):
            step = 1e-6
            found = (logp({"mass_log__": at + step}) - logp({"mass_log__": at - step})) / (2 * step)
            assert derivative({"mass_log__": np.array(at)})[0] == pytest.approx(found, rel=1e-4)

    def test_impossible_below_threshold_and_above_the_table(self, response, events):
        model = model_of(response, events, "W")
        logp, derivative = model.compile_logp(), model.compile_dlogp()
        for mass, possible in ((0.0899, False), (0.0901, True), (0.5, True), (99.9, True), (100.1, False)):
            point = {"mass_log__": np.log(mass)}
            assert np.isfinite(logp(point)) == possible
            assert possible or logp(point) == -np.inf
            assert np.all(np.isfinite(derivative(point)))

    @pytest.mark.parametrize("fraction", [0.0, 1e-3])
    def test_a_channel_without_share_has_no_threshold(self, fraction, response, events):
        with pm.Model() as model:
            share = pm.Uniform("share", 0, 1, initval=0.5)
            mass = pm.LogNormal("mass", 0.0, 1.0, initval=1.0)
            spectrum = darkmatter.Annihilation(mass, 3e-26, {"t": share, "b": 1 - share}, j_factor=J_FACTOR)
            pmg.ExtendedEventMixture("events", response=response, spectra={"dwarf": spectrum}, observed=events)
        logp = model.compile_logp(vars=[model["events"]], jacobian=False)
        transformed = np.log(fraction) - np.log1p(-fraction) if fraction else -np.inf
        with np.errstate(over="ignore"):
            found = logp({"share_interval__": transformed, "mass_log__": np.log(0.15)})
        assert np.isfinite(found) == (fraction == 0)

    @pytest.mark.parametrize("kind", ["mixture", "energy scale", "several sources"])
    def test_impossible_in_other_models(self, kind, response, events):
        with pm.Model(coords=response.coords) as model:
            mass = pm.LogNormal("mass", 0.0, 1.0, initval=1.0)
            factor = [J_FACTOR, 2 * J_FACTOR] if kind == "several sources" else J_FACTOR
            spectrum = darkmatter.Annihilation(mass, 3e-26, "W", j_factor=factor)
            if kind == "mixture":
                fraction = pm.Dirichlet("fraction", a=np.ones(3), dims="component")
                spectra = {"dwarf": spectrum, "other": pmg.PowerLaw()}
                pmg.EventMixture("events", fraction, response=response, spectra=spectra, observed=events)
            else:
                key = ("dwarf", "other") if kind == "several sources" else "dwarf"
                scale = [pmg.EnergyScale(sigma=0.05)] if kind == "energy scale" else []
                pmg.ExtendedEventMixture(
                    "events", response=response, spectra={key: spectrum}, systematics=scale, observed=events
                )
        start, logp = model.initial_point(), model.compile_logp(mode="FAST_COMPILE")
        assert np.isfinite(logp(start))
        assert logp({**start, "mass_log__": np.log(0.08)}) == -np.inf

    def test_a_mixture_with_a_spectrum_that_ends_below_all_energies(self, response, events):
        """The table has the mass, and no event can be of it: impossible with a share of it, and not NaN."""
        with pm.Model(coords=response.coords) as model:
            mass, share = pm.LogNormal("mass", 0.0, 1.0, initval=1.0), pm.Uniform("share", -1, 1, initval=0.5)
            spectra = {"dwarf": darkmatter.Annihilation(mass, 3e-26, "mu"), "other": pmg.PowerLaw()}
            fraction = pt.stack([share, (1 - share) / 2, (1 - share) / 2])
            pmg.EventMixture("events", fraction, response=response, spectra=spectra, observed=events)
        logp = model.compile_logp(vars=[model["events"]], jacobian=False, mode="FAST_COMPILE")
        derivative = model.compile_dlogp(mode="FAST_COMPILE")
        low = 0.9 * response.free_components[0].energy[0]
        point = {"share_interval__": 0.5, "mass_log__": np.log(low)}
        assert logp(point) == -np.inf
        assert np.all(np.isfinite(derivative(point)))
        nothing = {"share_interval__": 0.0}
        assert logp({**nothing, "mass_log__": np.log(low)}) == pytest.approx(logp({**nothing, "mass_log__": 0.0}))

    def test_several_sources_share_a_spectrum(self, response, events):
        one = counts_of(model_of(response, events, "gamma"))(1.234)
        both = model_of(response, events, "gamma", key=("dwarf", "other"), factor=[J_FACTOR, 3 * J_FACTOR])
        other = model_of(response, events, "gamma", key="other", factor=3 * J_FACTOR)
        found = counts_of(both)(1.234)
        assert found[0] == pytest.approx(one[0], rel=1e-12)
        assert found[1] == pytest.approx(counts_of(other)(1.234)[1], rel=1e-12)

    def test_energy_scale_keeps_a_line(self, response, events):
        scaled = model_of(response, events, "gamma", systematics=[pmg.EnergyScale(sigma=0.05)])
        function = pytensor.function([scaled["mass"], scaled["energy_scale"]], scaled["events_expected_counts"])
        plain = counts_of(model_of(response, events, "gamma"))
        for mass in (1.234, 1.2385):
            assert function(mass, 1.0)[0] == pytest.approx(plain(mass)[0], rel=5e-3)

    def test_dirichlet_of_channels(self, response, events):
        names = ["tau", "b", "W"]
        with pm.Model(coords={"channel": names}) as model:
            fractions = pm.Dirichlet("fractions", a=np.ones(3), dims="channel")
            spectrum = darkmatter.Annihilation(1.0, 3e-26, fractions, j_factor=J_FACTOR)
            pmg.ExtendedEventMixture(
                "events", response=response, spectra={"dwarf": spectrum}, observed=events, expected_counts=True
            )
        function = pytensor.function([model["fractions"]], model["events_expected_counts"])
        each = [counts_of(model_of(response, events, name))(1.0)[0] for name in names]
        weights = np.array([0.5, 0.3, 0.2])
        assert function(weights)[0] == pytest.approx(np.dot(weights, each), rel=1e-12)
        assert np.all(np.isfinite(model.compile_dlogp(mode="FAST_COMPILE")(model.initial_point())))

    def test_a_start_below_threshold_is_refused(self, response, events):
        with pm.Model():
            mass = pm.Uniform("mass", 0.01, 0.02, initval=0.015)
            spectrum = darkmatter.Annihilation(mass, 3e-26, "W")
            with pytest.raises(ModelError, match=r"is not known: Annihilation: the table has the channel .W. for"):
                pmg.ExtendedEventMixture("events", response=response, spectra={"dwarf": spectrum}, observed=events)


class TestBadInput:
    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            ({"mass": 0.08}, ValueError, r"mass=.*'W' for masses from 0.09 to 100 TeV, got 0.08"),
            ({"mass": 101 * u.TeV}, ValueError, r"mass=.*from 0.09 to 100 TeV, got 101"),
            ({"mass": -1.0}, ValueError, r"mass=.*not negative"),
            ({"mass": 1 * u.kg}, u.UnitConversionError, r"mass=.*TeV"),
            ({"mass": [1.0, 2.0]}, TypeError, r"mass=.*single number"),
            ({"sigmav": -1e-26}, ValueError, r"sigmav=.*not negative"),
            ({"sigmav": 1e-26 * u.cm**2}, u.UnitConversionError, r"sigmav=.*cm3 s-1"),
            ({"k": 0}, ValueError, r"k=.*above 0"),
            ({"channels": "w"}, ValueError, r"no channel 'w'. Did you mean 'W'\?.*The channels are"),
            ({"channels": "W+W-"}, ValueError, r"Did you mean 'W'\?"),
            ({"channels": "tau+tau-"}, ValueError, r"Did you mean 'tau'\?"),
            ({"channels": "xyz"}, ValueError, r"no channel 'xyz'. The channels are"),
            ({"channels": "taus"}, ValueError, r"no channel 'taus'. Did you mean.*'tau'"),
            ({"channels": {}}, ValueError, r"sum to one"),
            ({"channels": {"W": 0.5, "b": 0.4}}, ValueError, r"sum to one, got a sum of 0.9"),
            ({"channels": {"W": 1.5, "b": -0.5}}, ValueError, r"'W' must lie between 0 and 1"),
            ({"channels": {"W": "all"}}, TypeError, r"fraction of 'W'"),
            ({"channels": pt.dvector()}, ValueError, r"needs channels as coordinates"),
            ({"channels": [0.5, 0.5]}, TypeError, r"mapping from channels to fractions"),
            ({"table": "pppc"}, TypeError, r"GammaTable"),
        ],
    )
    def test_refused(self, arguments, error, message):
        with pytest.raises(error, match=message):
            darkmatter.Annihilation(**{"mass": 1.0, "sigmav": 3e-26, "channels": "W"} | arguments)

    def test_half_of_the_mass_of_what_decays(self):
        with pytest.raises(ValueError, match=r"Decay\(mass=.*from 0.18 to 200 TeV, got 0.17"):
            darkmatter.Decay(0.17, 1e26, "W")

    def test_nothing_decays_at_once(self):
        with pytest.raises(ValueError, match=r"Decay\(lifetime=...\) must be finite and positive, got 0"):
            darkmatter.Decay(1.0, 0.0, "W")

    def test_labels_of_a_vector(self):
        labelled = xr.DataArray([0.6, 0.4], dims="channel", coords={"channel": ["b", "tau"]})
        given = darkmatter.Annihilation(1.0, 1e10, labelled)([0.1, 0.3]).eval()
        np.testing.assert_allclose(given, darkmatter.Annihilation(1.0, 1e10, {"tau": 0.4, "b": 0.6})([0.1, 0.3]).eval())

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            ((0.05 * u.TeV, "W", 1 * u.GeV), ValueError, "mass: the table has the channel 'W'"),
            ((1.0, "W", 1 * u.GeV), TypeError, "mass"),
            (([1, 2] * u.TeV, "W", 1 * u.GeV), TypeError, "mass must be a single quantity"),
            ((1 * u.TeV, "W", 0 * u.GeV), ValueError, "energy must be positive"),
            ((1 * u.TeV, {"W": pt.dscalar(), "b": 0.5}, 1 * u.GeV), TypeError, "must be numbers"),
        ],
    )
    def test_of_dnde(self, arguments, error, message):
        with pytest.raises(error, match=message):
            darkmatter.dnde(*arguments)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"mass": [2.0, 1.0]}, "ascending"),
            ({"log10_x": np.linspace(-1, 1, 9)}, "up to 0"),
            ({"spectra": {"b": np.ones((2, 8))}}, r"spectra=.*shape"),
            ({"spectra": {"b": -np.ones((2, 9))}}, r"spectra=.*negative"),
        ],
    )
    def test_of_a_table(self, arguments, message):
        valid = {"mass": [1.0, 2.0], "log10_x": np.linspace(-1, 0, 9), "spectra": {"b": np.ones((2, 9))}}
        with pytest.raises(ValueError, match=message):
            GammaTable(**valid | arguments)

    def test_fractions_that_do_not_sum_at_the_start(self, response, events):
        with pm.Model():
            share = pm.Uniform("share", 0, 1, initval=0.3)
            spectrum = darkmatter.Annihilation(1.0, 3e-26, {"W": share, "b": share}, j_factor=J_FACTOR)
            with pytest.raises(ModelError, match="fractions must not be negative, and sum to one"):
                pmg.ExtendedEventMixture("events", response=response, spectra={"dwarf": spectrum}, observed=events)


def test_expressions_of_a_j_factor_have_lost_its_unit():
    """Numbers would be taken in TeV2 cm-5, 1e6 times too large: what is multiplied is the spectrum."""
    roi, profile = region(width=1.0), darkmatter.GeneralisedNFW(1.0)
    with pm.Model():
        gamma = pm.Uniform("gamma", 0.8, 1.2)
        factor, other = profile.j_factor(roi, gamma=gamma), profile.d_factor(roi, gamma=gamma)
        view = pm.Deterministic("J", factor)
        twice = 2 * darkmatter.Annihilation(1.0, 3e-26, "b", j_factor=view)
        with pytest.raises(ValueError, match=r"Annihilation\(j_factor=...\) .* in GeV2 cm-5, .* taken in TeV2 cm-5"):
            darkmatter.Annihilation(1.0, 3e-26, "b", j_factor=2 * factor)
        with pytest.raises(ValueError, match=r"Decay\(d_factor=...\) .* Pass what Profile.d_factor returned"):
            darkmatter.Decay(4.0, 1e26, "b", d_factor=pt.exp(pt.log(other)))
        darkmatter.Annihilation(1.0, 3e-26 * (1 + gamma), "b", j_factor=3e15 * gamma)  # of another kind
    known = profile.with_parameters(gamma=0.9).j_factor(roi)
    expected = darkmatter.Annihilation(1.0, 6e-26, "b", j_factor=known)([0.1, 0.5]).eval()
    np.testing.assert_allclose(twice([0.1, 0.5]).eval({gamma: 0.9}), expected, rtol=2e-4)
