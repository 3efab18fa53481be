"""Shapes that a model refuses, when it is built."""

import numpy as np
import pymc as pm
import pytensor.tensor as pt
import pytest
from setups import region
from shape_scene import LAT, LON, folded, runs, sky, start_of, variables

import pymc_gamma as pmg
from pymc_gamma.errors import ModelError, SkyModelError


@pytest.fixture(scope="module")
def response():
    return folded("elongated")


@pytest.fixture(scope="module")
def free_spectrum():
    return folded("elongated", free_spectrum=["msh"])


def build(response, shapes, **options):
    with pm.Model():
        return pmg.ExtendedEventMixture("events", response=response, shapes=shapes, max_events=3000, **options)


def test_shapes_and_folding_must_agree(response):
    with pytest.raises(ModelError, match=r"leaves the shape of \['msh'\] to the model; pass shapes"):
        build(response, None)
    shape = pmg.GaussianShape(pt.scalar(), LAT, 0.1)
    with pytest.raises(ModelError, match=r"shapes are given for \['halo'\], which were folded with a fixed shape"):
        build(response, {"msh": shape, "halo": shape})
    with pytest.raises(ModelError, match=r"given for \['mesh'\], but the components are"):
        build(response, {"mesh": shape})
    fixed = (
        response.refold()
        if not response.free_shape
        else pmg.fold(sky("round"), runs(1), region(width=1.6, energy=(0.7, 20)), energy_true=80)
    )
    with pytest.raises(ModelError, match=r"fold with free_shape=\['msh'\]"):
        build(fixed, {"msh": shape})


@pytest.mark.parametrize(
    ("shape", "error", "message"),
    [
        (pmg.PointShape(pt.scalar(), LAT), SkyModelError, "its shape must be a GaussianShape"),
        (pmg.DiskShape(pt.scalar(), LAT, 0.1), SkyModelError, "must be a GaussianShape, got DiskShape"),
        ("wide", TypeError, "must be a GaussianShape, got str"),
        (pmg.GaussianShape(LON, LAT, pt.scalar(), 0.99), SkyModelError, "e = 0.99 is outside 0 to 0.98"),
        (pmg.GaussianShape(LON, LAT, 0.9, pt.scalar()), SkyModelError, "sigma = 0.9 is outside"),
        (pmg.GaussianShape(3.0, 2.0, pt.scalar()), SkyModelError, "outside the region"),
        (pmg.GaussianShape(LON + 0.5, LAT, pt.scalar()), SkyModelError, "0.5 deg from .* where it was folded"),
    ],
)
def test_shapes_that_a_component_cannot_have(response, shape, error, message):
    with pytest.raises(error, match=message):
        build(response, {"msh": shape})


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ({"sigma": -0.05}, "sigma of at least 0 deg"),
        ({"sigma": 0.3}, "sigma = 0.3 is outside 0 to 0.24"),
        ({"e": 1.2}, "e between 0 and 1"),
        ({"lon_0": 2.0}, "outside the region"),
        ({"lat_0": LAT + 0.4}, "further than 0.3 deg"),
        ({"lat_0": 95.0}, "within -90 and 90"),
        ({"phi": np.nan}, "must be finite"),
    ],
)
@pytest.mark.parametrize("free", [False, True])
def test_parameters_out_of_range_at_the_start(response, free_spectrum, start, message, free):
    chosen, spectra = (response, {}) if not free else (free_spectrum, {"msh": pmg.PowerLaw()})
    with pm.Model():
        shapes = {"msh": pmg.GaussianShape(**variables({**start_of("elongated")[0], **start}))}
        with pytest.raises(ModelError, match=rf"events: at the initial values of the parameters, .*{message}"):
            pmg.ExtendedEventMixture("events", response=chosen, shapes=shapes, spectra=spectra, max_events=3000)


@pytest.mark.parametrize(
    ("vector", "told"),
    [
        (lambda: pm.HalfNormal("s", 0.1, shape=2), r"'s' of Vector\(float64, shape=\(2,\)\); pass .* such as s\[0\]"),
        (lambda: pm.HalfNormal("s", 0.1, shape=1), r"'s' of Vector\(float64, shape=\(1,\)\)"),
        (lambda: pt.vector() + 1, r"Vector\(float64, shape=\(\?,\)\); pass a single entry, such as variable\[0\]"),
        (lambda: pt.matrix("m"), r"'m' of Matrix\(float64"),
    ],
)
@pytest.mark.parametrize("kind", [pmg.PointShape, pmg.GaussianShape, pmg.DiskShape, pmg.ShellShape])
def test_parameters_are_single(kind, vector, told):
    values = {"lon_0": LON, "lat_0": LAT, "sigma": 0.1, "e": 0.1, "phi": 3.0, "r_0": 0.2, "radius": 0.2, "width": 0.1}
    names = [name for name in values if name in kind.__dataclass_fields__]
    for name in names:
        with pm.Model(), pytest.raises(TypeError, match=rf"{kind.__name__}: {name} must be one number .*, got {told}"):
            kind(**{**{key: values[key] for key in names}, name: vector()})


@pytest.mark.parametrize("radius", [0.0, -0.1])
def test_a_disk_without_a_radius(radius):
    response = folded("disk")
    with pm.Model():
        shapes = {"msh": pmg.DiskShape(LON, LAT, pm.Flat("radius", initval=radius))}
        with pytest.raises(ModelError, match="r_0 of more than 0 deg"):
            pmg.ExtendedEventMixture("events", response=response, shapes=shapes, max_events=3000)
