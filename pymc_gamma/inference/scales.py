"""Powers of ten and units in which numbers are readable."""

from dataclasses import dataclass

import numpy as np

from pymc_gamma.arrays import FloatArray

__all__ = ["Scale", "power_of_ten"]

# Numbers whose typical size lies between these need no power of ten.
_PLAIN = (1e-2, 1e4)


@dataclass(frozen=True)
class Scale:
    """How a scalar is shown: divided by ``10**exponent``, in ``unit``.

    Parameters
    ----------
    exponent : int
        Power of ten.
    unit : str
        Unit, empty if there is none.
    """

    exponent: int = 0
    unit: str = ""

    @property
    def factor(self) -> float:
        """Number that draws are divided by."""
        return float(f"1e{self.exponent}")

    @property
    def text(self) -> str:
        """The power and the unit.

        Examples
        --------
        >>> Scale(-12, "cm-2 s-1 TeV-1").text
        '1e-12 cm-2 s-1 TeV-1'
        """
        return " ".join(filter(None, (f"1e{self.exponent}" if self.exponent else "", self.unit)))

    def label(self, name: str) -> str:
        r"""Name with the power and the unit in brackets.

        Examples
        --------
        >>> Scale(-12, "cm-2 s-1 TeV-1").label("amplitude")
        'amplitude\n[1e-12 cm-2 s-1 TeV-1]'
        """
        return f"{name}\n[{self.text}]" if self.text else name


def power_of_ten(values: FloatArray) -> int:
    """Power of ten that draws of a scalar are shown in; 0 where they are readable as they are.

    Examples
    --------
    >>> power_of_ten(np.array([2.1e-12, 3.4e-12])), power_of_ten(np.array([0.1, 2.0]))
    (-12, 0)
    """
    size = float(np.median(np.abs(values[np.isfinite(values)]))) if np.isfinite(values).any() else 0.0
    # A parameter around zero is as large as its spread.
    size = max(size, float(np.std(values)))
    if size == 0 or not np.isfinite(size) or _PLAIN[0] <= size < _PLAIN[1]:
        return 0
    return int(np.floor(np.log10(size)))
