"""The lab's report: a page that stands alone, shows what was measured and hides no gap."""

import html
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

for package in ("jinja2", "joblib", "matplotlib", "sklearn", "tqdm"):
    pytest.importorskip(package, reason="needs the extra 'lab'")

from matplotlib.figure import Figure  # noqa: E402

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
    assert report.write(folder, results, seconds=1.0) == (folder / "index.html", [])
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

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag


def test_the_page_is_whole_and_asks_nothing_of_the_network(page):
    parsed = Page(page)
    assert not parsed.stack
    assert not {"script", "iframe", "img", "object", "embed"} & set(parsed.tags)
    local = [address for address in parsed.addresses if address != "data:,"]
    assert local and all(address.startswith("#") for address in local)
    assert "@import" not in page
    assert not re.search(r"url\(\s*['\"]?(?!#)", page)


def test_ids_of_the_page_are_unique_and_their_uses_resolve(page):
    parsed = Page(page)
    assert len(parsed.ids) == len(set(parsed.ids))
    uses = [a for a in parsed.addresses if a != "data:,"] + parsed.uses
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
        assert len(file.readlines()) <= 155
