"""Small analyses for tests."""

from pymc_gamma.analysis.analysis import Analysis

SMALL = """\
version: 1
general: {seed: 3}
pointings:
  - {id: centre, lon: 0 deg, lat: 0 deg, livetime: 1 h}
datasets:
  geom:
    wcs: {skydir: {frame: galactic, lon: 0 deg, lat: 0 deg}, width: {width: 1 deg}}
    axes: {energy: {min: 1 TeV, max: 10 TeV}}
components:
  - {kind: hgps}
  - {kind: ccr}
simulate: {n_events: 40, values: {fraction: [0.5, 0.5]}}
fit: {draws: 20, tune: 20, chains: 2, nlive: 30}
results: {pictures: [corner]}
"""
"""Two components, a few events and draws."""

SOURCE = """\
version: 1
general: {seed: 3}
pointings:
  - {id: a, lon: 0.3 deg, lat: 0 deg, livetime: 1 h}
  - {id: b, lon: 0.3 deg, lat: 0.4 deg, livetime: 1 h}
datasets:
  geom:
    wcs: {skydir: {frame: galactic, lon: 0.3 deg, lat: 0 deg}, radius: 0.5 deg}
    axes: {energy: {min: 1 TeV, max: 20 TeV}}
priors:
  index: {prior: Normal, mu: 2.2, sigma: 0.3}
components:
  - kind: source
    name: star
    spatial: {type: PointSpatialModel, lon_0: 0.3 deg, lat_0: 0 deg, frame: galactic}
    spectrum: {type: PowerLaw, index: index, amplitude: {prior: LogNormal, mu: log(1e-11 TeV-1 cm-2 s-1), sigma: 1}}
  - {kind: ccr, norm: {prior: LogNormal, mu: 0, sigma: 0.2, dims: observation}}
mixture: {likelihood: poisson}
simulate: {values: {index: 2.2, star.spectral.amplitude: 2e-11 TeV-1 cm-2 s-1, ccr.norm: [1, 1.1]}}
fit: {draws: 20, tune: 20, chains: 2}
results: {pictures: [spectrum], expected_counts: true, integrated_flux: {min: 1 TeV, max: 10 TeV}}
"""
"""A source of free spectrum in two pointings, a Poisson process."""


def small(*changes, **options):
    """The first, changed."""
    return Analysis.from_yaml(SMALL, set=changes, **options)
