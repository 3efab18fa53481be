"""Components at the nodes of a grid: values, names, order, and what is refused."""

import astropy.units as u
import numpy as np
import pytest
from gammapy.modeling.models import PowerLawSpectralModel, ShellSpatialModel

from pymc_gamma.errors import SkyModelError
from pymc_gamma.sky import CosmicRayBackground, GalacticDiffuse, SkySource, TemplateShape
from pymc_gamma.sky.component import renamed
from pymc_gamma.sky.scanned import Scanned

PLACE = {"lon_0": "0.3 deg", "lat_0": "-0.2 deg", "frame": "galactic"}
RADIUS = [0.2, 0.3, 0.5] * u.deg


def shell(radius, index=2.0, width=0.1 * u.deg):
    return SkySource(
        "a shell", ShellSpatialModel(radius=radius, width=width, **PLACE), PowerLawSpectralModel(index=index)
    )


def test_one_parameter(roi):
    scanned = Scanned("rxj", shell, nodes={"radius": RADIUS})
    assert (scanned.name, scanned.shape, len(scanned)) == ("rxj", (3,), 3)
    assert scanned.grid["radius"].tolist() == [0.2, 0.3, 0.5]
    assert scanned.units == {"radius": "deg"}
    for index, component in enumerate(scanned.components()):
        assert component.name == "rxj"
        assert scanned.values(index) == {"radius": RADIUS[index]}
        (own,), (expected,) = (one.parts(roi) for one in (component, shell(RADIUS[index])))
        assert isinstance(own.shape, TemplateShape)
        assert own.shape.radius == expected.shape.radius
    assert scanned.label(1) == "radius = 0.3 deg"
    scanned.check(roi)


def test_two_parameters_the_second_fastest():
    """As `ScanTables` has them: an array of all components takes the shape of the grid."""
    made = []

    def factory(index, radius):
        made.append((index, radius.to_value("deg")))
        return shell(radius, index)

    scanned = Scanned("rxj", factory, nodes={"index": [2.0, 2.5], "radius": RADIUS.to(u.arcmin)})
    made.clear()
    assert len(list(scanned.components())) == len(scanned) == 6
    np.testing.assert_allclose(made, [(i, r) for i in (2.0, 2.5) for r in (0.2, 0.3, 0.5)])
    assert scanned.shape == (2, 3)
    np.testing.assert_allclose(scanned.grid["radius"], [12, 18, 30])
    assert scanned.label(4) == "index = 2.5, radius = 18 arcmin"
    assert isinstance(scanned.values(4)["index"], float)


def test_a_list_of_quantities():
    scanned = Scanned("rxj", shell, nodes={"radius": [0.2 * u.deg, 18 * u.arcmin]})
    np.testing.assert_allclose(scanned.grid["radius"], [0.2, 0.3])


def test_a_component_that_is_used_elsewhere_keeps_its_name():
    shared = shell(0.2 * u.deg)
    scanned = Scanned("rxj", lambda radius: shared, nodes={"radius": RADIUS})
    assert scanned.component(0).name == "rxj"
    assert shared.name == "a shell"
    assert renamed(shared, "b").citations == shared.citations


def test_factories_of_any_kind():
    class Maker:
        def __call__(self, **parameters):
            return shell(**parameters)

    for factory in (Maker(), lambda radius, *, width=0.1 * u.deg: shell(radius, width=width)):
        assert Scanned("rxj", factory, nodes={"radius": RADIUS}).component(2).name == "rxj"


@pytest.mark.parametrize(
    ("nodes", "error", "told"),
    [
        ({}, SkyModelError, "one or two parameters can be scanned"),
        ({"radius": RADIUS, "index": [1.0, 2.0], "width": RADIUS}, SkyModelError, "one or two parameters"),
        ({"radius": [0.2] * u.deg}, ValueError, "nodes of 'radius' must be a list of at least 2 ascending"),
        ({"radius": 0.2 * u.deg}, ValueError, "at least 2 ascending"),
        ({"radius": [0.3, 0.2, 0.5] * u.deg}, ValueError, "must be ascending, got 0.3 before 0.2"),
        ({"radius": [0.2, 0.2] * u.deg}, ValueError, "must be ascending, got 0.2 before 0.2"),
        ({"radius": [0.2, np.nan] * u.deg}, ValueError, "must be finite"),
        ({"radius": ["a", "b"]}, TypeError, "must be numbers"),
        ({"radius": [0.2 * u.deg, 3 * u.TeV]}, u.UnitConversionError, "nodes of 'radius'"),
        ({"radius": [0.2 * u.deg, 0.3]}, TypeError, "nodes of 'radius'"),
        ({"radius": [0.2, 0.3 * u.deg]}, (TypeError, u.UnitConversionError), "nodes of 'radius'"),
        ({"a radius": RADIUS}, SkyModelError, "those of named parameters, got 'a radius'"),
        ({3: RADIUS}, SkyModelError, "those of named parameters, got 3"),
        ({"radii": RADIUS}, SkyModelError, r"called with radii=..., but takes \(radius, index"),
        ({"index": [1.0, 2.0]}, SkyModelError, "missing a required argument: 'radius'"),
        ([0.2, 0.3], TypeError, "nodes must be a mapping"),
    ],
)
def test_bad_nodes(nodes, error, told):
    with pytest.raises(error, match=told):
        Scanned("rxj", shell, nodes=nodes)


@pytest.mark.parametrize("name", ["", "  ", 3, None])
def test_bad_names(name):
    with pytest.raises(SkyModelError, match="non-empty name"):
        Scanned(name, shell, nodes={"radius": RADIUS})


def test_bad_factories():
    nodes = {"radius": RADIUS}
    with pytest.raises(TypeError, match="Scanned 'rxj': factory must make a component when it is called"):
        Scanned("rxj", shell(0.2 * u.deg), nodes)
    with pytest.raises(SkyModelError, match=r"'rxj', radius = 0.2 deg: the factory must make a component .* got 3"):
        Scanned("rxj", lambda radius: 3, nodes)
    with pytest.raises(SkyModelError, match="must make a component of the sky, got CosmicRay"):
        Scanned("rxj", lambda radius: CosmicRayBackground(), nodes)
    with pytest.raises(SkyModelError, match=r"radius = 0.2 deg: the factory failed: ZeroDivisionError"):
        Scanned("rxj", lambda radius: 1 / 0, nodes)


def test_one_node_that_fails():
    def factory(radius):
        if radius > 0.4 * u.deg:
            raise RuntimeError("too large")
        return shell(radius) if radius < 0.25 * u.deg else GalacticDiffuse()

    scanned = Scanned("rxj", factory, {"radius": RADIUS})
    with pytest.raises(SkyModelError, match=r"radius = 0.3 deg: the factory made GalacticDiffuse.* a SkySource"):
        scanned.component(1)
    with pytest.raises(SkyModelError, match=r"radius = 0.5 deg: the factory failed: RuntimeError: too large"):
        scanned.component(2)


@pytest.mark.parametrize(("index", "error"), [(3, IndexError), (-1, ValueError), (0.5, TypeError)])
def test_no_such_node(index, error):
    scanned = Scanned("rxj", shell, nodes={"radius": RADIUS})
    for ask in (scanned.values, scanned.label, scanned.component):
        with pytest.raises(error):
            ask(index)


def test_flux(roi, region):
    def factory(amplitude):
        spectral = PowerLawSpectralModel(amplitude=amplitude)
        return SkySource("shell", ShellSpatialModel(radius="0.2 deg", width="0.1 deg", **PLACE), spectral)

    nodes = {"amplitude": [-1e-12, 1e-12] / u.Unit("TeV cm2 s")}
    with pytest.raises(SkyModelError, match=r"amplitude = -1e-12 1 / \(TeV s cm2\): .* negative"):
        Scanned("rxj", factory, nodes).check(roi)
    with pytest.raises(SkyModelError, match=r"radius = 0.2 deg: nothing of it reaches into the region"):
        Scanned("rxj", shell, {"radius": RADIUS}).check(region(lon=90.0))
