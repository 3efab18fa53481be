"""From what a user gives, spectra, norms and systematics, to the blocks of an intensity and their parameters."""

from collections.abc import Collection, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.graph.basic import Variable

from pymc_gamma.errors import ModelError, PymcGammaError
from pymc_gamma.folding.free import FreeComponent
from pymc_gamma.labelled import as_mapping
from pymc_gamma.model.blocks import Block, LinearBlock
from pymc_gamma.model.component import ModelComponent, Spectrum
from pymc_gamma.model.groups import GroupMember, SpectrumGroup, one_by_one, together
from pymc_gamma.model.intensity import Intensity, Parameters
from pymc_gamma.model.marginal import Marginal, vector_of
from pymc_gamma.model.protocol import PoissonResponse
from pymc_gamma.model.scans import ScanBlock, checked_scan
from pymc_gamma.model.shapes import shape_block
from pymc_gamma.model.spectra import conditions_of
from pymc_gamma.model.spectral import (
    check_conditions,
    check_spectra,
    is_narrow,
    not_smooth,
    spectrum_at_nodes,
    value_at_start,
)
from pymc_gamma.model.systematics.base import with_systematics
from pymc_gamma.model.varied import PSFScales, VariedBlock

__all__ = ["build_intensity", "model_components"]

_SKY = frozenset({"aeff", "edisp", "psf"})


def model_components(
    name: str,
    response: Any,
    spectra: Mapping[Any, Spectrum] | None,
    norms: Mapping[str, Variable],
    systematics: Any,
    shapes: Mapping[str, Any] | None = None,
    scan: Mapping[str, Any] | None = None,
    model: pm.Model | None = None,
) -> list[ModelComponent]:
    """Components of a response as a model has them.

    Parameters
    ----------
    name : str
        Name of the distribution, for messages.
    response : MixtureResponse
        The response.
    spectra : mapping of str to callable, optional
        Spectra of components of free spectrum.
    norms : mapping of str to TensorVariable
        Factors on the fluxes of components.
    systematics : Systematic or sequence of Systematic
        Uncertainties of the instrument.
    shapes : mapping, optional
        Positions and extensions of components of free shape, parameters of the profiles of halos.
    scan : mapping of str to tensor_like, optional
        Values of the parameters of components that are scans.
    model : pymc.Model, optional
        Knows where sampling starts; without it nothing is looked at there.

    Raises
    ------
    ModelError
        If spectra are given for what is no component of free spectrum, shapes for what is none of free shape or not for
        one that is, a parameter of a scan is missing, unknown or outside its nodes, or a systematic is refused.
    """
    names = tuple(response.component_names)
    what = f"{name}: spectra"
    separate = one_by_one(what, spectra, lambda members, spectrum: SpectrumGroup(members, spectrum).members())
    given = as_mapping(separate, names, what)
    free = tuple(getattr(response, "free_spectrum", ()))
    fixed = [component for component in given if component not in free]
    scans = [component for component in fixed if component in getattr(response, "scans", {})]
    if scans:
        raise ModelError(
            f"{name}: spectra are given for {scans}, which are scans, whose spectra follow from their nodes; leave "
            "them out of spectra, and scan the parameters of the spectrum as well if these are unknown."
        )
    if fixed:
        again = f"fold with free_spectrum={[*free, *fixed]}, or leave them out of spectra"
        raise ModelError(f"{name}: spectra are given for {fixed}, which were folded with a fixed spectrum; {again}.")
    compiled = {one.name: one for one in getattr(response, "components", ())}
    irfs = {component: frozenset(one.irfs) for component, one in compiled.items()}
    for component, spectrum in given.items():
        if component not in compiled:
            continue
        try:
            compiled[component].check_spectrum(spectrum)
        except PymcGammaError as error:
            raise ModelError(f"{name}: {error}") from None
    shaped = _checked_shapes(name, response, shapes)
    scanned = checked_scan(name, getattr(response, "scans", {}), scan, model)
    components = [
        ModelComponent(
            component,
            response,
            irfs.get(component, _SKY),
            component in free,
            given.get(component),
            norm=norms.get(component),
            shape=shaped.get(component),
            scan=scanned.get(component),
        )
        for component in names
    ]
    if systematics is None or (isinstance(systematics, Sequence) and not systematics):
        return components
    if not isinstance(response, PoissonResponse):
        raise ModelError(f"{name}: systematics need a response from `fold`, got {type(response).__name__}.")
    observations = response.coords["observation"]
    return with_systematics(name, systematics, components, observations, response.energy_true[[0, -1]], model)


def _checked_shapes(name: str, response: Any, shapes: Any) -> dict[str, Any]:
    """Shapes by component, of all those whose shape is free."""
    free = tuple(getattr(response, "free_shape", ()))
    given = as_mapping(shapes, tuple(response.component_names), f"{name}: shapes")
    fixed = [component for component in given if component not in free]
    scans = [component for component in fixed if component in getattr(response, "scans", {})]
    if scans:
        raise ModelError(
            f"{name}: shapes are given for {scans}, which are scans, whose shapes follow from their nodes; leave them "
            "out of shapes."
        )
    if fixed:
        raise ModelError(
            f"{name}: shapes are given for {fixed}, which were folded with a fixed shape; fold with free_shape="
            f"{[*free, *fixed]}, or leave them out of shapes."
        )
    missing = [component for component in free if component not in given]
    if missing:
        compiled = {one.name: one for one in response.components}
        example = ", ".join(f'"{component}": {compiled[component].shape_example}' for component in missing)
        raise ModelError(
            f"{name}: the response leaves the shape of {missing} to the model; pass shapes={{{example}}}, or fold "
            "without free_shape."
        )
    return given


def build_intensity[I: Intensity](
    name: str,
    kind: type[I],
    components: Sequence[ModelComponent],
    model: pm.Model | None,
    *,
    needs_norms: bool,
    not_smooth_names: Collection[str] = (),
) -> tuple[I, Parameters]:
    """Blocks of components, and their parameters.

    Parameters
    ----------
    name : str
        Name of the distribution, for messages.
    kind : type
        Class of the intensity.
    components : sequence of ModelComponent
        All components of a response.
    model : pymc.Model, optional
        Knows where sampling starts; without it nothing is looked at there.
    needs_norms : bool
        Whether norms are parameters although all are 1; then spectra may be zero, too.
    not_smooth_names : collection of str
        Components whose free spectrum is known to need all nodes.

    Raises
    ------
    ModelError
        If a spectrum has another shape, or is negative or not finite where sampling starts.
    """
    response = components[0].response
    free = {one.name: one for one in response.free_components} if any(one.free for one in components) else {}
    narrow = {one.name for one in components if one.free and is_narrow(one, free[one.name])} | {*not_smooth_names}
    scaled = {one.name: one.psf_scaling for one in components if one.psf_scaling is not None and one.shape is None}
    psf_scales = PSFScales.of(response, scaled)
    while True:
        blocks, spectra, norms, thetas = [], [], [], []
        for k, component in enumerate(components):
            block, values, theta = _block(
                name, k, component, free, component.name in narrow, psf_scales.get(component.name)
            )
            blocks.append(block)
            if values is not None:
                spectra.append((component, block, values))
            thetas += [] if theta is None else [theta]
            norm = pt.constant(1.0) if component.norm is None else component.norm
            norms.append(pt.broadcast_to(norm, (block.n_rows,)))
        has_norms = needs_norms or any(component.norm is not None for component in components)
        own = [one.scan for one, block in zip(components, blocks, strict=True) if block.has_theta]
        source = kind(response, blocks, has_norms=has_norms, marginal=Marginal.find(own))
        parameters = Parameters(_joined(norms) if has_norms else None, _flux(spectra), tuple(thetas))
        _check_starts(name, blocks, thetas, model)
        if not source.free or model is None:
            return source, parameters
        for one in components:
            check_conditions(name, one, model)
        start = value_at_start(parameters.flux, model)
        more = not_smooth(source, start)
        if not more:
            check_spectra(name, source, components, start, dark=needs_norms)
            return source, parameters
        narrow |= more


def _check_starts(name: str, blocks: Sequence[Block], thetas: Sequence[Variable], model: pm.Model | None) -> None:
    """Raise a ModelError if parameters of a block are out of its range where sampling starts."""
    own = [block for block in blocks if block.has_theta]
    for block, theta in zip(own, thetas, strict=True):
        if model is None or block.valid(theta) is None:
            continue
        try:
            block.check_start(value_at_start(theta, model))
        except PymcGammaError as error:
            raise ModelError(f"{name}: at the initial values of the parameters, {error}") from None


def _flux(spectra: Sequence[tuple[ModelComponent, Block, Variable]]) -> Variable | None:
    """Spectra one after the other; those of neighbours in a group in one expression."""
    parts = []
    for _, run in groupby(spectra, key=lambda one: _group(one[0], one[1])):
        own = list(run)
        nodes = own[0][1].nodes
        assert nodes is not None
        rows = None
        if _group(own[0][0], own[0][1]) is not None:
            rows = together([component.spectrum for component, _, _ in own], nodes.energy)
        if rows is not None:
            parts.append(rows.reshape((len(own) * len(nodes.energy),)))
            continue
        for _, block, values in own:
            every = pt.broadcast_to(values, block.acceptance.shape) if block.n_rows > 1 else values
            parts.append(every.reshape((block.size,)))
    return _joined(parts) if parts else None


def _group(component: ModelComponent, block: Block) -> Any:
    """What spectra must share to be evaluated together: the group, and the nodes, which those of few nodes share."""
    spectrum = component.spectrum
    if component.factors or block.n_rows > 1 or not block.few_nodes or not isinstance(spectrum, GroupMember):
        return None
    return spectrum.group


def _joined(vectors: Sequence[Variable]) -> Variable:
    return pt.concatenate(vectors) if len(vectors) > 1 else vectors[0]


def _block(
    name: str,
    k: int,
    component: ModelComponent,
    free: Mapping[str, FreeComponent],
    narrow: bool,
    psf_scales: PSFScales | None,
) -> tuple[Block, Variable | None, Variable | None]:
    """The block of a component, its spectrum at nodes, and parameters of its own."""
    several = component.norm is not None and component.norm.type.ndim > 0
    nodes = values = None
    few = False
    if component.free:
        whole = free[component.name]
        few = whole.smooth is not None and not narrow
        nodes = whole.smooth if few else whole
        assert nodes is not None
        values = spectrum_at_nodes(name, component, nodes)
        several = several or values.type.ndim > 1
        by_observation = several and len(nodes.acceptance) == 1 and component.n_observations > 1
        nodes = nodes.by_observation() if by_observation else nodes
        acceptance = nodes.acceptance
    elif several:
        by_observation = True
        acceptance = np.asarray(component.response.acceptance_by_observation)[k][:, None]
    else:
        by_observation = False
        counts = getattr(component.response, "acceptance", None)
        acceptance = np.ones((1, 1)) if counts is None else np.asarray(counts, float)[[k]][:, None]
    block = LinearBlock(
        component.name,
        acceptance,
        nodes,
        by_observation=by_observation,
        few_nodes=few,
        conditional=bool(conditions_of(component.spectrum)),
    )
    columns = tuple(component.response.reco)
    place = columns.index("observation") if "observation" in columns else None
    if component.shape is not None:
        compiled = next(one for one in component.response.components if one.name == component.name)
        made, theta = shape_block(compiled, component, block, place)
        return made, values, theta
    if component.scan is not None:
        return ScanBlock(component.response.scans[component.name], block, place), values, vector_of(component.scan)
    if psf_scales is None:
        return block, values, None
    assert component.psf_scale is not None
    return VariedBlock(psf_scales, block, place), values, pt.stack([component.psf_scale])
