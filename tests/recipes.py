"""Valid arguments of every public callable, for the tests that spoil them one by one.

A recipe is a mapping from arguments to valid values. Methods have ``self`` too, the object they are called on.
"""

import astropy.units as u
import h5py
import numpy as np
import ogip_files
import pymc as pm
import xarray as xr
from astropy.time import Time
from gammapy.makers import WobbleRegionsFinder
from regions import CircleSkyRegion
from rich.console import Console
from setups import direction, pointing, quick_start_irfs, region, source

import pymc_gamma as pmg

N_DRAWS = 3

HOOKS = {
    "prior": "made by a systematic for the model it is in",
    "act": "asked by a distribution",
    "shapes": "asked by `Systematic.tensor`",
    "tensor": "asked by a distribution",
    "energies": "asked by `EffectiveAreaShape.shapes`",
    "factor": "asked by a distribution",
    "evaluate": "asked by `Spectrum.__call__`, with a variable",
    "photons": "asked by a distribution, with the nodes of a response",
    "parts": "asked by `fold`",
    "rv_op": "asked by PyMC",
    "of": "asked by `fold`",
    "limits": "asked by `Response.live_source`",
    "sizes": "asked by `Response.live_source`",
    "elongated": "asked by `Response.live_source`",
    "largest": "asked by `Response.live_source`",
    "furthest": "asked by `fold`",
    "differs": "asked by a distribution",
    "theta": "asked by a distribution",
    "check": "asked when a shape is made",
    "check_family": "asked by tables",
    "spatial_model": "asked by `Response.with_shapes`",
    "unit": "asked by `Response.with_shapes`",
    "form": "asked by `Profile.density` and `gaussian_weights`",
    "plain_density": "asked by `Profile.density`",
    "cusp_of": "asked by `gaussian_weights`",
    "check_mixture": "asked by `gaussian_weights`",
    "mixture_conditions": "asked by `gaussian_weights` and a distribution",
    "observe": "asked by `OnOffCounts`",
}
"""Methods that subclasses write, and only the package or PyMC calls, with what these made; why."""

INTERNAL = {
    "Analysis": "made by `Analysis.read`",
    "NestedProblem.compiled": "asked by the functions of a problem, once in each process",
    "NestedProblem.function": "asked by a worker of a pool",
    "NestedProblem.mark": "asked by `sample_nested`",
    "NestedProblem.variables_of_cube": "asked by `sample_nested`",
    "ExtendedEventMixture.dist": "takes the source that `ExtendedEventMixture` makes",
    "Response": "made by `fold` of compiled components",
    "Profile": "abstract",
    "OffBackground": "abstract",
    "CountsSpectrum.nodes": "asked by a distribution",
    "OnOffEvents.nodes": "asked by a distribution",
    "MeasuredBackground.nodes": "asked by a distribution",
    "BayesFactor": "made by `bayes_factor`",
    "BestFit": "made by `best_fit`",
    "FluxPoints": "made by `flux_points`",
    "LightCurve": "made by `light_curve`",
    "Significance": "made by `significance`",
    "GammaTable.line": "asked by a spectrum, with a variable",
    "GammaTable.mixed": "asked by a spectrum, with a variable",
    "SkyComponent": "abstract",
    "Systematic": "abstract",
}
"""Other public callables that users do not call; why."""

PROFILES = ("Profile", "NFW", "Einasto", "GeneralisedNFW", "Burkert", "Moore", "Isothermal", "Zhao")

ANY_SHAPE = {
    "EventMixture": {"fraction"},
    "EventMixture.dist": {"fraction"},
    "RegionOfInterest.lonlat": {"coords"},
    "dnde": {"energy"},
    "Response.nominal_flux": {"energy"},
    "gaussian_density": {"separation"},
    "cross_section": {"fraction", "n_events"},
    "thermal_cross_section": {"mass"},
    **{
        f"{kind}.{method}": {argument}
        for kind in PROFILES
        for method, argument in (("density", "radius"), ("dj_domega", "separation"), ("dd_domega", "separation"))
    },
}
"""Arguments of which every shape means something: batches of them, or one number for each entry."""


def singlet_file(folder):
    """A file of cross-sections."""
    file = folder / "singlet.csv"
    file.write_text('"m [GeV]" x W+W-\n100 1 1e-26\n200 1 2e-26\n100 2 3e-26\n200 2 4e-26', encoding="utf-8")
    return file


def pair_file(folder):
    """A file of shares of two kinds of dark matter."""
    file = folder / "pairs.h5"
    with h5py.File(file, "w") as held:
        held["mdm1"], held["mdm2"] = [100.0, 100.0, 200.0, 200.0], [100.0, 200.0, 100.0, 200.0]
        held["initial_state_options"], held["final_state_options"] = [b"x1X1"], [b"W+W-"]
        held["x1X1/W+W-"] = np.ones(4)
    return file


class Objects:
    """What the recipes share."""

    def __init__(self, folder):
        self.folder = folder
        self.irfs = quick_start_irfs()
        self.observation = pointing(hours=1)
        self.roi = region(width=1.6, energy=(1.0, 50.0))
        self.good_time = Time("2025-03-01T22:00:00", scale="tt") + [0, 1] * u.h
        self.run = pmg.Observation(self.irfs, direction(0, 0), livetime=0.9 * u.h, name="run", good_time=self.good_time)
        self.components = [source("crab", 0.3, -0.2, index=2.3, amplitude=3e-12), pmg.CosmicRayBackground()]
        self.response = pmg.fold(self.components, self.observation, self.roi)
        self.free = pmg.fold(self.components, self.observation, self.roi, free_spectrum=["crab"])
        self.live = pmg.fold(self.components, self.observation, self.roi, free_spectrum=["crab"], free_shape=["crab"])
        self.events = self.response.simulate({"crab": 1, "ccr": 1}, 60, rng=1)
        self.rows = self.events.to_rows()
        self.flux = self.free.free_components[0].nominal
        self.scanned = pmg.Scanned("crab", self.gaussian, nodes={"sigma": [0.1, 0.15, 0.2] * u.deg})
        sky = [self.scanned, self.components[1]]
        self.scans = pmg.fold(sky, self.observation, self.roi, progressbar=False)
        spectrum = pmg.darkmatter.Annihilation(2 * u.TeV, 3e-26 * u.cm**3 / u.s, channels="W")
        self.halo = pmg.darkmatter.DarkMatterHalo(pmg.darkmatter.NFW(), spectrum)
        self.halos = pmg.fold(self.halo, self.observation, self.roi, free_shape="dm", energy_true=20)
        self.photons = self.response.simulate_true("crab", 5, rng=1)
        self.tree = pmg.MixtureTree({"dm": None, "background": ["diffuse", "ccr"]})
        with pm.Model(coords=self.response.coords) as self.model:
            fraction = pm.Dirichlet("fraction", np.ones(2), dims="component")
            pmg.EventMixture("events", fraction, response=self.response, observed=self.events)
        with pm.Model() as self.small_model:
            pm.Normal("y", pm.Normal("mu"), 1, observed=0.0)
        self.problem = pmg.NestedProblem(self.small_model)
        draws = np.random.default_rng(1).dirichlet([20, 20], (1, N_DRAWS))
        drawn = np.stack([self.response.simulate(f, 60, rng=1).to_rows() for f in draws[0]])[None]
        self.idata = xr.DataTree.from_dict(
            {
                "posterior": xr.Dataset(
                    {
                        "fraction": (("chain", "draw", "component"), draws),
                        "index": (("chain", "draw"), 2 + 0.1 * draws[..., 0]),
                    },
                    {"component": ["crab", "ccr"]},
                ),
                "posterior_predictive": xr.Dataset(
                    {"events": (("chain", "draw", "event", "reco"), drawn)}, {"reco": list(self.response.reco)}
                ),
            }
        )
        with pm.Model() as self.index_model:
            index = pm.Normal("index")
            self.spectrum = pmg.PowerLaw(index=index, amplitude=1e-12)
            self.best_fit = pmg.best_fit(compile_kwargs={"mode": "FAST_COMPILE"})
        of_run = pmg.fold(self.components, self.run, self.roi)
        with pm.Model() as self.flux_model:
            norms = {"crab": pm.HalfNormal("norm", 3)}
            pmg.ExtendedEventMixture("events", response=of_run, norms=norms, observed=self.events)
        draws = xr.Dataset({"norm": (("chain", "draw"), np.ones((1, 9)))})
        self.of_flux = {
            "model": self.flux_model,
            "component": "crab",
            "idata": draws,
            "probability": 0.9,
            "max_draws": 5,
        }
        self.points = pmg.flux_points(**self.of_flux, edges=[1, 4, 20] * u.TeV)
        self.curve = pmg.light_curve(**self.of_flux, energy=[2, 20] * u.TeV)
        self.evidence = xr.Dataset(attrs={"log_evidence": -1.0, "log_evidence_err": 0.1})
        self.cells = self.response.asimov(energy=3, pixel=0.4 * u.deg)
        self.annihilation = pmg.darkmatter.Annihilation(5.0, 1e-26, "b", j_factor=1e20)
        self.shape = pmg.PointShape(0.3 + 0.01 * (index - 2), -0.2)
        self.gammapy_model = self.gammapy_source()
        self.response.save(self.file("response"))
        self.events.write(self.file("events.fits"))

    @staticmethod
    def gaussian(sigma):
        return source("crab", 0.3, -0.2, sigma=sigma.to_value("deg"), amplitude=3e-12)

    @staticmethod
    def fixed_limit(model):
        return 1.0

    def build(self, events, mass):
        return self.small_model

    @staticmethod
    def gammapy_source():
        from gammapy.modeling.models import PointSpatialModel, PowerLawSpectralModel, SkyModel

        spatial = PointSpatialModel(lon_0="0.3 deg", lat_0="-0.2 deg", frame="galactic")
        spatial.freeze()
        return SkyModel(PowerLawSpectralModel(amplitude="3e-12 TeV-1 cm-2 s-1"), spatial, name="crab")

    def counts_of_gammapy(self):
        from gammapy.datasets import SpectrumDatasetOnOff

        (self.folder / "counts").mkdir(exist_ok=True)
        return SpectrumDatasetOnOff.read(ogip_files.write(self.folder / "counts", gammapy=True), name="counts")

    def file(self, name):
        return str(self.folder / name)


ANALYSIS = """
version: 1
pointings: [{lon: 0 deg, lat: 0 deg, livetime: 1 h}]
datasets:
  geom:
    wcs: {skydir: {frame: galactic, lon: 0 deg, lat: 0 deg}, width: {width: 1 deg}}
    axes: {energy: {min: 1 TeV, max: 10 TeV}}
components: [{kind: hgps}, {kind: ccr}]
simulate: {n_events: 20}
fit: {draws: 2, tune: 2, chains: 1}
results: {pictures: []}
"""


def analyses(o):
    """Recipes of analysis files."""
    path = o.folder / "analysis.yaml"
    path.write_text(ANALYSIS, encoding="utf-8")
    changes = {"set": ["general.seed=2"], "output": o.file("results")}
    one = pmg.Analysis.read(path, **changes)
    return {
        "Analysis.read": {"path": str(path), **changes},
        "Analysis.from_yaml": {"text": ANALYSIS, **changes},
        "Analysis.check": {"self": one},
        "Analysis.states": {"self": one},
        "Analysis.run": {"self": one, "console": Console(quiet=True)},
        "Analysis.report": {"self": one, "console": Console(quiet=True)},
    }


def on_off(o):
    """Recipes of counts spectra and flux points."""
    from gammapy.datasets import SpectrumDatasetOnOff

    folder = o.folder / "ogip"
    folder.mkdir(exist_ok=True)
    path = ogip_files.write(folder, gammapy=True)
    data = pmg.CountsSpectrum.read(path)
    true, reco, area, matrix, on, off = ogip_files.toy()
    spectrum = pmg.PowerLaw(index=2.0, amplitude=1e-11)
    return {
        "CountsSpectrum": {
            "name": "run",
            "counts": on,
            "energy": reco * u.TeV,
            "energy_true": true * u.TeV,
            "exposure": area * 1e3 * u.Unit("cm2 s"),
            "edisp": matrix,
            "counts_off": off,
            "alpha": 0.25,
            "mask": np.arange(len(on)) > 0,
            "livetime": 1 * u.h,
            "grouping": np.ones(len(on)),
            "good_time": Time("2025-03-01T22:00:00") + [0, 1] * u.h,
        },
        "CountsSpectrum.read": {"filename": path, "energy_range": (1, 10) * u.TeV, "name": "run"},
        "CountsSpectrum.from_gammapy": {"dataset": SpectrumDatasetOnOff.read(path)},
        "CountsSpectrum.npred": {"self": data, "spectrum": spectrum},
        "CountsSpectrum.select": {"self": data, "energy_range": (1, 10) * u.TeV},
        "CountsSpectrum.grouped": {"self": data, "n": 2},
        "CountsSpectrum.peek": {"self": data},
        "FluxPointsData": {
            "name": "fluxes",
            "points": o.points,
            "spectrum": spectrum,
            "norm": 1.0,
            "systematics": [pmg.EnergyScale(0.1)],
            "statistic": "profile",
            "mask": np.ones(2, bool),
            "expected_flux": True,
        },
        "MeasuredBackground": {"nodes_per_decade": 3.0, "events_per_node": 10.0, "step": 0.5, "index": 2.7},
        "FlatBackground": {},
        "ProfiledBackground": {},
        "OnOffCounts": {
            "name": "on",
            "data": data,
            "spectrum": spectrum,
            "norm": 1.0,
            "systematics": [pmg.EnergyScale(0.1)],
            "background": pmg.FlatBackground(),
            "component": "crab",
            "expected_counts": True,
        },
        **on_off_events(),
    }


def on_off_events():
    """Events of ON and OFF regions."""
    nodes, true = np.geomspace(1, 10, 31), np.geomspace(0.5, 20, 41)
    middle = np.sqrt(true[1:] * true[:-1])[:, None]
    given = {
        "name": "run",
        "energy": [1.2, 3.4] * u.TeV,
        "nodes": nodes * u.TeV,
        "energy_true": true * u.TeV,
        "exposure": np.full(40, 1e12) * u.Unit("cm2 s"),
        "edisp": np.exp(-50 * np.log(nodes / middle) ** 2) * 3 / nodes * u.Unit("TeV-1"),
        "energy_off": [2.0] * u.TeV,
        "alpha": 0.25,
        "acceptance_off": np.ones(31),
        "livetime": 1 * u.h,
        "good_time": Time("2025-03-01T22:00:00") + [0, 1] * u.h,
    }
    data = pmg.OnOffEvents(**given)
    run = pointing()
    return {
        "OnOffEvents": given,
        "OnOffEvents.extract": {
            "observation": run,
            "events": pmg.Events([1.0, 2.0] * u.TeV, [0.5, -0.5] * u.deg, [0.0, 0.0] * u.deg, frame="galactic"),
            "region": CircleSkyRegion(direction(0.5, 0.0), 0.1 * u.deg),
            "off": WobbleRegionsFinder(1),
            "exclude": CircleSkyRegion(direction(0.0, 2.0), 0.1 * u.deg),
            "energy_range": (0.5, 20) * u.TeV,
        },
        "OnOffEvents.stack": {"events": [data], "name": "both"},
        "OnOffEvents.npred": {"self": data, "spectrum": pmg.PowerLaw(index=2.0, amplitude=1e-11)},
        "OnOffEvents.binned": {"self": data, "energy": [1, 3, 10] * u.TeV},
        "OnOffEvents.peek": {"self": data},
    }


def dark_matter(o):
    """Recipes of density profiles."""
    from gammapy.astro.darkmatter import EinastoProfile

    halo = {"r_c": 0.1 * u.kpc, "rho_local": 0.4 * u.GeV / u.cm**3, "distance": 8.2 * u.kpc}
    found = {
        "NFW": {"r_s": 20 * u.kpc, **halo},
        "Einasto": {"r_s": 20 * u.kpc, "alpha": 0.2, **halo},
        "GeneralisedNFW": {"gamma": 1.2, "r_s": 20 * u.kpc, **halo},
        "Burkert": {"r_s": 10 * u.kpc, **halo},
        "Moore": {"r_s": 20 * u.kpc, **halo},
        "Isothermal": {"r_s": 5 * u.kpc, **halo},
        "Zhao": {"r_s": 20 * u.kpc, "alpha": 0.8, "beta": 4.0, "gamma": 0.9, **halo},
        "gaussian_weights": {"profile": pmg.darkmatter.NFW(), "power": 2, "r_s": 20.0, "r_c": 0.1},
        "gaussian_density": {"separation": 1.0},
        "DarkMatterHalo": {"profile": pmg.darkmatter.NFW(), "spectrum": o.halo.spectrum, "name": "dm"},
        "DarkMatterHalo.peek": {"self": o.halo, "roi": o.roi, "energy_true": 2 * u.TeV},
        "Response.halo_source": {"self": o.halos, "component": "dm", "smooth": False},
    }
    for kind in PROFILES:
        profile = getattr(pmg.darkmatter, "NFW" if kind == "Profile" else kind)
        one = profile(**found[profile.__name__])
        theirs = EinastoProfile(rho_s="0.05 GeV cm-3")
        found |= {
            f"{kind}.density": {"self": one, "radius": [1, 2] * u.kpc},
            f"{kind}.dj_domega": {"self": one, "separation": [1, 2] * u.deg},
            f"{kind}.dd_domega": {"self": one, "separation": [1, 2] * u.deg},
            f"{kind}.j_factor": {"self": one, "region": o.roi},
            f"{kind}.d_factor": {"self": one, "region": o.roi},
            f"{kind}.peek": {"self": one},
            f"{kind}.with_parameters": {"self": one, "r_s": 15.0},
            f"{kind}.to_dict": {"self": one},
            f"{kind}.from_dict": {"data": one.to_dict()},
            f"{kind}.from_gammapy": {"profile": theirs, "distance": 8.2 * u.kpc, "r_c": 0.1 * u.kpc},
        }
    return found


def recipes(o):
    """The recipes, for these objects."""
    table = {"energy": [1, 10] * u.TeV, "values": [1e-11, 1e-13] * u.Unit("TeV-1 cm-2 s-1")}
    scale, gammas = {"sigma": 0.1, "value": 1.1}, pmg.darkmatter.gamma_table()
    singlet = pmg.darkmatter.AnnihilationTable({"mass": [1.0, 2.0]}, {"W": [1e-26, 2e-26]})
    pairs = pmg.darkmatter.PairTable({"m1": [1.0, 2.0]}, {"x1X1": {"W": [1.0, 1.0]}})
    lon, lat = np.array([0.1, 0.2]), np.array([0.0, 0.1])
    vectors = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    pictures = {"events": o.events, "response": o.response, "idata": o.idata}
    sky_map = {"roi": o.roi}
    weights = np.ones(N_DRAWS)
    limits = {"energy_range": [1, 50] * u.TeV, "offset_max": 2 * u.deg}
    shapes = {"crab": {"lon_0": 0.31}}
    return {
        **dark_matter(o),
        **on_off(o),
        **analyses(o),
        # spectra: numbers are in the units of each
        "PowerLaw": {"index": 2.0, "amplitude": 1e-12, "reference": 1.0},
        "PowerLawNorm": {"norm": [1.0, 2.0], "tilt": 0.1, "reference": 1.0},
        "ExpCutoffPowerLaw": {
            "index": 2.0,
            "amplitude": 1e-12,
            "reference": 1.0,
            "lambda_": 0.1,
            "alpha": 1.0,
        },
        "LogParabola": {"amplitude": 1e-12, "reference": 1.0, "alpha": 2.0, "beta": 0.1},
        "BrokenPowerLaw": {"index1": 2.0, "index2": 3.0, "amplitude": 1e-12, "ebreak": 1.0},
        "SmoothBrokenPowerLaw": {
            "index1": 2.0,
            "index2": 3.0,
            "amplitude": 1e-12,
            "ebreak": 1.0,
            "reference": 1.0,
            "beta": 1.0,
        },
        "TemplateSpectrum": {**table, "norm": 1.0, "tilt": 0.0, "reference": 1.0},
        "Annihilation": {
            "mass": 1.0,
            "sigmav": 3e-26,
            "channels": {"W": 1.0},
            "k": 4.0,
            "j_factor": 1e15,
            "table": gammas,
        },
        "Decay": {"mass": 1.0, "lifetime": 1e26, "channels": "b", "d_factor": 1e20, "table": gammas},
        "dnde": {"mass": 1 * u.TeV, "channel": {"W": 1.0}, "energy": [0.1, 0.2] * u.TeV, "table": gammas},
        "GammaTable": {"mass": [100.0, 200.0], "log10_x": np.linspace(-1, 0, 9), "spectra": {"b": np.ones((2, 9))}},
        "GammaTable.read": {"file": pmg.datasets.path("pppc4dmid-gammas")},
        "GammaTable.values": {"self": gammas, "channel": "b"},
        "GammaTable.first_mass": {"self": gammas, "channel": "b"},
        "gamma_table": {},
        "AnnihilationTable": {"axes": {"mass": [1.0, 2.0]}, "sigmav": {"W": [1e-26, 2e-26]}},
        "AnnihilationTable.read": {"file": singlet_file(o.folder), "parameters": ["x"]},
        "AnnihilationTable.sigmav": {"self": singlet, "mass": 1.5},
        "AnnihilationTable.fractions": {"self": singlet, "mass": 1.5},
        "AnnihilationTable.annihilation": {"self": singlet, "mass": 1.5, "k": 4.0, "j_factor": 1e15, "table": gammas},
        "PairTable": {"axes": {"m1": [1.0, 2.0]}, "shares": {"x1X1": {"W": [1.0, 1.0]}}},
        "PairTable.read": {"file": pair_file(o.folder)},
        "PairTable.fractions": {"self": pairs, "m1": 1.5},
        "PairTable.annihilation": {
            "self": pairs,
            "m1": 1.5,
            "sigmav": 3e-26,
            "k": 4.0,
            "j_factor": 1e15,
            "table": gammas,
        },
        "EBLAbsorption": {"energy": table["energy"], "transmission": [1.0, 0.5], "alpha_norm": 1.0},
        "EBLAbsorption.from_gammapy": {"model": ebl_of_gammapy(), "alpha_norm": 1.0},
        "spectrum_draws": {
            "idata": o.idata,
            "spectrum": o.spectrum,
            "energy": table["energy"],
            "max_draws": 2,
        },
        # systematics
        "EffectiveAreaNorm": scale,
        "EffectiveAreaShape": {"sigma": 0.1, "value": [0.1, 0.2], "knots": table["energy"]},
        "EnergyScale": {**scale, "shift_area": True},
        "PSFScale": {"sigma": 0.05, "value": 1.1, "nodes": 9},
        "BackgroundNorm": scale,
        "BackgroundTilt": {**scale, "reference": 1 * u.TeV},
        # shapes
        "check_shapes": {"idata": o.idata, "response": o.live, "shapes": {"crab": o.shape}},
        "summary": {
            "idata": o.idata,
            "var_names": ["fraction"],
            "units": {"fraction": "1"},
            "group": "posterior",
        },
        "annotate": {"idata": o.idata, "model": o.model},
        "report": {
            "idata": o.idata,
            "response": o.response,
            "path": o.file("report.html"),
            "events": o.events,
            "model": o.model,
            "config": "general: {seed: 1}",
            "title": "Crab",
            "spectra": {"crab": o.spectrum},
            "truth": {"fraction": [0.5, 0.5]},
            "sections": {"Mine": lambda _: "<p>nothing</p>"},
            "overwrite": True,
        },
        "amplitude": {"name": "flux", "median": 3e-12 * u.Unit("TeV-1 cm-2 s-1"), "factor": 3.0},
        "position": {"name": "crab", "center": direction(0, 0), "sigma": 0.1 * u.deg},
        # sky
        "CosmicRayBackground": {"name": "ccr", "bkg": o.irfs.bkg},
        "CosmicRayBackground.peek": {"self": o.components[1], **sky_map, "observation": o.observation},
        "GalacticDiffuse": {
            "name": "diffuse",
            "norm": 1e-8 * u.Unit("TeV-1 cm-2 s-1 sr-1"),
            "index": 2.4,
            "reference": 1 * u.TeV,
        },
        "GalacticDiffuse.peek": {"self": pmg.GalacticDiffuse(), **sky_map},
        "HGPSCatalog": {"name": "hgps", "sources": ["HESS J1745-290", "HESS J1745-303"], "exclude": ["HESS J1745-303"]},
        "HGPSCatalog.peek": {"self": pmg.HGPSCatalog(), **sky_map},
        "SkySource": {
            "name": "crab",
            "spatial": o.gammapy_model.spatial_model,
            "spectral": o.gammapy_model.spectral_model,
        },
        "SkySource.from_gammapy": {"model": o.gammapy_model, "name": "crab"},
        "SkySource.peek": {"self": o.components[0], **sky_map},
        "Scanned": {
            "name": "crab",
            "factory": o.gaussian,
            "nodes": {"sigma": [0.1, 0.2] * u.deg},
            "checkpoint_folder": o.file("nodes"),
        },
        "Scanned.at": {"self": o.scanned, "sigma": 0.12},
        "Scanned.check": {"self": o.scanned, "roi": o.roi},
        "Scanned.component": {"self": o.scanned, "index": 1, "roi": o.roi},
        "Scanned.components": {"self": o.scanned},
        "Scanned.label": {"self": o.scanned, "index": 1},
        "Scanned.values": {"self": o.scanned, "index": 1},
        "SkyComponent.peek": {"self": o.components[0], **sky_map},
        # instrument and data
        "load_irfs": {"source": "prod5-south-20deg-50h", "name": "mine"},
        "IRFs": {
            "name": "mine",
            "aeff": o.irfs.aeff,
            "edisp": o.irfs.edisp,
            "psf": o.irfs.psf,
            "bkg": o.irfs.bkg,
        },
        "IRFs.arrays": {"self": o.irfs},
        "IRFs.distorted": {"self": o.irfs, "energy_scale": 1.1, "psf_scale": 1.1},
        "IRFs.fingerprint": {"self": o.irfs},
        "IRFs.from_arrays": {"tables": o.irfs.arrays(), "name": "mine"},
        "IRFs.peek": {"self": o.irfs},
        "Observation": {
            "irfs": o.irfs,
            "pointing": direction(0, 0),
            "livetime": 1 * u.h,
            "ontime": 1 * u.h,
            "name": "run",
            "energy_range": [1, 50] * u.TeV,
            "offset_max": 2 * u.deg,
            "fov_rotation": 10 * u.deg,
            "good_time": o.good_time,
        },
        "RegionOfInterest": {
            "center": direction(0, 0),
            "width": 2 * u.deg,
            "energy": [1, 50] * u.TeV,
        },
        "fold": {
            "components": o.components,
            "observation": o.observation,
            "roi": o.roi,
            "energy_true": 60,
            "pixel": 0.1 * u.deg,
            "free_spectrum": ["crab"],
            "free_shape": ["crab"],
            "progressbar": False,
        },
        "Marginalised": {"prior": [1.0, 2.0]},
        "scan_error": {"response": o.scans, "events": o.events, "weights": [1.0, 2.0]},
        # models
        "PointShape": {"lon_0": 0.3, "lat_0": -0.2},
        "GaussianShape": {"lon_0": 0.3, "lat_0": -0.2, "sigma": 0.1, "e": 0.5, "phi": 30.0},
        "DiskShape": {"lon_0": 0.3, "lat_0": -0.2, "r_0": 0.2},
        "ShellShape": {"lon_0": 0.3, "lat_0": -0.2, "radius": 0.2, "width": 0.1},
        "EventMixture": {
            "name": "e",
            "fraction": [0.5, 0.5],
            "response": o.free,
            "spectra": {"crab": pmg.PowerLaw()},
            "n_events": 5,
        },
        "EventMixture.dist": {
            "fraction": [0.5, 0.5],
            "response": o.free,
            "spectra": {"crab": pmg.PowerLaw()},
            "n_events": 5,
        },
        "ExtendedEventMixture": {
            "name": "e",
            "response": o.free,
            "spectra": {"crab": pmg.PowerLaw()},
            "norms": [1.0, 1.0],
            "systematics": [pmg.EffectiveAreaNorm()],
            "observed": o.events,
            "max_events": 100,
            "integrated_flux": [1, 10] * u.TeV,
        },
        "MixtureTree": {"spec": ["a", "b"], "name": "tree"},
        "MixtureTree.fractions": {
            "self": o.tree,
            "name": "f",
            "dims": "leaf",
            "components": ["ccr", "dm", "diffuse"],
            "concentration": {"background": [1.0, 2.0]},
        },
        "MixtureTree.flatten": {
            "self": o.tree,
            "shares": {"mixture": [0.5, 0.5], "background": [0.1, 0.9]},
            "components": ["ccr", "dm", "diffuse"],
        },
        "MixtureTree.counts": {
            "self": o.tree,
            "n_events": 10,
            "shares": {"mixture": [0.5, 0.5], "background": [0.1, 0.9]},
            "components": ["ccr", "dm", "diffuse"],
            "rng": 1,
        },
        "MixtureTree.plot": {"self": o.tree, "labels": {"dm": "dark matter"}},
        "observe_events": {"model": o.model, "events": o.events, "name": "events"},
        "NestedProblem": {"model": o.small_model},
        "NestedProblem.variables": {"self": o.problem, "parameters": np.zeros((2, 1))},
        "NestedProblem.parameters": {"self": o.problem, "parameters": np.zeros((2, 1))},
        "log_likelihood": {"model": o.small_model},
        "prior_transform": {"model": o.small_model},
        "sample_nested": {
            "model": o.small_model,
            "nlive": 20,
            "dlogz": 5.0,
            "random_seed": 1,
            "progressbar": False,
        },
        "from_gammapy": {
            "models": [o.gammapy_model],
            "observations": [o.observation, o.counts_of_gammapy()],
            "roi": o.roi,
            "events": o.events,
            "name": "events",
            "max_events": 200,
            "background": pmg.FlatBackground(),
            "dataset_options": {"counts": {"norm": 1.0}},
        },
        "to_gammapy": {"idata": gammapy_posterior(), "models": [o.gammapy_model], "point": "mean"},
        # after the fit
        "upper_limit": {"idata": o.idata, "var_name": "index", "probability": 0.9},
        "reweight": {
            "idata": xr.Dataset({"index": (("chain", "draw"), np.linspace(1.9, 2.1, 200)[None])}),
            "model": o.index_model,
            "new_priors": {"index": pm.Normal.dist(2, 1)},
            "n_draws": 2,
            "random_seed": 1,
        },
        "BestFit.draws": {"self": o.best_fit, "draws": 3, "random_seed": 1},
        "best_fit": {
            "model": o.index_model,
            "start": {"index": 2.1},
            "jacobian": True,
            "tolerance": 1e-2,
            "max_steps": 9,
            "compile_kwargs": {"mode": "FAST_COMPILE"},
        },
        "single_precision_tables": {},
        "bayes_factor": {"a": o.evidence, "b": o.evidence},
        "flux_points": {**o.of_flux, "edges": [1, 4, 20] * u.TeV},
        "FluxPoints.to_gammapy": {"self": o.points},
        "FluxPoints.plot": {"self": o.points},
        "significance": {
            "model": o.flux_model,
            "component": "crab",
            "idata": pmg.best_fit(o.flux_model).draws(100, random_seed=1),
            "max_draws": 100,
        },
        "sensitivity": {
            "response": o.free,
            "edges": [2, 20] * u.TeV,
            "component": "crab",
            "spectrum": o.flux,
            "n_sigma": 3.0,
            "least_events": 5.0,
            "least_share": 0.1,
            "pixel": 0.4 * u.deg,
            "bins": 2,
        },
        "light_curve": {**o.of_flux, "energy": [2, 20] * u.TeV, "times": o.good_time},
        "LightCurve.to_gammapy": {"self": o.curve},
        "LightCurve.plot": {"self": o.curve},
        "expected_limits": {
            "build": o.build,
            "null": o.cells,
            "masses": [1, 2] * u.TeV,
            "variable": "sigmav",
            "probability": 0.9,
            "n": 1,
            "limit": o.fixed_limit,
            "rebuild": True,
            "random_seed": 3,
            "progressbar": False,
        },
        "observed_limits": {
            "build": o.build,
            "events": o.cells,
            "masses": [1, 2] * u.TeV,
            "variable": "sigmav",
            "probability": 0.9,
            "limit": o.fixed_limit,
            "rebuild": True,
            "progressbar": False,
        },
        "cross_section": {
            "fraction": 0.1,
            "n_events": 100.0,
            "response": o.free,
            "component": "crab",
            "spectrum": o.annihilation,
        },
        "expected_events": {"response": o.free, "component": "crab", "spectrum": o.annihilation},
        "thermal_cross_section": {"mass": [0.5, 1] * u.TeV},
        # responses
        "Response.citations": {"self": o.response},
        "Response.fingerprint": {"self": o.response},
        "Response.release": {"self": o.free},
        "Response.in_energy_range": {"self": o.free, "energy": [2, 5] * u.TeV},
        "Response.load": {"path": o.file("response")},
        "Response.keep": {"self": o.response, "path": o.file("kept")},
        "Response.observation_index": {"self": o.response, "observation": 0},
        "Response.refold": {"self": o.response, "observations": [o.observation], "free_spectrum": ["crab"]},
        "Response.save": {"self": o.response, "path": o.file("response"), "overwrite": True},
        "Response.density": {"self": o.response, "events": o.events},
        "Response.event_rows": {"self": o.response, "events": o.events},
        "Response.component_pdf": {"self": o.response, "rows": o.rows},
        "Response.column_densities": {"self": o.free, "rows": o.rows, "smooth": ("crab",)},
        "Response.spectral_bands": {"self": o.free, "rows": o.rows, "smooth": ("crab",)},
        "Response.draw_rows": {
            "self": o.live,
            "counts": np.array([[3], [4]]),
            "rng": np.random.default_rng(1),
            "spectra": [o.flux],
            "psf_scale": 1.1,
            "shapes": shapes,
        },
        "Response.expected_parts": {"self": o.live, "spectra": [o.flux], "shapes": shapes},
        "Response.with_shapes": {"self": o.live, "shapes": shapes},
        "Response.live_source": {"self": o.live, "component": "crab", "free": ["lon_0"]},
        "Response.under_psf_scales": {"self": o.response, "scales": [0.9, 1.1], "span": [0.8, 1.2], "names": ["crab"]},
        "Response.spectra_values": {"self": o.free, "spectra": {"crab": pmg.PowerLaw()}},
        "Response.mean_exposure": {"self": o.response, "component": "crab", "energy": np.array([1.0, 2.0])},
        "Response.nominal_flux": {"self": o.response, "component": "crab", "energy": np.array([1.0, 2.0])},
        "Response.npred": {
            "self": o.live,
            "energy": [1.0, 10.0] * u.TeV,
            "lon": [0.0, 1.0] * u.deg,
            "lat": [0.0, 1.0] * u.deg,
            "step": 0.2 * u.deg,
            "observation": 0,
            "spectra": {"crab": pmg.PowerLaw()},
            "norms": {"ccr": 2.0},
            "shapes": shapes,
        },
        "Response.asimov": {
            "self": o.live,
            "energy": [1, 5, 50] * u.TeV,
            "pixel": 0.2 * u.deg,
            "spectra": {"crab": pmg.PowerLaw()},
            "norms": {"ccr": 2.0},
            "shapes": shapes,
        },
        "Response.surface_density": {
            "self": o.response,
            "lon": lon,
            "lat": lat,
            "energy": np.array([1.0, 10.0]),
            "observation": 0,
        },
        "Response.simulate": {
            "self": o.live,
            "weights": [1.0, 2.0],
            "n_events": 5,
            "spectra": {"crab": pmg.PowerLaw()},
            "shapes": shapes,
            "rng": 1,
        },
        "Response.simulate_rows": {
            "self": o.live,
            "shapes": shapes,
            "weights": [1.0, 2.0],
            "n": 5,
            "rng": np.random.default_rng(1),
            "spectra": [o.flux],
        },
        "Response.simulate_true": {"self": o.response, "component": "crab", "n": 5, "observation": 0, "rng": 1},
        "Response.reconstruct": {"self": o.response, "photons": o.photons, "observation": 0, "rng": 1},
        "Response.with_spectra": {
            "self": o.free,
            "spectra": {"crab": pmg.PowerLaw()},
            "norms": {"ccr": 2.0},
        },
        "Response.at_scan": {"self": o.scans, "values": {"crab": {"sigma": 0.12}}},
        "Response.with_systematics": {"self": o.response, "energy_scale": 1.1, "psf_scale": 1.1},
        # events
        "Events": {
            "energy": [1, 2] * u.TeV,
            "lon": [0, 1] * u.deg,
            "lat": [0, 1] * u.deg,
            "frame": "galactic",
            "observation": [0, 1],
            "multiplicity": [1.0, 2.0],
            "time": o.good_time,
        },
        "Events.binned": {"self": o.events, "energy": [1, 5, 50] * u.TeV, "pixel": 0.2 * u.deg},
        "Events.from_predictive": {
            "idata": o.idata,
            "response": o.response,
            "draw": 0,
            "chain": 0,
            "var_name": "events",
            "group": "posterior_predictive",
        },
        "Events.from_rows": {"rows": o.rows, "reco": ("energy", "lon", "lat"), "frame": "galactic"},
        "Events.from_skycoord": {"energy": o.events.energy, "coords": o.events.coords, "frame": "galactic"},
        "Events.from_table": {"table": o.events.to_table(), "frame": "galactic"},
        "Events.peek": {"self": o.events, "count_scaling": "linear"},
        "Events.read": {"path": o.file("events.fits"), "hdu": "EVENTS", "frame": "galactic"},
        "Events.select": {"self": o.events, "roi": o.roi, "observations": o.observation},
        "Events.selection": {"self": o.events, "roi": o.roi, "observations": o.observation},
        "Events.split": {
            "self": o.events.with_time(o.run.draw_times(len(o.events), rng=1)),
            "observations": o.run.split([0, 20, 60] * u.min),
        },
        "Events.to_frame": {"self": o.events, "frame": "icrs"},
        "Events.to_gammapy": {"self": o.events},
        "Events.to_rows": {"self": o.events, "reco": ("energy", "lon", "lat")},
        "Events.to_table": {"self": o.events},
        "Events.with_observation": {"self": o.events, "observation": 0},
        "Events.with_time": {"self": o.events, "time": o.good_time[0]},
        "Events.without_cells": {"self": o.events},
        "Events.write": {"self": o.events, "path": o.file("events.fits"), "overwrite": True},
        "Events.from_gammapy": {"source": o.events.to_gammapy(), "frame": "galactic", "observation": 0, "roi": o.roi},
        # observations and regions
        "Observation.axis_vector": {"self": o.observation, "frame": "galactic"},
        "Observation.background_basis": {"self": o.observation, "frame": "galactic", "bkg": o.irfs.bkg},
        "Observation.fov_basis": {"self": o.observation, "frame": "galactic"},
        "Observation.exposure": {
            "self": o.observation,
            "energy_true": 1.0,
            "lon": lon,
            "lat": lat,
            "frame": "galactic",
        },
        "Observation.offset": {"self": o.observation, "lon": lon, "lat": lat, "frame": "galactic"},
        "Observation.from_dict": {"data": o.observation.to_dict(), "irfs": o.irfs},
        "Observation.from_gammapy": {"observation": gammapy_run(), **limits},
        "Observation.list_from_gammapy": {"observations": [gammapy_run()], **limits},
        "Observation.draw_times": {"self": o.run, "n": 3, "rng": 1},
        "Observation.split": {"self": o.run, "times": [0, 20, 60] * u.min},
        "Observation.split_list": {"observations": [o.run], "times": [0, 20, 60] * u.min},
        "Observation.to_dict": {"self": o.observation},
        "Observation.with_irfs": {"self": o.observation, "irfs": o.irfs},
        "Observation.peek": {"self": o.observation, "roi": o.roi, "energy_true": 1 * u.TeV},
        "RegionOfInterest.cell_edges": {"self": o.roi, "step": 0.2},
        "RegionOfInterest.cells": {"self": o.roi, "step": 0.2},
        "RegionOfInterest.quadrature": {"self": o.roi, "step": 0.2},
        "RegionOfInterest.contains": {"self": o.roi, "lon": lon, "lat": lat},
        "RegionOfInterest.contains_vectors": {"self": o.roi, "vectors": vectors},
        "RegionOfInterest.excludes_vectors": {"self": o.roi, "vectors": vectors},
        "RegionOfInterest.from_dict": {"data": o.roi.to_dict()},
        "RegionOfInterest.to_dict": {"self": o.roi},
        "RegionOfInterest.from_offset": {"self": o.roi, "lon": lon, "lat": lat},
        "RegionOfInterest.offset": {"self": o.roi, "lon": lon, "lat": lat},
        "RegionOfInterest.offset_lonlat": {"self": o.roi, "lon": lon, "lat": lat},
        "RegionOfInterest.lonlat": {"self": o.roi, "coords": direction(0, 0)},
        "RegionOfInterest.from_region": {"region": circle(), "energy": [1, 50] * u.TeV, "frame": "galactic"},
        "write_runs": {
            "path": o.file("runs"),
            "events": o.events,
            "observations": o.observation,
            "rng": 1,
            "overwrite": True,
        },
        "predictive_counts": {
            "idata": o.idata,
            "response": o.response,
            "energy": [1, 10] * u.TeV,
            "center": direction(0, 0),
            "radius": [0, 0.5] * u.deg,
            "observation": 0,
            "var_name": "events",
            "group": "posterior_predictive",
        },
        # pictures
        "plot_corner": {
            "idata": o.idata,
            "var_names": ["fraction"],
            "truths": {"fraction": [0.5, 0.5]},
            "weights": weights,
        },
        "plot_limits": {
            "masses": [1, 2] * u.TeV,
            "limits": {"limit": [1e-26, 2e-26]},
            "unit": "cm3 s-1",
            "thermal_relic": True,
        },
        "plot_counts": {**pictures, "observation": 0, "cells": 4, "weights": weights},
        "plot_sensitivity": {"tables": pmg.sensitivity(o.free, [2, 20] * u.TeV, "crab", pixel=None)},
        "plot_residuals": {**pictures, "radius": 0.4 * u.deg, "observation": 0, "weights": weights},
        "plot_counts_spectrum": {
            **pictures,
            "energy": 5,
            "center": direction(0, 0),
            "radius": 0.5 * u.deg,
            "observation": 0,
            "weights": weights,
            "random_seed": 1,
        },
        "plot_ppc": {**pictures, "observation": 0, "bins": 5, "weights": weights, "random_seed": 1},
        "plot_radial_profile": {
            **pictures,
            "center": direction(0, 0),
            "radius": 0.5 * u.deg,
            "bins": 4,
            "energy": [1, 10] * u.TeV,
            "observation": 0,
            "weights": weights,
            "random_seed": 1,
        },
        "plot_spectrum": {
            "idata": o.idata,
            "spectra": {"crab": o.spectrum},
            "energy": [1, 10] * u.TeV,
            "energy_power": 2.0,
            "unit": "erg cm-2 s-1",
            "levels": (0.68, 0.95),
            "components": ["crab"],
            "weights": weights,
            "max_draws": 2,
            "random_seed": 1,
        },
    }


def ebl_of_gammapy():
    from gammapy.modeling.models import EBLAbsorptionNormSpectralModel

    energy, redshift = [0.1, 1, 10] * u.TeV, np.array([0.1, 0.5])
    return EBLAbsorptionNormSpectralModel(energy, redshift, np.ones((2, 3)) * 0.5, redshift=0.1, alpha_norm=1.0)


def gammapy_posterior():
    draws = np.random.default_rng(1).normal(size=(1, 20))
    values = {"crab.spectral.index": 2 + 0.1 * draws, "crab.spectral.amplitude": 1e-12 * np.exp(draws)}
    return xr.Dataset({name: (("chain", "draw"), value) for name, value in values.items()})


def circle():
    from regions import CircleSkyRegion

    return CircleSkyRegion(direction(0, 0), 1 * u.deg)


def gammapy_run():
    from gammapy.data import FixedPointingInfo, Observation
    from gammapy.irf import load_irf_dict_from_file

    irfs = load_irf_dict_from_file(pmg.datasets.path("prod5-south-20deg-50h"))
    return Observation.create(FixedPointingInfo(fixed_icrs=direction(0, 0).icrs), livetime=1 * u.h, irfs=irfs)
