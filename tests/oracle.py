"""Brute-force counts density of one event: quadrature over true energy and true direction.

Independent of the fold: reads the clean IRF tables with SciPy's interpolator, integrates every energy and direction
directly on the sphere. Slow (milliseconds to seconds an event) and accurate; the yardstick of the tests.
"""

import numpy as np
from scipy.interpolate import RegularGridInterpolator

from pymc_gamma.geometry import lonlat_from_vectors, separation_deg, tangent_basis, unit_vectors


class Oracle:
    def __init__(self, observation, roi, energy_true, n_energy=1500, n_radius=28, n_azimuth=48):
        irfs = observation.irfs
        self.roi, self.livetime = roi, observation.livetime_s
        self.axis = observation.axis_vector(roi.frame)
        self.span = energy_true
        self.n_energy, self.n_azimuth = n_energy, n_azimuth
        node, weight = np.polynomial.legendre.leggauss(n_radius)
        self.radius, self.radius_weight = 3.4 * (node + 1), 3.4 * weight  # in units of the PSF width
        grid = lambda t, v: RegularGridInterpolator((np.log(t.energy), t.offset), v, bounds_error=False, fill_value=None)  # noqa: E731
        self.psf_range = np.log(irfs.psf.energy[[0, -1]])
        self.sigmas = [grid(irfs.psf, table) for table in irfs.psf.sigma]
        self.weights = [grid(irfs.psf, table) for table in irfs.psf.weight]
        self.area_table = grid(irfs.aeff, irfs.aeff.values)
        self.edisp = irfs.edisp
        self.edisp_table = RegularGridInterpolator(
            (np.log(irfs.edisp.energy), irfs.edisp.offset, irfs.edisp.migra), irfs.edisp.density, bounds_error=False, fill_value=0.0
        )

    def area(self, energy, offset):
        return self.area_table(np.stack(np.broadcast_arrays(np.log(energy), offset), -1))

    def psf(self, g, energy, offset):
        at = np.stack(np.broadcast_arrays(np.clip(np.log(energy), *self.psf_range), offset), -1)
        return self.sigmas[g](at), self.weights[g](at)

    def dispersion(self, measured, energy, offset):
        offset = np.clip(offset, self.edisp.offset[0], self.edisp.offset[-1])
        at = np.stack(np.broadcast_arrays(np.log(energy), offset, measured / energy), -1)
        return self.edisp_table(at) / energy

    def energies(self, measured):
        low, high = max(self.span[0], measured / 2.999), min(self.span[1], measured / 0.05)
        edges = np.geomspace(low, high, self.n_energy + 1)
        return np.sqrt(edges[1:] * edges[:-1]), np.diff(edges)

    def point(self, measured, lon, lat, source, flux):
        energy, width = self.energies(measured)
        offset = float(separation_deg(unit_vectors(*source), self.axis))
        r = float(separation_deg(unit_vectors(lon, lat), unit_vectors(*source)))
        psf = 0
        for g in range(len(self.sigmas)):
            sigma, weight = self.psf(g, energy, offset)
            psf = psf + weight * np.exp(-0.5 * (r / sigma) ** 2) / (2 * np.pi * np.radians(sigma) ** 2)
        return self.livetime * float(
            np.sum(flux(energy) * width * self.area(energy, offset) * psf * self.dispersion(measured, energy, offset))
        )

    def extended(self, measured, lon, lat, brightness, flux):
        energy, width = self.energies(measured)
        here = float(separation_deg(unit_vectors(lon, lat), self.axis))
        used = self.dispersion(measured, energy, here) > 0
        energy, width = energy[used], width[used]
        azimuth = (np.arange(self.n_azimuth) + 0.5) * 2 * np.pi / self.n_azimuth
        basis = tangent_basis(lon, lat)
        total = 0.0
        for g in range(len(self.sigmas)):
            for chunk in np.array_split(np.arange(len(energy)), max(1, len(energy) // 60)):
                e = energy[chunk][:, None, None]
                scale = self.psf(g, e, here)[0]
                r = scale * self.radius[None, :, None]
                s = np.sin(np.radians(r))
                local = np.stack(np.broadcast_arrays(np.cos(np.radians(r)), s * np.cos(azimuth), s * np.sin(azimuth)), -1)
                vectors = local @ basis
                offset = separation_deg(vectors, self.axis)
                sigma, weight = self.psf(g, e, offset)
                psf = weight * np.exp(-0.5 * (r / sigma) ** 2) / (2 * np.pi * np.radians(sigma) ** 2)
                solid = s * np.radians(scale) * self.radius_weight[None, :, None] * 2 * np.pi / self.n_azimuth
                value = psf * self.area(e, offset) * self.dispersion(measured, e, offset) * solid
                value = value * brightness(*lonlat_from_vectors(vectors))
                total += float((value.sum((1, 2)) * flux(energy[chunk]) * width[chunk]).sum())
        return self.livetime * total
