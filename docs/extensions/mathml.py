"""Formulas as MathML, written during the build: browsers draw it without scripts or fonts of ours.

docutils, which Sphinx stands on, has the translator.
"""

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging

__all__ = ["setup"]

log = logging.getLogger(__name__)


def _inline(translator, node):
    translator.body.append(_element(node, block=False))
    raise nodes.SkipNode


def _block(translator, node):
    translator.body.append(f'<div class="formula">{_element(node, block=True)}</div>\n')
    raise nodes.SkipNode


def _element(node, block):
    try:
        return tex2mathml(node.astext(), as_block=block)
    except (MathError, SyntaxError, ValueError) as error:
        log.warning("formula %r: %s", node.astext(), error, location=node)
        return ""


def setup(app):
    """Take the place of MathJax, which Sphinx would load from another host."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    app.config.html_math_renderer = "mathml"
    return {"parallel_read_safe": True, "parallel_write_safe": True}
