"""The lab's pages: its experiments are run during the build, in their short form.

Figures, claims and tables are those of that run, so nothing can go stale and no picture is kept
under version control. What a fit found is remembered in ``lab`` beside the built pages; only the
first build waits for it. Each figure is written twice, for light and for dark pages.

``{lab} dropout_rate-by_rate`` shows a figure, ``{findings} dropout_rate`` what was found.
"""

import html
import re
from pathlib import Path

import curves
from docutils import nodes
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from fastreg.config import get_num_threads
from fastreg.lab import EXPERIMENTS, experiment, plots, report

__all__ = ["setup"]

log = logging.getLogger(__name__)
SIZES = {"quick": (3, True), "tiny": (2, True)}  #: seeds, and whether trainings are short
WORDS = {
    "quick": "short trainings (`fastreg lab --quick`), 3 seeds",
    "tiny": "the smallest trainings there are, which only try the pages out",
}


def run(size, folder):
    """Run all experiments; return their results by name."""
    seeds, quick = SIZES[size]
    results = {}
    for place, name in enumerate(EXPERIMENTS, start=1):
        module = experiment(name)
        log.info("lab: %s, %d of %d", name, place, len(EXPERIMENTS))
        results[name] = module.run(
            "digits", seeds=seeds, jobs=get_num_threads(), cache=folder / "cache", progress=False,
            **(module.TINY if size == "tiny" else {"quick": quick}),
        )  # fmt: skip
    return results


def draw(result, folder):
    """Draw a result's figures for light and dark pages; return them as dicts, by name."""
    return {
        f"{result.name}-{one.name}": draw_one(one, f"{result.name}-{one.name}", folder)
        for one in result.pictures()
    }


def draw_one(picture, name, folder):
    """Draw a figure for light and dark pages; return what a page says of it."""
    element, words = plots.svg(picture, name)
    night = dict(re.findall(r"--c([0-9a-f]{6}): (#[0-9a-fA-F]{6});", plots.dark(element)))
    for kind, colour in (("light", lambda m: f"#{m[1]}"), ("dark", lambda m: night[m[1]])):
        text = re.sub(r"var\(--c([0-9a-f]{6}), #\1\)", colour, element)
        (folder / f"{name}-{kind}.svg").write_text(text, encoding="utf-8")
    words = getattr(picture.draw, "words", words)  # where a drawing has its own
    return {"words": words, "caption": picture.caption, "wide": picture.wide}


def write(folder, results, figures, words):
    """Write the gallery: an overview, and a page per experiment."""
    folder.mkdir(exist_ok=True)
    pages = {"index": _overview(results, figures, words)}
    pages |= {name: _page(result, figures[name], words) for name, result in results.items()}
    for name, text in pages.items():
        path = folder / f"{name}.rst"
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, encoding="utf-8")


def _parts(result):
    place, _, title = result.title.partition(": ")
    return place, title[:1].upper() + title[1:]


def _escaped(text):
    return re.sub(r"([\\*`|_<>])", r"\\\1", " ".join(str(text).split()))


def _title(text, line="="):
    return f"{text}\n{line * len(text)}\n\n"


def _overview(results, figures, words):
    pictures = sum(map(len, figures.values()))
    parts = [
        _title("What the lab shows"),
        f"{len(results)} experiments over the chapter's sections and exercises, {pictures} "
        "pictures. Each experiment is one file, which trains real networks on handwritten digits "
        f"and computes its claims from the numbers. These ran when the pages were built: {words}; "
        "the machine is named at the end of this page. The README's numbers are those of full "
        "trainings.\n\n",
    ]
    headings = {"Section": "The chapter's sections", "Exercise": "The chapter's exercises",
                "Beyond": "Beyond the chapter"}  # fmt: skip
    for begin, heading in headings.items():
        parts.append(_title(heading, "-"))
        for name, result in results.items():
            place, title = _parts(result)
            if place.startswith(begin):
                claim = _escaped(result.findings()[0].claim)
                parts.append(f":doc:`{place}: {_escaped(title)} <{name}>`\n    {claim}\n\n")
                cards = "".join(_card(name, one, each) for one, each in figures[name].items())
                parts.append(f'.. raw:: html\n\n   <div class="cards">{cards}</div>\n\n')
    parts.append(_title("Machine and software", "-"))
    for name, value in report.environment().items():
        parts.append(f":{_escaped(name)}: {_escaped(value)}\n")
    parts += ["\n.. toctree::\n   :hidden:\n\n", *(f"   {name}\n" for name in results)]
    return "".join(parts)


def _card(experiment_name, name, figure):
    picture = _images("../", name, figure["words"])
    caption = name.removeprefix(f"{experiment_name}-").replace("_", " ")
    return f'<a href="{experiment_name}.html#{name}">{picture}<span>{caption}</span></a>'


def _images(to_root, name, words):
    words = html.escape(words, quote=True)
    return "".join(
        f'<img class="only-{kind}" loading="lazy" alt="{words}" '
        f'src="{to_root}_static/lab/{name}-{kind}.svg">'
        for kind in ("light", "dark")
    )


def _page(result, figures, words):
    place, title = _parts(result)
    parts = [_title(f"{place}: {title}"), _escaped(result.question), f"\n\nShown are {words}.\n\n"]
    parts += [f".. lab:: {name}\n\n" for name in figures]
    parts += [_title("What the numbers say", "-"), f".. findings:: {result.name}\n\n"]
    for heading, table in result.tables().items():
        parts += [
            _title(heading, "-"),
            ".. list-table::\n   :header-rows: 1\n   :stub-columns: 1\n   :class: numbers\n\n",
        ]
        for row in (table.header, *table.rows):
            parts += [
                f"   {'*' if i == 0 else ' '} - {_escaped(cell)}\n" for i, cell in enumerate(row)
            ]
        parts.append("\n")
    parts.append(_title("Settings", "-"))
    parts += [f":{_escaped(name)}: {_escaped(value)}\n" for name, value in result.settings.items()]
    module = f"fastreg.lab.experiments.{result.name}"
    parts += [
        "\n", _title("Run it", "-"),
        f".. code-block:: text\n\n   fastreg lab {result.name}\n\n",
        f".. autofunction:: {module}.run\n\n",
        ".. raw:: html\n\n   <details><summary>The code that made this</summary>\n\n",
        f".. literalinclude:: ../../fastreg/lab/experiments/{result.name}.py\n\n",
        ".. raw:: html\n\n   </details>\n",
    ]  # fmt: skip
    return "".join(parts)


class Lab(SphinxDirective):
    """A figure of the lab, by the name that its files have."""

    required_arguments = 1

    def run(self):
        """Return the figure."""
        name = self.arguments[0]
        experiment_name = name.partition("-")[0]
        figure = self.env.app.lab_figures.get(experiment_name, {}).get(name)
        if figure is None:
            known = [one for each in self.env.app.lab_figures.values() for one in each]
            raise self.error(f"no figure {name!r}; there are {', '.join(known)}")
        root = "../" * self.env.docname.count("/")
        here = self.env.docname == f"gallery/{experiment_name}"
        apart = not here and experiment_name in self.env.app.lab_results
        link = (
            ""
            if not apart
            else f' <a href="{root}gallery/{experiment_name}.html">The experiment</a>'
        )
        kind = "lab wide" if figure["wide"] else "lab"
        text = (
            f'<figure class="{kind}" id="{name}"><div class="scroll" tabindex="0">'
            f"{_images(root, name, figure['words'])}</div>"
            f"<figcaption>{html.escape(figure['caption'])}{link}</figcaption></figure>"
        )
        return [nodes.raw("", text, format="html")]


class Findings(SphinxDirective):
    """What an experiment found: claims, and the numbers they rest on."""

    required_arguments = 1

    def run(self):
        """Return a list of the claims."""
        result = self.env.app.lab_results[self.arguments[0]]
        items = nodes.bullet_list(classes=["findings"])
        for claim, evidence in result.findings():
            text = nodes.paragraph("", "", nodes.strong(text=claim), nodes.Text(f" {evidence}"))
            items += nodes.list_item("", text)
        return [items]


def _begin(app, config):
    if config.lab_size not in SIZES:
        raise ValueError(f"lab_size must be one of {', '.join(SIZES)}, got {config.lab_size!r}")
    folder = Path(app.outdir).parent / f"lab-{config.lab_size}"
    drawings = folder / "static" / "lab"
    drawings.mkdir(parents=True, exist_ok=True)
    app.lab_results = run(config.lab_size, folder)
    app.lab_figures = {name: draw(one, drawings) for name, one in app.lab_results.items()}
    pages = app.lab_figures.copy()
    app.lab_figures["curves"] = {
        f"curves-{one.name}": draw_one(one, f"curves-{one.name}", drawings)
        for one in curves.PICTURES
    }
    write(Path(app.srcdir) / "gallery", app.lab_results, pages, WORDS[config.lab_size])
    config.html_static_path.append(str(drawings.parent))


def setup(app):
    """Run the lab before Sphinx looks for its sources."""
    app.add_config_value("lab_size", "quick", "env", types=[str])
    app.connect("config-inited", _begin, priority=400)
    app.add_directive("lab", Lab)
    app.add_directive("findings", Findings)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
