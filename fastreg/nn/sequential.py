"""Layers one after another."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fastreg._core._kernels import Network, Places, are_in
from fastreg._core.checks import flag, products_of, sequence, shown
from fastreg.nn.block import Block, blocks
from fastreg.nn.dense import Dense
from fastreg.nn.summary import Summary, name_of, of_network

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fastreg._core.types import Array, MaybeArray, Products, Saved

__all__ = ["PARAMETERS", "Sequential"]

PARAMETERS = ("W", "b", "gamma", "beta")
STATISTICS = ("running_mean", "running_var")  # arrays that are state but not trained
MOVING = (*STATISTICS, "batches", "_calls")  # what a forward pass in training moves
ASSEMBLED = (
    "_state", "_parameters", "_slopes", "_moving", "_can_leave_out", "_stages", "_whole"
)  # fmt: skip


class Sequential:
    """Layers applied one after another.

    Parameters
    ----------
    layers : iterable of layers
        Distinct objects, since each remembers its last input. A network among them stands for
        its layers.
    products : {"own", "blas"} or None, keyword-only
        Whose matrix products every `Dense` among them uses, see there; None leaves each its own
        setting.

    Attributes
    ----------
    layers : tuple
        The layers, first applied first.
    training : bool
        True after ``train()``, False after ``eval()``.

    Raises
    ------
    TypeError
        If an object lacks a method of layers, or is a network with a forward of its own.
    ValueError
        If there is no layer, or one layer comes twice.

    Examples
    --------
    >>> from fastreg.nn import ReLU
    >>> model = Sequential([Dense(4, 3, rng=0), ReLU(), Dense(3, 2, rng=1)])
    >>> list(model.params)
    ['0.W', '0.b', '2.W', '2.b']
    """

    def __init__(self, layers: Iterable[Any], *, products: Products | None = None) -> None:
        products_of("Sequential", "products", products)
        given = sequence("Sequential", "layers", layers, "layers")
        self.layers: Any = tuple(
            inner for i, layer in enumerate(given) for inner in _flat(i, layer)
        )
        for i, layer in enumerate(self.layers):
            for method in ("forward", "backward", "train", "eval"):
                if isinstance(layer, type) or not callable(getattr(layer, method, None)):
                    raise TypeError(
                        f"Sequential: layers[{i}] must have forward, backward, train and eval, "
                        f"got {shown(layer)} without {method}"
                    )
        if not self.layers or len({id(layer) for layer in self.layers}) < len(self.layers):
            raise ValueError(
                f"Sequential: layers must be one or more distinct objects, got {shown(self.layers)}"
            )
        for layer in self.layers if products is not None else ():
            if isinstance(layer, Dense):
                layer.products = products
        self._assemble()
        self.train()

    def _assemble(self):
        """What follows from the layers alone."""
        self._state = [
            (f"{i}.{name}", layer, name)
            for i, layer in enumerate(self.layers)
            for name in (*PARAMETERS, *STATISTICS)
            if getattr(layer, name, None) is not None
        ]
        trained = [entry for entry in self._state if entry[2] in PARAMETERS]
        self._parameters = Places(trained)
        self._slopes = Places([(key, layer, f"d{name}") for key, layer, name in trained])
        self._moving = Places(
            [("", layer, name) for layer in self.layers for name in MOVING if hasattr(layer, name)]
        )
        self._can_leave_out = isinstance(self.layers[0], Dense)  # the gradient of the input
        self._stages = blocks(self.layers)
        self._whole = Network("Sequential")
        self._whole.set_stages([Block([s]) if type(s) is Dense else s for s in self._stages])

    def __repr__(self) -> str:
        kind, names = type(self).__name__, [name_of(layer) for layer in self.layers]
        line = f"{kind}([{', '.join(names)}])"
        if len(line) <= 80:
            return line
        return "\n".join([f"{kind}([", *(f"    {name}," for name in names), "])"])

    def _repr_html_(self) -> str:
        return self.summary()._repr_html_()

    def summary(self, input_shape: Sequence[int] | int | None = None) -> Summary:
        """Return a table of the layers: output shapes, parameters and their bytes.

        The network is left as it is. What a layer of your own makes of its input is tried on a
        copy of it, with one row of zeros in evaluation mode; a copy that fails, or an input whose
        shape nobody knows, gives a ``?``.

        Parameters
        ----------
        input_shape : int or sequence of int, optional
            Shape of one sample; left out, the first dense layer tells it.

        Returns
        -------
        Summary
            ``print`` shows it as text and a notebook as a table; ``rows``, ``parameters``,
            ``statistics`` and ``bytes`` hold the numbers.

        Raises
        ------
        TypeError, ValueError
            If ``input_shape`` is not made of integers of at least 1.

        Examples
        --------
        >>> from fastreg.nn import mlp
        >>> print(mlp([64, 32, 10], dropout=0.5, rng=0).summary())
        Sequential
        -------------------------------------------------
           layer          output shape  parameters  bytes
        -------------------------------------------------
        0  Dense(64, 32)  (N, 32)            2,080  8,320
        1  ReLU()         (N, 32)                0      0
        2  Dropout(0.5)   (N, 32)                0      0
        3  Dense(32, 10)  (N, 10)              330  1,320
        -------------------------------------------------
        2,410 parameters, 9.6 KB
        """
        return of_network(self, input_shape, PARAMETERS, STATISTICS)

    def __getstate__(self) -> Any:
        """The layers, without the last batch and its gradients."""
        with self._whole.reading() as inside:
            state = {name: value for name, value in vars(self).items() if name not in ASSEMBLED}
            if inside:  # a handler is saving: the layers as they are before this call
                state["layers"] = tuple(copy.copy(layer) for layer in self.layers)
            return state

    def __setstate__(self, state: Saved) -> None:
        vars(self).update(state)
        self._assemble()

    @property
    def params(self) -> dict[str, Array]:
        """The trainable arrays themselves, keyed ``"0.W"``, ``"0.b"``, ``"1.gamma"`` and so on."""
        return self._parameters.values()

    @property
    def grads(self) -> dict[str, Any]:
        """The gradients the last ``backward`` stored, under the keys of `params`."""
        grads = self._slopes.values(True)
        if grads is None:
            raise RuntimeError("Sequential.grads: backward must be called first")
        return grads

    def forward(self, X: Array) -> Array:
        """Return the last layer's output for X, one row per sample.

        If it fails, or is interrupted, every layer is as it was before; so with `backward`.
        """
        return self._whole.forward(X)

    def _infer(self, X):
        """The output in evaluation mode, with the bits of `forward`, for nothing but itself.

        Layers keep nothing of it, so activations are computed in place. Batch norm is not folded
        into weights: that would round differently, and save one pass over what is in the cache.
        """
        if type(self).forward is not Sequential.forward or "forward" in vars(self):
            return self.forward(X)
        return self._whole.infer(X)

    def backward(self, dY: Array, *, input_gradient: bool = True) -> MaybeArray:
        """Fill `grads`, given the gradient of the output; return the gradient of the input.

        Training does not need the latter: ``input_gradient=False`` saves its matrix product where
        the first layer is a `Dense`.
        """
        if type(input_gradient) is not bool:
            input_gradient = flag("Sequential.backward", "input_gradient", input_gradient)
        return self._whole.backward(dY, input_gradient or not self._can_leave_out)

    def _is_in(self, mode):
        """Whether the network and every layer say that they are in this mode."""
        return vars(self).get("training") is mode and are_in(self.layers, mode)

    def train(self) -> None:
        """Put every layer in training mode."""
        if not self._is_in(True):
            self._whole.run(Sequential._train, self)

    def _train(self):
        self.training = True
        for layer in self.layers:
            layer.train()

    def eval(self) -> None:
        """Put every layer in evaluation mode."""
        if not self._is_in(False):
            self._whole.run(Sequential._eval, self)

    def _eval(self):
        self.training: bool = False
        for layer in self.layers:
            layer.eval()

    @property
    def arrays(self) -> dict[str, Array]:
        """All arrays that training changes, not copies: `params` and running statistics."""
        return {key: getattr(layer, name) for key, layer, name in self._state}

    def state_dict(self) -> dict[str, Array]:
        """Return everything that training changes in the layers: copies, keyed like `params`.

        Parameters and running statistics are arrays; what a layer's own ``state_dict`` adds, such
        as the seed and call count of dropout, are arrays or JSON-able values.
        """
        with self._whole.reading():
            state = {key: array.copy() for key, array in self.arrays.items()}
            for i, layer in enumerate(self.layers):
                own = layer.state_dict() if hasattr(layer, "state_dict") else {}
                for name, value in own.items():
                    state.setdefault(f"{i}.{name}", value)
            return state

    def load_state_dict(self, state: Saved) -> None:
        """Take over a state; nothing changes unless every name, shape and dtype fits.

        Raises
        ------
        ValueError
            If it does not fit; the message lists all differences.
        """
        if not isinstance(state, Mapping):
            raise TypeError(
                f"Sequential.load_state_dict: state must be a dict, got {type(state).__name__}"
            )
        arrays = [array for array in self.arrays.values() if isinstance(array, np.ndarray)]
        self._whole.run(Sequential._load_state_dict, self, state, arrays=arrays)

    def _load_state_dict(self, state):
        arrays = self.arrays
        differences = differ(self.state_dict(), state)
        differences += [
            f"{k} is read-only here" for k, a in arrays.items() if not a.flags.writeable
        ]
        if differences:
            raise ValueError(
                "Sequential.load_state_dict: state must fit the network; " + "; ".join(differences)
            )
        state = {  # some may be our arrays
            key: value.copy() if isinstance(value, np.ndarray) else value
            for key, value in state.items()
        }
        for key, array in arrays.items():
            array[...] = state[key]
        for i, layer in enumerate(self.layers):
            if hasattr(layer, "load_state_dict"):
                layer.load_state_dict({name: state[f"{i}.{name}"] for name in layer.state_dict()})

    def marks(self) -> Any:
        """Return what the next forward pass in training moves, as (layer, name, value).

        Layers replace their running statistics, they do not write into them: this copies nothing.
        """
        return self._moving.marks()

    @property
    def n_in(self) -> int | None:
        """Number of features per sample, or None if no layer says."""
        widths = [layer.W.shape[0] for layer in self.layers if hasattr(layer, "W")]
        return widths[0] if widths else None

    @property
    def n_out(self) -> int | None:
        """Number of outputs per sample, or None if no layer says."""
        widths = [layer.W.shape[1] for layer in self.layers if hasattr(layer, "W")]
        return widths[-1] if widths else None

    @property
    def dtype(self) -> Any:
        """The dtype of inputs and outputs, or None if no layer says."""
        for layer in self.layers:
            if hasattr(layer, "W"):
                return layer.W.dtype
        return None


def differ(expected: Any, found: Any) -> list[str]:
    """List how a state dict differs from the one it should replace."""
    lines = [f"{key} is missing" for key in expected if key not in found]
    lines += [f"{key} is not in the network" for key in found if key not in expected]
    for key in expected:
        if key in found and isinstance(expected[key], np.ndarray):
            ours, theirs = expected[key], found[key]
            if not isinstance(theirs, np.ndarray):
                lines.append(f"{key} is {type(theirs).__name__}, not an array")
            elif (ours.shape, ours.dtype) != (theirs.shape, theirs.dtype):
                lines.append(
                    f"{key} is {theirs.dtype} of shape {theirs.shape}, not {ours.dtype} of "
                    f"shape {ours.shape}"
                )
    return lines


def _flat(place, layer):
    """A layer alone, or the layers of a network: it is trained only if its arrays are seen."""
    if not isinstance(layer, Sequential):
        return (layer,)
    kind = type(layer)
    if kind.forward is Sequential.forward and kind.backward is Sequential.backward:
        return layer.layers
    raise TypeError(
        f"Sequential: layers[{place}] must be a layer, or a network that is its layers one after "
        f"another, got a {kind.__name__} with a forward or backward of its own"
    )
