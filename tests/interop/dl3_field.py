"""A field of two sources, seen by two runs, in the words of gammapy."""

import warnings
from functools import cache

import astropy.units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.time import Time
from gammapy.data import GTI, FixedPointingInfo
from gammapy.data import Observation as Run
from gammapy.irf import load_irf_dict_from_file
from gammapy.modeling import models as gp

import pymc_gamma as pmg

IRFS = "prod5-south-20deg-50h"
POSITION = SkyCoord(83.63 * u.deg, 22.01 * u.deg, frame="icrs")
REFERENCE = Time("2025-03-01T20:00:00", scale="tt")
RUNS = {11: (0.4, 30 * u.min, 0.05), 12: (-0.4, 20 * u.min, 0.1)}  # id: offset (deg), on-time, dead time


@cache
def tables():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return load_irf_dict_from_file(pmg.datasets.path(IRFS))


def region(radius=0.5):
    return pmg.RegionOfInterest(center=POSITION, radius=radius * u.deg, energy=(0.3, 50) * u.TeV)


def pointing(offset):
    return POSITION.directional_offset_by(0 * u.deg, offset * u.deg)


def run_of(obs_id, events=None, **changes):
    """A gammapy observation in memory; its on-time is in two good time intervals."""
    offset, ontime, dead = RUNS[obs_id]
    parts = {
        "pointing": FixedPointingInfo(fixed_icrs=pointing(offset)),
        "livetime": ontime,
        "deadtime_fraction": dead,
        "irfs": tables(),
        "obs_id": obs_id,
        "reference_time": REFERENCE,
    }
    run = Run.create(**{**parts, **changes})
    run._gti = GTI.create([0, 60] * u.min, [0, 60] * u.min + [0.25, 0.75] * ontime, REFERENCE)
    if events is not None:
        run._events = events
    return run


def observations():
    """The same runs as this package has them, by hand."""
    irfs = pmg.load_irfs(IRFS)
    return [
        pmg.Observation(irfs, pointing(offset), livetime=(1 - dead) * ontime, ontime=ontime, name=str(obs_id))
        for obs_id, (offset, ontime, dead) in RUNS.items()
    ]


def sky_model(name="crab", offset=0.0, spectral=None, **changes):
    centre = POSITION.directional_offset_by(90 * u.deg, offset * u.deg)
    spatial = gp.PointSpatialModel(lon_0=centre.ra, lat_0=centre.dec, frame="icrs")
    spatial.freeze()
    if spectral is None:
        spectral = gp.PowerLawSpectralModel(index=2.4, amplitude="3.8e-11 TeV-1 cm-2 s-1")
    return gp.SkyModel(spectral, spatial, name=name, **changes)


def write_dl3(run, path):
    """A DL3 file: events and intervals by gammapy, the response as it came (gammapy drops a parametric PSF)."""
    run.events.table.meta.update(
        {
            "OBS_ID": run.obs_id,
            "TELESCOP": "CTA",
            "INSTRUME": "Southern array",
            "CREATOR": "tests",
            "DEADC": 1 - run.observation_dead_time_fraction,
            "ONTIME": run.observation_time_duration.to_value("s"),
            "LIVETIME": run.observation_live_time_duration.to_value("s"),
            "TSTART": (run.tstart - REFERENCE).to_value("s"),
            "TSTOP": (run.gti.time_stop[-1] - REFERENCE).to_value("s"),
            "GEOLON": -70.316,
            "GEOLAT": -24.683,
            "ALTITUDE": 2147.0,
        }
    )
    run.write(path, include_irfs=False)
    with fits.open(path) as written, fits.open(pmg.datasets.path(IRFS)) as response:
        hdus = fits.HDUList([hdu.copy() for hdu in written])
        hdus.extend(hdu.copy() for hdu in response[1:])
        hdus.writeto(path, overwrite=True)
