"""A user's own log-likelihoods with nodes: against the exact ones, what is taken by name, and what is refused."""

import astropy.units as u
import numpy as np
import pymc as pm
import pytest
import xarray as xr

import pymc_gamma as pmg
from pymc_gamma.errors import EventError, ModelError

RNG = np.random.default_rng(1)
X = np.concatenate([RNG.normal(1.2, 0.3, 300), RNG.uniform(-3, 6, 700)])
MASS, WIDTH = np.linspace(0.5, 2.0, 16), np.geomspace(0.2, 0.5, 9)
FLAT = np.full(len(X), -np.log(9))
COMPONENTS = ["background", "dm"]


def line(mass, width=0.3):
    mass, width = np.broadcast_arrays(mass, width)
    x = X.reshape(-1, *[1] * mass.ndim)
    return -0.5 * ((x - mass) / width) ** 2 - np.log(width * np.sqrt(2 * np.pi))


def one_axis():
    return xr.DataArray(line(MASS), {"mass": MASS}, ("event", "mass"))


def two_axes():
    return xr.DataArray(line(MASS[:, None], WIDTH), {"mass": MASS, "width": WIDTH}, ("event", "mass", "width"))


def side_by_side():
    """One array of all components, those without nodes repeated along these."""
    flat = xr.DataArray(np.repeat(FLAT[:, None], len(MASS), axis=1), {"mass": MASS}, ("event", "mass"))
    return xr.concat([one_axis(), flat], "component").assign_coords(component=["dm", "background"])


def built(table, scan=("mass",), coords=None, **options):
    with pm.Model(coords={"component": COMPONENTS} if coords is None else coords) as model:
        starts = {"mass": 1.1, "width": 0.3}
        values = {name: pm.Uniform(name, 0, 3, default_transform=None, initval=starts[name]) for name in scan}
        fraction = pm.Dirichlet("fraction", [1, 1], dims="component")
        pmg.EventMixture("events", fraction, log_likelihood=table, scan=values, **options)
    return model


def log_likelihood(model, fraction=0.3, **values):
    """At a fraction of the second component."""
    point = model.initial_point() | {"fraction_simplex__": np.array([np.log((1 - fraction) / fraction) / 2])}
    return float(model.compile_logp(vars=[model["events"]])(point | {k: np.array(v) for k, v in values.items()}))


def exact(fraction=0.3, mass=1.2, width=0.3, multiplicity=1.0):
    density = (1 - fraction) * np.exp(FLAT) + fraction * np.exp(line(mass, width))
    return float(np.sum(multiplicity * np.log(density)))


def test_two_parameters_without_a_value():
    model = built({"dm": two_axes(), "background": FLAT}, ("mass", "width"))
    assert np.isfinite(log_likelihood(model))
    for value in (np.nan, np.inf, -np.inf, -1.0):
        assert log_likelihood(model, mass=value) == log_likelihood(model, width=value) == -np.inf, value


@pytest.mark.parametrize("argument", ["shapes", "spectra"])
def test_what_a_table_replaces(argument):
    given = {argument: {"dm": pmg.GaussianShape(0, 0, 0.1)}}
    told = f"log_likelihood replaces response, .*{argument}, .* pass it alone"
    for table, scan in ((one_axis(), {"mass": 1.0}), (np.zeros((5, 2)), None)):
        with pm.Model(coords={"component": COMPONENTS}), pytest.raises(ModelError, match=told):
            pmg.EventMixture("events", [0.5, 0.5], log_likelihood=table, scan=scan, **given)


@pytest.mark.parametrize("table", [{"dm": one_axis(), "background": FLAT}, side_by_side(), side_by_side().T])
def test_between_nodes(table):
    """The logarithm is quadratic in the place of the line, which cubics reproduce."""
    model = built(table)
    for mass in (0.5, 0.97, 1.2345, 2.0):
        assert log_likelihood(model, mass=mass) == pytest.approx(exact(mass=mass), rel=1e-12)
    for value in (0.49, 2.01, np.nan, np.inf, -np.inf):
        assert log_likelihood(model, mass=value) == -np.inf, value


def test_two_parameters():
    model = built({"dm": two_axes(), "background": FLAT}, scan=("width", "mass"))
    for mass, width in ((1.2345, 0.31), (0.97, 0.44)):
        assert log_likelihood(model, mass=mass, width=width) == pytest.approx(exact(mass=mass, width=width), abs=0.01)


def test_at_nodes_as_a_table_of_these():
    """What takes the nearest node is a table for each."""
    model = built({"dm": one_axis(), "background": FLAT})
    for k in (0, 6, 15):
        with pm.Model(coords={"component": COMPONENTS}) as plain:
            fraction = pm.Dirichlet("fraction", [1, 1], dims="component")
            pmg.EventMixture("events", fraction, log_likelihood=np.column_stack([FLAT, line(MASS[k])]))
        assert log_likelihood(model, mass=MASS[k]) == pytest.approx(log_likelihood(plain), rel=1e-13)


def test_gradients():
    model = built({"dm": two_axes(), "background": FLAT}, scan=("mass", "width"))
    point = model.initial_point()
    names = [one.name for one in model.value_vars]
    found, value = dict(zip(names, model.compile_dlogp()(point), strict=False)), model.compile_logp()
    flat = np.atleast_1d(model.compile_dlogp()(point))
    assert len(flat) == len(names) == 3
    for k, name in enumerate(names):
        low, high = ({**point, name: point[name] + step} for step in (-1e-5, 1e-5))
        assert flat[k] == pytest.approx((value(high) - value(low)) / 2e-5, rel=1e-6), (name, found)


def test_components_share_a_parameter_or_have_their_own():
    second = xr.DataArray(line(WIDTH + 1), {"width": WIDTH}, ("event", "width"))
    third = xr.DataArray(line(MASS + 0.1), {"mass": MASS}, ("event", "mass"))
    tables = {"a": one_axis(), "b": second, "c": third}
    with pm.Model(coords={"component": list(tables)}) as model:
        scan = {"mass": pm.Uniform("mass", 0, 3, default_transform=None, initval=1.1), "width": 0.33}
        pmg.EventMixture("events", [0.2, 0.3, 0.5], log_likelihood=tables, scan=scan)
    densities = np.exp(np.column_stack([line(1.234), line(1.33), line(1.334)]))
    found = model.compile_logp(vars=[model["events"]])({"mass": np.array(1.234)})
    assert float(found) == pytest.approx(np.sum(np.log(densities @ [0.2, 0.3, 0.5])), abs=1e-6)


def test_units_of_nodes():
    table = one_axis()
    table.coords["mass"].attrs["units"] = "TeV"
    with pm.Model(coords={"component": COMPONENTS}) as model:
        fraction = pm.Dirichlet("fraction", [1, 1], dims="component")
        tables = {"dm": table, "background": FLAT}
        pmg.EventMixture("events", fraction, log_likelihood=tables, scan={"mass": 1200 * u.GeV})
    assert log_likelihood(model) == pytest.approx(exact(mass=1.2), rel=1e-12)
    with pm.Model(coords={"component": COMPONENTS}), pytest.raises(u.UnitConversionError, match="TeV"):
        pmg.EventMixture("events", [0.5, 0.5], log_likelihood=tables, scan={"mass": 1 * u.deg})
    plain = {"dm": one_axis(), "background": FLAT}
    with pm.Model(coords={"component": COMPONENTS}), pytest.raises(u.UnitConversionError, match="without a unit"):
        pmg.EventMixture("events", [0.5, 0.5], log_likelihood=plain, scan={"mass": 1 * u.TeV})


def test_events_by_their_labels_and_multiplicities():
    labels = [f"e{i}" for i in range(len(X))]
    order = RNG.permutation(len(X))
    table = one_axis().assign_coords(event=labels).isel(event=order)
    counts = RNG.integers(1, 4, len(X)).astype(float)
    multiplicity = xr.DataArray(counts, {"event": labels}, "event")[::-1]
    coords = {"component": COMPONENTS, "event": labels}
    model = built({"dm": table, "background": FLAT}, coords=coords, multiplicity=multiplicity)
    assert model.named_vars_to_dims["events"][0] == "event"
    assert log_likelihood(model, mass=1.3) == pytest.approx(exact(mass=1.3, multiplicity=counts), rel=1e-12)


def test_very_small_likelihoods():
    """Only ratios count, however small the numbers of an event are."""
    shift = -1e5 * np.arange(len(X))
    tables = {"dm": one_axis() + xr.DataArray(shift, dims="event"), "background": FLAT + shift}
    found = log_likelihood(built(tables), mass=1.3)
    assert found == pytest.approx(exact(mass=1.3) + shift.sum(), rel=1e-13)


def test_no_component_without_nodes():
    tables = {"dm": one_axis(), "background": one_axis() - 1}
    assert log_likelihood(built(tables), mass=1.3) == pytest.approx(
        np.sum(line(1.3) + np.log(0.3 + 0.7 * np.exp(-1))), rel=1e-12
    )


def test_jax():
    pytest.importorskip("jax")
    model = built({"dm": two_axes(), "background": FLAT}, scan=("mass", "width"))
    point = model.initial_point()
    assert float(model.compile_logp(mode="JAX")(point)) == pytest.approx(float(model.compile_logp()(point)), rel=1e-12)


def test_no_draws():
    model = built({"dm": one_axis(), "background": FLAT})
    with pytest.raises(NotImplementedError, match="cannot draw events"):
        pm.draw(model["events"])


def with_nan():
    table = one_axis()
    table[3, 2] = np.nan
    return table


@pytest.mark.parametrize(
    ("table", "error", "told"),
    [
        ({"dm": one_axis()}, ModelError, r"missing \['background'\]"),
        ({"dm": one_axis(), "background": FLAT, "more": FLAT}, ModelError, r"unknown \['more'\]"),
        ({"dm": one_axis(), "background": FLAT[1:]}, ModelError, "all components must have the same events"),
        ({"dm": line(MASS), "background": FLAT}, ModelError, "one number for each event, or be a DataArray"),
        ({"dm": one_axis().drop_vars("mass"), "background": FLAT}, ModelError, r"\['mass'\] have no coordinates"),
        ({"dm": one_axis()[:, ::-1], "background": FLAT}, ValueError, "ascending"),
        ({"dm": one_axis().rename(event="row"), "background": FLAT}, ModelError, "must have the dim 'event'"),
        ({"dm": one_axis().rename(mass="m"), "background": FLAT}, ModelError, r"given for \['mass'\]"),
        ({"dm": two_axes(), "background": FLAT}, ModelError, r"no value is given for \['width'\]"),
        ({"dm": two_axes().expand_dims(z=2), "background": FLAT}, ModelError, "one or two parameters"),
        ({"background": FLAT, "dm": FLAT}, ModelError, "no component is a scan"),
        ({"dm": with_nan(), "background": FLAT}, EventError, "NaN in the log_likelihood table"),
        (side_by_side().rename(component="kind"), ModelError, "must be a DataArray with the dims"),
        (side_by_side().assign_coords(component=["dm", "b"]), ModelError, r"unknown \['b'\]"),
        (np.zeros((len(X), 2, 3)), ModelError, "must be a DataArray with the dims"),
    ],
)
def test_bad_tables(table, error, told):
    with pytest.raises(error, match=told):
        built(table)


def test_bad_values():
    tables = {"dm": one_axis(), "background": FLAT}
    with pytest.raises(ModelError, match=r"no value is given for \['mass'\]"):
        built(tables, scan=())
    with pm.Model(coords={"component": COMPONENTS}):
        for scan in ({"mass": 2.1}, {"mass": pm.Uniform("mass", 0, 3, initval=2.5)}):
            with pytest.raises(ModelError, match=r"outside its nodes, 0.5 to 2"):
                pmg.EventMixture("events", [0.5, 0.5], log_likelihood=tables, scan=scan)
