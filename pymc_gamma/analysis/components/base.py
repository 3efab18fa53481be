"""What a component of an analysis file is: keys, and what becomes of them in a response and in a model."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, field_validator

from pymc_gamma.analysis.parameters import Fixed, Scope, parameter
from pymc_gamma.analysis.section import Section

__all__ = ["Component", "Surroundings"]


@dataclass(frozen=True)
class Surroundings:
    """What a component does not say itself.

    Parameters
    ----------
    scope : Scope
        Shared priors.
    folder : pathlib.Path
        What relative paths start from.
    dark_matter : Section, optional
        What all dark matter has in common.
    """

    scope: Scope
    folder: Path
    dark_matter: Any = None

    def at(self, values: Mapping[str, Any]) -> "Surroundings":
        """The same with values for some names."""
        return replace(self, scope=self.scope.at(values))

    def path(self, path: Path) -> Path:
        """A path as it is meant."""
        return self.folder / path


class Component(Section):
    """What shines, or what the instrument adds.

    To add a kind derive a class with its name, ``kind``, and its keys.
    """

    kind: ClassVar[str]
    summary: ClassVar[str]
    """For the documentation."""
    is_table: ClassVar[bool] = False
    """Whether it is a table of log-likelihoods, which is not folded."""

    name: str = Field(description="Name of the component, in the model and in the results.")
    norm: parameter() = Field(  # type: ignore[valid-type]
        default=Fixed(1.0), description="Factor on its flux, where the likelihood is `poisson`."
    )

    keep_energies: bool = Field(
        default=False,
        description="Keep true energies though no parameter of the spectrum is free; some systematics need them.",
    )

    @field_validator("name")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("a name must not be empty")
        return value

    @abstractmethod
    def sky(self, around: Surroundings) -> Any:
        """What is folded: a component of the sky, or a scan of them."""

    def spectrum(self, around: Surroundings) -> Any:
        """Spectrum with the variables of the PyMC model of the context; None if it is that of what is folded."""
        return None

    def shape_parameters(self, around: Surroundings) -> dict[str, Any]:
        """Variables of position and extension in the PyMC model of the context, by name of their parameter."""
        return {}

    def shape(self, around: Surroundings, response: Any) -> Any:
        """Position and extension with variables; None if they are those of what is folded."""
        return self.shape_parameters(around) or None

    def conditions(
        self, around: Surroundings, spectrum: Any, parameters: Mapping[str, Any]
    ) -> Iterator[tuple[Any, str]]:
        """What variables of its spectrum and of its shape must fulfil, and what to tell where they do not."""
        from pymc_gamma.model.spectra import conditions_of

        yield from conditions_of(spectrum)

    def factor(self, around: Surroundings) -> Any:
        """Factor on its flux in a Poisson process; None if there is none."""
        if self.norm == Fixed(1.0):
            return None
        return self.norm.tensor(around.scope, f"{self.name}.norm", "")

    def from_fraction(
        self, fraction: Any, n_events: float, response: Any, spectrum: Any, shapes: Mapping[str, Any]
    ) -> dict[str, Any]:
        """What a fraction of the events of a mixture stands for: expressions by the last part of their name."""
        return {}

    def scan(self, around: Surroundings) -> dict[str, Any]:
        """Values of the parameters of a scan."""
        return {}

    @property
    def scan_names(self) -> tuple[str, ...]:
        """Parameters of a scan."""
        return ()

    def frees_spectrum(self, around: Surroundings) -> bool:
        """Whether the spectrum is left to the model."""
        return False

    def frees_shape(self, around: Surroundings) -> bool:
        """Whether position and extension are left to the model."""
        return False

    def files(self, around: Surroundings) -> Iterator[Path]:
        """Files that it is made of."""
        yield from ()
