"""Formulas as drawings, made during the build: the pages need no script and no font for them.

Outlines have the colour and the size of the text around them; their TeX is there for readers who
cannot see them.
"""

import html
import re

import ziamath
from docutils import nodes
from sphinx.util import logging

__all__ = ["setup"]

log = logging.getLogger(__name__)
SIZE = 16  # of the drawing; on a page it is in the text's own unit
ziamath.config.svg2 = False  # outlines where they are used, not by names that formulas would share


def _inline(translator, node):
    translator.body.append(_drawing(_tex(node), node, inline=True))
    raise nodes.SkipNode


def _block(translator, node):
    drawings = "".join(_drawing(part, node, inline=False) for part in _parts(_tex(node)))
    translator.body.append(f'<div class="formula">{drawings}</div>\n')
    raise nodes.SkipNode


def _tex(node):
    return " ".join(node.astext().split())


def _aligned(tex):
    return "\\begin" not in tex and (r"\\" in tex or "&" in tex)


def _parts(tex):
    """Return the formulas that stand side by side: on a narrow page, one below the other."""
    if _aligned(tex) or "\\begin" in tex:
        return [tex]
    return [part for part in re.split(r"\s*\\q?quad\s*", tex) if part]


def _drawing(tex, node, inline):
    aligned = _aligned(tex)
    try:
        drawn = ziamath.Latex(
            rf"\begin{{aligned}} {tex} \end{{aligned}}" if aligned else tex,
            size=SIZE, inline=inline, color="currentColor",
        )  # fmt: skip
    except Exception as error:  # whatever a package of another's raises: the page says where
        log.warning("formula %r: %s: %s", tex, type(error).__name__, error, location=node)
        return ""
    element = drawn.svg()
    width, height = (float(re.search(rf'\b{name}="([\d.]+)"', element)[1])
                     for name in ("width", "height"))  # fmt: skip
    place = drawn.getyofst() - drawn.margin
    style = f"width:{width / SIZE:.3f}em;height:{height / SIZE:.3f}em"
    style += f";vertical-align:{place / SIZE:.3f}em" if inline else ""
    element = re.sub(r'\s(width|height)="[\d.]+"', "", element, count=2)
    start = f'<svg class="math" role="img" aria-label="{html.escape(tex)}" style="{style}"'
    return element.replace("<svg", start, 1)


def setup(app):
    """Take the place of MathJax, which Sphinx would load from another host."""
    app.add_html_math_renderer("drawn", (_inline, None), (_block, None))
    app.config.html_math_renderer = "drawn"
    return {"parallel_read_safe": True, "parallel_write_safe": True}
