"""The history: a dict in every way, and what can be drawn of it."""

import copy
import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
from runs import fit, trainer

from fastreg import checkpoint
from fastreg.history import History
from fastreg.train import fit as short_fit

COLUMNS = {
    "loss": [0.9, 0.5, 0.4, 0.3],
    "val_loss": [1.0, 0.6, 0.7, float("nan")],
    "accuracy": [0.1, 0.5, 0.8, 0.9],
    "val_accuracy": [0.2, 0.5, 0.6, 0.6],
    "learning_rate": [0.1, 0.1, 0.01, 0.01],
    "seconds": [1.0, 1.0, 1.0, 1.0],
}


def finite():
    return {name: column for name, column in COLUMNS.items() if name != "val_loss"}


def test_it_is_the_dict():
    columns = finite()
    history = History(columns)
    assert history == columns
    assert columns == history
    assert isinstance(history, dict)
    assert repr(history) == repr(columns)
    assert json.loads(json.dumps(history)) == columns
    assert {**history} == columns
    for again in (pickle.loads(pickle.dumps(history)), copy.deepcopy(history), copy.copy(history)):
        assert type(again) is History
        assert again == columns


def test_pickles_keep_what_was_watched():
    history = History(finite(), monitor="val_accuracy", mode="max")
    again = pickle.loads(pickle.dumps(history))
    assert again.best_epoch() == history.best_epoch() == 2


def test_a_checkpoint_holds_a_plain_dict(tmp_path):
    run = trainer()
    history = fit(run, epochs=2)
    run.save(tmp_path / "run.ckpt")
    state = checkpoint.load(tmp_path / "run.ckpt")
    assert type(state["history"]) is dict
    clock = "seconds", "ms_per_step"
    assert state["history"] == {k: v for k, v in history.items() if k not in clock}
    again = fit(trainer(), epochs=3, resume_from=tmp_path / "run.ckpt")
    assert type(again) is History
    assert again["loss"][:2] == history["loss"]


def test_fit_returns_it():
    run = trainer()
    X = np.eye(2, dtype=np.float32)
    history = short_fit(run.model, run.loss, run.optimizer, X, np.array([0, 1]), epochs=1)
    assert type(history) is History


def test_the_best_epoch_is_the_first_of_the_best_finite_ones():
    history = History(COLUMNS)
    assert history.best_epoch() == 1
    assert history.best_epoch("loss") == 3
    assert history.best_epoch("val_accuracy", "max") == 2
    assert History(finite()).best_epoch() == 3
    assert History({"loss": [float("nan")]}).best_epoch() is None
    assert History(COLUMNS, monitor="val_accuracy", mode="max").best_epoch() == 2
    assert History(COLUMNS, monitor="val_accuracy", mode="max").best_epoch("loss") == 3
    for bad, error in [("auc", ValueError), (3, TypeError)]:
        with pytest.raises(error, match="History.best_epoch: monitor must be one of"):
            history.best_epoch(bad)
    with pytest.raises(ValueError, match="mode must be one of"):
        history.best_epoch("loss", "up")


# --- drawings -------------------------------------------------------------------------------


@pytest.fixture
def axes():
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    return Figure().subplots()


def drawn(ax):
    """What is in a figure: points by label, and the labels of the axes."""
    lines = {}
    for one in ax.figure.axes:
        for line in one.lines:
            lines[line.get_label()] = (list(line.get_xdata()), list(line.get_ydata()))
    return lines, [one.get_ylabel() for one in ax.figure.axes]


def test_losses_metrics_rate_and_the_best_epoch_are_drawn(axes):
    history = History(COLUMNS, monitor="val_accuracy", mode="max")
    assert history.plot(axes) is axes
    lines, labels = drawn(axes)
    assert labels == ["loss", "metric", "learning rate"]
    for name in ("loss", "accuracy", "val_accuracy", "learning_rate"):
        assert lines[name] == ([0, 1, 2, 3], COLUMNS[name])
    assert "seconds" not in lines
    assert lines["best val_accuracy: epoch 2"][0] == [2, 2]
    assert ([2], [0.6]) in lines.values(), "the best point is marked"
    assert axes.figure.axes[-1].get_yscale() == "log"
    (legend,) = [one.get_legend() for one in axes.figure.axes if one.get_legend()]
    assert len(legend.get_texts()) == 6
    axes.figure.canvas.draw()


def test_another_column_can_be_marked(axes):
    History(COLUMNS).plot(axes, monitor="loss", mode="max")
    assert "best loss: epoch 0" in drawn(axes)[0]


@pytest.mark.parametrize(
    "columns",
    [{"loss": [1.0]}, {"loss": [1.0, float("nan")], "learning_rate": [0.0, 0.0]},
     {"loss": [float("nan")], "learning_rate": [float("nan")], "<i>": [1.0]}],
)  # fmt: skip
def test_short_and_odd_histories_are_drawn(columns, axes):
    History(columns).plot(axes)
    axes.figure.canvas.draw()
    assert drawn(axes)[0]["loss"][0] == list(range(len(columns["loss"])))


def test_without_axes_pyplot_makes_a_figure():
    pytest.importorskip("matplotlib")
    code = (
        "import matplotlib; matplotlib.use('Agg'); from matplotlib import pyplot;"
        "from fastreg.history import History; ax = History({'loss': [1.0, 0.5]}).plot();"
        "assert pyplot.gcf() is ax.figure"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"History.plot: .* pip install matplotlib"):
        History(COLUMNS).plot()


@pytest.mark.parametrize("ax", [3, "ax", [], object])
def test_what_is_no_axes_is_refused(ax):
    with pytest.raises(TypeError, match="History.plot: ax must be Axes"):
        History(COLUMNS).plot(ax)


def test_a_history_without_an_epoch_is_not_drawn():
    for empty in (History(), History({"loss": []})):
        with pytest.raises(ValueError, match="History.plot: the history must have an epoch"):
            empty.plot()


def test_importing_it_imports_no_matplotlib():
    code = "import sys, fastreg.train, fastreg.callbacks; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_notebooks_get_a_table_with_escaped_names():
    text = History({**COLUMNS, "<script>": [1.0, 2.0, 3.0, 4.0]})._repr_html_()
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert "http" not in text
    assert "4 epochs; best val_loss in epoch 1" in text
    for tag in ("table", "tr", "td", "th", "tbody", "thead", "caption"):
        assert text.count(f"<{tag}>") == text.count(f"</{tag}>") > 0
    assert History()._repr_html_().startswith("<table>")
