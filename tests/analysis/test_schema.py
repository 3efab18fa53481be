"""The sections of an analysis file: what they take, and what they refuse, with file, line and the nearest name."""

import re

import pytest
from scenes import SMALL, SOURCE, small

from pymc_gamma.analysis.analysis import Analysis
from pymc_gamma.analysis.templates import template, template_names
from pymc_gamma.errors import AnalysisFileError, PymcGammaError

SPECTRUM = "components.star.spectrum"
SPATIAL = "components.star.spatial"


def refused(*changes, base=SMALL):
    with pytest.raises(AnalysisFileError) as told:
        Analysis.from_yaml(base, set=changes)
    assert isinstance(told.value, PymcGammaError)
    return str(told.value)


@pytest.mark.parametrize("name", template_names())
def test_templates_are_valid(name):
    assert Analysis.from_yaml(template(name)).config.version == 1


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("fit.drwas=3", r"fit\.drwas: unknown key; did you mean 'draws'\?"),
        ("componentz=[]", r"componentz: unknown key; did you mean 'components'\?"),
        ("general.outdri=x", "did you mean 'outdir'"),
        ("general.seed=-1", "greater than or equal to 0, got -1"),
        ("general.seed=one", "valid integer"),
        ("version=2", "version: input should be 1"),
        ("pointings.centre.livetime=50", "50 has no unit; write for example '1 h'"),
        ("pointings.centre.livetime=50 deg", r"is in 'deg' \(angle\), expected a unit such as 'h'"),
        ("pointings.centre.livetime=-1 h", "must be positive"),
        ("pointings.centre.livetime=nan h", "not one finite quantity"),
        ("pointings.centre.lon=north", "'north' is no quantity"),
        ("pointings.centre.frame=fk5", "'icrs' or 'galactic'"),
        ("datasets.geom.axes.energy.min=1", "has no unit; write for example '1 TeV'"),
        ("datasets.geom.axes.energy={}", r"energy\.min: is missing"),
        ("datasets.geom.wcs.radius=1 deg", "give width .* or radius"),
        ("datasets.safe_mask=filee", "no safe mask"),
        ("datasets.safe_mask={methods: [aeff-defualt]}", "aeff-default"),
        ("components.0.kind=hgsp", r"components\.0\.kind: there is no kind 'hgsp'; did you mean 'hgps'\?"),
        ("components.0={name: x}", "has no kind"),
        ("components.0=hgps", "expected keys and values"),
        ("components=[]", "nothing to be seen"),
        ("components.0.name=ccr", "a component 'ccr' is there already"),
        ("components.0.souurces=[x]", "did you mean 'sources'"),
        ("fit.sampler=nut", r"there is no sampler 'nut'; did you mean 'nuts'\?"),
        ("fit.sampler=[nuts, nuts]", "'nuts' is there twice"),
        ("fit.sampler=[]", "name one or more"),
        ("fit.draws=0", "greater than or equal to 1"),
        ("fit.backend=stan", "'pymc', 'nutpie' or 'numpyro'"),
        ("results.pictures=[cornr]", r"there is no picture 'cornr'; did you mean 'corner'\?"),
        ("results.expected_counts=true", "needs mixture.likelihood: poisson"),
        ("mixture.likelihood=binned", "'mixture' or 'poisson'"),
        ("mixture.likelihood=poisson", "as many events as its fluxes make"),
        ("simulate=null", "there are no events"),
        ("simulate.n_events=null", "give n_events"),
        ("simulate.values.fraction=[a, b]", "is no value"),
        ("simulate.values.fraction=[1/0, 1]", "no number"),
        ("pointings=[]", "there are no observations"),
        ("pointings=[{id: 1, lon: 0 deg, lat: 0 deg, livetime: 1 h}, {id: 1, lon: 1 deg, lat: 0 deg, livetime: 1 h}]",
         "pointings.1.id: a pointing '1' is there already"),
        ("observations={datastore: x}", "leave one of both out"),
        ("observations={events: x.fits}", "leave one of both out"),
        ("observations={obs_ids: [1, 1], datastore: x}", r"runs \[1\] are there twice"),
        ("observations={obs_time: {start: monday, stop: 2004-01-01}}", "'monday' is no time"),
        ("systematics=[{type: EnergyScal}]", r"no systematic 'EnergyScal'; did you mean 'EnergyScale'\?"),
        ("systematics=[{type: EnergyScale, sgima: 1}]", "did you mean 'sigma'"),
        ("systematics=[{type: EnergyScale, sigma: -1}]", "positive"),
        ("models=3", "neither the path"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(change, told):
    message = refused(change)
    assert re.search(told, message)
    if "=null" not in change and "likelihood" not in change:
        assert "--set " in message or "analysis:" in message


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (f"{SPECTRUM}.type=PowrLaw", r"no spectrum 'PowrLaw'; did you mean 'PowerLaw'\?"),
        (f"{SPECTRUM}.indx=2", "unknown parameter of PowerLaw; did you mean 'index'"),
        (f"{SPECTRUM}.amplitude=3 TeV", r"is in 'TeV' .* expected a unit such as 'TeV-1 cm-2 s-1'"),
        (f"{SPECTRUM}.index=yes", "no parameter"),
        (f"{SPECTRUM}.index={{prior: Normel, mu: 1}}", r"PyMC has no distribution 'Normel'; did you mean 'Normal'\?"),
        (f"{SPECTRUM}.index={{prior: normal, mu: 1}}", "did you mean 'Normal'"),
        (f"{SPECTRUM}.index={{prior: Normal, mean: 1}}", "unknown keyword of Normal"),
        (f"{SPECTRUM}.index={{prior: Normal, mu: 1, sigma: -1}}", "cannot be made of these numbers"),
        (f"{SPECTRUM}.index={{prior: Uniform, lower: 3, upper: 1}}", "cannot be made of these numbers"),
        (f"{SPECTRUM}.index={{prior: LogUniform, lower: 3, upper: 1}}", "0 < lower < upper"),
        (f"{SPECTRUM}.index={{mu: 1}}", "has no key `prior`"),
        (f"{SPECTRUM}.index={{prior: Normal, mu: 1, dims: run}}", "no dim 'run'"),
        (f"{SPECTRUM}.amplitude={{prior: HalfNormal, sigma: 1, unit: TeV}}", "no unit of the kind"),
        (f"{SPECTRUM}.amplitude={{prior: HalfNormal, sigma: 1, unit: apples}}", "'apples' is no unit"),
        (f"{SPECTRUM}.amplitude={{prior: LogNormal, mu: log(-1 TeV-1 cm-2 s-1)}}", "not positive"),
        (f"{SPECTRUM}=[{{type: PowerLaw}}, {{type: PowrLaw}}]", r"spectrum\.1\.type: there is no spectrum"),
        (f"{SPATIAL}.type=PointModel", "gammapy has no spatial model"),
        (f"{SPATIAL}.lon=1 deg", "unknown parameter of PointSpatialModel; did you mean 'lon_0'"),
        (f"{SPATIAL}.frame=fk5", "no frame 'fk5'"),
        (f"{SPATIAL}={{type: TemplateSpatialModel}}", "a template has a filename"),
        ("priors.index=3", "expected a prior"),
        (f"{SPECTRUM}.index=indx", r"components\.0: there is no prior 'indx' under `priors`; did you mean 'index'"),
        ("components.ccr.norm=nrom", "there is no prior 'nrom'"),
        ("priors.mass={prior: Normal, mu: 1}", r"priors\.mass: is used nowhere"),
        ("priors.index.mu=mean", r"priors\.index: there is no prior 'mean'"),
        ("priors.2x={prior: Normal, mu: 1}", "of letters, digits and _"),
        ("mixture.tree={a: [star], b: [ccr]}", "belongs to the likelihood mixture"),
        ("simulate.n_events=3", "leave it out"),
    ],
)
def test_parameters_and_priors_that_are_wrong_are_named(change, told):
    assert re.search(told, refused(change, base=SOURCE))


def test_all_problems_are_told_at_once_with_their_lines(tmp_path):
    path = tmp_path / "mine.yaml"
    text = SMALL.replace("seed: 3", "sead: 3").replace("lat: 0 deg, livetime", "lat: 0 TeV, livetime")
    text = text.replace("kind: ccr", "kind: crr").replace("draws: 20", "draws: many")
    path.write_text(text, encoding="utf-8")
    with pytest.raises(AnalysisFileError) as told:
        Analysis.read(path)
    lines = str(told.value).splitlines()
    assert [re.match(rf"{re.escape(str(path))}:(\d+): ([\w.]+): ", line).groups() for line in lines] == [
        ("2", "general.sead"),
        ("4", "pointings.0.lat"),
        ("11", "components.1.kind"),
        ("13", "fit.draws"),
    ]


def test_keys_of_samplers_that_are_not_asked_for_are_checked_and_not_used():
    assert [one.sampler for one in small("fit.sampler=nested").config.fit.samplers] == ["nested"]
    assert re.search("fit.nlive", refused("fit.nlive=1"))


def test_numbers_that_yaml_takes_for_text():
    source = Analysis.from_yaml(SOURCE, set=[f"{SPECTRUM}.amplitude=1e-12"]).config.components[0]
    assert source.spectrum_.terms[0][1]["amplitude"].value == 1e-12


def test_units_are_converted():
    config = small("pointings.centre.livetime=60 min", "datasets.geom.axes.energy.min=500 GeV").config
    assert config.pointings[0].livetime.to_value("h") == 1
    assert config.datasets.geom.axes.energy.min.to_value("TeV") == 0.5


def test_a_kind_of_a_user_is_known_at_once():
    from pymc_gamma.analysis.components import Component

    class Glow(Component):
        kind = "glow_of_a_test"
        summary = "A test."
        colour: str = "blue"

        def sky(self, around):
            raise NotImplementedError

    found = small("components.0={kind: glow_of_a_test, name: x, colour: red}").config.components[0]
    assert isinstance(found, Glow)
    assert found.colour == "red"
    assert "did you mean 'colour'" in refused("components.0={kind: glow_of_a_test, name: x, color: red}")
