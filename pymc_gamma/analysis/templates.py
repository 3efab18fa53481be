"""Analysis files to start from, which are part of the package."""

from importlib.resources import files

from pymc_gamma.analysis.document import nearest
from pymc_gamma.errors import AnalysisFileError

__all__ = ["template", "template_names"]


def template_names() -> list[str]:
    """Names of the files.

    Examples
    --------
    >>> "quickstart" in template_names()
    True
    """
    folder = files("pymc_gamma.analysis") / "files"
    return sorted(one.name.removesuffix(".yaml") for one in folder.iterdir() if one.name.endswith(".yaml"))


def template(name: str) -> str:
    """Text of a file.

    Raises
    ------
    AnalysisFileError
        If there is none of that name; names the nearest.

    Examples
    --------
    >>> template("quickstart").splitlines()[2]
    'version: 1'
    """
    known = template_names()
    if name not in known:
        raise AnalysisFileError(f"there is no template {name!r}; {nearest(name, known)}.")
    return (files("pymc_gamma.analysis") / "files" / f"{name}.yaml").read_text(encoding="utf-8")
