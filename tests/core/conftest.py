import numpy as np
import pytest


@pytest.fixture(autouse=True)
def _silent_numbers():
    """Kernels in plain Python (NUMBA_DISABLE_JIT) warn where compiled ones do not, of the same numbers."""
    with np.errstate(all="ignore"):
        yield
