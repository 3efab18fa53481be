r"""Blocks: what the intensity of events is a sum of.

.. math:: \lambda(x_i) = \sum_b \lambda_b(x_i), \qquad \Lambda_b = \int \lambda_b(x)\,\mathrm{d}x .

Each block has coefficients :math:`u` (a norm, or the spectrum at nodes times it; a row for all observations or one for
each), and perhaps parameters :math:`\theta` of its own. Over the acceptance :math:`C_b` of all its coefficients it has
the expected counts :math:`a_b(\theta, u)`, of which a mixture takes the fraction :math:`f_b`, so :math:`v = u f_b/a_b`,
and a Poisson process :math:`v = C_b u`.

* A **linear** block has columns in the shared table, :math:`\lambda_b(x_i) = \sum_j D_{ij} v_j`.
* An **added** one returns a number for each event, :math:`\lambda_b(x_i) = r_i(\theta, v)`, from an Op of its own.

With those of all linear blocks in one table, :math:`\lambda(x_i) = (D v)_i + \sum_b r_{bi}`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pytensor.tensor as pt
from numpy.typing import NDArray
from pytensor.graph.basic import Variable

from pymc_gamma.arrays import FloatArray
from pymc_gamma.folding.bands import Bands
from pymc_gamma.folding.free import FreeComponent
from pymc_gamma.model.component import flux_scale

__all__ = ["AddedBlock", "AddedTables", "Block", "LinearBlock"]


class Block:
    """What one component adds to the intensity.

    Parameters
    ----------
    name : str
        Name of the component.
    acceptance : numpy.ndarray
        Expected counts per unit coefficient, shape (n_rows, n): one row, or one for each observation.
    nodes : FreeComponent or None
        Where its spectrum is evaluated, if that is free.
    theta : TensorVariable, optional
        Parameters of its own, a vector.
    few_nodes : bool
        Whether its spectrum is on the fewer nodes of smooth ones.
    conditional : bool
        Whether its spectrum is NaN for parameters that it is not known for.

    Attributes
    ----------
    has_theta : bool
        Whether it has parameters of its own.
    n_rows : int
        Number of rows of coefficients, and of norms.
    size : int
        Number of coefficients.
    """

    def __init__(
        self,
        name: str,
        acceptance: FloatArray,
        nodes: FreeComponent | None = None,
        *,
        theta: Variable | None = None,
        few_nodes: bool = False,
        conditional: bool = False,
    ) -> None:
        self.name, self.acceptance, self.nodes, self.few_nodes = name, np.asarray(acceptance, float), nodes, few_nodes
        self.conditional = conditional
        self.has_theta = theta is not None
        self.n_rows, self.size = len(acceptance), acceptance.size

    @cached_property
    def total(self) -> float:
        """Expected counts for coefficients of one."""
        return float(self.acceptance.sum())

    @cached_property
    def share(self) -> FloatArray:
        """Share of each coefficient in them, shape (size,)."""
        return np.asarray(self.acceptance.ravel() / self.total)

    def counts(self, theta: Variable | None, u: Variable) -> Variable:
        """Expected counts for coefficients (size,), over :attr:`total`."""
        return pt.sum(pt.constant(self.share) * u)

    def frozen(self, theta: FloatArray) -> Mapping[str, Any]:
        """Keywords with which the response draws this block, for given parameters."""
        return {}

    def flux_scale(self, response: Any, theta: Variable | None) -> Any:
        """What its spectrum is multiplied with to be a flux, for its parameters: the J factor of a halo, say."""
        return flux_scale(response, self.name)

    def valid(self, theta: Variable) -> Variable | None:
        """Whether parameters are where the block knows its densities, a scalar; None if it knows them everywhere."""
        return None

    @property
    def known(self) -> FloatArray:
        """Parameters where the block knows its densities; it is evaluated there where :meth:`valid` says no."""
        raise NotImplementedError(f"{type(self).__name__} knows its densities for all parameters")

    def check_start(self, theta: FloatArray) -> None:
        """Raise a PymcGammaError that says what is wrong if parameters are where the block knows no densities."""

    def expected_parts(self, theta: FloatArray, spectra: Sequence[FloatArray] | None, response: Any) -> Any:
        """Expected counts of the parts of all components, by observation and component, for its parameters.

        Parameters
        ----------
        theta : numpy.ndarray
            Parameters.
        spectra : sequence of numpy.ndarray, optional
            Those of all components of free spectrum.
        response : PoissonResponse
            The response.
        """
        raise NotImplementedError(f"{type(self).__name__} has no parameters of its own")


class LinearBlock(Block):
    """A component with columns in the shared table.

    Parameters
    ----------
    name : str
        Name of the component.
    acceptance : numpy.ndarray
        Expected counts per unit coefficient, shape (n_rows, n).
    nodes : FreeComponent or None
        Where its spectrum is evaluated, if that is free.
    by_observation : bool
        Whether what the response has for all observations gets coefficients for each.
    theta : TensorVariable, optional
        Parameters of its own, a vector.
    few_nodes : bool
        Whether its spectrum is on the fewer nodes of smooth ones.
    conditional : bool
        Whether its spectrum is NaN for parameters that it is not known for.

    Attributes
    ----------
    n_dense : int
        Number of dense columns of a block with parameters.
    sizes : tuple of int
        Lengths of the coefficients of its bands.
    """

    n_dense: int = 0
    sizes: tuple[int, ...] = ()

    def __init__(
        self,
        name: str,
        acceptance: FloatArray,
        nodes: FreeComponent | None = None,
        *,
        by_observation: bool = False,
        theta: Variable | None = None,
        few_nodes: bool = False,
        conditional: bool = False,
    ) -> None:
        super().__init__(name, acceptance, nodes, theta=theta, few_nodes=few_nodes, conditional=conditional)
        self.by_observation = by_observation

    @property
    def dense(self) -> bool:
        """Whether each event has a number in each column, rather than a short run of them."""
        return self.nodes is None and not self.by_observation

    def offsets(self, observation: NDArray[np.int64]) -> NDArray[np.int64] | int:
        """First coefficients of the observations that events belong to, shape (N, 1)."""
        return observation[:, None] * (self.size // self.n_rows) if self.by_observation else 0

    def columns(self, rows: FloatArray, observation: NDArray[np.int64]) -> tuple[FloatArray, Bands | None]:
        """Columns of events of a block with parameters: dense ones (N, n_dense), and bands if there are any."""
        raise NotImplementedError(f"the columns of {type(self).__name__} are those of the response")

    def spread(self, theta: Variable, v: Variable) -> Variable:
        """Coefficients of these columns, for parameters and coefficients (size,); all dense, or none."""
        raise NotImplementedError(f"the coefficients of {type(self).__name__} go with columns as they are")


class AddedTables(NamedTuple):
    """What an added block needs to know of events.

    Attributes
    ----------
    arrays : tuple of numpy.ndarray
        Tables for its Op.
    reference : numpy.ndarray
        Densities near which those of the block will lie, TeV-1 sr-1 over the total acceptance, shape (N,).
    """

    arrays: tuple[NDArray[Any], ...]
    reference: FloatArray


class AddedBlock(Block, ABC):
    """A component whose densities come from an Op of its own."""

    @abstractmethod
    def tables(self, rows: FloatArray) -> AddedTables:
        """Tables of events (N, n_columns)."""

    @abstractmethod
    def table_types(self) -> list[Any]:
        """Types of the variables that hold the tables."""

    @abstractmethod
    def density(self, tables: tuple[Variable, ...], theta: Variable, v: Variable, n_events: Variable) -> Variable:
        """Densities of the events, shape (n_events,), for parameters and coefficients (size,)."""
