"""Configuration of the documentation: Sphinx, MyST Markdown, notebooks.

Notebooks are executed when they or the package changed; those of `kept` are not.

Builds and reads without network access: nothing is fetched from other sites, mathematics included.
"""

import hashlib
import os
import shutil
import sys
import tomllib
from importlib.metadata import distributions
from pathlib import Path

# One thread for linear algebra in the notebooks: the package brings its own threads. Set before the kernels start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

sys.path.insert(0, str(Path(__file__).parent))  # kept.py

import pymc_gamma
from pymc_gamma import __version__


def notebook_cache(folder: Path) -> Path:
    """Where outputs of notebooks are kept: a folder for this package, its data, and all that is installed.

    myst-nb executes a page again when its own code changed. Anything else that changed leads to another, empty folder;
    those of before are removed.
    """
    version = hashlib.sha256("".join(sorted(f"{one.name}=={one.version};" for one in distributions())).encode())
    source = Path(pymc_gamma.__file__).parent
    for path in sorted(source.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            version.update(f"{path.relative_to(source)};".encode() + path.read_bytes())
    current = folder / version.hexdigest()[:16]
    for old in folder.glob("*"):
        if old != current:
            shutil.rmtree(old)
    return current


project = "pymc_gamma"
author = "pymc_gamma developers"
copyright = "pymc_gamma developers"
version = release = __version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.githubpages",
    "sphinx.ext.mathjax",
    "numpydoc",
    "sphinx_copybutton",
    "sphinx_design",
    "kept",  # pages whose data do not come with the package
]
exclude_patterns = ["_build", "tutorials/kept", "jupyter_execute", "Thumbs.db", ".DS_Store"]
templates_path = ["_templates"]

# Markdown and notebooks
myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "cache"
nb_execution_cache_path = str(notebook_cache(Path(__file__).parent / "_build" / "notebooks"))
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_merge_streams = True

# Reference pages from docstrings
autosummary_generate = True
autodoc_typehints = "none"  # numpydoc sections say types, with shapes and units
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_default_options = {"exclude-members": "rv_op, rv_type"}  # between a distribution and PyMC only
numpydoc_show_class_members = False  # the template of a class lists them
numpydoc_xref_param_type = False

# MathJax 3.2.2 in one file, fonts included (npm package mathjax, es5/tex-svg.js; Apache licence 2.0 beside it)
mathjax_path = "mathjax/tex-svg.js"

# Where the site is, said in pyproject.toml alone; scripts/links.py writes it into the README
PYPROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
html_baseurl = PYPROJECT["project"]["urls"]["Documentation"]

html_theme = "pydata_sphinx_theme"
html_title = f"pymc_gamma {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_theme_options = {
    "github_url": "https://github.com/pymc-gamma/pymc-gamma",
    "navbar_align": "left",
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
    "header_links_before_dropdown": 7,
}
# Pages without others below them: a column of navigation would be empty.
html_sidebars = {page: [] for page in ("index", "getting_started", "concepts", "genindex", "search")}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
copybutton_exclude = ".linenos, .gp, .go"
