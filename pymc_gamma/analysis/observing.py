"""Observations, region of interest and events of an analysis file."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord

from pymc_gamma.analysis.document import Document
from pymc_gamma.analysis.faults import at
from pymc_gamma.analysis.schema import AnalysisConfig, CircleConfig, DatasetsConfig, SafeMaskConfig
from pymc_gamma.errors import DataFileError

__all__ = ["Observing", "Selected", "existing"]


@dataclass(frozen=True, eq=False)
class Selected:
    """Events of an analysis.

    Parameters
    ----------
    events : Events
        Those that are kept.
    n_read : float
        All that were read.
    left_out : dict
        Those that are not kept, by reason.
    """

    events: Any
    n_read: float
    left_out: dict[str, float] = field(default_factory=dict)


class Observing:
    """What an analysis file says of observations, with the objects that are made of it when they are asked for.

    Parameters
    ----------
    config : AnalysisConfig
        The analysis.
    document : Document
        The file, for messages and relative paths.
    """

    def __init__(self, config: AnalysisConfig, document: Document) -> None:
        self.config, self.document = config, document

    @property
    def datasets(self) -> DatasetsConfig:
        """The section `datasets`."""
        assert self.config.datasets is not None
        return self.config.datasets

    @cached_property
    def roi(self) -> Any:
        """Region of interest."""
        from regions import CircleSkyRegion

        import pymc_gamma as pmg

        datasets = self.datasets
        wcs, energy = datasets.geom.wcs, datasets.geom.axes.energy
        exclude: list[Any] = []
        for k, one in enumerate(datasets.exclude):
            with at(self.document, ("datasets", "exclude", k)):
                if isinstance(one, CircleConfig):
                    exclude.append(CircleSkyRegion(_direction(one), one.radius))
                else:
                    exclude.append(self._mask(self.document.folder / one))
        with at(self.document, ("datasets", "geom")):
            if wcs.radius is not None:
                size: dict[str, Any] = {"radius": wcs.radius}
            else:
                assert wcs.width is not None
                height = wcs.width.width if wcs.width.height is None else wcs.width.height
                size = {"width": u.Quantity([wcs.width.width, height])}
            return pmg.RegionOfInterest(
                center=_direction(wcs.skydir), **size, energy=u.Quantity([energy.min, energy.max]), exclude=exclude
            )

    @cached_property
    def observations(self) -> list[Any]:
        """Observations with their instrument response."""
        import pymc_gamma as pmg

        offset_max = self.datasets.geom.selection.offset_max
        if self.config.pointings:
            irfs: dict[str, Any] = {}
            made = []
            for k, one in enumerate(self.config.pointings):
                with at(self.document, ("pointings", k)):
                    if one.irf not in irfs:
                        irfs[one.irf] = pmg.load_irfs(self._irf_source(one.irf))
                    made.append(
                        pmg.Observation(
                            irfs[one.irf], _direction(one), one.livetime, name=one.id, offset_max=offset_max
                        )
                    )
            return made
        with at(self.document, ("observations",)):
            return pmg.Observation.list_from_gammapy(self._runs, safe_mask=self._safe_mask, offset_max=offset_max)

    def events(self) -> Selected:
        """Read the events."""
        import pymc_gamma as pmg

        section = self.config.observations
        assert section is not None
        with at(self.document, ("observations",)):
            if section.events is not None:
                events = pmg.Events.read(self.document.folder / section.events)
                if len(self.observations) == 1:
                    events = events.with_observation(np.zeros(len(events), dtype=int))
            else:
                events = pmg.Events.from_gammapy(self._runs, frame=self.roi.frame)
            selection = events.selection(self.roi, self.observations)
            left_out = {reason: float(n) for reason, n in selection.left_out.items() if n}
            late = float(sum(events.meta.get("outside_good_time", {}).values()))
            if late:
                left_out["outside the good time of their run"] = late
            kept = events[selection.inside].to_frame(self.roi.frame)
        if not len(kept):
            raise DataFileError(
                f"no event is left of {events.n_total:g}: {left_out}; look at datasets.geom and the runs."
            )
        return Selected(self.binned(kept), events.n_total + late, left_out)

    def binned(self, events: Any) -> Any:
        """The events, in cells if that is asked for."""
        binned = self.datasets.binned
        if binned is None:
            return events
        with at(self.document, ("datasets", "binned")):
            edges = np.geomspace(self.roi.energy_min, self.roi.energy_max, binned.energy + 1) * u.TeV
            return events.binned(edges, pixel=binned.binsize)

    def files(self) -> Iterator[Path]:
        """Files of data that it is made of."""
        section = self.config.observations
        for one in self.config.pointings:
            source = self._irf_source(one.irf)
            if isinstance(source, Path):
                yield source
        for one in self.datasets.exclude:
            if isinstance(one, Path):
                yield self.document.folder / one
        if section is None:
            return
        if section.events is not None:
            yield self.document.folder / section.events
        if section.obs_file is not None:
            yield self.document.folder / section.obs_file
        if section.datastore is not None:
            folder = self._datastore
            yield from sorted(folder.glob("*index*"))
            for run in self._table:
                for hdu in self._store.hdu_table[self._store.hdu_table["OBS_ID"] == run["OBS_ID"]]:
                    path = folder / str(hdu["FILE_DIR"]).strip() / str(hdu["FILE_NAME"]).strip()
                    yield path

    def check_files(self) -> None:
        """Raise an error for files that are missing."""
        section = self.config.observations
        for k, one in enumerate(self.config.pointings):
            source = self._irf_source(one.irf)
            if isinstance(source, Path):
                with at(self.document, ("pointings", k, "irf")):
                    existing(source)
        for k, one in enumerate(self.datasets.exclude):
            if isinstance(one, Path):
                with at(self.document, ("datasets", "exclude", k)):
                    existing(self.document.folder / one)
        for key in ("events", "obs_file"):
            path = None if section is None else getattr(section, key)
            if path is not None:
                with at(self.document, ("observations", key)):
                    existing(self.document.folder / path)

    @property
    def _datastore(self) -> Path:
        from pymc_gamma import datasets
        from pymc_gamma.analysis.section import expanded

        section = self.config.observations
        assert section is not None
        assert section.datastore is not None
        if section.datastore in datasets.names():
            return datasets.fetch(section.datastore)
        folder = self.document.folder / expanded(section.datastore)
        if not folder.is_dir():
            raise DataFileError(
                f"there is no folder {str(folder)!r}, and no data set {section.datastore!r}; check the path."
            )
        return folder

    @cached_property
    def _store(self) -> Any:
        from gammapy.data import DataStore

        with at(self.document, ("observations", "datastore")):
            return DataStore.from_dir(self._datastore)

    @cached_property
    def _table(self) -> Any:
        """The runs that are asked for, of the index of observations."""
        section = self.config.observations
        assert section is not None
        table = self._store.obs_table
        known = [int(one) for one in table["OBS_ID"]]
        asked: list[int] = list(section.obs_ids)
        if section.obs_file is not None:
            with at(self.document, ("observations", "obs_file")):
                asked += _ids_of(self.document.folder / section.obs_file)
        unknown = [one for one in asked if one not in known]
        if unknown:
            place = ("observations", "obs_ids" if section.obs_ids else "obs_file")
            with at(self.document, place):
                raise DataFileError(
                    f"the data store has no runs {unknown}; it has {len(known)}, the first are {known[:5]}."
                )
        if asked:
            order = {run: k for k, run in enumerate(known)}
            table = table[[order[run] for run in dict.fromkeys(asked)]]
        if section.obs_cone is not None:
            cone = section.obs_cone
            places = SkyCoord(table["RA_PNT"], table["DEC_PNT"], unit="deg", frame="icrs")
            table = table[places.separation(_direction(cone)) <= cone.radius]
        if not len(table):
            with at(self.document, ("observations",)):
                raise DataFileError("no run is left; widen obs_cone, or name others by obs_ids.")
        return table

    @cached_property
    def _runs(self) -> list[Any]:
        section = self.config.observations
        assert section is not None
        runs = self._store.get_observations(list(self._table["OBS_ID"]), required_irf=section.required_irf)
        found = {int(one.obs_id) for one in runs}
        missing = [int(one) for one in self._table["OBS_ID"] if int(one) not in found]
        if missing:
            raise DataFileError(f"the runs {missing} lack one of the tables {section.required_irf} (required_irf).")
        if section.obs_time is not None:
            from astropy.time import Time

            runs = runs.select_time(Time([section.obs_time.start, section.obs_time.stop]))
            if not len(runs):
                raise DataFileError("no run has time within obs_time.")
        return list(runs)

    @property
    def _safe_mask(self) -> Any:
        choice = self.datasets.safe_mask
        if not isinstance(choice, SafeMaskConfig):
            return None if choice == "none" else choice
        from gammapy.makers import SafeMaskMaker

        with at(self.document, ("datasets", "safe_mask")):
            return SafeMaskMaker(methods=list(choice.methods), **_with_quantities(choice.parameters))

    def _irf_source(self, name: str) -> Any:
        from pymc_gamma import datasets
        from pymc_gamma.analysis.section import expanded

        return name if name in datasets.names() else self.document.folder / expanded(name)

    def _mask(self, path: Path) -> Any:
        if ".fit" not in path.name:
            return existing(path)
        from gammapy.maps import Map

        return Map.read(existing(path))


def _direction(section: Any) -> SkyCoord:
    return SkyCoord(section.lon, section.lat, frame=section.frame)


def existing(path: Path) -> Path:
    """A path, if there is a file.

    Raises
    ------
    DataFileError
        If there is none.
    """
    if not path.is_file():
        raise DataFileError(f"there is no file {str(path)!r}; check the path.")
    return path


def _ids_of(path: Path) -> list[int]:
    lines = existing(path).read_text(encoding="utf-8").splitlines()
    found = []
    for k, line in enumerate(lines):
        word = line.partition("#")[0].split()
        if not word:
            continue
        if not word[0].isdecimal():
            raise DataFileError(f"{path}:{k + 1}: {word[0]!r} is no id of a run.")
        found.append(int(word[0]))
    return found


def _with_quantities(parameters: dict[str, Any]) -> dict[str, Any]:
    found = dict(parameters)
    for key, value in parameters.items():
        if isinstance(value, dict) and {"lon", "lat"} <= set(value):
            found[key] = SkyCoord(value["lon"], value["lat"], frame=value.get("frame", "icrs"))
        elif isinstance(value, str):
            try:
                found[key] = u.Quantity(value)
            except (TypeError, ValueError):
                continue
    return found
