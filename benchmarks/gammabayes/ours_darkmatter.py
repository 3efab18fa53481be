"""Time the job of ``peer_darkmatter.py`` done by pymc_gamma, stage by stage.

Same setting, components, fractions and number of events. The mass is free between the ends of the peer's scan, with a
prior that is uniform in its logarithm; the spectrum is that of the mass, not of the nearest of 21. The stages are those
of ``ours.py``::

    python benchmarks/gammabayes/ours_darkmatter.py --output ours.json
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from job import DARKMATTER, MASS_SCAN, Job
from ours import QuickStart, main


class DarkMatter(QuickStart):
    """The Quick Start's sky with dark matter in it."""

    job: ClassVar[Job] = DARKMATTER

    def components(self) -> list[Any]:
        """Return the components, in the order of the job's fractions."""
        from pymc_gamma import darkmatter

        spectrum = self.spectra(self.job.parameters)["dm"]
        return [darkmatter.DarkMatterHalo(darkmatter.Einasto(), spectrum, name="dm"), *super().components()]

    def priors(self) -> dict[str, Any]:
        """Return the logarithm of the mass."""
        import pymc as pm

        first, last, _ = MASS_SCAN
        return {"log10_mass": pm.Uniform("log10_mass", np.log10(first), np.log10(last))}

    def spectra(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the spectrum of dark matter."""
        import astropy.units as u

        from pymc_gamma import darkmatter

        thermal = 2e-26 * u.cm**3 / u.s  # cancels: beside fractions only the shape of a spectrum matters
        return {"dm": darkmatter.Annihilation(10 ** parameters["log10_mass"], thermal, channels="W")}


if __name__ == "__main__":
    main(DarkMatter())
