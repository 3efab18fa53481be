"""Axes and values that cannot be: every axis and column of a file, spoiled, is refused or repaired and told."""

import copy
import gzip
import io
import warnings

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from gammapy.irf import Background2D, EnergyDispersion2D, load_irf_dict_from_file
from gammapy.maps import MapAxis

import pymc_gamma as pmg
from pymc_gamma import datasets
from pymc_gamma.errors import DataFileError, IRFError, PymcGammaWarning
from pymc_gamma.instrument.irfs import IRFs

NAME = "prod5-south-20deg-50h"


@pytest.fixture(scope="module")
def prod5():
    return dict(load_irf_dict_from_file(datasets.path(NAME)))


@pytest.fixture(scope="module")
def content():
    return gzip.decompress(datasets.path(NAME).read_bytes())


@pytest.fixture(scope="module")
def tabulated(content, prod5, tmp_path_factory):
    """The bundled file with its PSF as a table of separations."""
    path = tmp_path_factory.mktemp("irf") / "table.fits"
    rad = MapAxis.from_edges(np.linspace(0, 0.8, 101), unit="deg", name="rad")
    psf = prod5["psf"].to_psf3d(rad.edges)
    path.write_bytes(content)
    with fits.open(path) as hdus:
        table = psf.to_table_hdu()
        table.name = "POINT SPREAD FUNCTION"
        table.header.update(HDUCLAS1="RESPONSE", HDUCLAS2="RPSF", HDUCLAS3="FULL-ENCLOSURE", HDUCLAS4="PSF_TABLE")
        hdus["POINT SPREAD FUNCTION"] = table
        hdus.writeto(path, overwrite=True)
    return path.read_bytes()


@pytest.fixture
def files(tmp_path, content, tabulated):
    """Paths of the bundled file and of one with a tabulated PSF, that a test may spoil."""
    path, table = tmp_path / "gauss.fits", tmp_path / "table.fits"
    path.write_bytes(content)
    table.write_bytes(tabulated)
    return {"gauss": path, "table": table}


def spoil(path, extension, edit):
    """Change the table of one extension: edit(columns: dict of name to array, units: dict) in place."""
    content = path.read_bytes()
    with fits.open(io.BytesIO(content), memmap=False) as hdus:
        hdu = hdus[extension]
        columns = {column.name: np.array(hdu.data[column.name]) for column in hdu.columns}
        units = {column.name: column.unit for column in hdu.columns}
        edit(columns, units)
        made = fits.BinTableHDU.from_columns(
            [
                fits.Column(name, f"{values[0].size}E", unit=units[name], array=values, dim=_dim(values))
                for name, values in columns.items()
            ],
            header=hdu.header,
        )
        for k, name in enumerate(columns, 1):
            made.header.pop(f"TUNIT{k}", None)
            if units[name]:
                made.header[f"TUNIT{k}"] = units[name]
        place = hdu.fileinfo()
    # one row of single precision, written by hand: astropy takes a tenth of a second for the matrix
    row = b"".join(np.asarray(values[0], ">f4").tobytes() for values in columns.values())
    written = made.header.tostring().encode() + row + bytes(-len(row) % 2880)
    path.write_bytes(content[: place["hdrLoc"]] + written + content[place["datLoc"] + place["datSpan"] :])


def _dim(values):
    return None if values.ndim == 2 else "(" + ",".join(str(n) for n in values.shape[:0:-1]) + ")"


def outcome(path):
    """What happens: the error, or what is told."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        try:
            irfs = pmg.load_irfs(path)
        except (IRFError, DataFileError) as error:
            return None, str(error)
    return irfs, "\n".join(str(one.message) for one in seen if one.category is PymcGammaWarning)


AXIS_COLUMNS = [
    (kind, extension, axis)
    for kind, extension, axes in (
        ("gauss", "EFFECTIVE AREA", ("ENERG", "THETA")),
        ("gauss", "POINT SPREAD FUNCTION", ("ENERG", "THETA")),
        ("gauss", "ENERGY DISPERSION", ("ENERG", "MIGRA", "THETA")),
        ("gauss", "BACKGROUND", ("ENERG", "DETX", "DETY")),
        ("table", "POINT SPREAD FUNCTION", ("ENERG", "THETA", "RAD")),
    )
    for axis in axes
]


def set_both(values):
    def edit(columns, units, axis):
        for end in ("LO", "HI"):
            columns[f"{axis}_{end}"] = values(columns[f"{axis}_{end}"].copy())

    return edit


def one_value(end, index, value):
    def edit(columns, units, axis):
        columns[f"{axis}_{end}"][0, index] = value

    return edit


def gap(columns, units, axis):
    columns[f"{axis}_LO"][0, 2] += 0.4 * (columns[f"{axis}_HI"][0, 2] - columns[f"{axis}_LO"][0, 2])


def overlap(columns, units, axis):
    columns[f"{axis}_HI"][0, 1] += 0.4 * (columns[f"{axis}_HI"][0, 1] - columns[f"{axis}_LO"][0, 1])


def descending(columns, units, axis):
    low, high = columns[f"{axis}_LO"].copy(), columns[f"{axis}_HI"].copy()
    columns[f"{axis}_LO"], columns[f"{axis}_HI"] = low[:, ::-1], high[:, ::-1]


def swapped(columns, units, axis):
    columns[f"{axis}_LO"], columns[f"{axis}_HI"] = columns[f"{axis}_HI"], columns[f"{axis}_LO"]


def repeated(columns, units, axis):
    columns[f"{axis}_LO"][0, 2] = columns[f"{axis}_LO"][0, 1]


def low_in_another_unit(columns, units, axis):
    units[f"{axis}_LO"] = {"TeV": "GeV", "deg": "rad"}.get(units[f"{axis}_LO"], "percent")


def wrong_unit(columns, units, axis):
    for end in ("LO", "HI"):
        units[f"{axis}_{end}"] = "s"


def without_upper_edges(columns, units, axis):
    del columns[f"{axis}_HI"]


AXIS_EDITS = {
    "first lower edge NaN": one_value("LO", 0, np.nan),
    "last upper edge infinite": one_value("HI", -1, np.inf),
    "inner upper edge NaN": one_value("HI", 1, np.nan),
    "inner lower edge infinite": one_value("LO", 2, np.inf),
    "gap": gap,
    "overlap": overlap,
    "descending": descending,
    "lower and upper swapped": swapped,
    "repeated": repeated,
    "all NaN": set_both(lambda x: np.full_like(x, np.nan)),
    "lower edges in another unit": low_in_another_unit,
    "a unit of time": wrong_unit,
    "without upper edges": without_upper_edges,
}


@pytest.mark.parametrize("edit", AXIS_EDITS)
@pytest.mark.parametrize(("kind", "extension", "axis"), AXIS_COLUMNS)
def test_spoiled_axes_are_refused(files, kind, extension, axis, edit):
    path = files[kind]
    spoil(path, extension, lambda columns, units: AXIS_EDITS[edit](columns, units, axis))
    irfs, text = outcome(path)
    assert irfs is None
    assert path.name in text
    assert extension in text
    assert f"axis {axis}" in text


IMPLAUSIBLE = [
    ("gauss", extension, "THETA", factor)
    for extension in ("EFFECTIVE AREA", "POINT SPREAD FUNCTION", "ENERGY DISPERSION")
    for factor in (30.0, 1000.0, np.pi / 180)
]
IMPLAUSIBLE += [
    ("table", "POINT SPREAD FUNCTION", axis, f) for axis in ("THETA", "RAD") for f in (30.0, 1000.0, np.pi / 180)
]
IMPLAUSIBLE += [
    ("gauss", extension, "ENERG", factor)
    for extension in ("EFFECTIVE AREA", "POINT SPREAD FUNCTION", "ENERGY DISPERSION")
    for factor in (1e3, 1e-3, 1e6, -1.0)
]
IMPLAUSIBLE += [("gauss", "BACKGROUND", axis, f) for axis in ("DETX", "DETY") for f in (30.0, 1000.0)]
IMPLAUSIBLE += [
    ("gauss", "BACKGROUND", axis, f) for axis, f in (("DETX", np.pi / 180), ("ENERG", 1e3), ("ENERG", 1e-3))
]
IMPLAUSIBLE += [("gauss", "ENERGY DISPERSION", "MIGRA", factor) for factor in (30.0, 1000.0, 0.01)]


@pytest.mark.parametrize(("kind", "extension", "axis", "factor"), IMPLAUSIBLE)
def test_axes_in_another_scale_are_refused(files, kind, extension, axis, factor):
    """Edges that join and ascend, but thirty or a thousand times too far, or in radians and called degrees."""
    path = files[kind]

    def edit(columns, units):
        for end in ("LO", "HI"):
            columns[f"{axis}_{end}"] = columns[f"{axis}_{end}"] * factor

    spoil(path, extension, edit)
    irfs, text = outcome(path)
    assert irfs is None
    assert path.name in text
    name = (
        "background"
        if extension == "BACKGROUND"
        else {"ENERG": "energ", "THETA": "offset", "RAD": "rad", "MIGRA": "migra"}[axis]
    )
    assert name in text.lower()


VALUE_COLUMNS = [
    ("gauss", "EFFECTIVE AREA", "EFFAREA", (0, 2, 25)),
    ("gauss", "ENERGY DISPERSION", "MATRIX", (0, 1, 100, 120)),
    ("gauss", "POINT SPREAD FUNCTION", "SIGMA_1", (0, 1, 12)),
    ("gauss", "POINT SPREAD FUNCTION", "SCALE", (0, 1, 12)),
    ("gauss", "POINT SPREAD FUNCTION", "AMPL_2", (0, 1, 12)),
    ("gauss", "POINT SPREAD FUNCTION", "AMPL_3", (0, 1, 12)),
    ("table", "POINT SPREAD FUNCTION", "RPSF", (0, 5, 1, 12)),
]


@pytest.mark.parametrize("edit", ["NaN", "infinite", "negative"])
@pytest.mark.parametrize(("kind", "extension", "column", "cell"), VALUE_COLUMNS)
def test_spoiled_values_are_refused_or_told(files, kind, extension, column, cell, edit):
    path = files[kind]
    clean, before = outcome(path)

    def change(columns, units):
        value = columns[column][cell]
        columns[column][cell] = {"NaN": np.nan, "infinite": np.inf, "negative": -max(value, 1.0)}[edit]

    spoil(path, extension, change)
    irfs, text = outcome(path)
    assert path.name in text
    if irfs is None:
        assert "TeV, offset=" in text
        return
    told = set(text.splitlines()) - set(before.splitlines())
    assert told
    # nothing but numbers is left, and no cell is far from what it was
    for key in ("aeff_values", "edisp_density", "psf_sigma", "psf_weight", "bkg_rate"):
        assert np.isfinite(irfs.arrays()[key]).all(), key
    assert irfs.edisp.density.min() >= 0
    assert irfs.psf.sigma.min() > 0
    if kind == "gauss":
        np.testing.assert_allclose(irfs.psf.sigma[0], clean.psf.sigma[0], rtol=0.5)


@pytest.mark.parametrize(("unit", "factor"), [("deg", np.pi / 180), ("rad", 1.0), ("arcmin", 1.0), ("deg", 60.0)])
def test_widths_in_another_unit_than_they_say_are_refused(files, unit, factor):
    def edit(columns, units):
        columns["SIGMA_1"] = columns["SIGMA_1"] * factor
        units["SIGMA_1"] = unit

    spoil(files["gauss"], "POINT SPREAD FUNCTION", edit)
    irfs, text = outcome(files["gauss"])
    assert irfs is None
    assert "deg wide" in text
    assert "radians" in text


def test_a_single_absurd_width_is_refused(files):
    def edit(columns, units):
        columns["SIGMA_1"][0, 2, 9] *= 1000

    spoil(files["gauss"], "POINT SPREAD FUNCTION", edit)
    irfs, text = outcome(files["gauss"])
    assert irfs is None
    assert "wider than 10 deg in 1 cells, the first at energy_true=1 TeV, offset=2.5 deg" in text


def test_widths_in_radians_that_say_so_are_right(files):
    clean, _ = outcome(files["gauss"])

    def edit(columns, units):
        for g in (1, 2, 3):
            columns[f"SIGMA_{g}"] = columns[f"SIGMA_{g}"] * np.pi / 180
            units[f"SIGMA_{g}"] = "rad"

    spoil(files["gauss"], "POINT SPREAD FUNCTION", edit)
    irfs, _ = outcome(files["gauss"])
    np.testing.assert_allclose(irfs.psf.sigma, clean.psf.sigma, rtol=1e-5)


@pytest.mark.parametrize("extension", ["EFFECTIVE AREA", "POINT SPREAD FUNCTION", "ENERGY DISPERSION"])
def test_axes_in_other_units_that_say_so_are_right(files, extension):
    clean, _ = outcome(files["gauss"])

    def edit(columns, units):
        columns["ENERG_LO"] = columns["ENERG_LO"] * 1e3
        units["ENERG_LO"] = "GeV"
        for end in ("LO", "HI"):
            columns[f"THETA_{end}"] = columns[f"THETA_{end}"] * 60
            units[f"THETA_{end}"] = "arcmin"

    spoil(files["gauss"], extension, edit)
    irfs, _ = outcome(files["gauss"])
    assert irfs.offset_max == pytest.approx(6)
    assert irfs.energy_true_range == pytest.approx(clean.energy_true_range, rel=1e-5)
    for key, array in clean.arrays().items():
        np.testing.assert_allclose(irfs.arrays()[key], array, rtol=2e-5, atol=1e-7, err_msg=key)


@pytest.mark.parametrize(
    ("extension", "column", "unit"),
    [
        ("EFFECTIVE AREA", "EFFAREA", "TeV"),
        ("EFFECTIVE AREA", "EFFAREA", None),
        ("POINT SPREAD FUNCTION", "SIGMA_1", "TeV"),
        ("POINT SPREAD FUNCTION", "SIGMA_3", None),
        ("POINT SPREAD FUNCTION", "SCALE", "m"),
        ("ENERGY DISPERSION", "MATRIX", "TeV"),
        ("BACKGROUND", "BKG", "m"),
    ],
)
def test_columns_in_another_kind_of_unit_are_refused(files, extension, column, unit):
    def edit(columns, units):
        units[column] = unit

    spoil(files["gauss"], extension, edit)
    irfs, text = outcome(files["gauss"])
    assert irfs is None
    assert "gauss.fits" in text
    assert "expected" in text


@pytest.mark.parametrize("extension", ["EFFECTIVE AREA", "POINT SPREAD FUNCTION", "ENERGY DISPERSION", "BACKGROUND"])
def test_tables_without_a_row_are_refused(files, extension):
    with fits.open(files["gauss"], memmap=False) as hdus:
        hdus[extension].data = hdus[extension].data[:0]
        hdus.writeto(files["gauss"], overwrite=True)
    irfs, text = outcome(files["gauss"])
    assert irfs is None
    assert extension in text
    assert "empty" in text


def test_small_negative_areas_are_cut_and_told(prod5):
    aeff = copy.deepcopy(prod5["aeff"])
    aeff.data = aeff.data.copy()
    aeff.data[2, 1] = -1.0
    with pytest.warns(PymcGammaWarning, match=r"1 negative values, the largest at energy_true=.* TeV, offset=1.5 deg"):
        irfs = pmg.load_irfs({**prod5, "aeff": aeff})
    assert irfs.aeff.values[3, 2] == 0


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("extension", [1, 2, 3, 4])
def test_a_file_cut_inside_any_header_is_refused(tmp_path, content, extension, zipped):
    """Readers of FITS take what is before such a header for the whole file."""
    with fits.open(datasets.path(NAME)) as hdus:
        start = hdus[extension].fileinfo()["hdrLoc"]
    for length in (80, 1000, 2880):
        path = tmp_path / ("cut.fits.gz" if zipped else "cut.fits")
        cut = content[: start + length]
        path.write_bytes(gzip.compress(cut) if zipped else cut)
        with pytest.raises(DataFileError, match=r"cut\.fits"):
            pmg.load_irfs(path)


def test_padding_after_the_last_extension_is_harmless(tmp_path, content):
    path = tmp_path / "padded.fits"
    path.write_bytes(content + b"\0" * 2880)
    with pytest.warns(PymcGammaWarning):
        assert pmg.load_irfs(path).fingerprint() == pmg.load_irfs(NAME).fingerprint()


def test_an_unknown_extension_is_told(files):
    with fits.open(files["gauss"], memmap=False) as hdus:
        hdus["BACKGROUND"].header["HDUCLAS4"] = "BKG_7D"
        hdus["BACKGROUND"].header["HDUCLAS2"] = "BACK"
        hdus.writeto(files["gauss"], overwrite=True)
    irfs, text = outcome(files["gauss"])
    assert irfs.bkg is None
    assert "extension 'BACKGROUND': HDUCLAS2='BACK', HDUCLAS4='BKG_7D'" in text


# coverage


def with_offsets(irf, edges=None, nodes=None):
    """The first offsets of a table, on other edges or nodes."""
    if nodes is None:
        offset = MapAxis.from_edges(edges, unit="deg", name="offset")
    else:
        offset = MapAxis.from_nodes(nodes, unit="deg", name="offset")
    axes = [offset if axis.name == "offset" else axis for axis in irf.axes]
    place = irf.axes.names.index("offset")
    index = [slice(None)] * len(irf.axes)
    index[place] = slice(0, offset.nbin)
    made = {"axes": axes, "data": irf.data[tuple(index)], "unit": irf.unit}
    return type(irf)(**made)


def quiet(tables):
    with warnings.catch_warnings(action="ignore"):
        return pmg.load_irfs(tables)


@pytest.mark.parametrize("key", ["aeff", "edisp", "psf"])
def test_the_field_of_view_is_what_all_tables_cover(prod5, key):
    irfs = quiet({**prod5, key: with_offsets(prod5[key], edges=[0, 1, 2, 3])})
    assert irfs.offset_max == 3
    assert IRFs.from_arrays(irfs.arrays(), "again").offset_max == 3
    # nodes, as in files of H.E.S.S.: to the last one, not half a step further
    irfs = quiet({**prod5, key: with_offsets(prod5[key], nodes=[0, 0.5, 1, 2.5])})
    assert irfs.offset_max == 2.5
    # the field of view at node 0 is that at the node
    table = getattr(irfs, key)
    assert table.offset[0] == 0
    assert table.offset[-1] == 2.5


@pytest.mark.parametrize("key", ["edisp", "psf"])
def test_one_node_of_offset_says_nothing_of_others(prod5, key):
    irfs = quiet({**prod5, key: with_offsets(prod5[key], nodes=[0.5])})
    assert irfs.offset_max == 6


def test_one_node_of_the_area_is_refused(prod5):
    with pytest.raises(IRFError, match=r"one offset only, 0\.5 deg"):
        quiet({**prod5, "aeff": with_offsets(prod5["aeff"], nodes=[0.5])})


def test_negative_edges_around_zero_do_no_harm(prod5):
    irfs = quiet({**prod5, "aeff": with_offsets(prod5["aeff"], edges=[-0.5, 0.5, 1.5, 2.5])})
    assert irfs.offset_max == 2.5
    assert irfs.aeff.offset[0] == 0
    with pytest.raises(IRFError, match="axis offset of the effective area has negative values"):
        quiet({**prod5, "aeff": with_offsets(prod5["aeff"], edges=[-3, -1, 1, 2])})


def test_the_true_energies_are_what_all_tables_cover(prod5):
    edges = np.geomspace(0.05, 80, 21)
    axes = [
        MapAxis.from_energy_edges(edges * u.TeV, name="energy_true"),
        MapAxis.from_edges(np.linspace(0, 3, 151), name="migra"),
        MapAxis.from_edges([0, 6], unit="deg", name="offset"),
    ]
    centre = axes[1].center.value
    data = np.broadcast_to(np.exp(-0.5 * ((centre - 1) / 0.15) ** 2)[None, :, None], (20, 150, 1)).copy()
    irfs = quiet({**prod5, "edisp": EnergyDispersion2D(axes=axes, data=data)})
    assert irfs.energy_true_range == pytest.approx((0.05, 80))


BACKGROUND_EDGES = [
    [0.1, 100],
    [0.02, 200],
    [0.1, 1, 100],
    [0.03, 0.3, 300],
    np.geomspace(0.1, 100, 11),
    np.geomspace(0.013, 199, 31),
]


def flat_background(edges):
    axes = [
        MapAxis.from_energy_edges(np.asarray(edges) * u.TeV, name="energy"),
        MapAxis.from_edges([0, 2, 6], unit="deg", name="offset"),
    ]
    return Background2D(axes=axes, data=np.ones((len(edges) - 1, 2)), unit="s-1 MeV-1 sr-1")


@pytest.mark.parametrize("edges", BACKGROUND_EDGES)
def test_energies_are_compared_by_their_edges(prod5, edges):
    """Centres of one or two wide bins lie far inside the range of the others."""
    irfs = quiet({**prod5, "bkg": flat_background(edges)})
    assert irfs.bkg.energy_range == pytest.approx((edges[0], edges[-1]))


@pytest.mark.parametrize("factor", [1e3, 1e-3])
@pytest.mark.parametrize("edges", BACKGROUND_EDGES)
def test_energies_in_another_unit_are_refused_whatever_their_bins(prod5, edges, factor):
    with pytest.raises(IRFError, match=r"axis of energy of the .* one of them is in another unit"):
        quiet({**prod5, "bkg": flat_background(np.asarray(edges) * factor)})


def test_wide_bins_of_true_energy_are_compared_by_their_edges(prod5):
    """Two bins of the dispersion, from end to end."""
    axes = [
        MapAxis.from_energy_edges([0.0126, 1, 199] * u.TeV, name="energy_true"),
        MapAxis.from_edges(np.linspace(0, 3, 151), name="migra"),
        MapAxis.from_edges([0, 6], unit="deg", name="offset"),
    ]
    density = np.exp(-0.5 * ((axes[1].center.value - 1) / 0.15) ** 2)
    data = np.broadcast_to(density[None, :, None], (2, 150, 1)).copy()
    irfs = quiet({**prod5, "edisp": EnergyDispersion2D(axes=axes, data=data)})
    assert irfs.energy_true_range == pytest.approx((0.0126, 199), rel=1e-2)


def test_edges_in_two_units_are_seen_in_memory_too(prod5):
    """gammapy keeps the lower edges and the last upper one."""
    aeff = prod5["aeff"]
    edges = aeff.axes["energy_true"].edges.value.copy()
    edges[:-1] /= 1e3
    axis = MapAxis.from_energy_edges(edges * u.TeV, name="energy_true")
    spoiled = type(aeff)(axes=[axis, aeff.axes["offset"]], data=aeff.data, unit=aeff.unit)
    with pytest.raises(IRFError, match="in different units"):
        quiet({**prod5, "aeff": spoiled})
