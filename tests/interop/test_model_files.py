"""Files of gammapy models: whole, as they are written, or refused with the component and the key named."""

import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from gammapy.maps import Map
from gammapy.modeling import models as gp

from pymc_gamma.errors import DataFileError, ModelError, PymcGammaWarning
from pymc_gamma.interop import GammapyTranslation
from pymc_gamma.interop.parameters import read_models


def all_models(folder):
    """Models of many kinds, with a link, priors, a template and a background."""
    sky = Map.create(npix=(6, 4), binsz=0.5, frame="galactic", unit="sr-1")
    sky.data += 1.0
    template = gp.TemplateSpatialModel(sky, filename=str(folder / "template.fits"))
    spectra = [
        gp.PowerLawSpectralModel(index=2.2),
        gp.ExpCutoffPowerLawSpectralModel(lambda_="0.2 TeV-1"),
        gp.PiecewiseNormSpectralModel(energy=[0.1, 1, 10] * gp.PowerLawSpectralModel().reference.unit)
        * gp.PowerLawSpectralModel(),
        gp.LogParabolaSpectralModel(),
        gp.BrokenPowerLawSpectralModel(),
    ]
    spectra[0].index.prior = gp.GaussianPrior(mu=2.2, sigma=0.3)
    spectra[0].amplitude.min, spectra[0].amplitude.max = 1e-14, 1e-10
    spectra[1].index = spectra[0].index
    spatial = [
        gp.PointSpatialModel(lon_0="83.6 deg", lat_0="22 deg", frame="icrs"),
        gp.GaussianSpatialModel(lon_0="0 deg", lat_0="0 deg", sigma="0.1 deg", frame="galactic"),
        gp.DiskSpatialModel(lon_0="0 deg", lat_0="0 deg", r_0="0.1 deg", frame="galactic"),
        template,
        gp.ConstantSpatialModel(),
    ]
    for one in spatial:
        one.freeze()
    sources = [gp.SkyModel(two, one, name=f"s{k}") for k, (one, two) in enumerate(zip(spatial, spectra, strict=True))]
    return gp.Models([*sources, gp.FoVBackgroundModel(dataset_name="run-1")])


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "models.yaml"
    all_models(tmp_path).write(path, write_covariance=False)
    return path


def changed(path, change):
    tree = yaml.safe_load(path.read_text())
    change(tree, tree["components"])
    path.write_text(yaml.safe_dump(tree, sort_keys=False))
    return path


@pytest.mark.parametrize("full_output", [True, False])
@pytest.mark.parametrize("checksum", [True, False])
@pytest.mark.parametrize("covariance", [True, False])
def test_what_gammapy_writes_is_read(tmp_path, full_output, checksum, covariance):
    models = all_models(tmp_path)
    path = tmp_path / "models.yaml"
    models.write(path, full_output=full_output, checksum=checksum, write_covariance=covariance)
    found = read_models(path)
    assert found.names == models.names
    np.testing.assert_array_equal(found.parameters.value, models.parameters.value)
    assert found["s0"].spectral_model.index is found["s1"].spectral_model.index
    assert found["s0"].spectral_model.index.prior.sigma.value == 0.3
    assert found["s0"].spectral_model.amplitude.max == 1e-10


def renamed(old, new):
    def change(tree, components):
        entries = components[0]["spectral"]["parameters"]
        (entry,) = [one for one in entries if one["name"] == old]
        entry["name"] = new

    return change


def put(*place_and_value):
    *place, key, value = place_and_value

    def change(tree, components):
        node = tree
        for one in place:
            node = node[one]
        if value is None:
            del node[key]
        else:
            node[key] = value

    return change


SPECTRAL = ("components", 0, "spectral")
SPATIAL = ("components", 0, "spatial")
INDEX = (*SPECTRAL, "parameters", 0)
CASES = [
    (renamed("index", "indx"), "unknown parameter 'indx' of PowerLawSpectralModel; did you mean 'index'"),
    (renamed("amplitude", "Amplitude"), "unknown parameter 'Amplitude' .*did you mean 'amplitude'"),
    (renamed("reference", "x"), "unknown parameter 'x' .*expected one of amplitude, index, reference"),
    (renamed("reference", "index"), "the parameter 'index' is there twice"),
    (
        put(*SPECTRAL, "type", "PowerLawSpectralMode"),
        "spectral: unknown type 'PowerLawSpectralMode'; did you mean 'PowerLaw",
    ),
    (put(*SPATIAL, "type", "PointSpatial"), "spatial: unknown type 'PointSpatial'; did you mean 'PointSpatialModel'"),
    (put(*SPATIAL, "type", None), "spatial has no type"),
    (put(*SPATIAL, "frame", None), "spatial has no frame; gammapy would take 'icrs'. Add `frame"),
    (put(*SPATIAL, "Frame", "galactic"), "spatial: unknown key 'Frame' of PointSpatialModel; did you mean 'frame'"),
    (put(*SPATIAL, "frame", "galctic"), "is no model that gammapy can make .*galctic"),
    (put(*SPECTRAL, "refrence", 2.0), "spectral: unknown key 'refrence' of PowerLawSpectralModel"),
    (put(*SPECTRAL, "parameters", None), r"is no model that gammapy can make \(KeyError: 'parameters'\)"),
    (put(*SPECTRAL, "parameters", {"index": 2}), "parameters must be a list"),
    (put("components", 0, "spectrl", {}), "unknown key 'spectrl'; did you mean 'spectral'"),
    (put("components", 0, "spectral", None), r"is no model that gammapy can make \(KeyError: 'spectral'\)"),
    (put("components", 0, "type", "SkyModl"), "unknown type 'SkyModl'; did you mean 'SkyModel'"),
    (put(*INDEX, "valu", 2.0), "parameter 0: unknown key 'valu'; did you mean 'value'"),
    (put(*INDEX, "value", "steep"), "parameter 'index': value is 'steep', expected a number"),
    (put(*INDEX, "value", True), "parameter 'index': value is True, expected a number"),
    (put(*INDEX, "value", float("nan")), "parameter 'index': its value is nan, not a finite number"),
    (put(*INDEX, "value", None), "parameter 'index': value is None, expected a number"),
    (put(*INDEX, "max", [1]), r"parameter 'index': max is \[1\], expected a number"),
    (put(*INDEX, "frozen", "no way"), "parameter 'index': frozen is 'no way', expected true or false"),
    (put(*INDEX, "unit", "TeVV"), "parameter 'index': 'TeVV' is no unit"),
    (put(*SPATIAL, "parameters", 0, "unit", None), "the parameter 'lon_0' has no unit; gammapy would take 'deg'"),
    (put(*INDEX, "link", "index@othr"), "parameter 'index': no other parameter has its link 'index@othr'"),
    (put(*INDEX, "value", 2.5), r"values differ: 2\.2 .*2\.5"),
    (put(*INDEX, "prior", "type", "GausianPrior"), "prior: unknown type 'GausianPrior'; did you mean 'GaussianPrior'"),
    (put(*INDEX, "prior", "sigma", 3), "prior: unknown key 'sigma'; expected one of parameters, type, weight"),
    (
        put(*INDEX, "prior", "parameters", 0, "name", "mean"),
        "unknown parameter 'mean' of GaussianPrior; expected one of mu",
    ),
    (put(*INDEX, "prior", "parameters", None), "its prior GaussianPrior has no parameters, mu, sigma"),
    (put(*INDEX, "prior", "parameters", [{"name": "mu", "value": 2}]), "its prior GaussianPrior has no sigma"),
    (put("component", []), "unknown key 'component'; did you mean 'components'"),
    (put("components", None), "holds no list `components`"),
    (put("components", 0, "filename"), "component 0 is 'filename', expected keys and values"),
    (put("components", 3, "spatial", "filename", "none.fits"), r"component 3 \('s3'\) is no model .*none\.fits"),
    (put("components", 2, "spectral", "model1", "type", "Piecewise"), "model1: unknown type 'Piecewise'"),
    (put("components", 2, "spectral", "model2", "indx", 2), "spectral, model2: unknown key 'indx'"),
    (put("components", 2, "spectral", "operator", "mull"), r"component 2 \('s2'\) is no model that gammapy can make"),
    (put("components", 5, "datasets_names", None), "component 5 .*is no model that gammapy can make"),
]


@pytest.mark.parametrize(("change", "told"), CASES)
def test_nothing_is_left_out_in_silence(path, change, told):
    changed(path, change)
    with pytest.raises(ModelError, match=rf"(?s)models\.yaml.*{told}"):
        GammapyTranslation(path, ["run-1"])


def test_a_parameter_that_is_not_there_is_told(path):
    def change(tree, components):
        components[0]["spectral"]["parameters"] = components[0]["spectral"]["parameters"][:2]

    changed(path, change)
    with pytest.warns(PymcGammaWarning, match=r"models\.yaml: parameters that are not .*: s0, reference = 1 TeV\.$"):
        read_models(path)


def test_a_key_that_is_there_twice(path):
    text = path.read_text()
    assert text.count("frame: icrs\n") == 1
    path.write_text(re.sub(r"( *)frame: icrs\n", r"\1frame: icrs\n\1frame: galactic\n", text))
    with pytest.raises(DataFileError, match=r"models\.yaml cannot be read as YAML.*'frame' is there twice"):
        read_models(path)


def test_a_number_that_yaml_takes_for_text(path):
    changed(path, put(*INDEX, "value", "22e-1"))
    assert read_models(path)["s0"].spectral_model.index.value == 2.2


def test_files_that_are_no_files_of_models(tmp_path):
    with pytest.raises(DataFileError, match=r"no file of models .*nowhere\.yaml"):
        read_models(tmp_path / "nowhere.yaml")
    with pytest.raises(DataFileError, match="no file of models"):
        read_models(tmp_path)
    for content, error, told in (
        (b"\xff\xfe", DataFileError, "UnicodeDecodeError"),
        (b"a: [1, 2", DataFileError, "ParserError.*line"),
        (b"", ModelError, "holds no list"),
        (b"- 1", ModelError, "holds no list"),
        (b"components: []", ModelError, "models is empty"),
    ):
        path = tmp_path / "odd.yaml"
        path.write_bytes(content)
        with pytest.raises(error, match=told):
            read_models(path)


def test_a_checksum_that_does_not_fit(tmp_path):
    path = tmp_path / "models.yaml"
    all_models(tmp_path).write(path, checksum=True, write_covariance=False)
    path.write_text(path.read_text().replace("value: 2.2", "value: 2.3"))
    with pytest.raises(DataFileError, match=r"models\.yaml: its checksum does not fit"):
        read_models(path)


def test_a_template_that_is_cut(path):
    template = Path(path).parent / "template.fits"
    template.write_bytes(template.read_bytes()[:-2880])
    with pytest.raises(DataFileError, match=r"component 3 \('s3'\), spatial: .*template\.fits.*cut"):
        read_models(path)
