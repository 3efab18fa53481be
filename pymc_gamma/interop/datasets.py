"""Data sets of gammapy in a model, each kind by the distribution that it has here.

A kind is found by the class of the data set, or the nearest class that it derives from. To add one, put it into
`KINDS`; nothing else names it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pymc_gamma.arguments import is_several
from pymc_gamma.errors import ModelError
from pymc_gamma.keywords import keywords_of
from pymc_gamma.model.flux_points import FluxPointsData
from pymc_gamma.model.on_off import OnOffCounts
from pymc_gamma.on_off import CountsSpectrum

__all__ = ["KINDS", "DatasetKind", "GivenDataset", "read_datasets", "sorted_data"]


@dataclass(frozen=True)
class DatasetKind:
    """A kind of data set whose expectation is that of a spectrum.

    Attributes
    ----------
    read : callable
        From the data set of gammapy to what the distribution takes; refuses what it cannot.
    distribution : callable
        Called in a model as ``distribution(name, data, spectrum=..., **options)``.
    shared : tuple of str
        Options that :func:`~pymc_gamma.from_gammapy` passes to all data sets of this kind.
    names_source : bool
        Whether the distribution takes ``component=``, what its source is called by estimators of fluxes.
    """

    read: Callable[[Any], Any]
    distribution: Callable[..., Any]
    shared: tuple[str, ...] = ()
    names_source: bool = False


def _as_it_is(dataset: Any) -> Any:
    return dataset


def _refused_map(dataset: Any) -> Any:
    raise ModelError(
        f"the data set {dataset.name!r} is a {type(dataset).__name__}: its events are binned, and lost. Give the "
        "observations that it was made of instead, beside the other data sets: pmg.from_gammapy(models, "
        "[*observations, *datasets], roi). For a point source with OFF regions a SpectrumDatasetOnOff will do."
    )


KINDS: dict[str, DatasetKind] = {
    "SpectrumDatasetOnOff": DatasetKind(CountsSpectrum.from_gammapy, OnOffCounts, ("background",), names_source=True),
    "SpectrumDataset": DatasetKind(CountsSpectrum.from_gammapy, OnOffCounts, names_source=True),
    "FluxPointsDataset": DatasetKind(_as_it_is, FluxPointsData),
    "MapDataset": DatasetKind(_refused_map, _as_it_is),
}
"""Kinds of data sets by the names of gammapy's classes."""


@dataclass(frozen=True)
class GivenDataset:
    """A data set, read, with the options that the user gave for it."""

    name: str
    kind: DatasetKind
    data: Any
    options: Mapping[str, Any]

    def add(self, spectrum: Any, sources: Sequence[str]) -> None:
        """Add it to the model on the context stack, with the spectrum of some sources."""
        named = {"component": sources[0]} if self.kind.names_source and len(sources) == 1 else {}
        self.kind.distribution(self.name, self.data, spectrum=spectrum, **(named | dict(self.options)))


def sorted_data(given: Any) -> tuple[Any, list[Any]]:
    """What was given, in two parts: observations of events, None if there are none, and data sets of gammapy."""
    if _is(given, "Dataset") or _is(given, "Datasets"):
        return None, list(given) if _is(given, "Datasets") else [given]
    if not is_several(given):
        return given, []
    observations, datasets = [], []
    for one in given:
        if _is(one, "Dataset"):
            datasets.append(one)
        elif _is(one, "Datasets"):
            datasets.extend(one)
        elif _is(one, "Observations"):
            observations.extend(one)
        else:
            observations.append(one)
    if datasets and not observations:
        return None, datasets
    alone = len(observations) == 1 and datasets  # it may be a data store
    return observations[0] if alone else observations, datasets


def read_datasets(
    datasets: Sequence[Any], options: Mapping[str, Mapping[str, Any]] | None, shared: Mapping[str, Any]
) -> list[GivenDataset]:
    """Data sets of gammapy, read.

    Parameters
    ----------
    datasets : sequence of gammapy.datasets.Dataset
        The data sets.
    options : mapping of str to mapping, optional
        Options of the distribution of each, by its name.
    shared : mapping
        Options for all of the kinds that take them.

    Raises
    ------
    ModelError
        If two have one name, options are for others or for none, or a data set is of a kind that has no counterpart.
    """
    names = [one.name for one in datasets]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ModelError(f"several data sets are called {twice}; give each a name of its own.")
    options = {} if options is None else options
    if not isinstance(options, Mapping) or not all(isinstance(one, Mapping) for one in options.values()):
        raise TypeError(
            "dataset_options must be a mapping from names of data sets to mappings, such as "
            '{"magic": {"systematics": [pmg.EnergyScale(0.15)]}}, ' + f"got {options!r}."
        )
    if unknown := [name for name in options if name not in names]:
        raise ModelError(f"dataset_options are for {unknown}; the data sets are {names}.")
    kinds = [_kind(one) for one in datasets]
    for option in shared:
        if not any(option in kind.shared for kind in kinds):
            found = sorted({type(one).__name__ for one in datasets})
            raise ModelError(f"{option}= is for data sets that take it, and there are none among {found}.")
    made = []
    for one, kind in zip(datasets, kinds, strict=True):
        own = {name: value for name, value in shared.items() if name in kind.shared} | dict(options.get(one.name, {}))
        if own.keys() & {"name", "spectrum"} or own.keys() - set(keywords_of(kind.distribution)):
            known = [name for name in keywords_of(kind.distribution)[2:] if name != "spectrum"]
            raise TypeError(f"dataset_options of {one.name!r} may be {', '.join(known)}, got {list(own)}.")
        made.append(GivenDataset(one.name, kind, kind.read(one), own))
    return made


def _kind(dataset: Any) -> DatasetKind:
    for base in type(dataset).__mro__:
        if base.__name__ in KINDS:
            return KINDS[base.__name__]
    raise ModelError(
        f"the data set {dataset.name!r} is a {type(dataset).__name__}, which has no counterpart here; known are "
        f"{', '.join(KINDS)}."
    )


def _is(value: Any, kind: str) -> bool:
    """Whether a value is of a class of gammapy, by its name: its import takes seconds."""
    return any(base.__name__ == kind and base.__module__.startswith("gammapy.") for base in type(value).__mro__)
