"""`mlp`, which builds a usual network in one call."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

import fastreg.reference
from fastreg._core.arrays import float_dtype
from fastreg._core.checks import LARGEST, flag, number, products_of, sequence, shown, size
from fastreg._core.seeds import generator
from fastreg.dropout import Dropout
from fastreg.nn import activations
from fastreg.nn.dense import INITS, Dense, known_name
from fastreg.nn.sequential import Sequential
from fastreg.norm import BatchNorm, LayerNorm

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastreg._core.types import DTypeLike, Products, Seed

__all__ = ["mlp", "stacked"]

ACTIVATIONS = {
    "relu": "ReLU",
    "leaky_relu": "LeakyReLU",
    "tanh": "Tanh",
    "sigmoid": "Sigmoid",
    "gelu": "GELU",
}
FAST: dict[str, type[Any]] = {"Dense": Dense, "Dropout": Dropout}
FAST |= {"BatchNorm": BatchNorm, "LayerNorm": LayerNorm}
FAST |= {name: getattr(activations, name) for name in ACTIVATIONS.values()}
NORMS = {"batch": "BatchNorm", "layer": "LayerNorm"}
BACKENDS = ("fast", "reference")


def mlp(
    sizes: Sequence[int],
    *,
    activation: str = "relu",
    norm: Literal["batch", "layer"] | None = None,
    batch_norm: bool = False,
    dropout: float | Sequence[float] = 0.0,
    input_dropout: float = 0.0,
    init: str = "he",
    init_scale: float = 1.0,
    dtype: DTypeLike = np.float32,
    rng: Seed = None,
    backend: str = "fast",
    products: Products | None = None,
) -> Sequential:
    """Return a multilayer perceptron: dense layers, with other layers after each but the last.

    Parameters
    ----------
    sizes : sequence of int
        Number of features, widths of the hidden layers, number of outputs.
    activation : {"relu", "leaky_relu", "tanh", "sigmoid", "gelu"}, keyword-only
        The activation after every hidden layer.
    norm : {"batch", "layer"} or None, keyword-only
        Which normalisation comes before every activation, if any: its shift takes the place of the
        dense layers' biases.
    batch_norm : bool, keyword-only
        True is ``norm="batch"``.
    dropout : float or sequence of float, keyword-only
        Probability of dropping a hidden unit: one for all hidden layers, or one per hidden layer.
        Where it is 0 there is no dropout layer.
    input_dropout : float, keyword-only
        Probability of dropping an input.
    init, init_scale, dtype : keyword-only
        As for `Dense`.
    rng : anything `numpy.random.default_rng` takes, keyword-only
        Source of the weights and of the dropout masks; left out, NumPy's global state. The same
        seed gives the same weights with and without dropout and norms.
    backend : {"fast", "reference"}, keyword-only
        Whether the layers are fastreg's or those of `fastreg.reference`; the same seed gives
        both the same weights and masks.
    products : {"own", "blas"} or None, keyword-only
        Whose matrix products the dense layers use; see `Dense`. The layers of the reference have
        those that define fastreg's own.

    Returns
    -------
    Sequential

    Raises
    ------
    TypeError, ValueError
        An argument of the wrong kind or out of range.

    Examples
    --------
    >>> model = mlp([64, 32, 10], batch_norm=True, dropout=0.5, rng=0)
    >>> [type(layer).__name__ for layer in model.layers]
    ['Dense', 'BatchNorm', 'ReLU', 'Dropout', 'Dense']
    >>> model = mlp([64, 32, 16, 10], norm="layer", dropout=[0.5, 0.0], input_dropout=0.1, rng=0)
    >>> [type(layer).__name__ for layer in model.layers]  # doctest: +NORMALIZE_WHITESPACE
    ['Dropout', 'Dense', 'LayerNorm', 'ReLU', 'Dropout', 'Dense', 'LayerNorm', 'ReLU', 'Dense']
    """
    where = "mlp"
    sizes = sequence(where, "sizes", sizes, "layer sizes")
    sizes = [size(where, "sizes", n) for n in sizes]
    if len(sizes) < 2:
        raise ValueError(f"{where}: sizes must name features and outputs at least, got {sizes}")
    for n_in, n_out in itertools.pairwise(sizes):
        size(where, "sizes", n_out, LARGEST // n_in)
    known_name(where, "activation", activation, ACTIVATIONS)
    known_name(where, "backend", backend, BACKENDS)
    products = products_of(where, "products", products)
    known_name(where, "init", init, INITS)
    init_scale = number(where, "init_scale", init_scale, low=0.0)
    dtype = float_dtype(where, "dtype", dtype)
    norm = _norm(where, norm, flag(where, "batch_norm", batch_norm))
    rates = _rates(where, dropout, len(sizes) - 2)
    input_dropout = number(where, "input_dropout", input_dropout, low=0.0, high=1.0)
    kinds = FAST if backend == "fast" else vars(fastreg.reference)
    rng = generator(where, rng)
    masks = generator(where, int(rng.integers(2**63)))  # so that weights do not depend on dropout
    seeds = [masks.integers(2**63) for _ in (*rates, None)]  # that of the input is the last
    options = {"init": init, "init_scale": init_scale, "dtype": dtype, "rng": rng}
    options["products"] = products
    pairs = list(itertools.pairwise(sizes))
    dense = [
        kinds["Dense"](*pair, bias=norm is None or k == len(rates), **options)
        for k, pair in enumerate(pairs)
    ]
    return stacked(
        dense,
        [] if norm is None else [kinds[NORMS[norm]](n) for n in sizes[1:-1]],
        kinds[ACTIVATIONS[activation]],
        [
            kinds["Dropout"](rate, rng=seed) if rate else None
            for rate, seed in zip((input_dropout, *rates), (seeds[-1], *seeds), strict=False)
        ],
    )


def stacked(
    dense: Sequence[Any], norms: Sequence[Any], activation: Any, drops: Sequence[Any]
) -> Sequential:
    """Return the network of these dense layers: the one order in which fastreg builds networks.

    After each but the last come its norm, a new activation, and its dropout.

    Parameters
    ----------
    dense : sequence of Dense
    norms : sequence of layers
        One per hidden layer, or empty.
    activation : callable or None
        Makes the activation of a hidden layer.
    drops : sequence of layers or None
        On the input and after each hidden layer.

    Examples
    --------
    >>> layers = [Dense(4, 3, rng=0), Dense(3, 2, rng=1)]
    >>> network = stacked(layers, [], activations.ReLU, [Dropout(0.1), None])
    >>> [type(layer).__name__ for layer in network.layers]
    ['Dropout', 'Dense', 'ReLU', 'Dense']
    """
    layers = [drops[0]]
    for k, layer in enumerate(dense):
        layers.append(layer)
        if k < len(dense) - 1:
            layers += [*norms[k : k + 1], activation and activation(), drops[k + 1]]
    return Sequential([layer for layer in layers if layer is not None])


def _norm(where, norm, batch_norm):
    """The name of a norm, or None."""
    if norm is not None:
        known_name(where, "norm", norm, NORMS)
    if batch_norm and norm not in (None, "batch"):
        raise ValueError(
            f"{where}: norm must be 'batch' or None with batch_norm=True, got {norm!r}"
        )
    return "batch" if batch_norm else norm


def _rates(where, dropout, n_hidden):
    """The rate of each hidden layer."""
    if not isinstance(dropout, (list, tuple)) and getattr(dropout, "ndim", 0) != 1:
        return [number(where, "dropout", dropout, low=0.0, high=1.0)] * n_hidden
    if len(dropout) != n_hidden:
        raise ValueError(
            f"{where}: dropout must be one rate, or one per hidden layer, of which there are "
            f"{n_hidden}, got {shown(dropout)}"
        )
    return [number(where, "dropout", rate, low=0.0, high=1.0) for rate in dropout]
