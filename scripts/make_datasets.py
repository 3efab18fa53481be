r"""Make the files in ``pymc_gamma/datasets/data`` from the official ones.

    python scripts/make_datasets.py --prod5 CTA-Performance-prod5-v0.1-South-20deg.FITS.tar.gz \
        --hgps hgps_catalog_v1.fits.gz --fermi gll_iem_v06_gc.fits.gz --hess hess-dl3-dr1 \
        --pppc AtProduction_gammas.dat [--output FOLDER]

Give any subset of the five. The result depends on the input alone (no dates, no host names), so running it
again gives the same bytes with the same versions of numpy, astropy and zlib.

* prod5: the file for South, 20 deg, 50 h, azimuth average, taken out of the archive unchanged (CC BY 4.0).
* H.E.S.S. Galactic plane survey: one row per sky model of the catalogue's 78 sources, published numbers only,
  in the single precision in which the catalogue holds them (flux shares of components: their ratio).
* Fermi: the energy-integrated *shape* of the interstellar emission model on our own grid, in units of its
  mean (the integral is that of `pymc_gamma.sky.template`).
* H.E.S.S. DL3 DR1, a folder with the background models included: the four runs on the Crab nebula and the terms of
  use, unchanged, and the index tables reduced to these runs.
* PPPC 4 DM ID: all gamma-ray spectra of the official file in single precision, compressed.
"""

import argparse
import gzip
import io
import tarfile
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table
from numpy.typing import NDArray

from pymc_gamma.darkmatter.tables import GEV, GammaTable
from pymc_gamma.sky.template import TEMPLATE_BAND, band_integral

DATA = Path(__file__).resolve().parent.parent / "pymc_gamma" / "datasets" / "data"

IRF_MEMBER = "Prod5-South-20deg-AverageAz-14MSTs37SSTs.180000s-v0.1.fits.gz"
IRF_FILE = "prod5-south-20deg-50h.fits.gz"
HGPS_FILE = "hgps-sources.ecsv"
FERMI_FILE = "fermi-diffuse-template.fits.gz"
HESS_FOLDER = "hess-dl3-dr1"
PPPC_FILE = "pppc4dmid-gammas.npz"
HESS_CRAB_RUNS = (23523, 23526, 23559, 23592)

COLUMNS = [
    *("source", "component", "identified", "source_class"),
    *("morphology", "glon", "glat", "size", "fraction"),
    *("spectrum", "index", "amplitude", "reference", "lambda"),
]


def make_irfs(archive: Path, output: Path) -> Path:
    """Copy the bundled instrument response functions out of their archive, byte for byte."""
    with tarfile.open(archive) as tar:
        member = tar.extractfile(IRF_MEMBER)
        if member is None:
            raise SystemExit(f"{archive} does not hold {IRF_MEMBER}.")
        content = member.read()
    path = output / IRF_FILE
    path.write_bytes(content)
    return path


def make_hgps(catalogue: Path, output: Path) -> Path:
    """One row per sky model of the H.E.S.S. Galactic plane survey."""
    sources = Table.read(catalogue, hdu="HGPS_SOURCES")
    components = Table.read(catalogue, hdu="HGPS_GAUSS_COMPONENTS")
    component_row = {str(name).strip(): row for name, row in zip(components["Component_ID"], components, strict=True)}
    rows = []
    for source in sources:
        law = str(source["Spectral_Model"]).strip()
        spectrum = {
            "spectrum": law,
            "index": source[f"Index_Spec_{law}"],
            "amplitude": source[f"Flux_Spec_{law}_Diff_Pivot"],
            "reference": source[f"Energy_Spec_{law}_Pivot"],
            "lambda": source["Lambda_Spec_ECPL"] if law == "ECPL" else np.float32(0),
        }
        name = str(source["Source_Name"]).strip()
        base = {
            "source": name,
            "identified": _text(source["Identified_Object"]),
            "source_class": _text(source["Source_Class"]),
        }
        kind = str(source["Spatial_Model"]).strip()
        # A Gaussian source without a size of its own has it in the component table.
        if kind.endswith("-Gaussian") or (kind == "Gaussian" and np.ma.is_masked(source["Size"])):
            for component in str(source["Components"]).split(", "):
                row = component_row[component.strip()]
                shape = _shape("gaussian", row, float(row["Flux_Map"]) / float(source["Flux_Map"]))
                rows.append({**base, "component": component.strip(), **shape, **spectrum})
        else:
            morphology = {"Point-Like": "point", "Gaussian": "gaussian", "Shell": "shell"}[kind]
            rows.append({**base, "component": "", **_shape(morphology, source, 1.0), **spectrum})
    table = Table(rows)
    table = table[COLUMNS]
    numbers = [column for column in table.itercols() if column.dtype.kind == "f"]
    if table.has_masked_values or not all(np.all(np.isfinite(column)) for column in numbers):
        raise SystemExit(f"{catalogue} holds a source without a complete model.")
    for column, unit in {
        "glon": "deg",
        "glat": "deg",
        "size": "deg",
        "amplitude": "TeV-1 cm-2 s-1",
        "reference": "TeV",
        "lambda": "TeV-1",
    }.items():
        table[column].unit = unit
    for column, description in {
        "component": "Gaussian component, empty when the source is its own only component",
        "size": "standard deviation of a Gaussian, outer radius of a shell, 0 for a point",
        "fraction": "share of the flux of the source (map fluxes above 1 TeV)",
        "amplitude": "differential flux of the whole source at the reference energy",
        "lambda": "inverse cut-off energy, 0 for a power law",
    }.items():
        table[column].description = description
    table.meta = {
        "title": "Sky models of the H.E.S.S. Galactic plane survey",
        "reference": "H.E.S.S. Collaboration (2018), A&A 612, A1, doi:10.1051/0004-6361/201732098",
        "made_by": "scripts/make_datasets.py from hgps_catalog_v1.fits.gz",
    }
    path = output / HGPS_FILE
    table.write(path, format="ascii.ecsv", overwrite=True)
    return path


def _shape(morphology: str, row: "Table.Row", fraction: float) -> dict[str, object]:
    return {
        "morphology": morphology,
        "glon": row["GLON"],
        "glat": row["GLAT"],
        "size": np.float32(0) if morphology == "point" else row["Size"],
        "fraction": fraction,
    }


def _text(value: object) -> str:
    text = str(value).strip()
    return "" if np.ma.is_masked(value) or text in {"--", "N/A"} else text


def make_fermi(cutout: Path, output: Path) -> Path:
    """Band-integrated shape of the Fermi interstellar emission model around the Galactic centre.

    The grid has half the step of the original and holds its nodes, so that bilinear interpolation gives the
    same brightness on both.
    """
    with fits.open(cutout) as hdus:
        header, cube = hdus[0].header, hdus[0].data.astype(float)
        energy = hdus["ENERGIES"].data["ENERGY"].astype(float) * 1e-6
        energy_end = float(hdus["ENERGIES"].data["E_MAX"][-1]) * 1e-6
    if (header["CTYPE1"], header["CRVAL1"], header["CRVAL2"]) != ("GLON-CAR", 0.0, 0.0):
        raise SystemExit(f"{cutout} is not a plate-carree map around the Galactic centre.")
    band = (TEMPLATE_BAND[0], min(TEMPLATE_BAND[1], energy_end))
    image = band_integral(cube, energy, band)
    lon = header["CRVAL1"] + header["CDELT1"] * (np.arange(image.shape[1]) + 1 - header["CRPIX1"])
    lat = header["CRVAL2"] + header["CDELT2"] * (np.arange(image.shape[0]) + 1 - header["CRPIX2"])
    image, lon, lat = halve(halve(image, axis=0), axis=1), halve(lon, axis=0), halve(lat, axis=0)
    image /= np.average(image, weights=np.broadcast_to(np.cos(np.radians(lat))[:, None], image.shape))
    image, lon = image[:, ::-1], lon[::-1]  # longitude increases to the left, as astronomers draw it

    hdu = fits.PrimaryHDU(image.astype(np.float32))
    cards = {
        "CTYPE1": ("GLON-CAR", "galactic longitude, plate carree"),
        "CTYPE2": ("GLAT-CAR", "galactic latitude, plate carree"),
        "CUNIT1": ("deg", ""),
        "CUNIT2": ("deg", ""),
        "CRVAL1": (0.0, "deg"),
        "CRVAL2": (0.0, "deg"),
        "CRPIX1": (1 - lon[0] / (lon[1] - lon[0]), "pixel of longitude 0"),
        "CRPIX2": (1 - lat[0] / (lat[1] - lat[0]), "pixel of latitude 0"),
        "CDELT1": (lon[1] - lon[0], "deg"),
        "CDELT2": (lat[1] - lat[0], "deg"),
        "BUNIT": ("", "intensity / mean intensity of this map"),
        "EMIN": (band[0], "TeV, band whose integral is mapped"),
        "EMAX": (band[1], "TeV"),
        "ARXIV": ("1602.07246", "Acero et al. 2016, ApJS 223, 26"),
    }
    for key, (value, comment) in cards.items():
        hdu.header[key] = (value, comment)
    hdu.header["COMMENT"] = "Shape derived from the Fermi-LAT model gll_iem_v06 by scripts/make_datasets.py."
    buffer = io.BytesIO()
    hdu.writeto(buffer)
    path = output / FERMI_FILE
    path.write_bytes(gzip.compress(buffer.getvalue(), compresslevel=9, mtime=0))
    return path


def halve(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Insert the mean of neighbours along an axis."""
    values = np.moveaxis(values, axis, 0)
    result = np.empty((2 * len(values) - 1, *values.shape[1:]))
    result[::2] = values
    result[1::2] = 0.5 * (values[1:] + values[:-1])
    return np.moveaxis(result, 0, axis)


def make_hess(release: Path, output: Path) -> Path:
    """Four runs on the Crab nebula, byte for byte, with their terms of use and the rows of the index tables."""
    folder = output / HESS_FOLDER
    (folder / "data").mkdir(parents=True, exist_ok=True)
    wanted = ["README.txt", *(f"data/hess_dl3_dr1_obs_id_{run:06d}.fits.gz" for run in HESS_CRAB_RUNS)]
    for name in wanted:
        (folder / name).write_bytes((release / name).read_bytes())
    for name in ("obs-index.fits.gz", "hdu-index.fits.gz"):
        with fits.open(release / name) as hdus:
            index = fits.BinTableHDU(hdus[1].data[np.isin(hdus[1].data["OBS_ID"], HESS_CRAB_RUNS)], hdus[1].header)
            index.header["COMMENT"] = "Reduced to four runs by scripts/make_datasets.py."
            buffer = io.BytesIO()
            fits.HDUList([fits.PrimaryHDU(), index]).writeto(buffer)
        (folder / name).write_bytes(gzip.compress(buffer.getvalue(), compresslevel=9, mtime=0))
    return folder


def make_pppc(spectra: Path, output: Path) -> Path:
    """Write the gamma-ray spectra of PPPC 4 DM ID as arrays in single precision."""
    table = GammaTable.read(spectra)
    path = output / PPPC_FILE
    np.savez_compressed(
        path,
        mass=np.round(table.mass / GEV, 6),
        log10_x=table.log10_x,
        channels=np.array(table.channels),
        dndlog10x=np.stack([table.values(one) for one in table.channels]).astype(np.float32),
    )
    return path


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Make the bundled data from the official files.")
    parser.add_argument("--prod5", type=Path, help="CTA-Performance-prod5-v0.1-South-20deg.FITS.tar.gz")
    parser.add_argument("--hgps", type=Path, help="hgps_catalog_v1.fits.gz")
    parser.add_argument("--fermi", type=Path, help="gll_iem_v06_gc.fits.gz")
    parser.add_argument("--hess", type=Path, help="folder of HESS DL3 DR1, as gammapy distributes it")
    parser.add_argument("--pppc", type=Path, help="AtProduction_gammas.dat of PPPC 4 DM ID")
    parser.add_argument("--output", type=Path, default=DATA, help="folder to write to")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    makers = [
        (make_irfs, arguments.prod5),
        (make_hgps, arguments.hgps),
        (make_fermi, arguments.fermi),
        (make_hess, arguments.hess),
        (make_pppc, arguments.pppc),
    ]
    if not any(source for _, source in makers):
        parser.error("give at least one of --prod5, --hgps, --fermi, --hess and --pppc")
    for maker, source in makers:
        if source is not None:
            made = maker(source, arguments.output)
            for path in sorted(made.rglob("*.*")) if made.is_dir() else [made]:
                print(f"{path.relative_to(arguments.output)}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
