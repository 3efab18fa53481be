"""The data sets this package knows: where each lives, how to tell that a copy is intact, what to cite.

Checksums are SHA-256. Those of bundled files are of the shipped bytes. Those of other files are of the copies
that the Python package ``GammaBayes`` 0.1.9 redistributes; the archives carry the dates and owners of the
CTAO release, but no checksum published by the origin was at hand to compare with. Those of runs of H.E.S.S. are of
the files in gammapy's data sets. A download that differs from them is refused. Where no reference copy was at hand
the checksum is None, and a copy is taken as it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from pymc_gamma.datasets.citation import Citation
from pymc_gamma.datasets.references import (
    CTAO_PROD3B,
    CTAO_PROD5,
    DARK_MATTER_SPECTRA,
    FERMI_DIFFUSE,
    HESS_DL3_DR1,
    HGPS,
    Z2_DARKSUSY,
    Z2_DIMAURO,
    Z5_MODEL,
)

__all__ = ["REGISTRY", "Archive", "Dataset"]


@dataclass(frozen=True)
class Archive:
    """Archive that holds the file of a data set.

    Parameters
    ----------
    file_name : str
        Name of the archive, a compressed tar file.
    sha256 : str
        Its checksum.
    container_url : str
        Address of a zip file that holds the archive in turn.
    """

    file_name: str
    sha256: str
    container_url: str


@dataclass(frozen=True)
class Dataset:
    """One data file, or a folder of them, and where to get it.

    Parameters
    ----------
    name : str
        Name to ask for.
    file_name : str
        Name of the file or folder, in the package, in a local mirror or in the cache.
    description : str
        One line.
    citation : Citation
        What to cite, and the terms of use.
    home : str
        Page that offers the data, for people.
    sha256 : str or None
        Checksum of the file, if one is known.
    bundled : bool
        Whether the file is part of the package.
    url : str, optional
        Address of the file itself, if it can be downloaded directly; of a folder, the one that its members lie below.
    archive : Archive, optional
        Archive that holds the file.
    members : mapping of str to str or None
        Checksum of each file of a folder, by its path inside the folder; empty for a single file. None where copies
        differ, such as index tables that list other files too.
    """

    name: str
    file_name: str
    description: str
    citation: Citation
    home: str
    sha256: str | None = None
    bundled: bool = False
    url: str | None = None
    archive: Archive | None = None
    members: Mapping[str, str | None] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def downloadable(self) -> bool:
        """Whether `fetch` can download it by itself."""
        return self.url is not None or self.archive is not None


_ZENODO_PROD5 = "https://doi.org/10.5281/zenodo.5499840"
_PROD5_ZIP = "https://zenodo.org/records/5499840/files/cta-prod5-zenodo-fitsonly-v0.1.zip"

# (site, sub-array, telescopes): {zenith angle: checksum of the archive}
_PROD5_ARCHIVES: Mapping[tuple[str, str, str], Mapping[int, str]] = {
    ("North", "", "4LSTs09MSTs"): {
        20: "e2d0e7d110321e9bf503928d38c30aa555b784d5ad98da095a39e66a2150c345",
        40: "d72c2b6c9135ca9a40b459ce96f08d37d373ae792997560780a108dcb4c12f0b",
        60: "4ca9401fc62eff5cf86099afbaeea78907dd86157b9806c6601a19d0dab80391",
    },
    ("North", "LST", "4LSTs"): {
        20: "37deaaaa3afa466d47662a731c3acda8088e89942cc9d5e5f8fbd86a2601fb30",
        40: "32a3178194f38201514ab694e8bf9643ac00f82c88cbe8e23c432aa5ffcc5496",
        60: "bff99c989368c477c3befa018e0583ec295e6339ce2cbf80343c0c772c6bc4cc",
    },
    ("North", "MST", "09MSTs"): {
        20: "c3be90a505939def00a1b9016bb25ff610a282539de6f532520a8d1e0f091105",
        40: "ea122ae41618000bc182457f97e22a37318460b3ae0761d7292460aa41ff2728",
        60: "90722b756a21390ce2886b59090b53ebc401c53ccf84a0aac47de7b3864c5d16",
    },
    ("South", "", "14MSTs37SSTs"): {
        20: "0babe973cee35cab34daf5401ac16479cf7fc57a8070764ea2c28c3c783cc799",
        40: "91a73d617d78ef9961a9ccb4694ec574310b76b8bd78c91307a88354a33a905a",
        60: "13df0f8f6919fea5e68dd85a0dd15be7758e1682fd410f49d9262f2b45509345",
    },
    ("South", "MST", "14MSTs"): {
        20: "79ddf19793b44353d35331bb148c94a65bd6e9ae95b1804fbabd9688e4855ab9",
        40: "a596f883bf086cafc86ae66a7457843691a27bd578a126f25bd9c3dc3f6e9051",
        60: "8d7f1b9017b67930222cd1d4cc9cccafd477fa0248efbf9ec70706e778488343",
    },
    ("South", "SST", "37SSTs"): {
        20: "e050eeb0f943147f75203d64ee47f5fd5cc89bff4937f8490bf800ccfdaf2320",
        40: "a81e6a91b27d7a32decfa3c84f883cb6f72f7862da10341174944dbe5768234d",
        60: "0297ef94633a66d748982e0480c51319c7dd12ec15f09edb7ace64b5289c1f45",
    },
}
_PROD5_DURATIONS = {"0.5h": "1800s", "5h": "18000s", "50h": "180000s"}
_PROD5_AZIMUTHS = {"": "AverageAz", "-north-az": "NorthAz", "-south-az": "SouthAz"}

_PROD3B_FILES = {
    "North_z20_50h": "b7657fa28d16da70d0035a0296f1f9f4264f1ea8474619150c6dfd2cadcb964d",
    "North_z40_50h": "38c3b50945bc952febcfee4b6628097991cda8a5495f78764d1a626d64dfb57f",
    "North_z60_50h": "f20050334c0545a72ee3d47bf2d35b7a0cde078d2d3e3472dd876057c8484c83",
    "South_z20_50h": "5367deacbbe501395e156d7d72baf12b0f7f14c36dea17a3fcff1900dc128f4a",
    "South_z40_50h": "f2ef8194f80b03a6392144a49ebf96f708c87bb9cc9e90a7826dfc4df2be2d8c",
    "South_z60_50h": "928303ff5fdf100f7db8babce95b541c79f337ef4605317c793b74453b3b585b",
}

_BUNDLED = (
    Dataset(
        name="prod5-south-20deg-50h",
        file_name="prod5-south-20deg-50h.fits.gz",
        description="CTAO prod5 v0.1 IRFs: South, zenith 20 deg, 50 h, azimuth average",
        citation=CTAO_PROD5,
        home=_ZENODO_PROD5,
        sha256="c979ebf576c6b275237279525d741fc2f8ece79ad7263a81ec820c321faa7361",
        bundled=True,
    ),
    Dataset(
        name="hgps-sources",
        file_name="hgps-sources.ecsv",
        description="H.E.S.S. Galactic plane survey: sky models of its 78 sources",
        citation=HGPS,
        home="https://www.mpi-hd.mpg.de/hfm/HESS/hgps",
        sha256="eb29c72475d56ac557bc3b4db592b88983385ff03886e594e33b46a87ac618b8",
        bundled=True,
    ),
    Dataset(
        name="fermi-diffuse-template",
        file_name="fermi-diffuse-template.fits.gz",
        description="Fermi-LAT interstellar emission, 0.1-0.6 TeV shape around the Galactic centre",
        citation=FERMI_DIFFUSE,
        home="https://fermi.gsfc.nasa.gov/ssc/data/access/lat/BackgroundModels.html",
        sha256="9ead1bd01dcf3efdd0559e7b502d8e1bf2b157337c475b1273a773544d2d300d",
        bundled=True,
    ),
    Dataset(
        name="pppc4dmid-gammas",
        file_name="pppc4dmid-gammas.npz",
        description="PPPC 4 DM ID: gamma-ray spectra of dark-matter annihilation, in single precision",
        citation=DARK_MATTER_SPECTRA,
        home="http://www.marcocirelli.net/PPPC4DMID.html",
        sha256="b8d4808a125f005d7b9ca3c6a7bca53c42c143a8b355626c167bb56bf1e0fc41",
        bundled=True,
    ),
    Dataset(
        name="hess-dl3-dr1-crab",
        file_name="hess-dl3-dr1",
        description="H.E.S.S. DL3 DR1: four runs on the Crab nebula, a folder for gammapy's DataStore",
        citation=HESS_DL3_DR1,
        home="https://www.mpi-hd.mpg.de/hfm/HESS/pages/dl3-dr1/",
        bundled=True,
        members=MappingProxyType(
            {
                "README.txt": "0525229f8d7d0541ea62b64b96bd985819c258aaefeaca00d4dedba472b6780c",
                "obs-index.fits.gz": "1d486dea83620ebb79c4baf2df50b8ee4e00871d2842864d4305c71e3da31508",
                "hdu-index.fits.gz": "6b877f60f8c5a1ca9193383f8c4458dc38f699fe623c4f8e7476c4f6d1a6afae",
                **{
                    f"data/hess_dl3_dr1_obs_id_{run:06d}.fits.gz": sha256
                    for run, sha256 in {
                        23523: "a661f489cd2241ebdafbda8f40c59f1ae76fe2b9331ccf6b25dede3751dbc08c",
                        23526: "fee41e52877cf4faf907ff1bb80c8db1f70d85e12e97fb65b8d6968b18b164cd",
                        23559: "27dc9e51e3592adbc15817137b41e806a0a32ab00cc4826c4df01d22ebdd5c28",
                        23592: "79df8ee6bece9b2ee01760091e2cbe70b7d20026094308aace0b10f471dfa230",
                    }.items()
                },
            }
        ),
    ),
)

_GAMMAPY_DATA = "https://github.com/gammapy/gammapy-data"
_GAMMAPY_DATA_COMMIT = "fbafe93016c65778594289fc1127ca25a6e7d742"

_OFFICIAL = (
    Dataset(
        name="hgps-catalog",
        file_name="hgps_catalog_v1.fits.gz",
        description="H.E.S.S. Galactic plane survey: the official catalogue",
        citation=HGPS,
        home="https://www.mpi-hd.mpg.de/hfm/HESS/hgps",
        sha256="ab4cc48c3f293e9e60f0729763d98208ca7f667ad4e31868bb68d94bba191e6d",
        url="https://www.mpi-hd.mpg.de/hfm/HESS/hgps/data/hgps_catalog_v1.fits.gz",
    ),
    Dataset(
        name="hess-dl3-dr1-pks-2155-304-flare",
        file_name="hess-dl3-dr1",
        description="H.E.S.S. DL3 DR1: 15 runs on a flare of PKS 2155-304, 33787 to 33801, in a folder for DataStore",
        citation=HESS_DL3_DR1,
        home=f"the gammapy data sets ({_GAMMAPY_DATA})",
        url=f"https://raw.githubusercontent.com/gammapy/gammapy-data/{_GAMMAPY_DATA_COMMIT}/hess-dl3-dr1",
        members=MappingProxyType(
            {
                "README.txt": "0525229f8d7d0541ea62b64b96bd985819c258aaefeaca00d4dedba472b6780c",
                "obs-index.fits.gz": None,
                "hdu-index.fits.gz": None,
                **{
                    f"data/hess_dl3_dr1_obs_id_{run:06d}.fits.gz": sha256
                    for run, sha256 in {
                        33787: "7f869f5940e2739c56969f5f8b1e72d806d1c50ba3a13739c01e0d8ad8d01192",
                        33788: "7f192e37b5871caa638eb71eea78e81da07408af0b4dd8fcb5d1df42045573ea",
                        33789: "5983b90b74b024d042a6dd0aba4b8c503ae322f6ca003eddffb9ccb46a8654cf",
                        33790: "3e8b035a9ee6f925d1108a2a40cdae0a4b9fd0d84725c36ab492bea02c207b60",
                        33791: "b54161430f710c878d93bf80c11a62d8c0c7fc504fc13f67f7dfc45194d28820",
                        33792: "87259b9d7c5af0cdee6d65e41bb218a0beba65feae8a0ed6fef8ec7406fe078f",
                        33793: "be2d9499958a7a5ab749eccaa3faf3ca1411a88e3ced0506ffea38f88ed86d51",
                        33794: "915a530a4955ce058ebd5fcb6245221e9448cd72a5854ba59cf02517680ddc25",
                        33795: "9552a61c1e54a7645c025cafa864c92ad4549cd7655b6facbc1bc2074a62bb1f",
                        33796: "35451b2d87aa71cdbdd02ecc793f4834dea4935d0fd4bf7f948f6a2a07a38e8f",
                        33797: "54997267853f0b44c5c51b3d939d28a98296a6a1b75c84db3f14906708b32fa2",
                        33798: "099b087894dcc29b6e940a23605c8c49843fa9f7e8a0f36669ad97b15d9a735a",
                        33799: "26ca1b5c6133527ad509e21418f907b66a81ef553e69ae54a6d0bade673df8cd",
                        33800: "e2b39879428da33b6a4b11b8dc094867c9ea8c1f3ecb29a8b6e352832ba98c2c",
                        33801: "ba49a7a337bb956d21c3acaf4439e28a780ae5cf8d99db1a097f36cc4e6583a5",
                    }.items()
                },
            }
        ),
    ),
    Dataset(
        name="fermi-diffuse-cube",
        file_name="gll_iem_v06_gc.fits.gz",
        description="Fermi-LAT interstellar emission model gll_iem_v06, cut-out around the Galactic centre",
        citation=FERMI_DIFFUSE,
        home="the gammapy data sets (`gammapy download datasets --src fermi-3fhl-gc`)",
        sha256="59906fa40eae7ae1e87496dec569b65e3586ec1c63acf163d9b7bbfda0d2ea35",
    ),
    Dataset(
        name="dark-matter-spectra",
        file_name="AtProduction_gammas.dat",
        description="PPPC 4 DM ID: gamma-ray spectra of dark-matter annihilation, the official file",
        citation=DARK_MATTER_SPECTRA,
        home="http://www.marcocirelli.net/PPPC4DMID.html",
        sha256="64d9467aa7e643b7a8dab4bf783bea12d3bc18c2aa64e8adba45db9b6824fda6",
    ),
    Dataset(
        name="z2-darksusy",
        file_name="z2_darksusy.csv.gz",
        description="Annihilation of the scalar singlet (Z2): partial cross-sections by darkSUSY",
        citation=Z2_DARKSUSY,
        home="the Python package GammaBayes 0.1.9 (`pip download --no-deps GammaBayes==0.1.9`)",
        sha256="d5493012358a4a9c3f8134558f108d9ae0a6d869064a179639a626a8b2337c40",
    ),
    Dataset(
        name="z2-dimauro",
        file_name="z2_dimauro.csv.gz",
        description="Annihilation of the scalar singlet (Z2): partial cross-sections by Di Mauro et al.",
        citation=Z2_DIMAURO,
        home="the Python package GammaBayes 0.1.9 (`pip download --no-deps GammaBayes==0.1.9`)",
        sha256="98e05c0e067fc4c1e005d9032649f2d98bdd36edf5f0143e3c202ce2ccb14b44",
    ),
    Dataset(
        name="z5-101x101",
        file_name="z5_101x101_ratios.h5",
        description="Annihilation of two-component dark matter (Z5): shares at 101 x 101 masses",
        citation=Z5_MODEL,
        home="the Python package GammaBayes 0.1.9 (`pip download --no-deps GammaBayes==0.1.9`)",
        sha256="ee6ceb2551b11d7498d739f796d34fc9d8f2000770fbfa0f2f3534ef5f401809",
    ),
    Dataset(
        name="z5-11x11",
        file_name="z5_11x11_ratios.h5",
        description="Annihilation of two-component dark matter (Z5): shares at 11 x 11 masses",
        citation=Z5_MODEL,
        home="the Python package GammaBayes 0.1.9 (`pip download --no-deps GammaBayes==0.1.9`)",
        sha256="e2741b9f7bf2562dc27ffb09f534e4f4fb4c1cc24db2ed0c765049cf95d59568",
    ),
)


def _prod5() -> list[Dataset]:
    bundled = {dataset.name for dataset in _BUNDLED}
    result = []
    for (site, sub_array, telescopes), archives in _PROD5_ARCHIVES.items():
        for zenith, sha256 in archives.items():
            infix = f"{sub_array}SubArray-" if sub_array else ""
            archive = Archive(f"CTA-Performance-prod5-v0.1-{site}-{infix}{zenith}deg.FITS.tar.gz", sha256, _PROD5_ZIP)
            for duration, seconds in _PROD5_DURATIONS.items():
                for suffix, azimuth in _PROD5_AZIMUTHS.items():
                    array = f"{site}-{sub_array}".rstrip("-").lower()
                    name = f"prod5-{array}-{zenith}deg-{duration}{suffix}"
                    if name in bundled:
                        continue
                    kind = f"{site} {sub_array}s only" if sub_array else site
                    seen_from = f"azimuth {azimuth.removesuffix('Az').lower()}"
                    conditions = f"zenith {zenith} deg, {duration}, {seen_from}"
                    result.append(
                        Dataset(
                            name=name,
                            file_name=f"Prod5-{site}-{zenith}deg-{azimuth}-{telescopes}.{seconds}-v0.1.fits.gz",
                            description=f"CTAO prod5 v0.1 IRFs: {kind}, {conditions}",
                            citation=CTAO_PROD5,
                            home=_ZENODO_PROD5,
                            archive=archive,
                        )
                    )
    return result


def _prod3b() -> list[Dataset]:
    result = []
    for folder, sha256 in _PROD3B_FILES.items():
        site, zenith, _ = folder.split("_")
        result.append(
            Dataset(
                name=f"prod3b-{site.lower()}-{zenith[1:]}deg-50h",
                file_name=f"{folder}/irf_file.fits",
                description=f"CTAO prod3b v2 IRFs: {site}, zenith {zenith[1:]} deg, 50 h, azimuth average",
                citation=CTAO_PROD3B,
                home="https://doi.org/10.5281/zenodo.5163273",
                sha256=sha256,
            )
        )
    return result


#: Every known data set by name.
REGISTRY: Mapping[str, Dataset] = MappingProxyType(
    {dataset.name: dataset for dataset in (*_BUNDLED, *_OFFICIAL, *_prod5(), *_prod3b())}
)
