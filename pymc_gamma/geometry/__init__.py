"""The sphere: directions and frames, shapes, regions of interest."""

from pymc_gamma.geometry.region import RegionOfInterest, covered_cells, covered_fraction
from pymc_gamma.geometry.sphere import (
    FRAMES,
    EqualAreaPlane,
    convert_lonlat,
    frame_rotation,
    gaussian_nodes,
    lonlat_from_vectors,
    major_offsets,
    position_angle_vector,
    scalar_direction,
    separation_deg,
    sky_frame,
    tangent_basis,
    unit_vectors,
)

__all__ = [
    "FRAMES",
    "EqualAreaPlane",
    "RegionOfInterest",
    "convert_lonlat",
    "covered_cells",
    "covered_fraction",
    "frame_rotation",
    "gaussian_nodes",
    "lonlat_from_vectors",
    "major_offsets",
    "position_angle_vector",
    "scalar_direction",
    "separation_deg",
    "sky_frame",
    "tangent_basis",
    "unit_vectors",
]
