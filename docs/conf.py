"""How the documentation is built: ``sphinx-build -W --keep-going -b html docs docs/_build/html``."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import reference  # noqa: E402

import calclab  # noqa: E402

project = "calclab"
author = "the calclab authors"
version = release = calclab.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "sphinx_copybutton", "tour"]
myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
default_role = "py:obj"
add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

html_theme = "furo"
html_title = f"calclab {version}"
html_static_path = ["_static"]
html_css_files = ["calclab.css"]
html_theme_options = {"navigation_with_keys": True}
html_show_copyright = False


def setup(app: object) -> None:
    """The reference is written anew at every build, from the docstrings, ``conf/`` and the schemas."""
    reference.write(HERE / "reference")
