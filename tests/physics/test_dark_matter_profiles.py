"""Densities of dark matter and their J and D factors, against integrals in another order.

Of a shell of the radius r around the Galactic centre, what a cone of half-angle t around it sees is known: with
dOmega' = 2 pi s ds / (R r) on the shell, the mean of 1/s^2 is a logarithm of ratios of distances s. J is then a single
integral over r, by `scipy.integrate.quad`, with no line of sight in it.
"""

import itertools

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from regions import CircleAnnulusSkyRegion, CircleSkyRegion, EllipseSkyRegion, PolygonSkyRegion, RectangleSkyRegion
from scipy.integrate import quad

import pymc_gamma as pmg
from pymc_gamma.analysis.parameters import read_parameter
from pymc_gamma.errors import RegionError, SkyModelError
from pymc_gamma.halos import profiles as dm

CENTRE = SkyCoord(0 * u.deg, 0 * u.deg, frame="galactic")
SUN, LOCAL = 8.33, 0.3
CM_PER_KPC = 3.0856775814913673e21

FORMS = {
    "nfw": (dm.NFW(), lambda r: 1 / ((r / 24.42) * (1 + r / 24.42) ** 2)),
    "einasto": (dm.Einasto(), lambda r: np.exp(-2 / 0.17 * ((r / 28.44) ** 0.17 - 1))),
    "burkert": (dm.Burkert(), lambda r: 1 / ((1 + r / 12.67) * (1 + (r / 12.67) ** 2))),
    "moore": (dm.Moore(), lambda r: (30.28 / r) ** 1.16 * (1 + r / 30.28) ** -1.84),
    "isothermal": (dm.Isothermal(), lambda r: 1 / (1 + (r / 4.38) ** 2)),
    "steep": (dm.GeneralisedNFW(1.4, 20 * u.kpc), lambda r: (20 / r) ** 1.4 * (1 + r / 20) ** -1.6),
    "zhao": (
        dm.Zhao(12 * u.kpc, alpha=0.3, beta=4, gamma=0.7),
        lambda r: (r / 12) ** -0.7 * (1 + (r / 12) ** (1 / 0.3)) ** (-3.3 * 0.3),
    ),
    "cored": (
        dm.NFW(20 * u.kpc, r_c=0.4 * u.kpc),
        lambda r: 20 / np.hypot(r, 0.4) / (1 + np.hypot(r, 0.4) / 20) ** 2,
    ),
}
CHECKS = {"nfw": 2.4749e21, "einasto": 2.6479e21, "burkert": 1.3738e19, "moore": 8.5349e21, "isothermal": 3.8048e19}


def circle(form, angle, power):
    """J or D within an angle in degrees of the centre."""
    theta, scale = np.radians(angle), LOCAL / form(SUN)
    edge = SUN * np.sin(theta)

    def shell(log_r):
        r = np.exp(log_r)
        if r < edge:
            seen = 2 * np.arctanh(r / SUN)
        else:
            half = np.sqrt(r * r - edge * edge)
            seen = np.log((SUN + r) / (SUN * np.cos(theta) + half))
            if r < SUN:
                seen += np.log((SUN * np.cos(theta) - half) / (SUN - r))
        return (scale * form(r)) ** power * r * r / SUN * seen

    limits = np.log([1e-60, 1e-40, 1e-20, 1e-12, 1e-6, edge / 8, edge, 2 * edge, SUN, 3 * SUN, 30 * SUN, 1e4, 1e8])
    parts = [quad(shell, *pair, epsabs=1e-9, epsrel=1e-8, limit=500)[0] for pair in itertools.pairwise(limits)]
    return 2 * np.pi * sum(parts) * CM_PER_KPC


def box(form, half, power):
    """The same in a box of half widths in degrees around the centre: circles, one for each azimuth."""

    def edge(azimuth):
        by_lon = np.arctan(np.tan(np.radians(half)) / max(np.sin(azimuth), 1e-12))
        by_lat = np.arcsin(min(np.sin(np.radians(half)) / max(np.cos(azimuth), 1e-12), 1))
        return np.degrees(min(by_lon, by_lat))

    corner = np.arctan(np.cos(np.radians(half)))
    nodes, weights = np.polynomial.legendre.leggauss(8)
    total = 0.0
    for low, high in ((0, corner), (corner, np.pi / 2)):
        places = (low + high) / 2 + (high - low) / 2 * nodes
        values = [circle(form, edge(azimuth), power) for azimuth in places]
        total += (high - low) / 2 * (weights @ values)
    return total / (np.pi / 2)


def disc(radius, lon=0.0, lat=0.0):
    return CircleSkyRegion(SkyCoord(lon * u.deg, lat * u.deg, frame="galactic"), radius * u.deg)


def within(region, **kwargs):
    return pmg.RegionOfInterest.from_region(region, energy=(1, 10) * u.TeV, **kwargs)


@pytest.mark.parametrize("name", CHECKS)
def test_published_values(name):
    assert FORMS[name][0].j_factor(disc(1)).to_value("GeV2 cm-5") == pytest.approx(CHECKS[name], rel=2e-5)


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("radius", [0.1, 1, 3])
@pytest.mark.parametrize("name", FORMS)
def test_circles(name, radius, power):
    profile, form = FORMS[name]
    found = profile.j_factor(disc(radius)) if power == 2 else profile.d_factor(disc(radius))
    assert found.value == pytest.approx(circle(form, radius, power), rel=2e-6)


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("name", FORMS)
def test_box(name, power):
    profile, form = FORMS[name]
    roi = pmg.RegionOfInterest(center=CENTRE, width=6.4 * u.deg, energy=(1, 10) * u.TeV)
    found = profile.j_factor(roi) if power == 2 else profile.d_factor(roi)
    assert found.value == pytest.approx(box(form, 3.2, power), rel=1e-5)


@pytest.mark.parametrize("name", FORMS)
def test_lines_of_sight(name):
    profile, form = FORMS[name]
    scale = LOCAL / form(SUN)
    for angle in (1e-3, 0.3, 20, 89.9, 90, 90.1, 150, 180):
        psi = np.radians(angle)

        def along(s, psi=psi):
            return (scale * form(np.hypot(s - SUN * np.cos(psi), SUN * np.sin(psi)))) ** 2

        nearest = max(SUN * np.cos(psi), 0)
        around = max(SUN * np.sin(psi), 1e-9) * np.array([1, 10, 100, 1000])
        breaks = sorted(
            {0.0, *(s for s in [*(nearest - around), nearest, *(nearest + around)] if s > 0), 1e3, 1e4, 1e6}
        )
        parts = [quad(along, *pair, epsabs=1e-9, epsrel=1e-9, limit=400)[0] for pair in itertools.pairwise(breaks)]
        found = profile.dj_domega(angle * u.deg).to_value("GeV2 cm-5 sr-1")
        assert found == pytest.approx(sum(parts) * CM_PER_KPC, rel=1e-7), angle


def test_through_the_centre():
    for profile in (dm.Einasto(), dm.Burkert(), dm.Isothermal(), dm.GeneralisedNFW(0.3), dm.NFW(r_c=0.1 * u.kpc)):
        at, near = profile.dj_domega([0, 1e-13] * u.deg)
        assert np.isfinite(at.value)
        assert at.value == pytest.approx(near.value, rel=1e-3)
    gamma = 0.3  # what lies beside a line at the distance b goes as b^(1 - 2 gamma)
    first, second, third = np.diff(dm.GeneralisedNFW(gamma).dj_domega([0, 1e-9, 2e-9, 4e-9] * u.deg).value)
    assert second / third == pytest.approx(2 ** -(1 - 2 * gamma), rel=1e-3)
    assert first / second == pytest.approx(1 / (2 ** (1 - 2 * gamma) - 1), rel=1e-3)


def test_all_of_the_sky():
    profile = dm.NFW()
    psi = np.radians(np.linspace(0, 180, 4001)[1:-1])
    sky = sum(
        profile.j_factor(half).value for half in (disc(75), CircleAnnulusSkyRegion(CENTRE, 75 * u.deg, 179 * u.deg))
    )
    outside = (
        np.trapezoid(
            profile.dj_domega(psi[psi > np.radians(75)] * u.rad).value * np.sin(psi[psi > np.radians(75)]),
            dx=np.radians(180 / 4000),
        )
        * 2
        * np.pi
    )
    assert sky == pytest.approx(circle(FORMS["nfw"][1], 75, 2) + outside, rel=1e-4)


def test_regions_add_up():
    profile = dm.Einasto()
    whole = profile.j_factor(disc(2)).value
    ring = profile.j_factor(CircleAnnulusSkyRegion(CENTRE, 0.5 * u.deg, 2 * u.deg)).value
    assert ring + profile.j_factor(disc(0.5)).value == pytest.approx(whole, rel=2e-6)
    inner, other = disc(0.3), disc(0.4, 1.0, 0.5)
    cut = profile.j_factor(within(disc(2), exclude=[inner, other])).value
    assert cut + profile.j_factor(inner).value + profile.j_factor(other).value == pytest.approx(whole, rel=1e-5)


def test_frames_and_turned_shapes():
    profile = dm.NFW()
    turned = RectangleSkyRegion(CENTRE.icrs, 2 * u.deg, 1 * u.deg, angle=35 * u.deg)
    upright = RectangleSkyRegion(CENTRE, 2 * u.deg, 1 * u.deg)
    assert profile.j_factor(turned).value == pytest.approx(profile.j_factor(upright).value, rel=2e-5)
    round_one = EllipseSkyRegion(CENTRE.icrs, 2 * u.deg, 2 * u.deg)
    assert profile.j_factor(round_one).value == pytest.approx(profile.j_factor(disc(1)).value, rel=2e-6)
    icrs = CircleSkyRegion(SkyCoord(2 * u.deg, 1 * u.deg, frame="galactic").icrs, 0.5 * u.deg)
    assert profile.d_factor(icrs).value == pytest.approx(profile.d_factor(disc(0.5, 2, 1)).value, rel=2e-6)


@pytest.mark.parametrize("lon", [0.3, 0.5, 0.500001, 3, 40, 170])
def test_off_centre(lon):
    """Of a small disc, by nodes of its own."""
    profile, radius = dm.Burkert(), 0.5
    roi = pmg.RegionOfInterest(
        center=SkyCoord(lon * u.deg, 0 * u.deg, frame="galactic"), radius=radius * u.deg, energy=(1, 10) * u.TeV
    )
    places_lon, places_lat, weight = roi.quadrature(0.01)
    apart = SkyCoord(places_lon * u.deg, places_lat * u.deg, frame="galactic").separation(CENTRE)
    expected = weight @ profile.dj_domega(apart).value
    assert profile.j_factor(roi).value == pytest.approx(expected, rel=2e-5)


def test_masks():
    from gammapy.maps import WcsGeom

    geom = WcsGeom.create(skydir=CENTRE, width=3 * u.deg, binsz=0.05, frame="galactic", proj="CAR")
    found = dm.NFW().j_factor(geom.region_mask([disc(1.0)])).value
    mask = geom.region_mask([disc(1.0)])
    lon, lat = np.radians(geom.get_coord().lon.to_value("deg")), np.radians(geom.get_coord().lat.to_value("deg"))
    psi = np.arccos(np.cos(lat) * np.cos(lon))
    fine = np.radians(0.05) ** 2 * np.cos(lat)
    values = dm.NFW().dj_domega(psi * u.rad).value * fine
    far = psi > np.radians(0.4)
    outer = (values * mask.data)[far].sum()
    square = WcsGeom.create(skydir=CENTRE, width=3 * u.deg, binsz=0.05, frame="galactic", proj="CAR")
    near = square.region_mask([disc(1.0)])
    near.data &= ~far
    assert found == pytest.approx(dm.NFW().j_factor(near).value + outer, rel=5e-3)


def test_infinite():
    steep = dm.GeneralisedNFW(1.5)
    with pytest.raises(SkyModelError, match="infinite J factor in a region with the Galactic centre"):
        steep.j_factor(disc(1))
    assert np.isfinite(steep.d_factor(disc(1)).value)
    assert np.isfinite(steep.j_factor(disc(1, 3)).value)
    ring = CircleAnnulusSkyRegion(CENTRE, 0.5 * u.deg, 2 * u.deg)
    assert np.isfinite(steep.j_factor(ring).value)
    assert np.isfinite(dm.GeneralisedNFW(1.5, r_c=1 * u.pc).j_factor(disc(1)).value)
    with pytest.raises(SkyModelError, match=r"line of sight through the centre of NFW.*infinite J factor"):
        dm.NFW().dj_domega([1, 0] * u.deg)
    with pytest.raises(SkyModelError, match="infinite D factor"):
        dm.NFW().dd_domega(0 * u.deg)
    with pytest.raises(SkyModelError, match="radius must not be 0"):
        dm.NFW().density([1, 0] * u.kpc)
    shallow = dm.Zhao(beta=0.9, gamma=0.5)
    with pytest.raises(SkyModelError, match="infinite D factor: far away"):
        shallow.d_factor(disc(1))
    assert np.isfinite(shallow.j_factor(disc(1)).value)


def test_density():
    for profile, form in FORMS.values():
        r = np.geomspace(1e-5, 1e3, 30)
        np.testing.assert_allclose(profile.density(r * u.kpc).value, LOCAL * form(r) / form(SUN), rtol=1e-12)
        assert profile.density(SUN * u.kpc).to_value("GeV cm-3") == pytest.approx(LOCAL)
    assert dm.Isothermal().density(0 * u.kpc).value == pytest.approx(0.3 * (1 + (8.33 / 4.38) ** 2))
    halved = dm.NFW(rho_local=0.15 * u.GeV / u.cm**3)
    assert halved.j_factor(disc(1)).value == pytest.approx(dm.NFW().j_factor(disc(1)).value / 4)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: dm.NFW(0 * u.kpc), "NFW: r_s must be finite and positive"),
        (lambda: dm.NFW(r_c=-1 * u.kpc), "NFW: r_c must be finite and at least 0"),
        (lambda: dm.NFW(rho_local=np.nan * u.GeV / u.cm**3), "rho_local"),
        (lambda: dm.GeneralisedNFW(3), "gamma must be below 3"),
        (lambda: dm.GeneralisedNFW(-0.1), "gamma"),
        (lambda: dm.Zhao(alpha=0), "alpha"),
        (lambda: dm.Einasto(alpha=5), "alpha"),
        (lambda: dm.NFW().density(-1 * u.kpc), "radius must be at least 0"),
        (lambda: dm.NFW().dj_domega(181 * u.deg), "separation"),
    ],
)
def test_out_of_range(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_what_is_no_region():
    empty = within(disc(1))
    empty.exclude = (empty.outline,)
    with pytest.raises(RegionError, match="nothing of the sky"):
        dm.NFW().j_factor(empty)
    with pytest.raises(RegionError):
        dm.NFW().j_factor(3)
    with pytest.raises(u.UnitConversionError, match="r_s"):
        dm.NFW(1 * u.deg)


def test_polygon():
    corners = SkyCoord([-1, 1, 1, -1] * u.deg, [-1, -1, 1, 1] * u.deg, frame="galactic")
    found = dm.Burkert().j_factor(PolygonSkyRegion(corners)).value
    roi = within(PolygonSkyRegion(corners))
    lon, lat, weight = roi.quadrature(0.02)
    apart = SkyCoord(lon * u.deg, lat * u.deg, frame="galactic").separation(CENTRE)
    assert found == pytest.approx(weight @ dm.Burkert().dj_domega(apart).value, rel=1e-4)


@pytest.mark.parametrize("name", ["NFW", "Einasto", "Burkert", "Moore", "Isothermal", "Zhao"])
def test_from_gammapy(name):
    from gammapy.astro import darkmatter

    theirs = getattr(darkmatter, f"{name}Profile")(rho_s="0.2 GeV cm-3", r_s="15 kpc")
    ours = dm.Profile.from_gammapy(theirs)
    assert type(ours).__name__ == name
    r = np.geomspace(1e-3, 100, 20) * u.kpc
    np.testing.assert_allclose(ours.density(r).value, theirs(r).to_value("GeV cm-3"), rtol=1e-10)
    with pytest.raises(TypeError, match="profile must be one of gammapy's NFWProfile"):
        dm.Profile.from_gammapy(ours)


def test_picture():
    import matplotlib.pyplot as plt

    axes = dm.NFW(r_c=0.1 * u.kpc).peek().axes
    assert len(axes) == 3, "density, J factor, and D factor over it"
    assert all(len(one.lines) for one in axes)
    plt.close("all")


def test_densities_in_masses_of_the_sun():
    """The rest energy of the Sun, by hand: 1.98841e30 kg c2."""
    energy = 1.98841e30 * 299792458.0**2 / 1.602176634e-10
    wanted = 8e6 * energy / CM_PER_KPC**3
    found = dm.NFW(rho_local=8e6 * u.Msun / u.kpc**3)
    assert found.rho_local == pytest.approx(wanted, rel=1e-4)
    assert dm.NFW(rho_local=8e-3 * u.Msun / u.pc**3).rho_local == pytest.approx(wanted, rel=1e-4)
    assert read_parameter("8e6 Msun/kpc3", "GeV cm-3").value == pytest.approx(wanted, rel=1e-4)
    for wrong in (1 * u.Msun, 1 / u.kpc**3, 1 * u.Msun / u.kpc**2):
        with pytest.raises(u.UnitConversionError, match="NFW: rho_local must be convertible to GeV cm-3"):
            dm.NFW(rho_local=wrong)
    with pytest.raises(u.UnitConversionError, match="r_s"):
        dm.NFW(r_s=1 * u.Msun)
