"""Components, priors and systematics of analysis files, against models that are written by hand."""

import astropy.units as u
import numpy as np
import pymc as pm
import pytest
import xarray as xr
from rich.console import Console
from scenes import SMALL, SOURCE, small

import pymc_gamma as pmg
from pymc_gamma.analysis.components import DarkMatter
from pymc_gamma.analysis.parameters import Scope, read_parameter
from pymc_gamma.errors import AnalysisFileError

QUIET = Console(quiet=True)


def built(text=SMALL, changes=()):
    """Response and model of an analysis to simulate."""
    analysis = pmg.Analysis.from_yaml(text, set=changes)
    with analysis._plan(QUIET) as plan:
        response = plan.modelling.fold()
        return response, plan.modelling.build(response), plan


def prior_of(value, unit="TeV"):
    """A parameter as a variable of a model."""
    with pm.Model() as model:
        found = read_parameter(value, unit).tensor(Scope({}), "x", unit)
    return model, found


def test_priors_are_those_of_pymc_in_the_unit_of_the_parameter():
    model, _ = prior_of({"prior": "Gamma", "alpha": 2, "beta": 3})
    theirs = pm.logp(pm.Gamma.dist(2, 3), 0.7).eval()
    assert float(pm.logp(model["x"], 0.7).eval()) == pytest.approx(float(theirs), rel=1e-12)
    model, _ = prior_of({"prior": "Normal", "mu": "500 GeV", "sigma": "100 GeV"})
    assert float(pm.logp(model["x"], 0.6).eval()) == pytest.approx(
        float(pm.logp(pm.Normal.dist(0.5, 0.1), 0.6).eval()), rel=1e-12
    )
    model, _ = prior_of({"prior": "LogNormal", "mu": "log(500 GeV)", "sigma": 1})
    assert float(pm.logp(model["x"], 0.6).eval()) == pytest.approx(
        float(pm.logp(pm.LogNormal.dist(np.log(0.5), 1), 0.6).eval()), rel=1e-12
    )


def test_a_variable_may_have_a_unit_of_its_own():
    model, found = prior_of({"prior": "HalfNormal", "sigma": 3, "unit": "100 GeV"})
    ratio = pm.draw([model["x"], found], random_seed=1)
    assert ratio[1] == pytest.approx(0.1 * ratio[0], rel=1e-12)


def test_log_uniform():
    model, _ = prior_of({"prior": "LogUniform", "lower": "1 TeV", "upper": 100})
    at = np.array([1.5, 10.0, 50.0])
    np.testing.assert_allclose(pm.logp(model["x"], at).eval(), -np.log(at) - np.log(np.log(100)), rtol=1e-10)
    draws = np.log10(pm.draw(model["x"], 4000, random_seed=1))
    assert abs(draws.mean() - 1) < 4 * (2 / 12**0.5) / 4000**0.5


def test_narrow_normals_start_near_their_centre():
    model, _ = prior_of({"prior": "Normal", "mu": 83.63, "sigma": 0.01}, "deg")
    (value,) = model.value_vars
    transformed = model.rvs_to_transforms[model["x"]].backward(value, *model["x"].owner.inputs)
    assert float(transformed.eval({value: 1.0})) == pytest.approx(83.64, abs=1e-12)  # one unit of a sampler


def test_names_are_shared_and_may_depend_on_each_other():
    priors = {
        "mean": read_parameter({"prior": "Normal", "mu": 2, "sigma": 0.1}, own_unit=True),
        "index": read_parameter({"prior": "Normal", "mu": "mean", "sigma": 0.2}, own_unit=True),
        "mass": read_parameter({"prior": "Uniform", "lower": "500 GeV", "upper": "2 TeV"}, own_unit=True),
    }
    with pm.Model() as model:
        scope = Scope(priors)
        one, two = scope.variable("index"), scope.variable("index")
        mass = scope.variable("mass", "TeV")
    assert one is two
    assert [variable.name for variable in model.free_RVs] == ["mean", "index", "mass"]
    assert scope.units == {"mass": "GeV"}
    assert 0.5 <= float(pm.draw(mass, random_seed=1)) <= 2
    assert scope.reference("index", "") == 2
    assert scope.reference("mass", "TeV") == pytest.approx(1.25)
    with pytest.raises(ValueError, match="did you mean 'mass'"):
        scope.variable("mas")


def test_systematics_by_name():
    changes = ["systematics=[{type: EffectiveAreaNorm, sigma: 0.2}, {type: BackgroundNorm, value: 1.1}]"]
    response, made, _ = built(SOURCE, changes)
    assert "aeff_norm" in {one.name for one in made.model.free_RVs}
    assert "background_norm" not in made.model.named_vars
    known = {"index": 2.2, "star.spectral.amplitude": 2e-11, "ccr.norm": np.ones(2), "aeff_norm": 1.2}
    expected = pm.do(made.model, known)["events_expected_counts"].eval()
    with pm.Model(coords=response.coords) as mine:
        pmg.ExtendedEventMixture(
            "events",
            response=response,
            spectra={"star": pmg.PowerLaw(2.2, 2e-11), "ccr": pmg.PowerLawNorm()},
            systematics=[pmg.EffectiveAreaNorm(value=1.2), pmg.BackgroundNorm(value=1.1)],
            expected_counts=True,
        )
    np.testing.assert_allclose(expected, mine["events_expected_counts"].eval(), rtol=1e-10)


def test_systematics_of_energies_need_components_that_keep_them():
    change = "systematics=[{type: EnergyScale, sigma: 0.1}]"
    with pytest.raises(AnalysisFileError, match=r"EnergyScale|energ"):
        built(SMALL, [change])
    keep = ["components.0.keep_energies=true", "components.1.keep_energies=true"]
    response, made, _ = built(SMALL, [change, *keep])
    assert response.free_spectrum == ("hgps", "ccr")
    assert "energy_scale" in {one.name for one in made.model.free_RVs}


def test_positions_and_extensions_with_priors():
    spatial = (
        "{type: GaussianSpatialModel, lon_0: {prior: Normal, mu: 0.3 deg, sigma: 0.02 deg}, lat_0: 0 deg, "
        "sigma: {prior: Uniform, lower: 0.05 deg, upper: 0.15 deg}, frame: galactic}"
    )
    response, made, _ = built(SOURCE, [f"components.star.spatial={spatial}"])
    assert response.free_shape == ("star",)
    names = {one.name for one in made.model.free_RVs}
    assert {"star.spatial.lon_0", "star.spatial.sigma"} <= names
    assert made.units["star.spatial.sigma"] == "deg"
    (folded,) = (one.shape for one in response.components if one.name == "star")
    assert float(folded.sigma) == pytest.approx(0.1)
    wrong = (
        spatial.replace("galactic", "icrs").replace("0.3 deg", "266.7 deg").replace("lat_0: 0 deg", "lat_0: -28.7 deg")
    )
    with pytest.raises(AnalysisFileError, match=r"components\.0: lon_0 of 'star' are free in the frame icrs"):
        built(SOURCE, [f"components.star.spatial={wrong}"])


def test_a_scan_is_folded_at_its_nodes():
    shell = (
        "{kind: scanned, name: star, nodes: {radius: {min: 0.1 deg, max: 0.3 deg, n: 3}}, component: {kind: source, "
        "name: star, spatial: {type: ShellSpatialModel, lon_0: 0.3 deg, lat_0: 0 deg, radius: radius, width: 0.05 deg, "
        "frame: galactic}, spectrum: {type: PowerLaw, index: 2.2, amplitude: 1e-11 TeV-1 cm-2 s-1}}}"
    )
    priors = "priors={radius: {prior: Uniform, lower: 0.1 deg, upper: 0.3 deg}}"
    changes = [f"components.star={shell}", priors, "simulate.values={}", "results={}"]
    response, made, _ = built(SOURCE, changes)
    (scan,) = response.scans
    assert {one.name for one in made.model.free_RVs} == {"radius", "ccr.norm", "events"}
    assert made.units["radius"] == "deg"
    assert list(response.scans) == [scan]
    free = shell.replace("index: 2.2", "index: {prior: Normal, mu: 2}")
    with pytest.raises(AnalysisFileError, match="numbers and names of nodes only"):
        built(SOURCE, [f"components.star={free}", *changes[1:]])
    for nodes, told in (("[0.2 deg]", "two or more"), ("{min: 0.3 deg, max: 0.1 deg, n: 3}", "ascending")):
        wrong = shell.replace("{min: 0.1 deg, max: 0.3 deg, n: 3}", nodes)
        with pytest.raises(AnalysisFileError, match=told):
            pmg.Analysis.from_yaml(SOURCE, set=[f"components.star={wrong}", *changes[1:]])


HALO = "components.0={kind: dark_matter, name: dm, channels: W, mass: 2 TeV}"


def test_dark_matter_is_the_halo_of_the_library():
    halo = pmg.darkmatter.DarkMatterHalo(
        pmg.darkmatter.NFW(r_s=20 * u.kpc), pmg.darkmatter.Annihilation(2, 1e-25, {"W": 0.5, "b": 0.5}, k=4), "dm"
    )
    changes = [
        "components.0={kind: dark_matter, name: dm, channels: {W: 0.5, b: 1/2}, sigmav: 1e-25 cm3 s-1, k: 4}",
        "dark_matter={profile: {type: NFW, r_s: 20000 pc}, mass: 2000 GeV, sigmav: 1}",
    ]
    with pytest.raises(AnalysisFileError, match="'1/2'"):
        built(SMALL, changes)
    response, _, _ = built(SMALL, [changes[0].replace("1/2", "0.5"), changes[1]])
    mine = pmg.fold([halo, pmg.CosmicRayBackground()], list(response.observations), response.roi)
    np.testing.assert_allclose(response.acceptance, mine.acceptance, rtol=1e-10)


def test_dark_matter_with_a_free_mass_and_fractions():
    channels = "{prior: Dirichlet, of: [W, b], a: [1, 2]}"
    change = HALO.replace("channels: W", f"channels: {channels}").replace(
        "2 TeV", "{prior: LogUniform, lower: 1, upper: 9}"
    )
    response, made, _ = built(SMALL, [change])
    assert response.free_spectrum == ("dm",)
    assert {"dm.mass", "dm.channels"} <= {one.name for one in made.model.free_RVs}
    assert list(made.model.coords["dm.channels_channel"]) == ["W", "b"]
    assert made.units["dm.mass"] == "TeV"
    # of a fraction of the events
    values = {"dm.mass": 2.0, "dm.channels": np.array([1, 2]) / 3, "fraction": np.array([0.3, 0.7])}
    found = made.model["dm.sigmav"].eval({made.model[name]: value for name, value in values.items()})
    spectrum = pmg.darkmatter.Annihilation(2.0, 1e-26, {"W": 1 / 3, "b": 2 / 3})
    expected = float(response.npred(spectra={"dm": spectrum}).sel(component="dm"))
    n_events = 40  # of the scene
    assert float(found) == pytest.approx(1e-26 * 0.3 * n_events / expected, rel=1e-3, abs=0)
    decay = "components.0={kind: dark_matter, process: decay, channels: b, mass: 4 TeV, lifetime: 1e27 s}"
    response, _, _ = built(SMALL, [decay])
    assert float(response.acceptance.sel(component="dm")) > 0


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (HALO.replace("channels: W", "channels: WW"), "there is no channel 'WW'"),
        (HALO.replace("channels: W", "channels: {W: 0.5, b: 0.6}"), "sum to 1, got 1.1"),
        (HALO.replace("channels: W", "channels: {prior: Dirichlet, of: [W, bb]}"), "did you mean 'b'|no channel 'bb'"),
        (HALO.replace("channels: W", "channels: {prior: Normal, of: [W, b]}"), "have the prior Dirichlet"),
        (HALO.replace("2 TeV", "2 deg"), "expected a unit such as 'TeV'"),
        (HALO.replace("name: dm", "profile: {type: NWF}"), "no profile 'NWF'; did you mean 'NFW'"),
        (HALO.replace("name: dm", "profile: {type: NFW, rs: 1 kpc}"), "unknown parameter of NFW; did you mean 'r_s'"),
        (HALO.replace("name: dm", "process: annihilate"), "'annihilation' or 'decay'"),
    ],
)
def test_dark_matter_that_is_wrong_is_named(change, told):
    with pytest.raises(AnalysisFileError, match=told):
        small(change)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (HALO.replace(", mass: 2 TeV", ""), r"components\.0: 'dm' has no mass"),
        (HALO.replace("channels: W, ", ""), r"components\.0: 'dm' has no channels"),
        (HALO.replace("2 TeV", "1 GeV"), r"components\.0: .*masses from"),
        (HALO.replace("channels: W", "model: {table: none.csv}"), r"none\.csv"),
        (HALO.replace("name: dm", "lifetime: 1e26 s"), "process annihilation, which takes no lifetime"),
        (HALO.replace("name: dm", "process: decay, sigmav: 1e-26"), "process decay, which takes no sigmav"),
        (HALO.replace("name: dm", "profile: {type: GeneralisedNFW, gamma: 1.6}"), r"components\.0: .*infinite"),
    ],
)
def test_dark_matter_that_cannot_be_made_is_told_with_its_line(change, told):
    with pytest.raises(AnalysisFileError, match=told):
        small(change).check()


def test_a_model_and_channels_of_all_dark_matter_exclude_each_other(tmp_path):
    table = tmp_path / "z.csv"
    table.write_text('"mS [GeV]" bb W+W-\n1000 1e-26 2e-26\n9000 1e-26 2e-26\n')
    model = f"dark_matter.model={{table: {table}}}"
    for change, told in ((HALO, "has channels"), (HALO.replace("channels: W", "sigmav: 1e-26"), "has sigmav")):
        with pytest.raises(AnalysisFileError, match=rf"components\.0: 'dm' {told}, but its model"):
            small(change, model).check()
    with pytest.raises(AnalysisFileError, match=r"'dm' decays, but dark_matter\.model"):
        small(HALO.replace("name: dm", "process: decay"), model).check()
    small(HALO.replace("channels: W, ", ""), model).check()
    own = HALO.replace("channels: W", f"model: {{table: {table}}}")
    small(own, "dark_matter.channels=W").check()  # of other components


def test_free_profiles_are_handed_to_the_model():
    profile = {"type": "GeneralisedNFW", "gamma": {"prior": "Uniform", "lower": 0.8, "upper": 1.3}, "r_s": "20 kpc"}
    one = DarkMatter.model_validate({"name": "dm", "mass": "1 TeV", "channels": "W", "profile": profile})
    from pathlib import Path

    from pymc_gamma.analysis.components import Surroundings

    around = Surroundings(Scope({}), Path())
    assert one.frees_shape(around)
    assert not one.frees_spectrum(around)
    assert one.sky(around).profile.parameters["gamma"] == pytest.approx(1.05)
    with pm.Model() as model:
        shape = one.shape(around, None)
    assert list(shape) == ["gamma"]
    assert shape["gamma"] is model["dm.gamma"]


def test_a_halo_with_everything_free():
    halo = (
        "components.0={kind: dark_matter, name: dm, "
        "profile: {type: GeneralisedNFW, gamma: {prior: Uniform, lower: 0.8, upper: 1.3}, r_s: 20 kpc}, "
        "mass: {prior: LogUniform, lower: 0.5 TeV, upper: 50 TeV}, "
        "sigmav: {prior: LogUniform, lower: 1e-27 cm3 s-1, upper: 1e-23 cm3 s-1}, "
        "channels: {prior: Dirichlet, of: [W, b, tau], a: 1}}"
    )
    poisson = ["mixture.likelihood=poisson", "simulate={}", halo]
    response, made, _ = built(SMALL, poisson)
    assert (response.free_spectrum, response.free_shape) == (("dm",), ("dm",))
    names = {"dm.gamma", "dm.mass", "dm.sigmav", "dm.channels", "events"}
    assert {one.name for one in made.model.free_RVs} == names
    assert made.units["dm.sigmav"] == "cm3 s-1"


TABLES = """\
version: 1
priors: {mass: {prior: Uniform, lower: 1 TeV, upper: 3 TeV}}
components:
  - {kind: tables, name: signal, path: signal.nc}
  - {kind: tables, name: rest, path: rest.npy}
mixture: {concentrations: {fraction: [1, 2]}}
fit: {draws: 20, tune: 20, chains: 1}
"""


@pytest.fixture
def tables(tmp_path):
    rng = np.random.default_rng(4)
    nodes = xr.DataArray([1.0, 2.0, 3.0], dims="mass", attrs={"units": "TeV"})
    signal = xr.DataArray(rng.normal(size=(30, 3)), dims=("event", "mass"), coords={"mass": nodes}, name="table")
    rest = rng.normal(size=30)
    signal.to_dataset().to_netcdf(tmp_path / "signal.nc", engine="h5netcdf")
    np.save(tmp_path / "rest.npy", rest)
    (tmp_path / "analysis.yaml").write_text(TABLES, encoding="utf-8")
    return tmp_path, signal, rest


@pytest.mark.filterwarnings("ignore::RuntimeWarning:arviz_stats")
def test_tables_of_log_likelihoods(tables):
    folder, signal, rest = tables
    analysis = pmg.Analysis.read(folder / "analysis.yaml")
    analysis.check()
    assert list(analysis.states()) == ["nuts", "predict", "report"]
    analysis.run(console=QUIET)
    posterior = analysis.posterior["posterior"]
    assert {"fraction", "mass"} <= set(posterior)
    assert posterior["mass"].attrs["units"] == "TeV"
    assert (analysis.output / "predict" / "corner.png").is_file()
    with pm.Model(coords={"component": ["signal", "rest"]}) as mine:
        fraction = pm.Dirichlet("fraction", a=[1.0, 2.0], dims="component")
        mass = pm.Uniform("mass", 1, 3)
        tables = {"signal": signal, "rest": rest}
        pmg.EventMixture("events", fraction, log_likelihood=tables, scan={"mass": mass})
    values = {"fraction": np.array([0.3, 0.7]), "mass": 1.7}
    logp = [float(pm.do(one, values).compile_logp()({})) for one in (analysis.model, mine)]
    assert logp[0] == pytest.approx(logp[1], rel=1e-10)
    np.save(folder / "rest.npy", rest + np.arange(30))
    assert analysis.states()["nuts"].why == "changed: files of data"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("components.rest={kind: ccr, name: rest}", "is folded, and others are tables"),
        ("simulate={n_events: 3}", "does not go with tables"),
        ("mixture.likelihood=poisson", "choose mixture"),
        ("results.pictures=[counts]", "'counts' shows events"),
        ("components.rest.path=none.npy", r"components\.1: there is no file"),
        ("components.rest.path=analysis.yaml", "holds no table"),
        ("priors={}", "there is no prior 'mass'"),
    ],
)
def test_tables_that_are_wrong_are_named(change, told, tables):
    with pytest.raises(AnalysisFileError, match=told):
        pmg.Analysis.read(tables[0] / "analysis.yaml", set=[change]).check()


def test_cells_of_events(tmp_path):
    changes = ["datasets.binned={energy: 4, binsize: 0.25 deg}", "simulate.n_events=300", "results.pictures=[]"]
    analysis = small(*changes, output=tmp_path)
    with analysis._plan(QUIET) as plan:
        response = plan.modelling.fold()
        events = response.simulate({"hgps": 1, "ccr": 1}, 300, rng=1)
        cells = plan.observing.binned(events)
    assert cells.n_total == 300
    assert len(cells) < 200
    assert cells.cells is not None
    assert len(np.unique(cells.cells.edges[:, 0])) <= 4
