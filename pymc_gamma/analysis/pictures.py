"""Pictures of an analysis, each of a name.

To add one derive a class from `Picture`; nothing else names it.
"""

from abc import ABC, abstractmethod
from typing import Annotated, Any, ClassVar

from pymc_gamma.analysis.document import nearest
from pymc_gamma.analysis.section import Told, checked_by, kinds_of, refuse

__all__ = ["Picture", "PictureName", "picture_named"]


class Picture(ABC):
    """A picture of an analysis."""

    picture: ClassVar[str]
    summary: ClassVar[str]
    needs_events: ClassVar[bool] = True

    @abstractmethod
    def draw(self, seen: Any, seed: int) -> Any:
        """Draw it.

        Parameters
        ----------
        seen : Seen
            What there is to be seen.
        seed : int
            Of random numbers.

        Returns
        -------
        matplotlib.figure.Figure
        """


class Corner(Picture):
    """The posterior, by all samplers."""

    picture: ClassVar[str] = "corner"
    needs_events: ClassVar[bool] = False
    summary: ClassVar[str] = "the posterior, two parameters at a time, by all samplers"

    def draw(self, seen: Any, seed: int) -> Any:
        """See `Picture`."""
        from pymc_gamma.plotting import plot_corner

        truths = {name: value for name, value in seen.truth.items() if name in seen.variables}
        return plot_corner(seen.posteriors, seen.variables, truths=truths or None)


class Counts(Picture):
    """Events, model and residuals on the sky."""

    picture: ClassVar[str] = "counts"
    summary: ClassVar[str] = "events, model and residuals on the sky"

    def draw(self, seen: Any, seed: int) -> Any:
        """See `Picture`."""
        from pymc_gamma.plotting import plot_counts

        return plot_counts(seen.events, seen.response, seen.predictive, cells=seen.sky, **seen.names)


class CountsSpectrum(Picture):
    """Counts in energy."""

    picture: ClassVar[str] = "counts_spectrum"
    summary: ClassVar[str] = "events in energy, with the prediction"

    def draw(self, seen: Any, seed: int) -> Any:
        """See `Picture`."""
        from pymc_gamma.plotting import plot_counts_spectrum

        return plot_counts_spectrum(seen.events, seen.response, seen.predictive, random_seed=seed, **seen.names)


class PosteriorPredictive(Picture):
    """Events against prediction."""

    picture: ClassVar[str] = "ppc"
    summary: ClassVar[str] = "events against the prediction, in energy and both directions"

    def draw(self, seen: Any, seed: int) -> Any:
        """See `Picture`."""
        from pymc_gamma.plotting import plot_ppc

        return plot_ppc(seen.events, seen.response, seen.predictive, sky=seen.sky, random_seed=seed, **seen.names)


class Spectrum(Picture):
    """Spectra of sources."""

    picture: ClassVar[str] = "spectrum"
    summary: ClassVar[str] = "spectra of components of free spectrum"

    def draw(self, seen: Any, seed: int) -> Any:
        """See `Picture`."""
        from pymc_gamma.plotting import plot_spectrum

        return plot_spectrum(seen.posterior, seen.spectra, energy=seen.energy_range, random_seed=seed)


def picture_named(name: str) -> Picture:
    """Picture of a name."""
    found: Picture = kinds_of(Picture, "picture")[name]()
    return found


def _name(value: Any) -> str:
    known = list(kinds_of(Picture, "picture"))
    if value not in known:
        raise refuse(f"there is no picture {value!r}; {nearest(value, known)}")
    return str(value)


PictureName = Annotated[str, checked_by(_name), Told("name of a picture")]
"""Name of a picture."""
