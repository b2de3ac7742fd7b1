"""``{diagram} name``: a drawing of `diagrams`, put into the page so that it takes its colours."""

import re
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.util.docutils import SphinxDirective

__all__ = ["setup"]


class Diagram(SphinxDirective):
    """The SVG, with its title for readers who cannot see it, and a caption below."""

    required_arguments = 1
    has_content = True
    option_spec = {"wide": directives.flag}

    def run(self):
        """Return the figure."""
        path = Path(self.env.srcdir) / "diagrams" / f"{self.arguments[0]}.svg"
        self.env.note_dependency(str(path))
        text = re.sub(r"<!--.*?-->", "", path.read_text("utf-8"), flags=re.DOTALL).strip()
        name = self.arguments[0]
        text = text.replace("<title>", f'<title id="{name}-title">', 1)
        text = text.replace("<svg", f'<svg role="img" aria-labelledby="{name}-title"', 1)
        kind = "diagram wide" if "wide" in self.options else "diagram"
        parts = [
            nodes.raw(
                "",
                f'<figure class="{kind}"><div class="scroll" tabindex="0">{text}</div><figcaption>',
                format="html",
            )
        ]
        parts += self.parse_content_to_nodes()
        parts.append(nodes.raw("", "</figcaption></figure>", format="html"))
        return parts


def setup(app):
    """Add the directive."""
    app.add_directive("diagram", Diagram)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
