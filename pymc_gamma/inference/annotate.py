"""Results that carry their units and what to cite, as attributes that survive in a file."""

from collections.abc import Mapping
from typing import Any

import pymc as pm
import xarray as xr

from pymc_gamma.arguments import checked, kind
from pymc_gamma.model.random import EventMixtureRV
from pymc_gamma.tensors import descriptions_of, units_of

__all__ = ["annotate"]


@checked(idata=kind("DataTree", "Dataset"), model=kind("Model"))
def annotate[ResultsT: (xr.DataTree, xr.Dataset)](idata: ResultsT, model: pm.Model) -> ResultsT:
    """Results of a sampler with the units of their variables and what to cite as attributes.

    Units are known of variables that were given to something with a unit: parameters of spectra, shapes, scans and
    dark matter, norms and fractions; and of what the distributions compute (expected counts, fluxes). They are written
    to ``attrs["units"]``, where `plot_corner`, `summary` and `report` find them, unless there is one already; variables
    without dimension have the unit ``""``. What a variable is used for, such as ``"amplitude of PowerLaw"``, is written
    to ``attrs["description"]``. What to cite (:meth:`pymc_gamma.Response.citations`) is written to
    ``attrs["citations"]`` of the results, one reference a line.

    Parameters
    ----------
    idata : `xarray.DataTree` or `xarray.Dataset`
        What a sampler returned, or a group of it.
    model : pymc.Model
        The model that was sampled.

    Returns
    -------
    `xarray.DataTree` or `xarray.Dataset`
        A copy that shares the draws.

    Notes
    -----
    `sample_nested` does this to what it returns. A variable that enters by an expression (``amplitude=1e-12 * norm``)
    has no unit that is known.

    Examples
    --------
    >>> import pymc as pm
    >>> import pymc_gamma as pmg
    >>> with pm.Model() as model:
    ...     index, amplitude = pm.Normal("index", 2, 1), pm.LogNormal("amplitude", -27, 1)
    ...     spectrum = pmg.PowerLaw(index=index, amplitude=amplitude)
    ...     prior = pm.sample_prior_predictive(5)
    >>> annotate(prior, model)["prior"]["amplitude"].attrs
    {'units': 'TeV-1 cm-2 s-1', 'description': 'amplitude of PowerLaw'}
    """
    sources = [one.owner.op.source for one in model.basic_RVs if one.owner and isinstance(one.owner.op, EventMixtureRV)]
    known: dict[str, dict[str, str]] = {}
    noted = [("units", source.units) for source in sources] + [("units", units_of(model.named_vars))]
    noted += [("description", source.descriptions) for source in sources]
    noted += [("description", descriptions_of(model.named_vars))]
    for attribute, notes in noted:
        for name, note in notes.items():
            known.setdefault(name, {})[attribute] = note
    citations = "\n".join(dict.fromkeys(str(one) for source in sources for one in _citations(source)))
    if isinstance(idata, xr.Dataset):
        return _with_citations(_with_notes(idata, known), citations)
    groups = {node.path: _with_notes(node.to_dataset(inherit=False), known) for node in idata.subtree}
    return _with_citations(xr.DataTree.from_dict(groups, name=idata.name), citations)


def _with_notes(group: xr.Dataset, notes: Mapping[str, Mapping[str, str]]) -> xr.Dataset:
    own = {name: notes[str(name)] for name in group.data_vars if str(name) in notes}
    return group.assign({name: group[name].assign_attrs({**one, **group[name].attrs}) for name, one in own.items()})


def _with_citations(results: Any, citations: str) -> Any:
    if citations:
        results.attrs["citations"] = citations
    return results


def _citations(source: Any) -> tuple[Any, ...]:
    """What to cite for the response of a source, if it has one that says so."""
    response = getattr(source, "response", None)
    return () if response is None or not hasattr(response, "citations") else tuple(response.citations())
