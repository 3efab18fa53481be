"""Nested sampling with dynesty: in one process or many, in one go or resumed."""

import warnings
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from os import PathLike, fspath
from pathlib import Path
from time import perf_counter
from typing import Any

import astropy.units as u
import numpy as np
import pymc as pm
import xarray as xr
from numpy.typing import NDArray

from pymc_gamma.arguments import generator, integer, number
from pymc_gamma.arguments import path as checked_path
from pymc_gamma.errors import DataFileError, ModelError
from pymc_gamma.files import refuse_overwrite, refuse_unwritable, user_path
from pymc_gamma.inference.annotate import annotate
from pymc_gamma.inference.nested.functions import resuming, sent_by_file, stored_with
from pymc_gamma.inference.nested.problem import NestedProblem
from pymc_gamma.inference.posterior import equal_weight_indices
from pymc_gamma.keywords import check_keywords, keywords_of
from pymc_gamma.units import scalar_value

__all__ = ["sample_nested"]

_OURS = ("loglikelihood", "prior_transform", "ndim", "nlive", "pool", "rstate")
"""Options of dynesty that are set here."""


def sample_nested(
    model: pm.Model | None = None,
    *,
    nlive: int = 500,
    dlogz: float = 0.5,
    random_seed: int | np.random.Generator | None = None,
    progressbar: bool = True,
    pool: Any = None,
    checkpoint_file: str | PathLike[str] | None = None,
    checkpoint_every: float | u.Quantity = 60.0,
    resume: bool = False,
    **dynesty_options: Any,
) -> xr.DataTree:
    """Evidence and posterior of a model by nested sampling with dynesty.

    Parameters
    ----------
    model : pymc.Model, optional
        The model on the context stack if not given.
    nlive : int
        Number of live points.
    dlogz : float
        Stop when the evidence that may remain is less than this in the logarithm.
    random_seed : int or numpy.random.Generator, optional
        Seed. A run that is resumed goes on with the random numbers of its checkpoint.
    progressbar : bool
        Show dynesty's progress.
    pool : pool of processes, optional
        Workers: a `multiprocessing.Pool` (by fork or spawn), an executor of `concurrent.futures`, a
        ``dynesty.pool.Pool``, or anything with a ``map``. Each worker is sent the model once, through a file in the
        folder for temporary files, and compiles it. Draws depend on the size of the pool, not on its kind.
    checkpoint_file : path-like, optional
        Store the state of the sampler here every ``checkpoint_every`` seconds and at the end. Missing folders are made.
    checkpoint_every : float or `~astropy.units.Quantity`
        Time between checkpoints, in seconds if it has no unit.
    resume : bool
        Go on from the checkpoint. The result is that of a run without interruption, to rounding.
    **dynesty_options
        For `dynesty.NestedSampler`, for example ``bound``, ``sample`` or ``queue_size``. ``bootstrap`` is 0 unless
        given.

    Returns
    -------
    xarray.DataTree
        Group ``posterior``: draws of equal weight, deterministics included. Group ``nested``: all points of the
        run with ``log_weight`` (normalised), ``log_likelihood`` and ``log_prior_volume``. Attributes: ``log_evidence``,
        ``log_evidence_err``, ``ncall``, ``sampling_time`` (s, of this session), ``nlive``, ``dlogz``, ``sampler``.

    Raises
    ------
    ModelError
        If the model cannot be transformed, see `NestedProblem`; if a checkpoint belongs to another model, other
        events or other settings; if a pool cannot be used.
    DataFileError
        If there is no checkpoint to resume, or it cannot be read.
    FileExistsError
        If there is a checkpoint already and ``resume`` is false.
    OSError
        If a checkpoint cannot be written, before sampling starts.
    TypeError
        If an argument is of another kind, or dynesty knows no such option.

    Notes
    -----
    The evidence refers to the likelihood as the model states it; for an `EventMixture` with a response that is
    the density of events of fixed number, in (TeV sr)^-1 per event. Ratios between models of the same events are
    free of units.

    A checkpoint is a pickle, which can run code when it is read: resume from files of your own. It holds neither model
    nor events; both must be there again.

    Examples
    --------
    >>> import pymc as pm
    >>> with pm.Model():
    ...     mu = pm.Normal("mu")
    ...     y = pm.Normal("y", mu, 1, observed=0.0)
    ...     result = sample_nested(nlive=100, random_seed=1, progressbar=False)
    >>> bool(abs(result.attrs["log_evidence"] + 1.2655) < 4 * result.attrs["log_evidence_err"])
    True
    """
    import dynesty

    if resume and checkpoint_file is None:
        raise ModelError("resume=True needs the checkpoint_file= to resume from.")
    _check_options(dynesty_options, pool)
    path = None if checkpoint_file is None else user_path(checked_path(checkpoint_file, "checkpoint_file"))
    every = _seconds(checkpoint_every, "checkpoint_every")
    if path is not None and not (resume or path.is_dir()):
        refuse_overwrite(path, hint="resume=True to go on with it; delete it")
    nlive, dlogz = integer(nlive, "nlive", low=2), number(dlogz, "dlogz", low=0)
    problem, rng = NestedProblem(pm.modelcontext(model)), generator(random_seed, "random_seed")
    # a fixed enlargement of the bounds instead of bootstrapping them: the same evidence in 60 % of the time
    options = {"bootstrap": 0, **dynesty_options}
    workers = None if pool is None else _Workers(pool, options.pop("queue_size", None))
    if path is not None:
        refuse_unwritable(path)
    settings = {"nlive": nlive, **{key: repr(value) for key, value in options.items()}}
    with ExitStack() as stack:
        if workers is not None:
            stack.enter_context(sent_by_file(problem))
            workers.check()
        if path is not None:
            stack.enter_context(stored_with(problem, problem.mark(settings, dlogz)))
        if resume:
            assert path is not None
            sampler = _restored(path, problem, workers, dlogz)
        else:
            # dynesty samples the cube itself: parameters are computed only of points that it keeps
            sampler = dynesty.NestedSampler(
                problem.log_likelihood_of_cube,
                _identity,
                problem.n_dim,
                nlive=nlive,
                rstate=rng,
                pool=workers,
                **options,
            )
        started = perf_counter()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="You are resuming a finished static run")
            sampler.run_nested(
                dlogz=dlogz,
                print_progress=progressbar,
                checkpoint_file=None if path is None else fspath(path),
                checkpoint_every=every,
                resume=resume,
            )
        sampling_time = perf_counter() - started
    results = sampler.results
    log_weight = np.asarray(results.logwt) - results.logz[-1]
    log_weight -= np.logaddexp.reduce(log_weight)
    equal = equal_weight_indices(np.exp(log_weight), sampler.rstate)
    attrs = {
        "log_evidence": float(results.logz[-1]),
        "log_evidence_err": float(results.logzerr[-1]),
        "ncall": int(np.sum(results.ncall)),
        "sampling_time": sampling_time,
        "nlive": nlive,
        "dlogz": dlogz,
        "sampler": f"dynesty {dynesty.__version__}",
    }
    weighted = problem.variables_of_cube(results.samples)
    weighted["log_weight"] = (("chain", "draw"), log_weight[None])
    weighted["log_likelihood"] = (("chain", "draw"), np.asarray(results.logl)[None])
    weighted["log_prior_volume"] = (("chain", "draw"), np.asarray(results.logvol)[None])
    posterior = problem.variables_of_cube(results.samples[equal])
    posterior.attrs.update(attrs)
    tree = xr.DataTree.from_dict({"posterior": posterior, "nested": weighted})
    tree.attrs.update(attrs)
    return annotate(tree, problem.model)


def _check_options(options: dict[str, Any], pool: Any) -> None:
    """Raise an error for an option that dynesty does not know, or that is set here."""
    import dynesty

    if "rstate" in options:
        raise TypeError("sample_nested() takes no rstate; give the seed or the generator as random_seed=.")
    known = [name for name in keywords_of(dynesty.NestedSampler.__new__) if name not in _OURS]
    check_keywords("sample_nested", options, (*keywords_of(sample_nested), *known))
    if options.get("queue_size") is not None:
        if pool is None:
            raise ModelError("queue_size= is the number of workers of a pool; give pool= too, or leave it out.")
        integer(options["queue_size"], "queue_size", low=1)


def _seconds(value: Any, name: str) -> float:
    """A positive time in seconds; a number without a unit is one."""
    return number(scalar_value(value, "s", name) if isinstance(value, u.Quantity) else value, name, low=0)


class _Workers:
    """A pool as dynesty wants it: it knows its size, and its ``map`` returns a list."""

    def __init__(self, pool: Any, size: int | None) -> None:
        if not callable(getattr(pool, "map", None)):
            raise ModelError(
                f"pool must be a pool of workers with a map method, such as multiprocessing.Pool(4), got {pool!r}."
            )
        # multiprocessing, dynesty and others, concurrent.futures
        known = (getattr(pool, name, None) for name in ("_processes", "size", "_max_workers"))
        sizes = [size, *known]
        self.size = next((int(one) for one in sizes if isinstance(one, int | np.integer)), None)
        if self.size is None or self.size < 1:
            raise ModelError(f"the number of workers of {pool!r} is not known; pass it as queue_size=.")
        self._pool = pool

    def check(self) -> None:
        """Raise a ModelError if the pool runs nothing."""
        try:
            self.map(abs, [1])
        except Exception as error:
            raise ModelError(
                f"the pool {self._pool!r} does not run tasks ({type(error).__name__}: {error}); is it closed? Call "
                "sample_nested before it is, inside of its with block."
            ) from error

    def map(self, function: Callable[[Any], Any], tasks: Iterable[Any]) -> list[Any]:
        """Results of tasks, in their order."""
        return list(self._pool.map(function, list(tasks)))


def _restored(path: Path, problem: NestedProblem, workers: _Workers | None, dlogz: float) -> Any:
    """The sampler of a checkpoint, if it belongs to this problem."""
    import dynesty

    if not path.is_file():
        raise DataFileError(f"there is no checkpoint {path} to resume from; leave resume=True out to start a run.")
    try:
        with resuming(problem) as marks:
            sampler = dynesty.NestedSampler.restore(fspath(path), pool=workers)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    except Exception as error:
        raise DataFileError(
            f"{path} is not a checkpoint that can be read ({type(error).__name__}: {error}); it may be cut short, or "
            "of another version of dynesty. Delete it and start anew."
        ) from error
    if not marks:
        raise ModelError(f"{path} was not written by sample_nested; resume it where it comes from.")
    if sampler.added_live and dlogz < marks[-1].dlogz:
        raise ModelError(f"the run of {path} has ended, at dlogz={marks[-1].dlogz:g}; start another for {dlogz:g}.")
    return sampler


def _identity(u: NDArray[np.float64]) -> NDArray[np.float64]:
    return u
