"""Every public callable, with arguments that are spoilt one by one: each is refused, by name.

The callables are found, not listed: a new one fails here until `recipes.py` knows valid arguments of it.
"""

import inspect
import re

import astropy.units as u
import matplotlib.pyplot as plt
import numpy as np
import pymc as pm
import pytest
from astropy.coordinates import SkyCoord
from recipes import ANY_SHAPE, HOOKS, INTERNAL, Objects, recipes

import pymc_gamma as pmg

PUBLIC = {name: getattr(room, name) for room in (pmg, pmg.darkmatter) for name in room.__all__}
UNKNOWN = "no_such_keyword"
ERRORS = (ValueError, TypeError, u.UnitsError)
"""All errors of the package are among these."""


def public_methods(cls):
    """Names of the methods that the package gives a class."""
    for name in sorted(dir(cls)):
        raw = inspect.getattr_static(cls, name)
        function = raw.__func__ if isinstance(raw, classmethod | staticmethod) else raw
        if not name.startswith("_") and inspect.isfunction(function) and function.__module__.startswith("pymc_gamma"):
            yield name


def public_callables():
    """Names of all public functions, classes, and methods of these."""
    for name, value in PUBLIC.items():
        yield name
        if inspect.isclass(value):
            yield from (f"{name}.{method}" for method in public_methods(value))


def is_internal(name):
    return name in INTERNAL or name.partition(".")[2] in HOOKS


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    return recipes(Objects(tmp_path_factory.mktemp("public")))


def call(name, arguments):
    """Call a public callable, in a model of its own."""
    arguments = dict(arguments)
    owner, _, method = name.partition(".")
    target = arguments.pop("self", PUBLIC[owner])
    with pm.Model():
        return getattr(target, method)(**arguments) if method else target(**arguments)


def spoilt(value):
    """What may be passed by mistake instead of a value, and what is wrong with it."""
    cube = np.ones((2, 1, 7))  # and of a length that fits no other argument
    if isinstance(value, bool) or value is None:
        return
    if isinstance(value, SkyCoord):
        yield "no coordinates", 3.0
        yield "NaN", SkyCoord(np.nan * u.deg, 0 * u.deg, frame="galactic")
        yield "wrong shape", SkyCoord(cube * u.deg, cube * u.deg, frame="galactic")
        return
    yield "wrong unit", np.ones(np.shape(value)) * u.kg if is_numeric(value) else 1 * u.kg
    if isinstance(value, u.Quantity):
        yield "NaN", np.full(value.shape, np.nan) * value.unit
        yield "wrong shape", cube * value.unit
        yield "no unit", np.ones(value.shape)
    elif is_numeric(value):
        yield "NaN", np.full(np.shape(value), np.nan) if np.ndim(value) else np.nan
        yield "wrong shape", cube
    else:
        yield "NaN", np.nan
        yield "wrong type", cube


def is_numeric(value):
    if isinstance(value, u.Quantity):
        return True
    return isinstance(value, int | float | list | tuple | np.ndarray) and np.asarray(value).dtype.kind in "fiu"


def names_argument(message, argument):
    """Whether a message has the name of an argument as a word, or in the singular or plural."""
    stem = "spectr(um|a)" if argument == "spectra" else re.escape(re.sub(r"s?_?$", "", argument))
    return re.search(rf"(?<![a-z]){stem}(s|es)?(?![a-z])", message, flags=re.IGNORECASE) is not None


@pytest.mark.filterwarnings("ignore:IRFs of 1 observation:pymc_gamma.errors.PymcGammaWarning")  # repaired at load
@pytest.mark.parametrize("name", [*public_callables()])
def test_refused_by_name(name, known):
    if is_internal(name):
        return
    assert name in known, (
        f"{name} is public and has no recipe: add valid arguments of it to tests/recipes.py, so that this test can "
        "spoil them. (What only the package calls goes into HOOKS or INTERNAL there, with the reason.)"
    )
    valid = known[name]
    call(name, valid)
    plt.close("all")
    faults = []
    with pytest.raises(TypeError, match=UNKNOWN):
        call(name, {**valid, UNKNOWN: 1})
    for argument, value in valid.items():
        for what, bad in () if argument == "self" else spoilt(value):
            if what == "wrong shape" and argument in ANY_SHAPE.get(name, ()):
                continue
            try:
                call(name, {**valid, argument: bad})
            except ERRORS as error:
                if not names_argument(str(error), argument):
                    faults.append(f"{argument} ({what}): the message does not name it: {type(error).__name__}: {error}")
            except Exception as error:
                faults.append(f"{argument} ({what}): {type(error).__name__}: {error}")
            else:
                faults.append(f"{argument} ({what}): accepted {bad!r}")
            plt.close("all")
    assert not faults, f"{name}:\n" + "\n".join(faults)


def test_recipes_and_hooks_exist(known):
    every = set(public_callables())
    assert not set(known) - every, "recipes of what is not public"
    assert not set(HOOKS) - {name.partition(".")[2] for name in every}, "hooks that no class has"
    assert not set(INTERNAL) - every, "exceptions of what is not public"
