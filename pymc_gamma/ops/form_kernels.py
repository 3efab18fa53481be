"""How the numba forms of the Ops hand the inputs of a node to their kernels."""

from pymc_gamma.ops.intrinsics import inlined
from pymc_gamma.ops.layout import Tiles

__all__ = ["as_they_are", "no_tiles", "tiles_from", "with_nothing_added"]


@inlined
def tiles_from(arrays):  # type: ignore[no-untyped-def]
    """Tiles from the last inputs of a table."""
    return Tiles(arrays[0], arrays[1], arrays[2], arrays[3])


@inlined
def no_tiles(arrays):  # type: ignore[no-untyped-def]
    """No tiles: the table has none."""
    return None


@inlined
def as_they_are(vectors):  # type: ignore[no-untyped-def]
    """Vectors for a kernel, none left out."""
    return vectors


@inlined
def with_nothing_added(vectors):  # type: ignore[no-untyped-def]
    """Vectors for a kernel, with nothing added to the densities."""
    return (vectors[0], None, *vectors[1:])
