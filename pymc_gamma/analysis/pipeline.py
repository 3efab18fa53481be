"""The stages of an analysis file, in order."""

from pymc_gamma.analysis.outcomes import PredictStage, ReportStage
from pymc_gamma.analysis.plan import Plan
from pymc_gamma.analysis.stages import Stage
from pymc_gamma.analysis.steps import EventsStage, FoldStage, SampleStage

__all__ = ["stages_of"]


def stages_of(plan: Plan) -> list[Stage]:
    """Stages of an analysis, in order.

    Raises
    ------
    AnalysisFileError
        If a file that it asks for is missing.
    """
    plan.check_files()
    samplers = [SampleStage(plan, one) for one in plan.config.fit.samplers]
    report = [ReportStage(plan)] if plan.config.results.report else []
    sources = [] if plan.config.of_tables else [FoldStage(plan), EventsStage(plan)]
    return [*sources, *samplers, PredictStage(plan), *report]
