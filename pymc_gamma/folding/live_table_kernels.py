"""Kernels that reduce the response to a few widths per event, once per data set; see :mod:`pymc_gamma.folding.live`."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pymc_gamma.arrays import FloatArray as _Floats
from pymc_gamma.folding.kernels import PER_SR, _cubic, _dispersion, _linear
from pymc_gamma.folding.live_kernels import fast, inlined

__all__ = ["MAX_RUNGS", "Band", "Profile", "Rungs", "fill_rungs", "reference_columns", "reference_state"]

MATTERS = 1e-5
"""Share of the density, at the reference and as close as the source may come, below which a Gaussian of the PSF at an
energy is left out."""
FAINT = 1e-8
"""Share of the density at the centre of the source below which it is, too."""
PIECE = 1.0
"""Length of the pieces in the logarithm of the variance, at most."""
STEP = 0.5
"""Length for which a piece has one width more."""
GAP = 0.1
"""Gaps in the logarithm of the variance that are closed."""
SHORT = 1e-3
"""Length of a piece for which one width is enough."""
TAIL = 6.0
"""Largest change of the logarithm of the density of the reference over a piece that is taken out of the weights."""
MAX_RUNGS = 64
"""Widths of one event, at most."""


class Band(NamedTuple):
    """Where events lie on the tables of a response, and these; see `pymc_gamma.folding.tables.FoldTables`."""

    row: NDArray[np.int64]
    fraction: _Floats
    start: NDArray[np.int64]
    stop: NDArray[np.int64]
    edisp: NDArray[np.float32]
    edisp_offset: _Floats
    aeff: _Floats
    variance: _Floats
    weight: _Floats
    offset_step: float


class Profile(NamedTuple):
    """The reference source as events see it, by the variance of the PSF.

    Attributes
    ----------
    log_density : numpy.ndarray
        Logarithm of its brightness convolved with the PSF, deg-2, shape (N, M).
    log_closer : numpy.ndarray
        The same as far closer as the source may come.
    log_peak : numpy.ndarray
        The same at its centre, shape (M,).
    offset2 : numpy.ndarray
        Squared offset of the posterior mean of the true direction, deg2, shape (N, M).
    first, step : float
        First logarithm of the variance in deg2, and the step to the next.
    blur : float
        Added to variances v for the coordinate between rungs, 1 / (v + blur), in deg2.
    """

    log_density: _Floats
    log_closer: _Floats
    log_peak: _Floats
    offset2: _Floats
    first: float
    step: float
    blur: float


class Rungs(NamedTuple):
    """Widths of each event.

    Attributes
    ----------
    variance : numpy.ndarray
        deg2, shape (N, MAX_RUNGS).
    first : numpy.ndarray
        First rung of each piece, and at last their number, shape (N, MAX_RUNGS + 1).
    low, high : numpy.ndarray
        Ends of each piece in the logarithm of the variance (and blur), shape (N, MAX_RUNGS).
    pieces : numpy.ndarray
        Number of pieces, shape (N,).
    """

    variance: _Floats
    first: NDArray[np.int64]
    low: _Floats
    high: _Floats
    pieces: NDArray[np.int64]

    @classmethod
    def empty(cls, n: int) -> "Rungs":
        """Room for n events."""
        wide = (n, MAX_RUNGS)
        return cls(
            np.empty(wide),
            np.zeros((n, MAX_RUNGS + 1), np.int64),
            np.empty(wide),
            np.empty(wide),
            np.zeros(n, np.int64),
        )

    @property
    def total(self) -> NDArray[np.int64]:
        """Number of rungs of each event."""
        return self.first[np.arange(len(self.first)), self.pieces]


@inlined
def _rate(band, i, offset, e):  # type: ignore[no-untyped-def]
    """Effective area times dispersion of event i at a true-energy bin."""
    spread = _dispersion(band.edisp, band.edisp_offset, offset, band.row[i], band.fraction[i], e)
    return _linear(band.aeff, offset / band.offset_step, e) * spread


@inlined
def _around(offset, reach):  # type: ignore[no-untyped-def]
    """Offsets between which differences are taken, and the difference of their squares."""
    low, high = max(offset - reach, 0.0), offset + reach
    return low, high, high * high - low * low


@inlined
def _add_pieces(i, lows, highs, n_g, rungs, blur):  # type: ignore[no-untyped-def]
    """Cut the ranges of the widths that matter into pieces, and put Chebyshev's nodes into each."""
    for a in range(1, n_g):  # by their lower ends
        low, high = lows[a], highs[a]
        k = a - 1
        while k >= 0 and lows[k] > low:
            lows[k + 1], highs[k + 1] = lows[k], highs[k]
            k -= 1
        lows[k + 1], highs[k + 1] = low, high
    n, pieces, g = 0, 0, 0
    while g < n_g:
        low, high = lows[g], highs[g]
        g += 1
        if high < low:
            continue
        while g < n_g and (highs[g] < lows[g] or lows[g] < high + GAP):
            high = max(high, highs[g])
            g += 1
        parts = max(math.ceil((high - low) / PIECE), 1)
        length = (high - low) / parts
        m = 1 if length < SHORT else 2 + math.ceil(length / STEP)
        for part in range(parts):
            if n + m > MAX_RUNGS:
                break
            rungs.first[i, pieces] = n
            rungs.low[i, pieces] = low + part * length
            rungs.high[i, pieces] = low + (part + 1) * length
            begin, end = math.exp(-(low + part * length)), math.exp(-(low + (part + 1) * length))
            for w in range(m):
                # stretched so that the outermost lie at the ends
                x = -math.cos((w + 0.5) * math.pi / m) / math.cos(0.5 * math.pi / m) if m > 1 else 0.0
                rungs.variance[i, n + w] = 1 / (0.5 * (begin + end) + 0.5 * x * (end - begin)) - blur
            n += m
            pieces += 1
    rungs.first[i, pieces] = n
    rungs.pieces[i] = pieces


@fast
def reference_state(
    band: Band,
    smooth: _Floats,
    flux: _Floats,
    profile: Profile,
    offset: float,
    reach: float,
    fields: _Floats,
    rungs: Rungs,
) -> None:
    """State of each event under the reference source.

    ``fields[i]`` becomes the squared offset of the posterior mean, the change of the logarithms of widths with it, the
    share of the curvature of the effective area, and the change of the logarithm of the rate. Events that nothing
    reaches have no rungs.

    Parameters
    ----------
    band : Band
        Where the events lie.
    smooth : numpy.ndarray
        Effective area averaged over the Gaussians of the PSF, shape (n_g, n_o, n_e).
    flux : numpy.ndarray
        Spectrum in the bins, shape (n_e,).
    profile : Profile
        The reference source.
    offset : float
        Its offset in deg.
    reach : float
        Half the range of offsets in deg over which changes are taken.
    fields : numpy.ndarray
        Filled, shape (N, 4).
    rungs : Rungs
        Filled.
    """
    n_g = len(band.variance)
    lows, highs = np.empty(n_g), np.empty(n_g)
    for i in range(len(band.row)):
        o, total, top = offset, 0.0, profile.log_density[i].max()
        for _ in range(2):  # first with the widths at the source, then with those at the posterior mean
            total, mean = 0.0, 0.0
            for e in range(band.start[i], band.stop[i]):
                rate = flux[e] * _rate(band, i, o, e)
                if rate > 0:
                    for g in range(n_g):
                        v = _linear(band.variance[g], o / band.offset_step, e)
                        q = (math.log(v) - profile.first) / profile.step
                        share = rate * _linear(band.weight[g], o / band.offset_step, e)
                        share *= math.exp(_cubic(profile.log_density[i], q) - top)
                        total += share
                        mean += share * _cubic(profile.offset2[i], q)
            if total <= 0:
                break
            o = math.sqrt(max(mean / total, 0.0))
        fields[i] = 0.0
        if total <= 0:
            continue
        low, high, between = _around(o, reach)
        total, widening, curvature, change, peak, nearest, usual = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        lows[:], highs[:] = 1e9, -1e9
        for again in range(2):
            for e in range(band.start[i], band.stop[i]):
                rate = flux[e] * _rate(band, i, o, e)
                if rate <= 0:
                    continue
                for g in range(n_g):
                    v = _linear(band.variance[g], o / band.offset_step, e)
                    q = (math.log(v) - profile.first) / profile.step
                    weight = rate * _linear(band.weight[g], o / band.offset_step, e)
                    if again == 0:
                        peak += weight * math.exp(_cubic(profile.log_peak, q))
                        nearest += weight * math.exp(_cubic(profile.log_closer[i], q))
                        usual += weight * math.exp(_cubic(profile.log_density[i], q) - top)
                        continue
                    closer = weight * math.exp(_cubic(profile.log_closer[i], q))
                    share = weight * math.exp(_cubic(profile.log_density[i], q) - top)
                    if closer > FAINT * peak and (closer > MATTERS * nearest or share > MATTERS * usual):
                        y = math.log(v + profile.blur)
                        lows[g], highs[g] = min(lows[g], y), max(highs[g], y)
                    total += share
                    outer = _linear(band.variance[g], high / band.offset_step, e)
                    inner = _linear(band.variance[g], low / band.offset_step, e)
                    widening += share * math.log(outer / inner) / between
                    area = _linear(band.aeff, o / band.offset_step, e)
                    curvature += share * (_linear(smooth[g], o / band.offset_step, e) / area - 1)
                    after, before = _rate(band, i, high, e), _rate(band, i, low, e)
                    change += share * 2 * (after - before) / ((after + before) * between)
        if total > 0:
            fields[i, 0] = o * o
            fields[i, 1], fields[i, 2], fields[i, 3] = widening / total, curvature / total, change / total
            _add_pieces(i, lows, highs, n_g, rungs, profile.blur)


@fast
def fill_rungs(
    band: Band,
    flux: _Floats,
    profile: Profile,
    fields: _Floats,
    rungs: Rungs,
    reach: float,
    offset_max: float,
    place: tuple[float, float],
    factor: float,
    out: _Floats,
) -> None:
    """Add ``factor`` times K and K' of each event at its rungs: ``out[i, n, w, 0]`` and ``out[i, n, w, 1]``.

    Bins are gathered into hats; ``place`` says where the first lies among these, and how much further each next one.

    What is interpolated between the rungs is the *ratio* of the density to that of the reference source: exact there
    whatever their number. Where that changes by orders of magnitude over a piece, which does not matter at the
    reference, the ratio to a power of it: else rungs that count for nothing there would have weights like exp(50), and
    a source that comes closer would meet them.
    """
    n_g = len(band.variance)
    inverse, densities, bary = np.empty(MAX_RUNGS), np.empty(MAX_RUNGS), np.empty(MAX_RUNGS)
    power = np.empty(MAX_RUNGS)
    for i in range(len(band.row)):
        o = math.sqrt(fields[i, 0])
        if rungs.pieces[i] == 0 or o > offset_max:
            continue
        low, high, between = _around(o, reach)
        for p in range(rungs.pieces[i]):
            first, stop = rungs.first[i, p], rungs.first[i, p + 1]
            smallest, largest = 1e30, -1e30
            for w in range(first, stop):
                inverse[w] = 1 / (rungs.variance[i, w] + profile.blur)
                at = (math.log(rungs.variance[i, w]) - profile.first) / profile.step
                densities[w] = _cubic(profile.log_density[i], at)
                smallest, largest = min(smallest, densities[w]), max(largest, densities[w])
            power[p] = min(1.0, TAIL / max(largest - smallest, 1e-9))
            for w in range(first, stop):
                bary[w] = 1.0
                for m in range(first, stop):
                    if m != w:
                        bary[w] /= inverse[w] - inverse[m]
        for e in range(band.start[i], band.stop[i]):
            rate = _rate(band, i, o, e)
            after, before = _rate(band, i, high, e), _rate(band, i, low, e)
            if rate <= 0 and after <= 0 and before <= 0:
                continue
            scale = flux[e] * factor * PER_SR
            x = place[0] + e * place[1]
            k = int(x)
            for g in range(n_g):
                v = _linear(band.variance[g], o / band.offset_step, e)
                y = math.log(v + profile.blur)
                p = rungs.pieces[i] - 1
                while p > 0 and y < rungs.low[i, p] - 0.5 * GAP:
                    p -= 1
                if y < rungs.low[i, p] - 0.5 * GAP or y > rungs.high[i, p] + 0.5 * GAP:
                    continue
                if p > 0 and y < rungs.high[i, p - 1]:
                    p -= 1
                x_v = 1 / (v + profile.blur)
                first, stop = rungs.first[i, p], rungs.first[i, p + 1]
                density = _cubic(profile.log_density[i], (math.log(v) - profile.first) / profile.step)
                value = rate * _linear(band.weight[g], o / band.offset_step, e) * scale
                outer = after * _linear(band.weight[g], high / band.offset_step, e) * scale
                inner = before * _linear(band.weight[g], low / band.offset_step, e) * scale
                slope = (outer - inner) / between - fields[i, 3] * value
                for w in range(first, stop):
                    share = bary[w]
                    for m in range(first, stop):
                        if m != w:
                            share *= x_v - inverse[m]
                    share *= math.exp(power[p] * (density - densities[w]))
                    out[i, k, w, 0] += (k + 1 - x) * share * value
                    out[i, k, w, 1] += (k + 1 - x) * share * slope
                    if x > k:
                        out[i, k + 1, w, 0] += (x - k) * share * value
                        out[i, k + 1, w, 1] += (x - k) * share * slope


@fast
def reference_columns(profile: Profile, rungs: Rungs, numbers: _Floats, out: _Floats) -> None:
    """Add up the numbers K of events (N, n, rungs, 2) as the reference source has them: densities ``out[i, n]``."""
    for i in range(len(out)):
        for w in range(rungs.first[i, rungs.pieces[i]]):
            at = (math.log(rungs.variance[i, w]) - profile.first) / profile.step
            density = math.exp(_cubic(profile.log_density[i], at))
            for n in range(out.shape[1]):
                out[i, n] += density * numbers[i, n, w, 0]
