"""Time the job of ``peer_darkmatter.py`` done by pymc_gamma, stage by stage.

Same setting, components, fractions and number of events. The mass is free between the ends of the peer's scan, with a
prior that is uniform in its logarithm; the spectrum is that of the mass, not of the nearest of 21. The stages are those
of ``ours.py``::

    python benchmarks/gammabayes/ours_darkmatter.py --output ours.json
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from job import DARKMATTER, MASS_SCAN, Job
from ours import QuickStart, main

if TYPE_CHECKING:
    from pymc_gamma.sky.component import SkyComponent


class DarkMatter(QuickStart):
    """The Quick Start's sky with dark matter in it."""

    job: ClassVar[Job] = DARKMATTER

    def components(self) -> list[Any]:
        """Return the components, in the order of the job's fractions."""
        return [halo(), *super().components()]

    def priors(self) -> dict[str, Any]:
        """Return the logarithm of the mass."""
        import pymc as pm

        first, last, _ = MASS_SCAN
        return {"log10_mass": pm.Uniform("log10_mass", np.log10(first), np.log10(last))}

    def spectra(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the spectrum of dark matter."""
        import astropy.units as u

        from pymc_gamma import darkmatter

        mass = 10 ** parameters["log10_mass"]
        # of a mixture by fractions the shape of the spectrum matters alone
        thermal = 2e-26 * u.cm**3 / u.s
        return {"dm": darkmatter.Annihilation(mass, thermal, channels="W", j_factor=1e22 * u.GeV**2 / u.cm**5)}


def halo() -> "SkyComponent":
    """Return the annihilation of dark matter of the Milky Way with an Einasto profile."""
    import astropy.units as u
    from pymc_gamma.darkmatter import Einasto
    from pymc_gamma.sky.component import SkyComponent, SkyPart, TemplateShape

    class Halo(SkyComponent):
        def parts(self, roi: Any, margin_deg: float = 0.8) -> tuple[SkyPart, ...]:
            profile = Einasto()
            total = profile.j_factor(roi).to_value("GeV2 cm-5")
            nodes = np.geomspace(1e-4, 30, 2000)
            log_shape = np.log(profile.dj_domega(nodes * u.deg).to_value("GeV2 cm-5 sr-1") / total)

            def brightness(lon: Any, lat: Any) -> Any:
                x, y = np.radians(lon), np.radians(lat)
                sine = np.sqrt(np.sin(y / 2) ** 2 + np.cos(y) * np.sin(x / 2) ** 2)
                separation = np.clip(np.degrees(2 * np.arcsin(sine)), nodes[0], nodes[-1])
                return np.exp(np.interp(np.log(separation), np.log(nodes), log_shape))

            shape = TemplateShape(0.0, 0.0, np.inf, brightness, unit_integral=False, feature=0.05)
            return (SkyPart(self.name, shape, lambda energy: energy**-2.0),)

    return Halo("dm")


if __name__ == "__main__":
    main(DarkMatter())
