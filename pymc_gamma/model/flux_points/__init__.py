"""Flux points in a model: measured fluxes, and the likelihood that their errors, limits or profiles stand for."""

from pymc_gamma.model.flux_points.flux_points_data import FluxPointsData

__all__ = ["FluxPointsData"]
