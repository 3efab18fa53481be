"""What is the Galactic centre made of? Simulate an observation and infer it. The example of the README."""

import arviz as az
import astropy.units as u
import numpy as np
import pymc as pm
from astropy.coordinates import SkyCoord

import pymc_gamma as pmg

centre = SkyCoord(0 * u.deg, 0 * u.deg, frame="galactic")
observation = pmg.Observation(pmg.load_irfs("prod5-south-20deg-50h"), pointing=centre, livetime=50 * u.h)
roi = pmg.RegionOfInterest(center=centre, width=6.4 * u.deg, energy=(0.1, 100) * u.TeV)
response = pmg.fold([pmg.GalacticDiffuse(), pmg.HGPSCatalog(), pmg.CosmicRayBackground()], observation, roi)

with pm.Model(coords=response.coords) as simulation:
    fraction = pm.Dirichlet("fraction", a=np.ones(3), dims="component")
    pmg.EventMixture("events", fraction, response=response, n_events=4500)
    prior = pm.sample_prior_predictive(draws=1, random_seed=8)  # fractions from the prior, events through the IRFs

truth = prior["prior"]["fraction"].values[0, 0]
events = pmg.Events.from_predictive(prior, response)
events.peek(count_scaling="log").savefig("events.png")

with pmg.observe_events(simulation, events):  # the same model, now with these events observed
    idata = pm.sample(chains=4, random_seed=1)
    nested = pmg.sample_nested(nlive=500, dlogz=0.5, random_seed=1)

print(az.summary(idata, var_names=["fraction"]))
print(f"truth {truth.round(3)}, log evidence {nested.attrs['log_evidence']:.1f}")
pmg.plot_corner({"NUTS": idata, "nested": nested}, ["fraction"], truths={"fraction": truth}).savefig("corner.png")
