"""The lab's report: a page that stands alone, shows what was measured and hides no gap."""

import datetime
import html
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

for package in ("jinja2", "joblib", "matplotlib", "sklearn", "tqdm"):
    pytest.importorskip(package, reason="needs the extra 'lab'")

import matplotlib  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

import fastreg  # noqa: E402
from fastreg.lab import EXPERIMENTS, bias_variance, experiment, fit_status, plots, report  # noqa: E402
from fastreg.lab.fits import Outcomes  # noqa: E402
from fastreg.lab.result import Finding, Picture, Result, Table  # noqa: E402


@pytest.fixture(scope="module")
def results():
    """Two short experiments."""
    return [
        bias_variance.run(seeds=2, rounds=5, degrees=(0, 3)),
        fit_status.run("wine", seeds=2, epochs=3),
    ]


@pytest.fixture(scope="module")
def folder(results, tmp_path_factory):
    """Their report."""
    folder = tmp_path_factory.mktemp("report")
    about = {"data": "my rows", "seeds": "0 to 1"}
    written = report.write(folder, results, seconds=1.0, about=about)
    assert written == (folder / "index.html", [])
    return folder


@pytest.fixture(scope="module")
def page(folder):
    """Its page."""
    return (folder / "index.html").read_text(encoding="utf-8")


class Page(HTMLParser):
    """What a browser would meet: tags left open, addresses, ids and their uses."""

    void = ("link", "meta")

    def __init__(self, text):
        super().__init__()
        self.stack, self.tags, self.addresses, self.ids, self.uses = [], [], [], [], []
        self.words = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.handle_startendtag(tag, attributes)
        if tag not in self.void:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        for name, value in attributes:
            if name in ("src", "href", "xlink:href", "data", "action", "srcset"):
                self.addresses.append(value)
            self.ids += [value] if name == "id" else []
            self.uses += re.findall(r"url\((.*?)\)", value or "")
            self.words += [value] if name == "aria-label" and tag == "svg" else []

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag


def test_the_page_is_whole_and_asks_nothing_of_the_network(page, folder):
    parsed = Page(page)
    assert not parsed.stack
    assert not {"script", "iframe", "img", "object", "embed"} & set(parsed.tags)
    local = [address for address in parsed.addresses if address != "data:,"]
    files = {address for address in local if not address.startswith("#")}
    assert files and all((folder / name).is_file() for name in files)
    assert "@import" not in page
    assert not re.search(r"url\(\s*['\"]?(?!#)", page)


def test_ids_of_the_page_are_unique_and_their_uses_resolve(page):
    parsed = Page(page)
    assert len(parsed.ids) == len(set(parsed.ids))
    uses = [a for a in parsed.addresses if a.startswith("#")] + parsed.uses
    assert {use.removeprefix("#") for use in uses} <= set(parsed.ids)


def test_the_page_shows_tables_findings_settings_and_code(page, results):
    text = html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page)))
    for result in results:
        for expected in (
            *(cell for row in result.table().rows for cell in row),
            *(claim for claim, _ in result.findings()),
            *result.settings.values(),
            *report.environment().values(),
        ):
            assert expected in text
    assert page.count("\ndef fit(") == 2
    assert page.count("<svg") == sum(len(result.pictures()) for result in results) == 2


def test_raw_results_and_figures_lie_beside_the_page(folder, results):
    for result in results:
        raw = json.loads((folder / f"{result.name}.json").read_text(encoding="utf-8"))
        assert len(raw["outcomes"]) == len(result.outcomes)
        assert raw["findings"][0]["claim"] == result.findings()[0].claim
        for picture in result.pictures():
            image = (folder / f"{result.name}-{picture.name}.png").read_bytes()
            assert image.startswith(b"\x89PNG") and len(image) > 10_000


class Odd(Result):
    """A result whose figure fails and whose texts look like markup."""

    title = "<script>alert(1)</script>"
    question = "a < b & c"

    def table(self):
        return Table(("<i>", "x"), [("<b>", "1")])

    def findings(self):
        return [Finding("<u>", "</section>")]

    def pictures(self):
        return [Picture("broken", lambda figure: 1 / 0, (5, 3), "a caption")]


def test_a_figure_that_fails_is_missed_and_nothing_else_is(tmp_path):
    path, missing = report.write(tmp_path, [Odd(Outcomes(), {})], seconds=0.0)
    page = path.read_text(encoding="utf-8")
    assert "A figure is missing here. test_lab_report-broken: ZeroDivisionError" in page
    assert len(missing) == 1 and "division by zero" in missing[0]
    assert "a caption" in page and "a &lt; b &amp; c" in page
    assert not {"script", "i", "b", "u"} & set(Page(page).tags)


def test_a_number_that_json_lacks_is_null():
    outcomes = Outcomes([{"loss": [1.0, np.inf], "score": np.float32("nan"), "seed": np.int64(1)}])
    raw = json.loads(Odd(outcomes, {}).to_json())
    assert raw["outcomes"] == [{"loss": [1.0, None], "score": None, "seed": 1}]


def test_tables_align_for_a_terminal():
    lines = str(Table(("name", "loss"), [("a", "1.25"), ("longer", "10.5")])).splitlines()
    assert lines == ["name    loss", "------  ----", "a       1.25", "longer  10.5"]


def test_curves_are_drawn_with_their_intervals():
    ax = Figure().subplots()
    runs = np.array([[1.0, 3.0], [2.0, 2.0]])  # two epochs, two seeds
    line = plots.curve(ax, [1, 2], runs, colour=plots.BLUE)
    assert line.get_ydata().tolist() == [2.0, 2.0]
    band = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert band.max() == pytest.approx(2 + 12.706, abs=1e-3)  # t of one degree of freedom
    mean, half = plots.intervals(ax, [0], [np.array([1.0, 3.0])], colour=plots.BLUE, scale=10)
    assert mean[0] == 20 and half[0] == pytest.approx(127.06, abs=1e-2)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_is_one_short_file_with_one_signature(name):
    module = experiment(name)
    parameters = list(module.run.__code__.co_varnames)
    assert {"data", "seeds", "quick"} <= set(parameters)
    assert module.__doc__.splitlines()[0].endswith(".")
    with open(module.__file__, encoding="utf-8") as file:
        assert len(file.readlines()) <= 250


def test_date_data_and_seeds_stand_at_the_top(page):
    top = page[page.index("<body>") : page.index("<main>")]
    year = datetime.date.today().year
    for words in ("my rows", "0 to 1", f"{year}, ", "1 seconds", f"fastreg {fastreg.__version__}"):
        assert words in top


def test_figures_have_their_content_in_words(page):
    words = Page(page).words
    assert len(words) == page.count("<svg") == page.count('role="img"')
    assert "On average the error is lowest at degree 3" in words[0]
    assert re.search(r"variance: from 0\.\d+ to 0\.\d+", words[0])


def test_contents_lead_to_each_experiment_in_order(page, results):
    contents = page[page.index("<nav") : page.index("</nav>")]
    places = [contents.index(f'href="#{result.name}"') for result in results]
    assert places == sorted(places)
    for result in results:
        assert result.findings()[0].claim in html.unescape(contents)


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_on_a_dark_ground_every_colour_of_the_figures_is_seen(page):
    assert 'name="viewport"' in page
    dark = page[page.index("prefers-color-scheme: dark") : page.index("* { box-sizing")]
    (ground,) = re.findall(r"--paper: (#[0-9a-f]{6})", dark)
    turned = dict(re.findall(r"--c([0-9a-f]{6}): (#[0-9A-Fa-f]{6})", dark))
    used = set(re.findall(r"var\(--c([0-9a-f]{6}), #", page))
    assert used and used == set(turned)
    quiet = {plots.PAPER[1:].lower(), plots.GRID[1:].lower(), plots.AXIS[1:].lower()}
    for colour in used - quiet:
        assert contrast(turned[colour], ground) >= 3, colour
    for colour in plots.shades(9):
        code = matplotlib.colors.to_hex(colour)
        assert contrast(plots._turned(code[1:]), ground) >= 2, code
