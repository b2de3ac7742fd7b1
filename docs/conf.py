"""How the pages are built. Nothing on them comes from another host: no fonts, no scripts, no math.

What a page shows and could go stale is made during the build, by one file of `extensions` each: the
lists of public names, the lab's figures and what it found, the curves of the schedules.
"""

import pathlib
import sys

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE / "extensions"))
sys.path.insert(0, str(HERE.parent))

import fastreg  # noqa: E402

project = "fastreg"
author = "the fastreg developers"
copyright = author  # noqa: A001 - Sphinx's name
version = release = fastreg.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_parser",
    "sphinx_copybutton",
    "diagrams",
    "formulas",
    "lab_pages",
    "reference",
]
exclude_patterns = ["extensions"]
nitpicky = False

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "substitution"]
myst_heading_anchors = 3
myst_substitutions = {"version": version}

default_role = "py:obj"  # in docstrings `name` is a reference if there is such a name
autodoc_typehints = "none"  # numpydoc's parameter lists say more
autodoc_member_order = "groupwise"
autodoc_preserve_defaults = True
autosummary_generate_overwrite = True
numpydoc_show_class_members = False  # the class's template lists them
numpydoc_xref_param_type = False

templates_path = ["_templates"]
html_theme = "pydata_sphinx_theme"
html_title = f"fastreg {version}"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_favicon = "_static/icon.svg"
html_context = {"default_mode": "auto"}  # light or dark as the reader's system is
html_sidebars = dict.fromkeys(  # pages without others below them
    [
        "index",
        "start",
        "peers",
        "frameworks",
        "clusters",
        "ranks",
        "halves",
        "promises",
        "reliability",
        "benchmarks",
        "making",
        "adding",
    ],
    [],
) | {"changelog": []}
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": "fastreg"},
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "navigation_with_keys": False,
    "show_nav_level": 1,
    "show_toc_level": 2,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
}
copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True
