"""How a posterior of a free shape lies in the range of its tables."""

import numpy as np
import pytensor.tensor as pt
import pytest
import xarray as xr
from setups import pointing, region, source

import pymc_gamma as pmg
from pymc_gamma.errors import ModelError, PymcGammaWarning, SkyModelError
from pymc_gamma.folding.live import LiveTables
from pymc_gamma.inference import shape_check

LON, LAT, SIGMA = 0.2, -0.1, 0.1


@pytest.fixture(scope="module")
def response():
    sky = [source("msh", LON, LAT, sigma=SIGMA, index=2.3, amplitude=6e-11), pmg.CosmicRayBackground()]
    return pmg.fold(sky, pointing(hours=1), region(width=1.6, energy=(0.7, 20)), energy_true=40, free_shape=["msh"])


@pytest.fixture(scope="module")
def shape():
    return pmg.GaussianShape(pt.scalar("lon"), pt.scalar("lat"), pt.exp(pt.scalar("log_sigma")))


def posterior(rng, lon=LON, lat=LAT, sigma=SIGMA, widths=(0.002, 0.002, 0.02)):
    means = (lon, lat, np.log(sigma))
    draws = {
        name: rng.normal(m, w, (2, 500)) for name, m, w in zip(("lon", "lat", "log_sigma"), means, widths, strict=True)
    }
    return xr.Dataset({name: (("chain", "draw"), values) for name, values in draws.items()})


def test_near_the_reference(response, shape, rng):
    draws = posterior(rng)
    check = pmg.check_shapes(xr.DataTree.from_dict({"posterior": draws}), response, {"msh": shape})
    table = check.table
    assert check.good
    assert table.parameter.values.tolist() == ["msh.lon_0", "msh.lat_0", "msh.sigma"]
    assert table.reference.values == pytest.approx([LON, LAT, SIGMA])
    sigma = np.exp(draws["log_sigma"].values)
    assert table["mean"].values == pytest.approx([*(float(draws[k].mean()) for k in ("lon", "lat")), sigma.mean()])
    assert table.sd.values[2] == pytest.approx(sigma.std())
    assert table.high.values == pytest.approx([LON + 0.3, LAT + 0.3, 0.2], abs=1e-6)
    assert table.reach.values[2] == pytest.approx((np.quantile(sigma, 0.9995) - 0.1) / 0.1, rel=0.2)
    assert table.reach.values[0] == pytest.approx(np.quantile(np.hypot(draws.lon - LON, draws.lat - LAT), 0.999) / 0.3)
    assert np.abs(table.bias.values).max() < 1e-3
    assert check.shapes["msh"].sigma == pytest.approx(sigma.mean())


def test_longitudes_are_those_of_a_circle(response, shape, rng):
    check = pmg.check_shapes(posterior(rng, lon=LON + 360), response, {"msh": shape})
    assert check.good
    assert check.shapes["msh"].lon_0 == pytest.approx(LON, abs=1e-3)


def test_a_posterior_at_the_limits(response, shape, rng):
    with pytest.warns(PymcGammaWarning, match=r"posterior of \['msh.sigma'\] comes to the limits.*with_shapes"):
        check = pmg.check_shapes(posterior(rng, sigma=0.19), response, {"msh": shape})
    assert not check.good
    with pytest.warns(PymcGammaWarning, match=r"posterior of \['msh.lon_0', 'msh.lat_0'\] comes to the limits"):
        pmg.check_shapes(posterior(rng, lon=LON + 0.212, lat=LAT + 0.212), response, {"msh": shape})


def test_bias_is_that_of_a_known_error(response, shape, rng, monkeypatch):
    """Densities of the tables that are checked, and of no others, get an error that grows with the extension."""
    density = LiveTables.density
    reference = response.components[0].shape

    def wrong(self, at, *args):
        factor = np.exp(0.01 * at.sigma / SIGMA) if self.source.shape is reference else 1.0
        return density(self, at, *args) * factor

    monkeypatch.setattr(LiveTables, "density", wrong)
    with pytest.warns(PymcGammaWarning, match=r"\['msh.sigma'\] is off by more than 0.1 standard deviations"):
        check = pmg.check_shapes(posterior(rng), response, {"msh": shape})
    n = float(response.with_shapes(check.shapes).acceptance[0])
    sd = float(check.table.sd[2])
    assert check.table.bias.values[2] == pytest.approx(n * 0.01 * sd / SIGMA, rel=1e-3)
    assert np.abs(check.table.bias.values[:2]).max() < 1e-3


def test_a_bias_that_matters(response, shape, rng, monkeypatch):
    monkeypatch.setattr(shape_check, "LARGEST_BIAS", 1e-3)
    with pytest.warns(PymcGammaWarning, match=r"'msh.sigma'\] is off by more than 0.001 standard deviations"):
        check = pmg.check_shapes(posterior(rng, sigma=0.02), response, {"msh": shape})
    assert not check.good
    monkeypatch.undo()
    again = response.with_shapes(check.shapes)
    assert pmg.check_shapes(posterior(rng, sigma=0.02), again, {"msh": shape}).good


def test_bad_input(response, shape, rng):
    draws = posterior(rng)
    with pytest.raises(
        ModelError, match=r"components \['ccr'\] have no free position or extension in the response; those that do are"
    ):
        pmg.check_shapes(draws, response, {"ccr": shape})
    with pytest.raises(ModelError, match="shape of 'msh' depends on the variable 'log_sigma'"):
        pmg.check_shapes(draws.drop_vars("log_sigma"), response, {"msh": shape})
    with pytest.raises(SkyModelError, match="must be a GaussianShape, got PointShape"):
        pmg.check_shapes(draws, response, {"msh": pmg.PointShape(shape.lon_0, shape.lat_0)})
    with pytest.raises(ModelError, match="there is nothing to check"):
        pmg.check_shapes(draws, response, {})
