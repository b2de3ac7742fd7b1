"""What a network says of itself: `repr`, and the table of `summary`."""

import copy
import html.parser
import inspect

import numpy as np
import pytest

import fastreg
from fastreg import dropout, nn, norm
from fastreg.nn import Dense, ReLU, Sequential, mlp

NAMES = vars(fastreg) | vars(nn)
LAYERS = [
    Dense(3, 4, rng=0),
    Dense(3, 4, rng=0, bias=False, dtype=np.float64, products="blas"),
    ReLU(),
    nn.LeakyReLU(0.2),
    nn.Tanh(),
    nn.Sigmoid(),
    nn.GELU(),
    nn.GELU(exact=True),
    fastreg.BatchNorm(5),
    fastreg.BatchNorm(5, None, 1e-3, axis=-1, affine=False, unbiased_running_var=True),
    fastreg.LayerNorm((3, 4), 1e-3),
    fastreg.RMSNorm(5, affine=False),
    fastreg.GroupNorm(2, 4),
    fastreg.InstanceNorm(4, affine=True),
    fastreg.Dropout(),
    fastreg.Dropout(0.25, rng=3, noise_shape=(None, 1), inverted=False),
    fastreg.SpatialDropout(0.5, axis=-1),
    fastreg.StochasticDepth(0.1, mode="batch"),
    fastreg.DropConnect(0.3),
    fastreg.AlphaDropout(0.4),
    fastreg.GaussianDropout(0.2),
]


def test_every_layer_is_in_the_list():
    ours = {name for name in (*norm.__all__, *dropout.__all__) if isinstance(NAMES[name], type)}
    ours |= {name for name in nn.__all__ if inspect.isclass(NAMES[name])} - {"Sequential"}
    assert ours == {type(layer).__name__ for layer in LAYERS}


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_a_repr_is_the_call_that_makes_such_a_layer(layer):
    again = eval(repr(layer), dict(NAMES))  # noqa: S307 - that is what it is for
    assert type(again) is type(layer)
    for name in inspect.signature(type(layer)).parameters:
        kept = name if hasattr(layer, name) else f"_{name}"
        assert getattr(again, kept, None) == getattr(layer, kept, None)
    ours, theirs = (Sequential([one]).arrays for one in (layer, again))
    assert [(k, a.shape, a.dtype) for k, a in ours.items()] == [
        (k, a.shape, a.dtype) for k, a in theirs.items()
    ]


def test_reprs_show_sizes_and_rates_and_what_differs_from_defaults():
    found = [repr(layer) for layer in LAYERS]
    assert found[:4] == [
        "Dense(3, 4)", "Dense(3, 4, dtype='float64', bias=False, products='blas')", "ReLU()",
        "LeakyReLU(0.2)",
    ]  # fmt: skip
    assert "Dropout(0.5)" in found
    assert "GroupNorm(2, 4)" in found


@pytest.mark.parametrize("backend", ["fast", "reference"])
def test_a_network_shows_its_layers(backend):
    small = mlp([4, 3], rng=0, backend=backend)
    assert repr(small) == "Sequential([Dense(4, 3)])"
    large = mlp([64, 32, 10], batch_norm=True, dropout=0.5, rng=0, backend=backend)
    lines = "Dense(64, 32, bias=False)", "BatchNorm(32)", "ReLU()", "Dropout(0.5)", "Dense(32, 10)"
    assert repr(large) == "\n".join(["Sequential([", *(f"    {line}," for line in lines), "])"])


class Lazy:
    """A layer that makes its weights at the first forward pass."""

    def forward(self, X):
        if not hasattr(self, "W"):
            self.W = np.ones((X.shape[1], 7), np.float32)
        return X @ self.W

    def backward(self, dY):
        return dY @ self.W.T

    def train(self):
        pass

    def eval(self):
        pass


class Fold(Lazy):
    """A layer with arguments of its own, which it keeps or not."""

    def __init__(self, times, lost, scale=2.0):
        self.times, self._scale = times, scale

    def forward(self, X):
        return X.reshape(len(X), self.times, -1)


class Picky(Lazy):
    def forward(self, X):
        raise RuntimeError("not such an input")


class Named(Lazy):
    def __repr__(self):
        return "<b>mine & yours</b>"


class Broken(Lazy):
    def __repr__(self):
        raise ValueError


def shapes(model, *arguments):
    return [row.output_shape for row in model.summary(*arguments).rows]


def test_counts_are_those_of_the_arrays():
    model = mlp([20, 16, 5], batch_norm=True, dropout=0.1, rng=0)
    table = model.summary()
    assert table.parameters == sum(array.size for array in model.params.values())
    assert table.bytes == sum(array.nbytes for array in model.arrays.values())
    assert table.statistics == 2 * 16
    assert shapes(model) == [(None, 16)] * 4 + [(None, 5)]
    text = str(table)
    for word in ("Dense(20, 16, bias=False)", "Dropout(0.1)", "(N, 16)", "32 running statistics"):
        assert word in text
    assert repr(table) == text
    assert f"{table.parameters:,} parameters" in text.splitlines()[-1]


def test_layers_of_ones_own_are_tried_on_a_copy():
    lazy = Lazy()
    model = Sequential([Dense(3, 4, rng=0), lazy, Fold(7, 1), Picky(), Dense(7, 2, rng=0)])
    table = model.summary()
    assert shapes(model) == [(None, 4), (None, 7), (None, 7, 1), None, (None, 2)]
    assert not hasattr(lazy, "W"), "the network is as it was"
    assert table.rows[1].layer == "Lazy() (not built yet)"
    assert table.rows[1].parameters == 28
    assert table.rows[2].layer == "Fold(7, ...)"
    assert "?" in str(table)
    lazy.forward(np.ones((1, 4), np.float32))
    assert model.summary().rows[1].layer == "Lazy()"


def test_a_shape_that_nobody_knows_is_asked_for_or_left_open():
    model = Sequential([ReLU(), Lazy()])
    assert shapes(model) == [None, None]
    assert shapes(model, 5) == [(None, 5), (None, 7)]
    pictures = Sequential([fastreg.BatchNorm(3), fastreg.SpatialDropout(0.5)])
    assert shapes(pictures, (3, 8, 8)) == [(None, 3, 8, 8)] * 2
    assert shapes(Sequential([Fold(2, 1), Dense(4, 3, rng=0)])) == [None, (None, 3)]
    for bad, error in [((3, 0), ValueError), ("3", TypeError), (2.5, TypeError)]:
        with pytest.raises(error, match="Sequential.summary: input_shape must be"):
            model.summary(bad)


def test_a_summary_moves_nothing():
    model = mlp([6, 5, 2], batch_norm=True, dropout=0.5, rng=0)
    model.forward(np.ones((4, 6), np.float32))
    before = copy.deepcopy(model.state_dict()), model.training
    model.summary()
    assert repr(before) == repr((model.state_dict(), model.training))


class Tags(html.parser.HTMLParser):
    """The tags and attributes of a text, and whether all are closed."""

    def __init__(self, text):
        super().__init__()
        self.found, self.stack, self.attributes, self.texts = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append(tag)
        self.stack.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def test_notebooks_get_a_table_with_escaped_names_that_asks_the_network_for_nothing():
    model = Sequential([Dense(3, 4, rng=0), Named(), Broken()])
    text = model._repr_html_()
    assert text == model.summary()._repr_html_()
    tags = Tags(text)
    assert not tags.stack
    assert set(tags.found) <= {"table", "caption", "thead", "tbody", "tfoot", "tr", "th", "td"}
    assert not {name for name, _ in tags.attributes} & {"src", "href", "style", "onload"}
    assert "<b>mine & yours</b> (not built yet)" in tags.texts
    assert "http" not in text
