"""Time an analysis of dark matter with GammaBayes 0.1.9, stage by stage.

One 50 h pointing at the Galactic centre, 6.4 deg x 6.4 deg, 0.1-100 TeV: 1500 events, in the proportions of the
peer's High Level Inference tutorial, of dark matter that annihilates into W+W- with an Einasto profile and a mass of
1 TeV (1/2), Galactic diffuse emission, H.E.S.S. Galactic Plane Survey sources and residual cosmic rays (1/6 each).
Inferred are the four fractions, under a flat Dirichlet prior, and the mass, by the peer's own means: its likelihoods
are marginalised at 21 masses from 0.2 to 20 TeV, in equal steps of the logarithm, and dynesty draws one of them. The
stages are those of ``peer.py``.

What version 0.1.9 cannot do, and what is done instead:

* Its line of sight through the Galactic centre is NaN, and with one NaN on the grid all photons are drawn from a single
  cell. Its own tutorials of dark matter have grids without the centre. So has this one: 16 x 16 nodes, the middles of
  cells of 0.4 deg, instead of the 17 x 17 of the Quick Start.
* Parameters to scan, given by the name of their component, are lost on the way (``IndexError: too many indices`` at the
  first call of the likelihood). They are given as one set for each component, in order, as its high-level classes do.

The component of dark matter is made as the peer's ``CustomDMRatiosModel`` makes it for a channel.

On a twentieth of the events::

    python benchmarks/gammabayes/peer_darkmatter.py --fraction-of-job 0.05 --output peer.json
"""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import numpy as np
from job import DARKMATTER, MASS_SCAN, Job
from peer import QuickStart, main


class DarkMatter(QuickStart):
    """The Quick Start's sky with dark matter in it."""

    job: ClassVar[Job] = DARKMATTER
    names: ClassVar[dict[str, str]] = {"dm": "W+W- DM Class", **QuickStart.names}
    grid: ClassVar[tuple[float, float]] = (-3.0, 3.0)

    def components(self, geometry: Any, irfs: Any, exposure: Any) -> dict[str, Any]:
        """Return the components, in the order of the job's fractions."""
        from gammabayes.dark_matter import CombineDMComps
        from gammabayes.dark_matter.channel_spectra import SingleDMChannel
        from gammabayes.dark_matter.density_profiles import Einasto_Profile

        dark_matter = CombineDMComps(
            name=self.names["dm"],
            spectral_class=SingleDMChannel,
            spectral_class_kwds={"channel": "W+W-"},
            spatial_class=Einasto_Profile,
            irf_loglike=irfs,
            binning_geometry=geometry,
            log_exposure_map=exposure,
            default_spectral_parameters={"mass": 10 ** self.job.parameters["log10_mass"]},
        )
        return {"dm": dark_matter, **super().components(geometry, irfs, exposure)}

    def scanned(self) -> list[Any]:
        """Return the parameters that are scanned, one set for each component: the mass of dark matter."""
        from gammabayes import ParameterSet

        first, last, n = MASS_SCAN
        mass = {"discrete": True, "scaling": "log10", "bounds": [first, last], "bins": n, "default_value": 1.0}
        of_dark_matter = ParameterSet({"spectral_parameters": {"mass": mass}})
        return [of_dark_matter if name == "dm" else ParameterSet() for name in self.job.fractions]

    to_peer: ClassVar[Callable[[Any], Any]] = partial(np.power, 10.0)
    from_peer: ClassVar[Callable[[Any], Any]] = np.log10


if __name__ == "__main__":
    main(DarkMatter())
