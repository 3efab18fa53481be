"""Which components, variables and spectra gammapy models become, and which are refused."""

import astropy.units as u
import numpy as np
import pymc as pm
import pytest
from dl3_field import POSITION, observations, region, sky_model
from gammapy.maps import Map, MapAxis, RegionNDMap
from gammapy.modeling import models as gp

import pymc_gamma as pmg
from pymc_gamma.errors import ModelError, RegionError, SkyModelError
from pymc_gamma.interop import GammapyTranslation

DATASETS = ["11", "12"]


def translate(models, **options):
    return GammapyTranslation(models, **{"datasets": DATASETS, **options})


def variables_of(translation):
    with pm.Model() as model:
        found = translation.variables()
    return model, {translation.names[parameter]: variable for parameter, variable in found.items()}


def frozen(spectral, *free):
    for parameter in spectral.parameters:
        parameter.frozen = parameter.name not in free
    return spectral


def test_free_frozen_and_factors():
    models = [
        sky_model("free"),
        sky_model("frozen", 0.1, frozen(gp.PowerLawSpectralModel())),
        sky_model("norm", 0.2, frozen(gp.PowerLawSpectralModel(), "amplitude")),
        sky_model("any", 0.3, frozen(gp.GaussianSpectralModel(amplitude="1e-12 cm-2 s-1"), "amplitude")),
    ]
    translation = translate(models)
    assert [component.name for component in translation.components] == ["free", "frozen", "norm", "any", "ccr"]
    assert translation.free_spectrum == ("free",)
    model, variables = variables_of(translation)
    assert list(variables) == [
        "free.spectral.index",
        "free.spectral.amplitude",
        "norm.spectral.amplitude",
        "any.spectral.amplitude",
    ]
    assert {variable.name for variable in model.free_RVs} == set(variables)
    norms = translation.norms({p: variables[n] for p, n in translation.names.items()})
    assert set(norms) == {"norm", "any"}
    assert norms["any"].eval({variables["any.spectral.amplitude"]: 3e-12}) == pytest.approx(3.0)


def test_later_changes_to_the_models_do_not_matter():
    models = gp.Models([sky_model("norm", 0, frozen(gp.PowerLawSpectralModel(), "amplitude"))])
    translation = translate(models)
    models["norm"].spectral_model.amplitude.value = 5e-10
    _, variables = variables_of(translation)
    norms = translation.norms({p: variables[n] for p, n in translation.names.items()})
    assert norms["norm"].eval({variables["norm.spectral.amplitude"]: 2e-12}) == pytest.approx(2.0)


def test_linked_parameters_and_yaml(tmp_path):
    first, second = sky_model("a"), sky_model("b", 0.3)
    first.spectral_model.index.prior = gp.GaussianPrior(mu=2.2, sigma=0.1)
    second.spectral_model.index = first.spectral_model.index
    path = tmp_path / "models.yaml"
    gp.Models([first, second]).write(path)
    for models in ([first, second], path, str(path)):
        model, variables = variables_of(translate(models))
        assert list(variables) == ["a.spectral.index", "a.spectral.amplitude", "b.spectral.amplitude"]
        x = model["a.spectral.index"]
        assert float(pm.logp(x, 2.3).eval()) == pytest.approx(-0.5 - np.log(0.1 * np.sqrt(2 * np.pi)))


def test_spectra_are_those_of_gammapy():
    spectral = gp.CompoundSpectralModel(
        gp.PowerLawSpectralModel(amplitude="1e-11 TeV-1 cm-2 s-1"), gp.PowerLawNormSpectralModel(), np.multiply
    )
    spectral.model2.norm.frozen, spectral.model2.tilt.frozen = True, False
    translation = translate(sky_model("s", 0, spectral))
    _, variables = variables_of(translation)
    assert list(variables) == ["s.spectral.model1.index", "s.spectral.model1.amplitude", "s.spectral.model2.tilt"]
    by_parameter = {p: variables[n] for p, n in translation.names.items()}
    flux = translation.spectra(by_parameter, None)["s"]([1.0, 10.0])
    values = dict(zip(variables.values(), (2.0, 2e-11, 0.5), strict=True))
    assert flux.eval(values) == pytest.approx([2e-11, 2e-11 * 10**-2.5])


def cube():
    """A diffuse cube in intensity, flat on the sky, whose energies reach beyond those of the events."""
    axis = MapAxis.from_energy_bounds("0.001 TeV", "1000 TeV", nbin=8, name="energy_true", node_type="center")
    skymap = Map.create(skydir=POSITION, width=4, binsz=0.5, frame="icrs", axes=[axis], unit="TeV-1 cm-2 s-1 sr-1")
    skymap.data += 3e-9 * axis.center.value[:, None, None] ** -2.5
    return gp.TemplateSpatialModel(skymap, normalize=False)


def test_a_template_in_intensity_keeps_its_spectrum():
    spectral = gp.PowerLawNormSpectralModel(norm=1.0)
    spectral.tilt.frozen = False
    translation = translate(gp.SkyModel(spectral, cube(), name="diffuse"))
    assert translation.free_spectrum == ("diffuse",)
    response = pmg.fold(
        translation.components,
        observations(),
        region(),
        free_spectrum=translation.free_spectrum,
        energy_true=30,
        pixel=0.2 * u.deg,
    )
    translation.check_response(response)
    _, variables = variables_of(translation)
    spectrum = translation.spectra({p: variables[n] for p, n in translation.names.items()}, response)["diffuse"]
    energy = response.energy_true
    values = {variables["diffuse.spectral.norm"]: 2.0, variables["diffuse.spectral.tilt"]: 0.3}
    expected = 2.0 * energy**-0.3 * response.nominal_flux("diffuse", energy)
    assert spectrum(energy).eval(values) == pytest.approx(expected, rel=1e-9)
    assert expected.max() > 0
    other = pmg.fold(translation.components, observations(), region(), energy_true=30, pixel=0.2 * u.deg)
    with pytest.raises(ModelError, match="free spectra of"):
        translation.check_response(other)


def background_model(dataset, name=None, **spectral):
    free = spectral.pop("free", ("norm",))
    return gp.FoVBackgroundModel(dataset, frozen(gp.PowerLawNormSpectralModel(**spectral), *free), name=name)


def test_backgrounds_per_observation():
    models = [
        sky_model(),
        background_model("obs-11", free=("norm", "tilt")),
        background_model("12", norm=1.1, tilt=0.1, reference="2 TeV", free=()),
    ]
    translation = translate(models)
    assert translation.free_spectrum == ("crab", "ccr")
    assert "obs-11-bkg.spectral.tilt" in translation.names.values()
    _, variables = variables_of(translation)
    norm, tilt, reference = translation._background.vectors({p: variables[n] for p, n in translation.names.items()})
    given = {variables["obs-11-bkg.spectral.norm"]: 0.9, variables["obs-11-bkg.spectral.tilt"]: 0.2}
    assert reference == 1.0
    assert tilt.eval(given, on_unused_input="ignore") == pytest.approx([0.2, 0.1])
    # norm (E / 2 TeV)^-tilt = norm 2^tilt (E / TeV)^-tilt
    assert norm.eval(given, on_unused_input="ignore") == pytest.approx([0.9, 1.1 * 2**0.1])


def test_one_norm_for_all_observations_needs_no_energies():
    for dataset in ("stacked", "anything"):
        translation = translate([sky_model(), background_model(dataset)])
        assert translation.free_spectrum == ("crab",)
        _, variables = variables_of(translation)
        assert list(translation.norms({p: variables[n] for p, n in translation.names.items()})) == ["ccr"]
    tilted = translate([sky_model(), background_model("stacked", free=("norm", "tilt"))])
    assert tilted.free_spectrum == ("crab", "ccr")
    linked = background_model("11"), background_model("12")
    linked[1].spectral_model.norm = linked[0].spectral_model.norm
    assert translate([sky_model(), *linked]).free_spectrum == ("crab",)
    assert translate([sky_model(), background_model("11")]).free_spectrum == ("crab", "ccr")
    assert translate([sky_model()]).components[-1].name == "ccr"
    assert len(translate([sky_model()], background=False).components) == 1


def with_parts(**changes):
    return sky_model("s", **changes)


def template_counts():
    counts = RegionNDMap.create("icrs;circle(83, 22, 1)", axes=[MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=2)])
    return gp.TemplateNPredModel(counts, name="s")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (template_counts, "'s' is a TemplateNPredModel, which has no counterpart"),
        (lambda: gp.SkyModel(gp.PowerLawSpectralModel(), name="s"), "'s' has no spatial model"),
        (lambda: with_parts(apply_irf={"exposure": True, "psf": False, "edisp": True}), "'s' leaves out a part"),
        (lambda: with_parts(datasets_names=["obs-12"]), "'s' is for the datasets"),
        (lambda: with_parts(datasets_names=["obs-12", "other"]), "pass their dataset names in order"),
        (lambda: sky_model("ccr"), "'ccr' has the name of the residual background"),
        (lambda: with_parts(spectral=frozen(gp.GaussianSpectralModel(), "mean")), "'mean' of the spectral model Gauss"),
    ],
)
def test_what_has_no_counterpart_is_named(make, message):
    with pytest.raises(SkyModelError, match=message):
        translate([make()])


def test_models_that_vary_in_time_are_refused():
    model = with_parts()
    model.temporal_model = gp.ConstantTemporalModel()
    with pytest.raises(SkyModelError, match="'s' varies in time"):
        translate([model])


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ([gp.FoVBackgroundModel("11", gp.LogParabolaNormSpectralModel())], "'11-bkg' has the spectrum LogParabolaNorm"),
        ([gp.FoVBackgroundModel("11", spatial_model=gp.ConstantSpatialModel())], "'11-bkg' has a spatial part"),
        ([background_model("11", free=("norm", "reference"))], "'reference' of the background model '11-bkg' is free"),
        ([background_model("11"), background_model("obs-11")], "'11' has two background models"),
        ([background_model("x"), background_model("y")], "has two background models, 'x-bkg' and 'y-bkg'"),
    ],
)
def test_bad_backgrounds_are_named(models, message):
    with pytest.raises(SkyModelError, match=message):
        translate([sky_model(), *models])


def test_wrong_types_and_places():
    roi = region()
    with pytest.raises(TypeError, match="roi must be a RegionOfInterest"):
        pmg.from_gammapy([sky_model()], observations(), "crab")
    with pytest.raises(TypeError, match="events must be Events"):
        pmg.from_gammapy([sky_model()], observations(), roi, events=np.ones((3, 3)))
    with pytest.raises(TypeError, match="expected a gammapy Observation"):
        pmg.from_gammapy([sky_model()], 3, roi)
    with pytest.raises(TypeError, match="not the path 'data'"):
        pmg.from_gammapy([sky_model()], "data", roi)
    with pytest.raises(TypeError, match="all be of one kind"):
        pmg.from_gammapy([sky_model()], [*observations(), 3], roi)
    with pytest.raises(RegionError, match="no observation"):
        pmg.from_gammapy([sky_model()], [], roi)
    with pytest.raises(TypeError, match="gammapy Models"):
        pmg.from_gammapy(gp.PowerLawSpectralModel, observations(), roi)
    with pytest.raises(ModelError, match="models is empty"):
        pmg.from_gammapy([], observations(), roi)
    with pytest.raises(ValueError, match="datasets must name each of the 2"):
        pmg.from_gammapy([sky_model()], observations(), roi, datasets=["one"])
    away = POSITION.directional_offset_by(0 * u.deg, 20 * u.deg)
    elsewhere = pmg.Observation(observations()[0].irfs, away, livetime=1 * u.h, name="away")
    with pytest.raises(RegionError, match=r"'away' does not see the region: it points 20.00 deg"):
        pmg.from_gammapy([sky_model()], [*observations(), elsewhere], roi)
