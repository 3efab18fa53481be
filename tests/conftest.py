"""What every test shares: a drawing back end without a screen, warning filters, one seed."""

import os
import zlib

import hypothesis
import matplotlib
import numpy as np
import pytest

matplotlib.use("Agg")

# Warnings are errors; those of other packages are let through here by name, each with its reason.
THIRD_PARTY_WARNINGS = (
    # gammapy 2.1 holds invalid escape sequences; Python says so when it first compiles each file.
    r"ignore:.*invalid escape sequence.*:SyntaxWarning",
)


def pytest_configure(config: pytest.Config) -> None:
    for line in THIRD_PARTY_WARNINGS:
        config.addinivalue_line("filterwarnings", line)


# a first call may compile or fill a cache: examples have no deadline
hypothesis.settings.register_profile("default", deadline=None)
hypothesis.settings.load_profile("default")

SEED = int(os.environ.get("PYMC_GAMMA_TEST_SEED", "20260101"))


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """Seed of one test, whatever the order of the tests; PYMC_GAMMA_TEST_SEED changes all of them."""
    return (SEED + zlib.crc32(request.node.nodeid.encode())) % 2**31


@pytest.fixture
def rng(seed: int) -> np.random.Generator:
    """Random numbers of one test."""
    return np.random.default_rng(seed)


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    import matplotlib.pyplot as plt

    plt.close("all")
