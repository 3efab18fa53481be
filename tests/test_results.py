"""Units and references that results carry, and tables in which numbers of any size are readable."""

import astropy.units as u
import numpy as np
import pymc as pm
import pytest
import xarray as xr
from setups import direction, pointing, region, source

import pymc_gamma as pmg
from pymc_gamma.errors import ModelError
from pymc_gamma.tensors import unit_of, with_unit

FLUX = "TeV-1 cm-2 s-1"
UNITS = {
    "index": "",
    "amplitude": FLUX,
    "norm": "",
    "crab_offset": "",
    "crab_lon": "deg",
    "crab_lat": "deg",
    "energy_scale": "",
    "events_expected_counts": "counts",
    "events_flux": "cm-2 s-1",
}


def held_units(results):
    return {str(name): one.attrs["units"] for name, one in results.data_vars.items() if "units" in one.attrs}


@pytest.fixture(scope="module")
def response():
    sky = [source("crab", 0.3, -0.2, index=2.3, amplitude=3e-12), pmg.CosmicRayBackground()]
    return pmg.fold(
        sky, pointing(hours=1), region(width=1.6, energy=(1.0, 50.0)), free_spectrum=["crab"], free_shape=["crab"]
    )


@pytest.fixture(scope="module")
def model(response):
    with pm.Model(coords=response.coords) as model:
        index, amplitude = pm.Normal("index", 2.3, 0.3), pm.LogNormal("amplitude", np.log(3e-12), 0.5)
        norm = pm.LogNormal("norm", 0, 0.1)
        lon, lat = pmg.position("crab", direction(0.3, -0.2), 0.02 * u.deg)
        pmg.ExtendedEventMixture(
            "events",
            response=response,
            spectra={"crab": pmg.PowerLaw(index=index, amplitude=amplitude)},
            norms={"ccr": norm},
            shapes={"crab": pmg.PointShape(lon, lat)},
            systematics=[pmg.EnergyScale()],
            observed=response.simulate(rng=1),
            expected_counts=True,
            integrated_flux=(1, 10) * u.TeV,
        )
        pm.Normal("unused")
    return model


def some_draws(model):
    shapes = {"crab_offset": (2,), "events_expected_counts": (2,), "events_flux": (1,)}
    return xr.Dataset(
        {
            str(name): (
                ("chain", "draw", *(f"{name}_{k}" for k in range(len(shapes.get(name, ()))))),
                np.ones((1, 3, *shapes.get(name, ()))),
            )
            for name in model.named_vars
            if name != "events"
        }
    )


def test_units_and_references_of_a_model(model, response):
    draws = some_draws(model)
    draws["index"].attrs["units"] = "mine"
    found = xr.DataTree.from_dict({"posterior": draws, "posterior/below": draws, "other": xr.Dataset({"z": 1.0})})
    found.attrs["kept"] = 3
    results = pmg.annotate(found, model)
    assert held_units(results["posterior"]) == UNITS | {"index": "mine"}
    assert held_units(results["posterior/below"]) == UNITS | {"index": "mine"}
    assert results.attrs == {"kept": 3, "citations": "\n".join(map(str, response.citations()))}
    assert set(results.children) == {"posterior", "other"}
    # what was given is as it was, and the draws are shared
    assert held_units(found["posterior"]) == {"index": "mine"}
    assert found.attrs == {"kept": 3}
    assert np.shares_memory(results["posterior"]["norm"].values, found["posterior"]["norm"].values)


@pytest.mark.parametrize(
    "change",
    [
        lambda model, _: pm.do(model, {"unused": 1.0}),
        lambda model, response: pmg.observe_events(model, response.simulate(rng=2)),
        lambda model, _: pm.observe(model, {"unused": 1.0}),
    ],
)
def test_units_survive_copies_of_a_model(model, response, change):
    assert held_units(pmg.annotate(some_draws(model), change(model, response))) == UNITS


def test_they_survive_in_a_file(model, tmp_path):
    results = pmg.annotate(xr.DataTree.from_dict({"posterior": some_draws(model)}), model)
    results.to_netcdf(tmp_path / "results.nc", engine="h5netcdf")
    with xr.open_datatree(tmp_path / "results.nc", engine="h5netcdf") as read:
        assert held_units(read["posterior"]) == UNITS
        assert read.attrs["citations"] == results.attrs["citations"]


@pytest.mark.parametrize("change", [lambda model: model, lambda model: pm.do(model, {"unused": 1.0})])
def test_what_variables_are_used_for(model, change):
    draws = some_draws(model)
    draws["index"].attrs["description"] = "mine"
    results = pmg.annotate(draws, change(model))
    told = {
        str(name): one.attrs["description"] for name, one in results.data_vars.items() if "description" in one.attrs
    }
    assert set(told) == set(UNITS)
    assert told["index"] == "mine"
    assert told["amplitude"] == "amplitude of PowerLaw"
    assert told["norm"] == "norm of 'ccr'"
    assert told["crab_lon"] == "longitude in the frame galactic"
    assert told["energy_scale"] == "systematic EnergyScale"


def test_nested_sampling_brings_them(response):
    sky = [source("crab", 0.3, -0.2), pmg.CosmicRayBackground()]
    fixed = pmg.fold(sky, response.observations[0], response.roi)
    with pm.Model(coords=fixed.coords) as model:
        amplitude = pm.Uniform("norm", 0.1, 3)
        pmg.ExtendedEventMixture(
            "events", response=fixed, norms={"crab": amplitude}, observed=fixed.simulate(rng=1), expected_counts=True
        )
    result = pmg.sample_nested(model, nlive=20, dlogz=5.0, random_seed=1, progressbar=False)
    assert held_units(result["posterior"]) == {"norm": "", "events_expected_counts": "counts"}
    assert held_units(result["nested"]) == {"norm": "", "events_expected_counts": "counts"}
    assert result.attrs["citations"].startswith("Cherenkov")


def test_parameters_of_other_spectra_and_shapes():
    with pm.Model():
        x = [pm.Normal(f"x{k}") for k in range(6)]
        pmg.darkmatter.Annihilation(mass=x[0], sigmav=x[1], channels={"b": 1.0}, j_factor=x[2])
        pmg.GaussianShape(0.0, 0.0, x[3], x[4], x[5])
    assert [unit_of(one) for one in x] == ["TeV", "cm3 s-1", "TeV2 cm-5", "deg", "", "deg"]
    assert unit_of(with_unit(x[0], "GeV")) == "TeV"  # the first stays


def test_a_model_without_events():
    with pm.Model() as model:
        pm.Normal("x")
    results = pmg.annotate(xr.Dataset({"x": (("chain", "draw"), np.ones((1, 2)))}), model)
    assert not results.attrs
    assert not results["x"].attrs


@pytest.fixture(scope="module")
def posterior():
    rng = np.random.default_rng(0)
    flux = rng.normal([2e-12, 3e-10], [1e-13, 1e-11], (4, 500, 2))
    return xr.Dataset(
        {
            "flux": (("chain", "draw", "source"), flux, {"units": "cm-2 s-1"}),
            "index": (("chain", "draw"), rng.normal(2.3, 0.1, (4, 500))),
        },
        {"source": ["a", "b"]},
    )


def test_fluxes_are_readable(posterior):
    table = pmg.summary(xr.DataTree.from_dict({"posterior": posterior}), round_to="none")
    assert table["unit"].to_dict() == {"flux[a]": "1e-12 cm-2 s-1", "flux[b]": "1e-10 cm-2 s-1", "index": ""}
    mean = posterior.mean(("chain", "draw"))
    assert table.loc["flux[a]", "mean"] == pytest.approx(float(mean.flux[0]) * 1e12, rel=1e-12)
    assert table.loc["flux[b]", "sd"] == pytest.approx(float(posterior.flux[..., 1].std(ddof=0)) * 1e10, rel=1e-2)
    assert table.loc["index", "mean"] == pytest.approx(float(mean["index"]), rel=1e-12)
    shown = pmg.summary(posterior, kind="stats", ci_prob=0.5).to_string()
    assert "1e-12 cm-2 s-1" in shown
    assert "eti50_lb" in shown


def test_rows_and_units_that_are_asked_for(posterior):
    table = pmg.summary(posterior, ["flux"], units={"flux": u.Unit("m-2 s-1")}, coords={"source": ["b"]})
    assert list(table.index) == ["flux[b]"]
    assert table.loc["flux[b]", "unit"] == "1e-10 1 / (s m2)"


def test_draws_of_one_dim_and_of_other_groups(posterior):
    flat = posterior.isel(chain=0, drop=True).rename(draw="sample")
    one = pmg.summary(flat, kind="stats", round_to="none")
    assert one.loc["index", "mean"] == pytest.approx(float(posterior["index"][0].mean()), rel=1e-12)
    tree = xr.DataTree.from_dict({"prior": posterior})
    assert list(pmg.summary(tree, group="prior").index) == ["flux[a]", "flux[b]", "index"]
    assert np.isnan(pmg.summary(xr.Dataset({"c": (("chain", "draw"), np.ones((2, 9)))})).loc["c", "r_hat"])


def test_bad_tables_are_refused(posterior):
    tree = xr.DataTree.from_dict({"posterior": posterior})
    for options, message in (
        ({"var_names": ["flix"]}, r"no variable 'flix'; there are 'flux', 'index'\."),
        ({"units": {"flix": "m"}}, "units names 'flix'"),
        ({"group": "prior"}, "no group 'prior'; the groups are posterior"),
    ):
        with pytest.raises(ModelError, match=message):
            pmg.summary(tree, **options)
    with pytest.raises(TypeError, match=r"'ci_prop'\. Did you mean 'ci_prob'"):
        pmg.summary(tree, ci_prop=0.9)
    for empty in (xr.Dataset(), xr.DataTree(), xr.Dataset({"x": 1.0})):
        with pytest.raises(ModelError):
            pmg.summary(empty)
