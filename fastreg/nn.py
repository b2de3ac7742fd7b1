"""Networks in NumPy: dense layers, activations, their composition and the loss.

A layer maps ``forward(X) -> Y`` and ``backward(dY) -> dX``, one row a sample. Its trainable
arrays are those of its attributes that `PARAMETERS` lists, and ``backward`` stores the gradient
of ``W`` as ``dW``, of ``gamma`` as ``dgamma``, and so on. Any object that keeps these two rules
and has ``train()`` and ``eval()`` is a layer, so normalisation and dropout come in from
outside and nothing here knows how they are computed.
"""

import math

import numpy as np

from fastreg._checks import integer, number
from fastreg._layer import Layer

__all__ = ["Dense", "ReLU", "Sequential", "softmax_cross_entropy"]

PARAMETERS = ("W", "b", "gamma", "beta")

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))

# Standard deviation of an initial weight, before init_scale.
INITS = {
    "he": lambda n_in, n_out: math.sqrt(2.0 / n_in),
    "glorot": lambda n_in, n_out: math.sqrt(2.0 / (n_in + n_out)),
    "normal": lambda n_in, n_out: 1.0,
}


def generator(rng):
    """Return a Generator from what ``default_rng`` takes, or from NumPy's global state."""
    if rng is None:
        rng = np.random.randint(0, 2**32, size=4, dtype=np.uint64)
    return np.random.default_rng(rng)


class Dense(Layer):
    """Affine map of each row: ``Y = X W + b``.

    Parameters
    ----------
    n_in, n_out : int
        Features in and out, at least 1.
    init : {"he", "glorot", "normal"}, keyword-only
        Initial weights are normal with mean 0 and standard deviation ``sqrt(2 / n_in)``,
        ``sqrt(2 / (n_in + n_out))`` or 1. Biases start at 0.
    init_scale : float, keyword-only
        Factor on that standard deviation, at least 0.
    rng : anything `numpy.random.default_rng` takes, keyword-only
        Source of the weights; left out, NumPy's global state.
    dtype : float32 or float64, keyword-only
        Of weights, inputs and gradients. Both get the same initial weights, up to rounding.

    Attributes
    ----------
    W, dW : ndarray of shape (n_in, n_out)
        Weights, and their gradient after ``backward``.
    b, db : ndarray of shape (n_out,)
        Biases, and their gradient after ``backward``.

    Raises
    ------
    TypeError
        A size, a scale or a dtype of the wrong kind; an input of another dtype.
    ValueError
        A size, a scale or an `init` out of range; an input of another shape.

    References
    ----------
    He et al., "Delving deep into rectifiers", 2015; Glorot & Bengio, "Understanding the
    difficulty of training deep feedforward neural networks", 2010.

    Examples
    --------
    >>> layer = Dense(3, 2, rng=0)
    >>> layer.forward(np.ones((4, 3), dtype=np.float32)).shape
    (4, 2)
    """

    def __init__(self, n_in, n_out, *, init="he", init_scale=1.0, rng=None, dtype=np.float32):
        super().__init__()
        n_in = integer("Dense", "n_in", n_in, low=1)
        n_out = integer("Dense", "n_out", n_out, low=1)
        init_scale = number("Dense", "init_scale", init_scale, low=0.0)
        if not isinstance(init, str) or init not in INITS:
            raise ValueError(f"Dense: init must be one of {', '.join(INITS)}, got {init!r}")
        if dtype is None or np.dtype(dtype) not in FLOATS:
            raise TypeError(f"Dense: dtype must be float32 or float64, got {dtype!r}")
        std = init_scale * INITS[init](n_in, n_out)
        self.W = (std * generator(rng).standard_normal((n_in, n_out))).astype(dtype)
        self.b = np.zeros(n_out, dtype)
        self.dW = self.db = None
        self._X = None

    def forward(self, X):
        """Return ``X W + b`` for X of shape (N, n_in)."""
        if X.ndim != 2 or X.shape[1] != len(self.W):
            raise ValueError(f"Dense.forward: X must have shape (N, {len(self.W)}), got {X.shape}")
        if X.dtype != self.W.dtype:
            raise TypeError(
                f"Dense.forward: X must be {self.W.dtype}, got {X.dtype}; convert it, or "
                "give the layer that dtype"
            )
        self._X = X
        Y = X @ self.W
        Y += self.b
        return Y

    def backward(self, dY):
        """Store ``dW = X' dY`` and ``db``, the column sums of dY; return ``dX = dY W'``."""
        X = self._forwarded(self._X)
        self.dW = X.T @ dY
        self.db = dY.sum(axis=0)
        return dY @ self.W.T


class ReLU(Layer):
    """Rectified linear unit: ``Y = max(X, 0)``, with slope 0 at 0.

    References
    ----------
    Nair & Hinton, "Rectified linear units improve restricted Boltzmann machines", 2010.

    Examples
    --------
    >>> layer = ReLU()
    >>> print(layer.forward(np.array([[-1.0, 2.0]])), layer.backward(np.array([[3.0, 4.0]])))
    [[0. 2.]] [[0. 4.]]
    """

    def __init__(self):
        super().__init__()
        self._Y = None

    def forward(self, X):
        """Return ``max(X, 0)``, element by element; NaN stays NaN."""
        self._Y = np.maximum(X, 0)
        return self._Y

    def backward(self, dY):
        """Return ``dY`` where the input was positive and 0 elsewhere."""
        return dY * (self._forwarded(self._Y) > 0)


class Sequential:
    """Layers applied one after another.

    Parameters
    ----------
    layers : iterable of layers
        Distinct objects, since each remembers its last input.

    Attributes
    ----------
    layers : tuple
        The layers, first applied first.
    training : bool
        Whether the last call among ``train()`` and ``eval()`` was ``train()``.

    Raises
    ------
    TypeError
        An object that lacks a layer's methods.
    ValueError
        No layer, or one layer twice.

    Examples
    --------
    >>> model = Sequential([Dense(4, 3, rng=0), ReLU(), Dense(3, 2, rng=1)])
    >>> list(model.params)
    ['0.W', '0.b', '2.W', '2.b']
    """

    def __init__(self, layers):
        self.layers = tuple(layers)
        for i, layer in enumerate(self.layers):
            for method in ("forward", "backward", "train", "eval"):
                if not callable(getattr(layer, method, None)):
                    raise TypeError(
                        f"Sequential: layers[{i}] must have forward, backward, train and eval, "
                        f"got {layer!r} without {method}"
                    )
        if not self.layers or len({id(layer) for layer in self.layers}) < len(self.layers):
            raise ValueError(
                f"Sequential: layers must be one or more distinct objects, got {self.layers!r}"
            )
        self._parameters = [
            (f"{i}.{name}", layer, name)
            for i, layer in enumerate(self.layers)
            for name in PARAMETERS
            if getattr(layer, name, None) is not None
        ]
        self.train()

    @property
    def params(self):
        """The trainable arrays themselves, keyed ``"0.W"``, ``"0.b"``, ``"1.gamma"`` and so on."""
        return {key: getattr(layer, name) for key, layer, name in self._parameters}

    @property
    def grads(self):
        """The gradients the last ``backward`` stored, under the keys of `params`."""
        grads = {key: getattr(layer, f"d{name}", None) for key, layer, name in self._parameters}
        if any(grad is None for grad in grads.values()):
            raise RuntimeError("Sequential.grads: backward must be called first")
        return grads

    def forward(self, X):
        """Return the last layer's output for X, one row a sample."""
        for layer in self.layers:
            X = layer.forward(X)
        return X

    def backward(self, dY):
        """Fill `grads` from the gradient of the output; return that of the input."""
        for layer in reversed(self.layers):
            dY = layer.backward(dY)
        return dY

    def train(self):
        """Put every layer in training mode."""
        self.training = True
        for layer in self.layers:
            layer.train()

    def eval(self):
        """Put every layer in evaluation mode."""
        self.training = False
        for layer in self.layers:
            layer.eval()


def softmax_cross_entropy(logits, labels):
    """Mean cross-entropy of softmax(logits) against class labels, and its gradient.

    With ``p = softmax(logits)`` row by row, the value is ``-mean(log p[i, labels[i]])`` in
    nats a sample and the gradient is ``(p - onehot(labels)) / N``. Each row is shifted by its
    maximum first, so that no finite logit overflows.

    Parameters
    ----------
    logits : ndarray of shape (N, K), float32 or float64
        Unnormalised log-probabilities, N and K at least 1.
    labels : integer array of shape (N,)
        Classes from 0 to K - 1.

    Returns
    -------
    value : float
        The loss, averaged in float64.
    dlogits : ndarray of shape (N, K)
        Its gradient, in the dtype of `logits`.

    Raises
    ------
    TypeError
        Logits that are not float32 or float64, labels that are not integers.
    ValueError
        Shapes that do not fit, or a label outside 0 … K - 1.

    Examples
    --------
    >>> value, dlogits = softmax_cross_entropy(np.zeros((1, 2)), np.array([1]))
    >>> round(value, 4), dlogits.tolist()
    (0.6931, [[0.5, -0.5]])
    """
    logits, labels = np.asarray(logits), np.asarray(labels)
    _check_logits_and_labels(logits, labels)
    n = len(labels)
    rows = np.arange(n)
    shifted = logits - logits.max(axis=1, keepdims=True)
    p = np.exp(shifted)
    sums = p.sum(axis=1, keepdims=True)
    value = float((np.log(sums[:, 0]) - shifted[rows, labels]).sum(dtype=np.float64)) / n
    p /= sums
    p[rows, labels] -= 1
    p /= n
    return value, p


def _check_logits_and_labels(logits, labels):
    """Refuse what `softmax_cross_entropy` cannot average."""
    where = "softmax_cross_entropy"
    if logits.dtype not in FLOATS:
        raise TypeError(f"{where}: logits must be float32 or float64, got {logits.dtype}")
    if labels.dtype.kind not in "iu":
        raise TypeError(f"{where}: labels must be integers, got {labels.dtype}; number the classes")
    if logits.ndim != 2 or 0 in logits.shape:
        raise ValueError(f"{where}: logits must have shape (N, K), not empty, got {logits.shape}")
    if labels.shape != logits.shape[:1]:
        raise ValueError(
            f"{where}: labels must have shape ({len(logits)},), one a row, got {labels.shape}"
        )
    low, high, classes = labels.min(), labels.max(), logits.shape[1]
    if low < 0 or high >= classes:
        raise ValueError(
            f"{where}: labels must be from 0 to {classes - 1}, got {low if low < 0 else high}"
        )
