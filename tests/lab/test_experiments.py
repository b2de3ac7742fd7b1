"""Every experiment there is, in its smallest run: on any data it says no more than it measured."""

import inspect
import json
import re
import sys

import numpy as np
import pytest

for package in ("jinja2", "joblib", "matplotlib", "sklearn", "tqdm"):
    pytest.importorskip(package, reason="needs the extra 'lab'")

import matplotlib  # noqa: E402
from matplotlib.collections import LineCollection, PolyCollection  # noqa: E402
from matplotlib.container import ErrorbarContainer  # noqa: E402
from matplotlib.contour import ContourSet  # noqa: E402

import fastreg.lab  # noqa: E402
from fastreg import _command  # noqa: E402
from fastreg.lab import EXPERIMENTS, experiment, plots  # noqa: E402
from fastreg.lab.fits import Outcomes  # noqa: E402

DATA = ("wine", "diabetes", "own.csv")


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A small table of one's own: 40 rows of two classes that are hard to tell apart."""
    rng, path = np.random.default_rng(3), tmp_path_factory.mktemp("own") / "own.csv"
    X, kind = rng.normal(size=(40, 3)), np.arange(40) % 2
    rows = [",".join(map(str, row)) for row in np.column_stack([X + 0.3 * kind[:, None], kind])]
    path.write_text("\n".join(["a,b,c,kind", *rows]) + "\n")
    return str(path)


@pytest.fixture(scope="module", params=[(n, d) for n in EXPERIMENTS for d in DATA], ids="-".join)
def result(request, own):
    name, data = request.param
    module = experiment(name)
    data = own if data == "own.csv" else data
    return module.run(data, seeds=2, progress=False, **module.TINY)


def test_tables_findings_and_json_hold_together(result):
    assert str(result.table()) in map(str, result.tables().values())
    for table in result.tables().values():
        assert table.rows and {len(row) for row in table.rows} == {len(table.header)}
        assert all(isinstance(cell, str) for row in table.rows for cell in row)
    claims = [claim for claim, _ in result.findings()]
    assert claims and all(claim and claim in result.conclusion() for claim in claims)
    assert all(claim[0].isupper() or claim[0].isdigit() for claim in claims)
    raw = json.loads(result.to_json())
    assert raw["experiment"] == result.name and len(raw["outcomes"]) == len(result.outcomes)
    assert raw["title"] == result.title and list(raw["tables"]) == list(result.tables())


def test_the_title_begins_with_the_place_in_the_chapter(result):
    line = _command.experiments()[result.name]
    assert result.title.partition(": ")[0] == line.partition(": ")[0]
    assert re.match(r"Sections? \d|Exercise \d: |Beyond the chapter: ", result.title)


def test_figures_are_drawn_and_told_in_words(result):
    with matplotlib.rc_context(plots.STYLE):
        for picture in result.pictures():
            figure = plots.drawn(picture)
            words = plots.describe(figure)
            assert len(words) > 40 and picture.caption
            titles = [ax.get_title(loc="left") for ax in figure.axes]
            headline = " ".join((figure.get_suptitle() or titles[0]).split())
            assert headline and words.startswith(headline[:30])


def bars(ax):
    """The ends of the intervals that are drawn on an axis, as shares of its height."""
    ends = []
    for container in ax.containers:
        if isinstance(container, ErrorbarContainer):
            for lines in container.lines[2]:
                ends += [segment[:, 1] for segment in lines.get_segments() if len(segment)]
    for band in ax.collections:
        if isinstance(band, PolyCollection) and not isinstance(band, (ContourSet, LineCollection)):
            ends += [path.vertices[:, 1] for path in band.get_paths() if len(path.vertices)]
    y = np.concatenate(ends) if ends else np.empty(0)
    y = y[np.isfinite(y)]
    points = np.column_stack([np.full_like(y, np.mean(ax.get_xlim())), y])
    return ax.transAxes.inverted().transform(ax.transData.transform(points))[:, 1]


def test_intervals_do_not_leave_their_axes(result):
    with matplotlib.rc_context(plots.STYLE):
        for picture in result.pictures():
            figure = plots.drawn(picture)
            figure.draw_without_rendering()
            for ax in figure.axes:
                y = bars(ax)
                assert ((y >= -1e-6) & (y <= 1 + 1e-6)).all(), (picture.name, ax.get_title("left"))


def test_shares_stay_between_0_and_100(result):
    with matplotlib.rc_context(plots.STYLE):
        for picture in result.pictures():
            for ax in plots.drawn(picture).axes:
                if ax.get_ylabel().endswith("accuracy (%)"):
                    low, high = ax.dataLim.intervaly
                    assert low >= -1e-9 and high <= 100 + 1e-9, picture.name


def test_other_test_results_change_no_choice(result):
    rng = np.random.default_rng(0)
    for _ in range(5):
        made_up = Outcomes(
            {key: rng.uniform() if key in ("test_score", "test_loss") else value
             for key, value in one.items()}
            for one in result.outcomes
        )  # fmt: skip
        assert type(result)(made_up, result.settings).choices() == result.choices()


CHOOSING = {
    "batch_norm", "batch_vs_layer_norm", "dropout_rate", "early_stopping", "l1_inputs", "l1_vs_l2",
    "l2_weights", "optimizer_choice", "optimizers", "schedules",
}  # fmt: skip


def test_experiments_that_choose_say_what():
    for name in CHOOSING & set(EXPERIMENTS):
        module = experiment(name)
        result = module.run("wine", seeds=2, progress=False, **module.TINY)
        assert result.choices(), name


#: Those whose first finding compares what was trained in different ways.
COMPARING = (
    "batch_norm", "batch_vs_layer_norm", "covariate_shift", "dropout_rate", "early_stopping",
    "l1_vs_l2", "l2_weights", "learning_rates", "optimizers", "schedules",
)  # fmt: skip


def settings_of(result):
    """The names of the arguments of whatever trained."""
    module = sys.modules[type(result).__module__]
    homes = {getattr(value, "__module__", None) for value in vars(module).values()}
    homes |= {base.__module__ for base in type(result).__mro__}
    names = {"diverged"}
    for home in homes & set(sys.modules):
        for fit in map(vars(sys.modules[home]).get, ("fit", "aspects")):
            names |= set(inspect.signature(fit).parameters) if fit else set()
    return names


def noise(value, rng):
    """Numbers of the same shape that know nothing of what was trained."""
    if isinstance(value, list):
        return [noise(one, rng) for one in value]
    return float(rng.normal(1.0, 0.01)) if isinstance(value, float) else value


@pytest.mark.parametrize("name", COMPARING)
def test_what_is_noise_is_said_to_be_noise(name):
    module = experiment(name)
    result = module.run("wine", seeds=5, progress=False, **module.TINY)
    settings, rng, alarms, rounds = settings_of(result), np.random.default_rng(1), 0, 20
    for _ in range(rounds):
        made_up = Outcomes(
            {key: value if key in settings else noise(value, rng) for key, value in one.items()}
            for one in result.outcomes
        )
        claim = type(result)(made_up, result.settings).findings()[0].claim
        alarms += not re.search(r"[Ww]ithin the noise|chooses no dropout", claim)
    assert alarms <= 4, "more than 1 in 20 by far"


def test_an_experiment_is_found_by_its_file(tmp_path, monkeypatch):
    (tmp_path / "new.py").write_text('"""Section 2.10: something new."""\n')
    (tmp_path / "old.py").write_text('"""Section 2.9: something old."""\n')
    (tmp_path / "task.py").write_text('"""Exercise 1: a task."""\n')
    (tmp_path / "more.py").write_text('"""Beyond the chapter: more."""\n')
    (tmp_path / "__init__.py").write_text('"""Not one."""\n')
    monkeypatch.setattr(_command, "FOLDER", str(tmp_path))
    assert list(_command.experiments()) == ["old", "new", "task", "more"]


def test_the_chapter_is_covered_section_by_section():
    places = " ".join(line.partition(": ")[0] for line in _command.experiments().values())
    numbers = re.findall(r"\d(?:\.\d)?", places.partition("Exercise")[0])
    expected = ["1.1", "1.2", "2.1", "2.2", "2.3", "3.1", "3.2", "3.3", "4.1", "4.2", "4.3", "4.4"]
    expected += ["5.1", "5.2", "5.3", "6"]
    assert list(dict.fromkeys(numbers)) == expected
    exercises = re.findall(r"Exercise (\d)", places)
    assert list(dict.fromkeys(exercises)) == list("123456")


def test_experiments_are_imported_by_name():
    for name in EXPERIMENTS:
        assert getattr(fastreg.lab, name) is experiment(name)
        assert name in dir(fastreg.lab)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        fastreg.lab.nothing  # noqa: B018
