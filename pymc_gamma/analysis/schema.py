"""The sections of an analysis file. Names are those of gammapy's ``AnalysisConfig`` where it has them."""

from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from pymc_gamma.analysis.components import Component, DarkMatterConfig
from pymc_gamma.analysis.consistency import contradictions
from pymc_gamma.analysis.document import Document, Problem, nearest, raise_problems
from pymc_gamma.analysis.parameters import read_parameter
from pymc_gamma.analysis.pictures import PictureName
from pymc_gamma.analysis.samplers import Sampler
from pymc_gamma.analysis.section import (
    VALUE_ERRORS,
    Angle,
    Duration,
    Energy,
    FilePath,
    Moment,
    Section,
    Told,
    checked_by,
    kinds_of,
    one_of,
    problems_of,
    refuse,
    refuse_all,
)
from pymc_gamma.analysis.systematics import SystematicField

__all__ = ["AnalysisConfig"]

VERSION = 1
"""Of the schema."""

Frame = Literal["icrs", "galactic"]


def _fraction(value: Any) -> float:
    """A number, also as a ratio: 1/3."""
    if isinstance(value, bool):
        raise ValueError(f"{value!r} is no number")
    try:
        return float(Fraction(value.replace(" ", "")) if isinstance(value, str) and "/" in value else value)
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise ValueError(f"{value!r} is no number; write for example 0.25 or 1/4") from error


def _true_value(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _true_value(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_true_value(one) for one in value]
    if isinstance(value, str) and "/" not in value and value[:1].isalpha():
        raise ValueError(f"{value!r} is no value")
    try:
        return _fraction(value)
    except ValueError:
        import astropy.units as u

        try:
            return u.Quantity(value)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{value!r} is no number and no quantity") from error


TrueValue = Annotated[Any, checked_by(_true_value), Told("number, quantity, list, or numbers by label")]
"""True value of a variable."""


class LogConfig(Section):
    """Messages of Python's `logging`."""

    level: Literal["debug", "info", "warning", "error", "critical"] = Field(
        default="warning", description="Least level shown."
    )
    filename: FilePath | None = Field(default=None, description="File for them, in the folder of the analysis file.")
    filemode: Literal["w", "a"] = Field(default="a", description="Replace that file, or add to it.")
    format: str | None = Field(default=None, description="Format of a message.")
    datefmt: str | None = Field(default=None, description="Format of the time in it.")


class GeneralConfig(Section):
    """What concerns all stages."""

    outdir: FilePath = Field(default=Path("results"), description="Folder for the results, beside the analysis file.")
    log: LogConfig | None = Field(default=None, description="Messages; those of Python's defaults if left out.")
    n_jobs: int = Field(default=1, ge=1, description="Processes that sample side by side.")
    seed: int = Field(default=1, ge=0, description="Seed of everything random.")


class CircleConfig(Section):
    """A circle on the sky."""

    frame: Frame = Field(default="icrs", description="`icrs` or `galactic`.")
    lon: Angle = Field(description="Right ascension or longitude.")
    lat: Angle = Field(description="Declination or latitude.")
    radius: Angle = Field(description="Radius.")


class TimeRangeConfig(Section):
    """A range of time."""

    start: Moment = Field(description="Start, UTC.")
    stop: Moment = Field(description="End, UTC.")


class ObservationsConfig(Section):
    """Real runs, in a data store; or a file of events for `pointings`."""

    datastore: str | None = Field(
        default=None, description="Folder of a GADF data store, or the name of a data set (`hess-dl3-dr1-crab`)."
    )
    obs_ids: list[int] = Field(default=[], description="Runs to take; all that the other keys leave by default.")
    obs_file: FilePath | None = Field(default=None, description="Text file with ids of runs, one a line.")
    obs_cone: CircleConfig | None = Field(default=None, description="Runs that point into this circle.")
    obs_time: TimeRangeConfig | None = Field(default=None, description="The time of the runs within these.")
    required_irf: list[Literal["aeff", "edisp", "psf", "bkg"]] = Field(
        default=["aeff", "edisp", "psf", "bkg"], description="Tables that a run must have."
    )
    events: FilePath | None = Field(default=None, description="Events of the `pointings`: a file, no data store.")

    @field_validator("obs_ids")
    @classmethod
    def _once(cls, value: list[int]) -> list[int]:
        twice = sorted({one for one in value if value.count(one) > 1})
        if twice:
            raise ValueError(f"the runs {twice} are there twice")
        return value


class PointingConfig(Section):
    """An observation without events: to be simulated, or that of `observations.events`."""

    lon: Angle = Field(description="Longitude or right ascension.")
    lat: Angle = Field(description="Latitude or declination.")
    frame: Frame = Field(default="galactic", description="`icrs` or `galactic`.")
    livetime: Duration = Field(description="Live time.")
    irf: str = Field(default="prod5-south-20deg-50h", description="Instrument response: name of a data set, or a file.")
    id: str | None = Field(default=None, description="Name of the observation.", coerce_numbers_to_str=True)


class SkydirConfig(Section):
    """The centre of the region."""

    frame: Frame = Field(default="icrs", description="Frame of the region: `icrs` or `galactic`.")
    lon: Angle = Field(description="Right ascension or longitude.")
    lat: Angle = Field(description="Declination or latitude.")


class WidthConfig(Section):
    """The sides of the region."""

    width: Angle = Field(description="Along longitude.")
    height: Angle | None = Field(default=None, description="Along latitude; the width by default.")


class WcsConfig(Section):
    """The region of interest."""

    skydir: SkydirConfig = Field(description="Centre.")
    width: WidthConfig | None = Field(default=None, description="Sides of a rectangle.")
    radius: Angle | None = Field(default=None, description="Radius of a circle, instead of a width.")
    binsize: Angle | None = Field(default=None, description="Largest pixel of templates, 0.05 deg by default.")

    @model_validator(mode="after")
    def _one_form(self) -> "WcsConfig":
        if (self.width is None) == (self.radius is None):
            raise ValueError("give width (of a rectangle) or radius (of a circle)")
        return self


class SelectionConfig(Section):
    """Which events of an observation are kept."""

    offset_max: Angle | None = Field(default=None, description="Largest offset from the pointing.")


class EnergyAxisConfig(Section):
    """Reconstructed energy."""

    min: Energy = Field(description="Lowest energy.")
    max: Energy = Field(description="Highest energy.")


class TrueEnergyConfig(Section):
    """True energy."""

    nbins: int | None = Field(default=None, ge=10, description="Bins; as many as the response needs by default.")


class AxesConfig(Section):
    """Axes of energy."""

    energy: EnergyAxisConfig = Field(description="Reconstructed energy of the events.")
    energy_true: TrueEnergyConfig = Field(default=TrueEnergyConfig(), description="True energy.")


class GeomConfig(Section):
    """Which events take part."""

    wcs: WcsConfig = Field(description="Region on the sky.")
    selection: SelectionConfig = Field(default=SelectionConfig(), description="Limits of each observation.")
    axes: AxesConfig = Field(description="Axes of energy.")


class SafeMaskConfig(Section):
    """Where a run can be trusted, by gammapy's `SafeMaskMaker`."""

    methods: list[Literal["aeff-default", "aeff-max", "edisp-bias", "offset-max", "bkg-peak"]] = Field(
        default=["aeff-default"], description="Its methods."
    )
    parameters: dict[str, Any] = Field(default={}, description="Its parameters.")


class BinnedConfig(Section):
    """Events in cells, where there are millions."""

    energy: int = Field(ge=1, description="Bins over the range of energy, equal in the logarithm.")
    binsize: Angle = Field(description="Width of the cells on the sky.")


def _safe_mask(value: Any) -> Any:
    if value in ("file", "none"):
        return value
    if value is None:
        return "none"
    if isinstance(value, str):
        raise ValueError(f"{value!r} is no safe mask; expected file, none, or methods and parameters")
    return SafeMaskConfig.model_validate(value)


def _exclusion(value: Any) -> Any:
    return CircleConfig.model_validate(value) if isinstance(value, dict) else Path(str(value))


class DatasetsConfig(Section):
    """The data that are compared with the model."""

    geom: GeomConfig = Field(description="Region and energies.")
    safe_mask: Annotated[Any, checked_by(_safe_mask), Told("`file`, `none` or section")] = Field(
        default="file",
        description="Which energies and offsets count: what the `file` says, `none`, or `methods`.",
    )
    exclude: list[Annotated[Any, checked_by(_exclusion), Told("circle or path")]] = Field(
        default=[], description="Parts of the sky to leave out: circles, or files of regions or masks."
    )
    binned: BinnedConfig | None = Field(default=None, description="Events in cells.")


class MixtureConfig(Section):
    """How components add up."""

    likelihood: Literal["mixture", "poisson"] = Field(
        default="mixture", description="`mixture`: fractions of a fixed number of events; `poisson`: physical fluxes."
    )
    tree: Annotated[Any, Told("tree")] = Field(
        default=None, description="Nested fractions, as `MixtureTree` takes them; flat by default."
    )
    concentrations: dict[str, float | list[float]] = Field(
        default={},
        description="Of the Dirichlet priors, by node; `fraction` without a tree. 1 by default.",
    )


class SimulateConfig(Section):
    """Events to simulate, instead of reading them."""

    n_events: int | None = Field(default=None, ge=1, description="Number of events of a mixture.")
    values: dict[str, TrueValue] = Field(
        default={}, description="True values of variables, by name; the others are drawn from their priors."
    )


class ResultsConfig(Section):
    """What is made of the posterior."""

    pictures: list[PictureName] = Field(
        default=["corner", "counts", "ppc"],
        description="Names of pictures.",
    )
    report: bool = Field(default=True, description="Whether a page is written.")
    expected_counts: bool = Field(default=False, description="Expected counts of components (`poisson`).")
    integrated_flux: EnergyAxisConfig | None = Field(default=None, description="Fluxes in this range (`poisson`).")


def _fit(value: Any) -> Any:
    return FitConfig.parse({} if value is None else value)


class FitConfig:
    """How the posterior is sampled: the samplers asked for, with their keys.

    Keys of samplers that are not asked for are checked as well, and not used.
    """

    def __init__(self, samplers: tuple[Sampler, ...]) -> None:
        self.samplers = samplers

    @classmethod
    def parse(cls, value: Any) -> "FitConfig":
        """From the file."""
        if isinstance(value, FitConfig):
            return value
        if not isinstance(value, dict):
            raise refuse(f"expected keys and values, got {value!r}")
        known = kinds_of(Sampler, "sampler")
        keys = ["sampler", *dict.fromkeys(key for one in known.values() for key in one.model_fields)]
        problems = [Problem((key,), f"unknown key; {nearest(key, keys)}") for key in value if key not in keys]
        asked = value.get("sampler", "nuts")
        asked = asked if isinstance(asked, list) else [asked]
        for k, one in enumerate(asked):
            place: tuple[str | int, ...] = ("sampler", k) if isinstance(value.get("sampler"), list) else ("sampler",)
            if not isinstance(one, str) or one not in known:
                problems.append(Problem(place, f"there is no sampler {one!r}; {nearest(one, list(known))}"))
            elif asked.index(one) != k:
                problems.append(Problem(place, f"{one!r} is there twice"))
        if not asked:
            problems.append(Problem(("sampler",), f"name one or more of {', '.join(known)}"))
        made = {}
        for name, sampler in known.items():
            try:
                made[name] = sampler.model_validate({key: value[key] for key in value if key in sampler.model_fields})
            except ValidationError as error:
                problems += problems_of(error)
        if problems:
            raise refuse_all(problems)
        return cls(tuple(made[name] for name in asked))


def _models(value: Any) -> Any:
    if value is None or isinstance(value, list):
        return value
    if isinstance(value, str):
        return Path(value)
    raise ValueError(f"{value!r} is neither the path of gammapy's file of models nor a list of them")


def _priors(value: Any) -> Any:
    if not isinstance(value, dict):
        raise refuse(f"expected names and priors, got {value!r}")
    problems, found = [], {}
    for name, one in value.items():
        if not str(name).isidentifier():
            problems.append(Problem((name,), "a name must be of letters, digits and _"))
            continue
        try:
            if not isinstance(one, dict):
                raise refuse(f"expected a prior such as {{prior: Normal, mu: 2, sigma: 1}}, got {one!r}")
            found[name] = read_parameter(one, own_unit=True)
        except VALUE_ERRORS as error:
            problems += problems_of(error, (name,))
    if problems:
        raise refuse_all(problems)
    return found


class AnalysisConfig(Section):
    """An analysis."""

    version: Literal[1] = Field(description="Version of this schema.")
    general: GeneralConfig = Field(default=GeneralConfig(), description="What concerns all stages.")
    observations: ObservationsConfig | None = Field(default=None, description="Real runs.")
    pointings: list[PointingConfig] = Field(default=[], description="Observations to simulate.")
    datasets: DatasetsConfig | None = Field(default=None, description="The data that are compared with the model.")
    models: Annotated[Any, checked_by(_models), Told("path or list")] = Field(
        default=None,
        description="Models of gammapy with its priors: their file, or a list as in such a file.",
    )
    components: list[one_of(Component, "kind")] = Field(  # type: ignore[valid-type]
        default=[], description="Components, each of a `kind`."
    )
    dark_matter: DarkMatterConfig | None = Field(default=None, description="What all dark matter has in common.")
    priors: Annotated[dict[str, Any], checked_by(_priors), Told("priors by name")] = Field(
        default={}, description="Priors that several parameters share, by name."
    )
    mixture: MixtureConfig = Field(default=MixtureConfig(), description="How components add up.")
    systematics: list[SystematicField] = Field(default=[], description="Uncertainties of the instrument.")
    simulate: SimulateConfig | None = Field(default=None, description="Events to simulate, instead of reading them.")
    fit: Annotated[Any, checked_by(_fit), Told("section")] = Field(
        default={}, description="How the posterior is sampled."
    )
    results: ResultsConfig = Field(default=ResultsConfig(), description="What is made of the posterior.")

    @property
    def of_tables(self) -> bool:
        """Whether components are tables of log-likelihoods."""
        return any(one.is_table for one in self.components)

    @classmethod
    def from_document(cls, document: Document) -> "AnalysisConfig":
        """The analysis of a file.

        Raises
        ------
        AnalysisFileError
            If something in it is unknown, missing or wrong; says all of it, with its lines.
        """
        try:
            config = cls.model_validate(document.data)
        except ValidationError as error:
            raise_problems(document, problems_of(error))
            raise
        raise_problems(document, list(contradictions(config)))
        return config
