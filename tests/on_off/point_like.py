"""A point-like response and a run with events, made of the bundled IRFs with gammapy."""

from functools import cache

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from gammapy.data import FixedPointingInfo, Observation
from gammapy.irf import RadMax2D, load_irf_dict_from_file
from gammapy.maps import MapAxis
from setups import QUICK_START, quick_start_irfs

import pymc_gamma as pmg

SOURCE = SkyCoord(83.63 * u.deg, 22.01 * u.deg)
POINTING = SkyCoord(83.63 * u.deg, 22.71 * u.deg)
OFFSET = 0.7


@cache
def tables():
    return load_irf_dict_from_file(pmg.datasets.path(QUICK_START))


def point_like(rad_max=0.1, *, table=False, keep=("aeff", "edisp")):
    """gammapy's tables with the header of a point-like response."""
    made = {}
    for key in keep:
        irf = tables()[key]
        meta = dict(irf.meta) | ({} if rad_max is None or table else {"RAD_MAX": rad_max})
        made[key] = type(irf)(
            axes=irf.axes,
            data=irf.quantity.value,
            unit=irf.unit,
            is_pointlike=True,
            meta=meta,
            interp_kwargs=irf.interp_kwargs,
        )
    if table:
        energy = MapAxis.from_energy_bounds("0.01 TeV", "200 TeV", nbin=8)
        offset = MapAxis.from_edges([0, 1, 2, 4], unit="deg", name="offset")
        radius = 0.08 + 0.2 / (1 + np.arange(8))[:, None] + 0.01 * np.arange(3)
        made["rad_max"] = RadMax2D(axes=[energy, offset], data=radius, unit="deg")
    return made


def run(irfs=None, **given):
    """A gammapy run of half an hour, without events."""
    return Observation.create(
        pointing=FixedPointingInfo(fixed_icrs=given.pop("pointing", POINTING)),
        livetime=0.5 * u.h,
        irfs=point_like() if irfs is None else irfs,
        obs_id=7,
        **given,
    )


def full_enclosure(offset=OFFSET, hours=0.5):
    """An observation with the whole response."""
    return pmg.Observation(
        quick_start_irfs(), POINTING if offset == OFFSET else SOURCE.directional_offset_by(0 * u.deg, offset * u.deg),
        livetime=hours * u.h, name="run",
    )  # fmt: skip


def scattered(n=20_000, seed=0, spread=1.5):
    """Events uniform in a box around the pointing, with energies of a power law."""
    rng = np.random.default_rng(seed)
    lat = POINTING.dec.deg + rng.uniform(-spread, spread, n)
    lon = POINTING.ra.deg + rng.uniform(-spread, spread, n) / np.cos(np.radians(lat))
    return pmg.Events(0.1 * (1 - rng.random(n)) ** -0.7 * u.TeV, lon * u.deg, lat * u.deg, frame="icrs")
