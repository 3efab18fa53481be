"""OGIP files of a toy instrument, written with astropy alone."""

import numpy as np
from astropy.io import fits

N_TRUE, N_CHANNELS = 6, 8


def toy(seed=0):
    """Edges of true energies and channels in TeV, area in cm2, matrix, ON and OFF counts."""
    rng = np.random.default_rng(seed)
    true, reco = np.geomspace(0.5, 20, N_TRUE + 1), np.geomspace(0.7, 15, N_CHANNELS + 1)
    middle = np.sqrt(true[1:] * true[:-1])
    matrix = np.exp(-0.5 * (np.log(np.sqrt(reco[1:] * reco[:-1]) / middle[:, None]) / 0.3) ** 2)
    matrix[matrix < 0.01] = 0  # bands, with an end on either side
    matrix *= 0.9 / matrix.sum(axis=1, keepdims=True)
    area = 1e9 * middle**0.5
    return true, reco, area, matrix, rng.poisson(20, N_CHANNELS), rng.poisson(30, N_CHANNELS)


def write(
    folder,
    *,
    first_channel=0,
    tlmin=None,
    unit="TeV",
    on=None,
    off=None,
    quality=None,
    grouping=None,
    backscal=(1.0, 4.0),
    exposure=(1000.0, 1000.0),
    areascal=(1.0, 1.0),
    pha=None,
    columns=None,
    arf_edges=None,
    without=(),
    gammapy=False,
):
    """The four files; returns the path of the PHA file."""
    true, reco, area, matrix, on_counts, off_counts = toy()
    on, off = on_counts if on is None else on, off_counts if off is None else off
    scale = {"TeV": 1.0, "keV": 1e9}[unit]
    channel = np.arange(N_CHANNELS) + first_channel

    def bounds():
        hdu = fits.BinTableHDU.from_columns(
            [
                fits.Column("CHANNEL", "I", array=channel),
                fits.Column("E_MIN", "D", unit=unit, array=reco[:-1] * scale),
                fits.Column("E_MAX", "D", unit=unit, array=reco[1:] * scale),
            ]
        )
        hdu.name = "EBOUNDS"
        return hdu

    def counts(values, k):
        made = [
            fits.Column("CHANNEL", "I", array=channel),
            fits.Column("COUNTS", "D", array=values),
            fits.Column("BACKSCAL", "D", array=np.broadcast_to(backscal[k], N_CHANNELS)),
        ]
        if quality is not None or gammapy:
            made.append(fits.Column("QUALITY", "I", array=np.zeros(N_CHANNELS) if quality is None else quality[k]))
        if grouping is not None:
            made.append(fits.Column("GROUPING", "I", array=grouping))
        hdu = fits.BinTableHDU.from_columns(made if columns is None else columns(made))
        hdu.name = "SPECTRUM"
        hdu.header.update(
            {
                "EXPOSURE": exposure[k],
                "AREASCAL": areascal[k],
                "OBS_ID": 7,
                "POISSERR": True,
                "HDUCLASS": "OGIP",
                "HDUCLAS1": "SPECTRUM",
                "DETCHANS": N_CHANNELS,
            }
        )
        return hdu

    spectrum = counts(on, 0)
    names = {"ANCRFILE": "toy.arf", "RESPFILE": "toy.rmf", "BACKFILE": "toy.bkg"}
    spectrum.header.update({key: "none" if key in without else name for key, name in names.items()})
    spectrum.header.update(pha or {})
    edges = true if arf_edges is None else arf_edges
    arf = fits.BinTableHDU.from_columns(
        [
            fits.Column("ENERG_LO", "D", unit=unit, array=edges[:-1] * scale),
            fits.Column("ENERG_HI", "D", unit=unit, array=edges[1:] * scale),
            fits.Column("SPECRESP", "D", unit="cm2", array=area[: len(edges) - 1]),
        ]
    )
    arf.name = "SPECRESP"
    first = (matrix > 0).argmax(axis=1)
    n = (matrix > 0).sum(axis=1)
    rows = np.empty(N_TRUE, object)
    rows[:] = [matrix[e, first[e] : first[e] + n[e]] for e in range(N_TRUE)]

    def column(name, values):
        """Groups of a row: a number where there is one, or an array of as many, which gammapy asks for."""
        return fits.Column(name, "PI()" if gammapy else "I", array=[[v] for v in values] if gammapy else values)

    rmf = fits.BinTableHDU.from_columns(
        [
            fits.Column("ENERG_LO", "D", unit=unit, array=true[:-1] * scale),
            fits.Column("ENERG_HI", "D", unit=unit, array=true[1:] * scale),
            fits.Column("N_GRP", "I", array=np.ones(N_TRUE)),
            column("F_CHAN", first + first_channel),
            column("N_CHAN", n),
            fits.Column("MATRIX", "PD()", array=rows),
        ]
    )
    rmf.name = "MATRIX"
    rmf.header["DETCHANS"] = N_CHANNELS
    if tlmin is not None:
        rmf.header["TLMIN4"] = tlmin
    for name, hdus in {
        "toy.pha": [spectrum, bounds()],
        "toy.bkg": [counts(off, 1), bounds()],
        "toy.arf": [arf],
        "toy.rmf": [rmf, bounds()],
    }.items():
        fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(folder / name, checksum=True, overwrite=True)
    return folder / "toy.pha"
