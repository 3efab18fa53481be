"""Results of samplers and pictures as content of files."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xarray as xr

__all__ = ["as_netcdf", "as_png", "combined", "read_netcdf"]

DPI = 130
EVIDENCE = ("log_evidence", "log_evidence_err")
"""Attributes of the results of samplers that give it."""


def combined(posteriors: Mapping[str, Any]) -> Any:
    """Results of several samplers in one tree: that of the first, and groups of the others under their names."""
    names = list(posteriors)
    tree = posteriors[names[0]].copy()
    for name in names:
        other = posteriors[name]
        tree.attrs |= {key: other.attrs[key] for key in EVIDENCE if key in other.attrs}
        if name == names[0]:
            continue
        for group in other.children:
            if not group.endswith("_data"):  # observed and constant data are those of the first
                tree[group if group.startswith(name) else f"{name}_{group}"] = other[group]
    return tree


def read_netcdf(path: Path) -> Any:
    """Content of a file of netCDF, in memory."""
    with xr.open_datatree(path, engine="h5netcdf") as tree:
        return tree.load()


def as_netcdf(tree: Any) -> bytes:
    """Content of a file of netCDF.

    In memory: HDF5 crashes the process at its end when the disk was full while it wrote.
    """
    return bytes(tree.to_netcdf(engine="h5netcdf"))


def as_png(figure: Any) -> bytes:
    """Content of a picture, which is closed."""
    import matplotlib.pyplot as plt

    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=DPI)
    plt.close(figure)
    return picture.getvalue()
