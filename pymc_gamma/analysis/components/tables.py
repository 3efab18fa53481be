"""A component as a table: the log-likelihood of each event under it, computed elsewhere."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import xarray as xr
from pydantic import Field

from pymc_gamma.analysis.components.base import Component, Surroundings
from pymc_gamma.analysis.parameters import Named, parameter
from pymc_gamma.analysis.section import FilePath
from pymc_gamma.errors import DataFileError

__all__ = ["Table"]


class Table(Component):
    """The log-likelihood of each event under a component, from a file."""

    kind: ClassVar[str] = "tables"
    summary: ClassVar[str] = (
        "The log-likelihood of each event under the component, from a file. All components are tables then, and "
        "neither observations nor `datasets` are asked for."
    )
    is_table: ClassVar[bool] = True

    path: FilePath = Field(
        description="NetCDF with one variable of dims `event` and parameters, whose coordinates are nodes; or `.npy`."
    )
    values: dict[str, parameter()] = Field(  # type: ignore[valid-type]
        default={}, description="Value of each parameter in the model; the prior of its name by default."
    )

    def sky(self, around: Surroundings) -> Any:
        """Nothing: a table is not folded."""
        raise ValueError(f"{self.name!r} is a table, which goes with tables only")

    def table(self, around: Surroundings) -> Any:
        """The table.

        Raises
        ------
        DataFileError
            If the file is missing or holds something else.
        """
        path = around.path(self.path)
        if not path.is_file():
            raise DataFileError(f"there is no file {str(path)!r}; check the path")
        try:
            if path.suffix == ".npy":
                return np.load(path, allow_pickle=False)
            with xr.open_dataset(path, engine="h5netcdf") as found:
                names = list(found.data_vars)
                if len(names) != 1:
                    raise ValueError(f"it has the variables {names}, expected one")
                return found[names[0]].load()
        except (OSError, ValueError) as error:
            raise DataFileError(f"{path} holds no table of log-likelihoods: {error}") from error

    def scan(self, around: Surroundings) -> dict[str, Any]:
        """Values of its parameters in the model."""
        table = self.table(around)
        found = {}
        for dim in list(getattr(table, "dims", ()))[1:]:
            unit = str(table[dim].attrs.get("units", ""))
            value = self.values.get(str(dim), Named(str(dim)))
            found[str(dim)] = value.tensor(around.scope, f"{self.name}.{dim}", unit)
        return found

    @property
    def scan_names(self) -> tuple[str, ...]:
        """Parameters that have values here."""
        return tuple(self.values)

    def files(self, around: Surroundings) -> Iterator[Path]:
        """The file."""
        yield around.path(self.path)
