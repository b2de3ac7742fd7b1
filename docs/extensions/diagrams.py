"""``{diagram} name``: a drawing of `diagrams`, put into the page so that it takes its colours.

Beside ``name.svg`` lies ``name-narrow.svg``, the same for a telephone; the page shows one of them.
"""

import re
from pathlib import Path

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

__all__ = ["setup"]


class Diagram(SphinxDirective):
    """The SVG, with its title for readers who cannot see it, and a caption below."""

    required_arguments = 1
    has_content = True

    def run(self):
        """Return the figure."""
        name = self.arguments[0]
        drawings = self._drawing("broad", name) + self._drawing("narrow", f"{name}-narrow")
        parts = [
            nodes.raw("", f'<figure class="diagram">{drawings}<figcaption>', format="html"),
            *self.parse_content_to_nodes(),
            nodes.raw("", "</figcaption></figure>", format="html"),
        ]
        return parts

    def _drawing(self, kind, name):
        path = Path(self.env.srcdir) / "diagrams" / f"{name}.svg"
        self.env.note_dependency(str(path))
        text = re.sub(r"<!--.*?-->", "", path.read_text("utf-8"), flags=re.DOTALL).strip()
        text = text.replace("<title>", f'<title id="{name}-title">', 1)
        head = f'<svg class="{kind}" role="img" aria-labelledby="{name}-title"'
        return text.replace("<svg", head, 1)


def setup(app):
    """Add the directive."""
    app.add_directive("diagram", Diagram)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
