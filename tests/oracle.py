r"""Brute-force counts density of one event: quadrature over true energy and true direction.

Independent of the fold: it reads the clean IRF tables with SciPy's interpolator and integrates

.. math:: \lambda(E', \Omega') = t \int \phi(E)\,S(\Omega)\,A(E, o)\,R(E'\mid E, o)\,P(\Omega'\mid\Omega, E, o)
          \,\mathrm{d}E\,\mathrm{d}\Omega

directly on the sphere, at every node with the response of its own energy and offset. Slow (milliseconds to a second
an event) and accurate; the yardstick of the tests.
"""

import astropy.units as u
import numpy as np
from astropy.coordinates import angular_separation, offset_by, position_angle
from scipy.interpolate import RegularGridInterpolator

from pymc_gamma.geometry import EqualAreaPlane, lonlat_from_vectors, separation_deg, tangent_basis, unit_vectors
from pymc_gamma.sky import SkyGaussian, SkyPoint

SCOUTS = 4000
"""Energies at which the support of the dispersion is looked for."""
REACH = 6.8
"""Radius of the spatial integrals in standard deviations."""


class Oracle:
    """Densities of one observation.

    Parameters
    ----------
    observation, roi
        Pointing, and the region that sets the frame.
    energy_true
        Range of the true energies (TeV), or their edges.
    n_energy, n_radius, n_azimuth
        Nodes of the quadrature.
    """

    def __init__(self, observation, roi, energy_true, n_energy=1000, n_radius=28, n_azimuth=48):
        irfs = observation.irfs
        self.roi, self.livetime = roi, observation.livetime_s
        self.axis = observation.axis_vector(roi.frame)
        self.span = float(energy_true[0]), float(energy_true[-1])
        self.n_energy, self.n_azimuth = n_energy, n_azimuth
        node, weight = np.polynomial.legendre.leggauss(n_radius)
        self.radius, self.radius_weight = 0.5 * REACH * (node + 1), 0.5 * REACH * weight
        self.psf_range = np.log(irfs.psf.energy[[0, -1]])
        self.sigmas = [_grid(irfs.psf, table) for table in irfs.psf.sigma]
        self.weights = [_grid(irfs.psf, table) for table in irfs.psf.weight]
        self.area_table = _grid(irfs.aeff, irfs.aeff.values)
        self.edisp = irfs.edisp
        self.migra_range = irfs.edisp.migra[0], irfs.edisp.migra[-1]
        self.edisp_range = np.log(irfs.edisp.energy[[0, -1]])
        self.edisp_table = RegularGridInterpolator(
            (np.log(irfs.edisp.energy), irfs.edisp.offset, irfs.edisp.migra),
            irfs.edisp.density,
            bounds_error=False,
            fill_value=0.0,
        )

    def density(self, part, measured, lon, lat):
        """Counts density (TeV-1 sr-1) of a sky part at one event: energy in TeV, direction in degrees."""
        shape = part.shape
        if isinstance(shape, SkyPoint):
            return self.point(measured, lon, lat, (shape.lon, shape.lat), part.spectrum)
        if isinstance(shape, SkyGaussian) and shape.e > 0:
            return self.elongated(measured, lon, lat, shape, part.spectrum)
        if isinstance(shape, SkyGaussian):
            return self.gaussian(measured, lon, lat, (shape.lon, shape.lat), shape.sigma, part.spectrum)
        return self.extended(measured, lon, lat, shape.brightness, part.spectrum)

    def component(self, component, rows):
        """Counts density of a whole sky component at event rows (energy, lon, lat)."""
        parts = component.parts(self.roi)
        return np.array([sum(self.density(part, *row[:3]) for part in parts) for row in rows])

    def detections(self, part, vectors=None, weight=None):
        """Photons of a part that pass the effective area, wherever they are reconstructed.

        A template needs its sky: unit vectors (n, 3) and brightness times solid angle (n,).
        """
        shape = part.shape
        if isinstance(shape, SkyPoint):
            vectors, weight = unit_vectors(shape.lon, shape.lat)[None], np.ones(1)
        elif isinstance(shape, SkyGaussian):
            vectors, solid, profile = self._polar(tangent_basis(shape.lon, shape.lat), shape.sigma)
            weight = profile * solid / (2 * np.pi * np.radians(shape.sigma) ** 2)
            vectors, weight = vectors.reshape(-1, 3), weight.ravel()
        offset = separation_deg(vectors, self.axis)
        seen = offset <= self.area_table.grid[1][-1]
        if len(offset) > 4000:  # many directions share an offset
            weight, edges = np.histogram(
                offset[seen], np.arange(0, offset[seen].max() + 5e-3, 5e-3), weights=weight[seen]
            )
            offset = 0.5 * (edges[1:] + edges[:-1])
        else:
            offset, weight = offset[seen], weight[seen]
        edges = np.geomspace(*self.span, 4 * self.n_energy + 1)
        energy, width = np.sqrt(edges[1:] * edges[:-1]), np.diff(edges)
        area = np.array([self.area(e, offset) @ weight for e in energy])
        return self.livetime * float(np.sum(part.spectrum(energy) * width * area))

    def area(self, energy, offset):
        return self.area_table(_at(energy, offset))

    def psf(self, g, energy, offset):
        at = _at(np.exp(np.clip(np.log(energy), *self.psf_range)), offset)
        return self.sigmas[g](at), self.weights[g](at)

    def dispersion(self, measured, energy, offset):
        offset = np.clip(offset, self.edisp.offset[0], self.edisp.offset[-1])
        energy, offset = np.broadcast_arrays(energy, offset)
        migra = measured / energy
        log_energy = np.clip(np.log(energy), *self.edisp_range)
        return self.edisp_table(np.stack([log_energy, offset, migra], -1)) / energy

    def energies(self, measured, offset):
        """Centres and widths of intervals that cover the true energies which can be measured so."""
        low = max(self.span[0], measured / self.migra_range[1])
        high = min(self.span[1], measured / max(self.migra_range[0], 0.05))
        scouts = np.geomspace(low, high, SCOUTS)
        around = offset + np.array([-0.5, 0.0, 0.5])[:, None]
        seen = np.flatnonzero((self.dispersion(measured, scouts, np.abs(around)) > 0).any(axis=0))
        if len(seen) == 0:
            return np.empty(0), np.empty(0)
        edges = np.geomspace(scouts[max(seen[0] - 1, 0)], scouts[min(seen[-1] + 1, SCOUTS - 1)], self.n_energy + 1)
        return np.sqrt(edges[1:] * edges[:-1]), np.diff(edges)

    def point(self, measured, lon, lat, source, flux):
        offset = float(separation_deg(unit_vectors(*source), self.axis))
        r = float(separation_deg(unit_vectors(lon, lat), unit_vectors(*source)))
        energy, width = self.energies(measured, offset)
        psf = self._psf_density(r, energy, offset)
        rate = flux(energy) * self.area(energy, offset) * psf * self.dispersion(measured, energy, offset)
        return self.livetime * float(np.sum(rate * width))

    def gaussian(self, measured, lon, lat, source, sigma, flux):
        """Round Gaussian: nodes where the product of PSF and source lies, integrand on the sphere."""
        event, centre = unit_vectors(lon, lat), unit_vectors(*source)
        norm = 2 * np.pi * np.radians(sigma) ** 2

        def brightness(vectors):
            return np.exp(-0.5 * (separation_deg(vectors, centre) / sigma) ** 2) / norm

        def nodes(width):
            share = sigma**2 / (sigma**2 + width**2)
            middle = centre + share * (event - centre)
            basis = tangent_basis(*map(float, lonlat_from_vectors(middle / np.linalg.norm(middle))))
            return self._polar(basis, np.sqrt(share) * width)[:2]

        return self._integrate(measured, event, brightness, flux, nodes)

    def elongated(self, measured, lon, lat, shape, flux, n_side=44):
        """Elongated Gaussian, by gammapy's definition: a grid of nodes along its axes, where PSF and source overlap."""
        major, minor = shape.sigma, shape.sigma * np.sqrt(1 - shape.e**2)
        norm = 2 * np.pi * np.radians(major) * np.radians(minor)
        node, node_weight = np.polynomial.legendre.leggauss(n_side)

        def along_and_across(where):
            here = (np.radians(shape.lon), np.radians(shape.lat), *map(np.radians, where))
            r, turn = np.degrees(angular_separation(*here)), position_angle(*here).rad - np.radians(shape.phi)
            return r * np.cos(turn), r * np.sin(turn)

        def brightness(vectors):
            u, w = along_and_across(lonlat_from_vectors(vectors))
            return np.exp(-0.5 * ((u / major) ** 2 + (w / minor) ** 2)) / norm

        def at(u, w):
            turn = shape.phi + np.degrees(np.arctan2(w, u))
            return offset_by(*np.radians([shape.lon, shape.lat, turn, np.hypot(u, w)]))

        def nodes(width):
            share = [side**2 / (side**2 + width**2) for side in (major, minor)]
            mean = [f * x for f, x in zip(share, along_and_across((lon, lat)), strict=True)]
            middle, further = (
                [float(u.Quantity(x, "rad").to_value("deg")) for x in at(mean[0] + step, mean[1])]
                for step in (0.0, 1e-3)
            )
            plane = EqualAreaPlane(*middle)
            # the direction of the major axis at the middle
            turn = np.arctan2(*plane.to_plane(*further))
            x, y = np.meshgrid(*(np.sqrt(f) * width * REACH * node for f in share))
            vectors = plane.unproject(x * np.sin(turn) + y * np.cos(turn), x * np.cos(turn) - y * np.sin(turn))
            area = np.radians(width * REACH) ** 2 * np.sqrt(share[0] * share[1])
            return vectors, area * np.outer(node_weight, node_weight)

        return self._integrate(measured, unit_vectors(lon, lat), brightness, flux, nodes)

    def extended(self, measured, lon, lat, brightness, flux):
        """Any brightness: nodes around the event, as far as the PSF reaches."""
        event, basis = unit_vectors(lon, lat), tangent_basis(lon, lat)
        return self._integrate(
            measured,
            event,
            lambda vectors: brightness(*lonlat_from_vectors(vectors)),
            flux,
            lambda width: self._polar(basis, width)[:2],
        )

    def _integrate(self, measured, event, brightness, flux, nodes):
        here = float(separation_deg(event, self.axis))
        energy, width = self.energies(measured, here)
        total = 0.0
        for g in range(len(self.sigmas)):
            for chunk in np.array_split(np.arange(len(energy)), max(1, len(energy) // 60)):
                if len(chunk) == 0:
                    continue
                e = energy[chunk]
                # one set of directions serves the chunk: its energies, hence its widths, are close together
                vectors, solid = nodes(self.psf(g, np.sqrt(e[0] * e[-1]), here)[0].item())
                offset = separation_deg(vectors, self.axis)
                e, offset = e[:, None, None], offset[None]
                sigma, weight = self.psf(g, e, offset)
                r = separation_deg(vectors, event)
                psf = weight * np.exp(-0.5 * (r / sigma) ** 2) / (2 * np.pi * np.radians(sigma) ** 2)
                value = psf * self.area(e, offset) * self.dispersion(measured, e, offset)
                value = (value * (brightness(vectors) * solid)).sum(axis=(1, 2))
                total += float((value * flux(energy[chunk]) * width[chunk]).sum())
        return self.livetime * total

    def _psf_density(self, r, energy, offset):
        total = 0.0
        for g in range(len(self.sigmas)):
            sigma, weight = self.psf(g, energy, offset)
            total = total + weight * np.exp(-0.5 * (r / sigma) ** 2) / (2 * np.pi * np.radians(sigma) ** 2)
        return total

    def _polar(self, basis, scale):
        """Unit vectors (radius, azimuth, 3) around basis[0], solid angles, and a unit Gaussian profile."""
        r = np.radians(scale) * self.radius[:, None]
        azimuth = (np.arange(self.n_azimuth) + 0.5) * 2 * np.pi / self.n_azimuth
        local = np.stack(np.broadcast_arrays(np.cos(r), np.sin(r) * np.cos(azimuth), np.sin(r) * np.sin(azimuth)), -1)
        solid = np.sin(r) * np.radians(scale) * self.radius_weight[:, None] * 2 * np.pi / self.n_azimuth
        solid = np.broadcast_to(solid, local.shape[:-1])
        profile = np.broadcast_to(np.exp(-0.5 * self.radius**2)[:, None], local.shape[:-1])
        return local @ basis, solid, profile


def _grid(table, values):
    return RegularGridInterpolator((np.log(table.energy), table.offset), values, bounds_error=False, fill_value=None)


def _at(energy, offset):
    return np.stack(np.broadcast_arrays(np.log(energy), offset), -1)
