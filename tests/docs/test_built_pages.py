"""The built pages: all public names, links that lead somewhere, nothing from elsewhere.

`make docs` builds them into build/docs/html and runs this file.
"""

import html.parser
import importlib
import importlib.util
import pathlib
import pkgutil
import re
import urllib.parse
import zlib

import pytest

import fastreg

BUILT = pathlib.Path(__file__).parents[2] / "build" / "docs" / "html"
if not (BUILT / "objects.inv").exists():
    pytest.skip("the pages are not built; `make docs` builds them", allow_module_level=True)
pytest.importorskip("sklearn", reason="needs the extra 'lab'")


def public_modules():
    """What can be imported by a name without underscores; experiments are in the gallery."""
    yield "fastreg"
    for found in pkgutil.iter_modules(fastreg.__path__, "fastreg."):
        if not found.name.rpartition(".")[2].startswith("_"):
            yield found.name


def inventory():
    """The names that the reference has, all of them."""
    data = (BUILT / "objects.inv").read_bytes()
    head, body = data[: data.index(b"zlib.\n")], data[data.index(b"zlib.\n") + 6 :]
    assert head.startswith(b"# Sphinx inventory version 2")
    lines = zlib.decompress(body).decode().splitlines()
    return {line.split(" ")[0] for line in lines if line.split(" ")[1].startswith("py:")}


NAMES = inventory()


@pytest.mark.parametrize("module", list(public_modules()))
def test_every_public_name_has_its_place(module):
    if module == "fastreg.torch" and importlib.util.find_spec("torch") is None:
        pytest.skip("needs torch")
    content = importlib.import_module(module)
    missing = []
    for name in content.__all__:
        thing = getattr(content, name)
        origin = f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', '')}"
        places = {f"{module}.{name}", origin}
        if getattr(fastreg, name, None) is thing:
            places.add(f"fastreg.{name}")
        if not places & NAMES:
            missing.append(name)
    assert not missing
    assert module in NAMES


def test_every_experiment_says_how_it_is_run():
    from fastreg.lab import EXPERIMENTS

    assert {f"fastreg.lab.experiments.{name}.run" for name in EXPERIMENTS} <= NAMES


class Page(html.parser.HTMLParser):
    """Where a page leads, what it loads, and the places in it."""

    def __init__(self, path):
        super().__init__()
        self.links, self.loads, self.places = [], [], set()
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name in ("id", "name") and value:
                self.places.add(value)
            if name == "href" and tag == "a":
                self.links.append(value)
            elif name in ("src", "srcset", "data", "poster") or (name == "href" and tag != "a"):
                self.loads.append((tag, dict(attributes).get("rel"), value))


PAGES = {
    path: Page(path) for path in BUILT.rglob("*.html") if not path.is_relative_to(BUILT / "_static")
}


def test_the_pages_are_read():
    assert len(PAGES) > 150
    assert sum(len(page.links) for page in PAGES.values()) > 5000


def test_links_lead_somewhere():
    broken = set()
    for path, page in PAGES.items():
        for link in page.links:
            scheme, host, place, _, _, anchor = urllib.parse.urlparse(link or "")
            if scheme or host:
                continue
            target = (path.parent / urllib.parse.unquote(place)).resolve() if place else path
            known = PAGES.get(target)
            if not target.exists() or (
                anchor and known and urllib.parse.unquote(anchor) not in known.places
            ):
                broken.add(f"{path.relative_to(BUILT)}: {link}")
    assert not broken, "\n".join(sorted(broken))


def test_nothing_is_loaded_from_elsewhere():
    foreign, missing = set(), set()
    for path, page in PAGES.items():
        for tag, rel, value in page.loads:
            value = value or ""
            if re.match(r"(https?:)?//", value):
                if rel not in ("canonical", "license"):
                    foreign.add(f"{path.relative_to(BUILT)}: {tag} {value}")
            elif not value.startswith(("data:", "#")):
                target = path.parent / urllib.parse.unquote(value.partition("?")[0])
                if not target.exists():
                    missing.add(f"{path.relative_to(BUILT)}: {tag} {value}")
    for path in [*BUILT.rglob("*.css"), *BUILT.rglob("*.svg")]:
        for found in re.findall(
            r"url\(\s*['\"]?((?:https?:)?//[^)]*)|@import[^;]*//[^;]*", path.read_text("utf-8")
        ):
            foreign.add(f"{path.relative_to(BUILT)}: {found}")
    assert not foreign and not missing, "\n".join(sorted(foreign | missing))


def test_formulas_are_drawn_without_scripts():
    text = (BUILT / "chapter" / "optimizers.html").read_text("utf-8")
    assert '<svg class="math"' in text and "\\frac" in text
    assert not any("mathjax" in path.name.lower() for path in BUILT.rglob("*.js"))


def test_search_finds_the_pages():
    index = (BUILT / "searchindex.js").read_text("utf-8")
    for word in ("dropout", "momentum", "warmup"):
        assert re.search(rf'\b{word}\b"?:', index), word
