"""Compiled geometry and interpolation of the residual background."""

import math

from pymc_gamma.compilation import kernel
from pymc_gamma.search_kernels import count_below, interval

__all__ = ["background_rate", "field_positions"]

FASTMATH = {"reassoc", "contract", "arcp", "nsz"}
DEG = math.pi / 180


@kernel(error_model="numpy")
def field_positions(vectors, basis, lon_edges, lat_edges, covered, radial, lon, lat, inside):
    """Field-of-view coordinates in deg of unit vectors, and whether their bin is covered.

    A radial background has the offset in ``lon`` and 0 in ``lat``. The only place that decides what is covered.
    """
    n_x, n_y = len(lon_edges), len(lat_edges)
    for i in range(len(vectors)):
        vx, vy, vz = vectors[i, 0], vectors[i, 1], vectors[i, 2]
        a = basis[0, 0] * vx + basis[0, 1] * vy + basis[0, 2] * vz
        b = basis[1, 0] * vx + basis[1, 1] * vy + basis[1, 2] * vz
        c = basis[2, 0] * vx + basis[2, 1] * vy + basis[2, 2] * vz
        if radial:
            px, py = math.atan2(math.sqrt(b * b + c * c), a) / DEG, 0.0
        else:
            px, py = math.atan2(b, a) / DEG, math.atan2(c, math.sqrt(a * a + b * b)) / DEG
        lon[i], lat[i] = px, py
        inside[i] = False
        if lon_edges[0] <= px <= lon_edges[n_x - 1] and lat_edges[0] <= py <= lat_edges[n_y - 1]:
            kx = min(count_below(lon_edges, px, n_x) - 1, n_x - 2)
            ky = min(count_below(lat_edges, py, n_y) - 1, n_y - 2)
            inside[i] = covered[kx, ky]


@kernel(fastmath=FASTMATH, error_model="numpy")
def background_rate(lon, lat, inside, log_energy, log_range, log_nodes, lon_nodes, lat_nodes, log_rate, out):
    """Background rate in s-1 TeV-1 sr-1 of each event, log-linear between nodes; zero outside and beyond the range."""
    n_y = log_rate.shape[2]
    for i in range(len(log_energy)):
        x = log_energy[i]
        if not inside[i] or x < log_range[0] or x > log_range[1]:
            out[i] = 0.0
            continue
        # constant beyond the outermost nodes: a noisy slope at the edge of a table would extrapolate to anything
        k, t = interval(log_nodes, x)
        kx, tx = interval(lon_nodes, lon[i])
        ky, ty = interval(lat_nodes, lat[i])
        ky1 = min(ky + 1, n_y - 1)
        total = 0.0
        for h in range(2):
            low = log_rate[k + h, kx, ky] * (1 - tx) + log_rate[k + h, kx + 1, ky] * tx
            high = log_rate[k + h, kx, ky1] * (1 - tx) + log_rate[k + h, kx + 1, ky1] * tx
            total += (low * (1 - ty) + high * ty) * (t if h == 1 else 1 - t)
        out[i] = math.exp(total)
