"""Compiled interpolation of the residual background."""

import math

import numba as nb

from pymc_gamma.search import interval

__all__ = ["background_rate"]

FASTMATH = {"reassoc", "contract", "arcp", "nsz"}
DEG = math.pi / 180
LOG_NO_RATE = math.log(1e-40)
"""Rates below this come from interpolating towards a cell without any."""


@nb.njit(cache=True, nogil=True, fastmath=FASTMATH, error_model="numpy")
def background_rate(vectors, log_energy, basis, log_nodes, lon_nodes, lat_nodes, log_rate, radial, out):
    """Background rate in s-1 TeV-1 sr-1 of each event, log-linear between nodes; zero outside the field of view."""
    n_x, n_y = log_rate.shape[1:]
    x_step, y_step = lon_nodes[1] - lon_nodes[0], 1.0
    if not radial:
        y_step = lat_nodes[1] - lat_nodes[0]
    for i in range(len(log_energy)):
        vx, vy, vz = vectors[i, 0], vectors[i, 1], vectors[i, 2]
        a = basis[0, 0] * vx + basis[0, 1] * vy + basis[0, 2] * vz
        b = basis[1, 0] * vx + basis[1, 1] * vy + basis[1, 2] * vz
        c = basis[2, 0] * vx + basis[2, 1] * vy + basis[2, 2] * vz
        px = math.atan2(b, a) / DEG
        py = math.atan2(c, math.sqrt(a * a + b * b)) / DEG
        if radial:
            px, py = math.atan2(math.sqrt(b * b + c * c), a) / DEG, 0.0
        if (
            (px < lon_nodes[0] - 0.5 * x_step and not radial)
            or px > lon_nodes[n_x - 1] + 0.5 * x_step
            or abs(py) > abs(lat_nodes[n_y - 1]) + 0.5 * y_step
        ):
            out[i] = 0.0
            continue
        # constant beyond the outermost nodes: in the logarithm a neighbour of zero would extrapolate to anything
        k, t = interval(log_nodes, log_energy[i])
        kx, tx = interval(lon_nodes, px)
        ky, ty = 0, 0.0
        if not radial:
            ky, ty = interval(lat_nodes, py)
        ky1 = min(ky + 1, n_y - 1)
        total = 0.0
        for h in range(2):
            low = log_rate[k + h, kx, ky] * (1 - tx) + log_rate[k + h, kx + 1, ky] * tx
            high = log_rate[k + h, kx, ky1] * (1 - tx) + log_rate[k + h, kx + 1, ky1] * tx
            total += (low * (1 - ty) + high * ty) * (t if h == 1 else 1 - t)
        out[i] = math.exp(total) if total > LOG_NO_RATE else 0.0
