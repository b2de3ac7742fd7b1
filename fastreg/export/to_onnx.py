"""Networks as ONNX models: what they do in inference, in standard operators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastreg._core.checks import path as path_of
from fastreg._core.checks import shown
from fastreg._core.replace import replace_file
from fastreg.export.layers import (
    check_forward,
    check_network,
    dtype_of,
    kind_of,
    parameter,
    quiet_scale,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastreg._core.types import Array, PathLike
    from fastreg.nn import Sequential

__all__ = ["onnx"]

OPSET, IR = 20, 9  # of 2023: the first with Gelu; runtimes since then read it
LINKS = {"identity": None, "log": "Exp", "sigmoid": "Sigmoid", "softmax": "Softmax"}


def onnx(model: Sequential, path: PathLike, *, link: str = "identity") -> None:
    """Write what a network does in inference to an ONNX file.

    The graph has one input ``X`` of shape (N, n_in) and one output ``Y`` of shape (N, n_out), N
    left open, in the network's dtype. Batch norm is folded into the dense layer before it (its
    scales in float64, rounded once), dropout is gone. Outputs are the network's up to the rounding
    of its dtype. The file replaces the previous one completely or not at all.

    Parameters
    ----------
    model : Sequential
        Of `Dense`, activations, `BatchNorm`, `LayerNorm`, `RMSNorm` and noise, whose input has one
        row per sample. It is not changed, whatever mode it is in.
    path : str or path
        The file to write.
    link : {"identity", "softmax", "sigmoid", "log"}, keyword-only
        What is done to the outputs at the end: nothing, or what a loss's ``link`` says to get
        probabilities or means.

    Raises
    ------
    TypeError
        If it is no network, or a layer that the graph cannot express; the message names it.
    ValueError
        A link of another name.
    ImportError
        If onnx is not installed.
    OSError
        If the disk refuses.

    Notes
    -----
    ONNX operator set 20. onnxruntime has every operator in float32; in float64 it lacks ``Gelu``.

    Examples
    --------
    >>> import onnxruntime  # doctest: +SKIP
    >>> import fastreg.export
    >>> from fastreg.nn import mlp
    >>> fastreg.export.onnx(mlp([4, 8, 3], rng=0), "model.onnx")  # doctest: +SKIP
    >>> session = onnxruntime.InferenceSession("model.onnx")  # doctest: +SKIP
    >>> session.run(None, {"X": np.zeros((5, 4), np.float32)})[0].shape  # doctest: +SKIP
    (5, 3)
    """
    path = path_of("onnx", "path", path)
    check_network("onnx", model)
    check_forward("onnx", model)
    if not isinstance(link, str) or link not in LINKS:
        raise ValueError(f"onnx: link must be one of {', '.join(LINKS)}, got {shown(link)}")
    try:
        import onnx as lib
    except ImportError as error:
        raise ImportError("fastreg.export.onnx needs onnx; install fastreg[onnx]") from error
    replace_file(path, _graph(lib, model, link).SerializeToString())


def _graph(lib, model, link):
    """The model that the file holds."""
    graph = _Graph(lib, dtype_of(model))
    for name, layer in _folded(model):
        kind = kind_of(layer) if not isinstance(layer, tuple) else "affine"
        if kind not in NODES:
            raise TypeError(
                f"onnx: layer {name} cannot be expressed, {shown(layer)}; known are Dense, "
                f"BatchNorm, {', '.join(k for k in NODES if k != 'affine')} and dropout"
            )
        NODES[kind](graph, f"layer{name}", layer)
    if LINKS[link]:
        attributes: dict[str, Any] = {"axis": -1} if link == "softmax" else {}
        graph.node(LINKS[link], "link", **attributes)
    return graph.finished(_width(model, 0), _width(model, -1))


def _folded(model):
    """The layers of inference: ("W", W, b) for dense ones, in float64, the others as they are."""
    found: list[tuple[int, Any]] = []
    for name, layer in enumerate(model.layers):
        kind, scale = kind_of(layer), quiet_scale(layer)
        if scale is not None:
            if scale != 1.0:
                found.append((name, ("scale", scale, 0.0)))
        elif kind == "Dense":
            W = np.asarray(layer.W, np.float64)
            found.append((name, ("matrix", W, parameter(layer, "b", 0.0, W.shape[1]))))
        elif kind == "BatchNorm":
            s, t = _inference(name, layer)
            last = found[-1][1] if found else None
            if isinstance(last, tuple) and last[0] == "matrix":
                found[-1] = found[-1][0], ("matrix", last[1] * s, last[2] * s + t)
            else:
                found.append((name, ("scale", s, t)))
        else:
            found.append((name, layer))
    return found


def _inference(name, layer):
    """Scale and shift of a batch norm in inference."""
    if not getattr(layer, "track_running_stats", True):
        raise TypeError(
            f"onnx: layer {name} cannot be expressed, a BatchNorm with track_running_stats=False "
            "takes the batch's statistics in inference, too"
        )
    n = layer.running_mean.size
    mean, var = parameter(layer, "running_mean", 0.0, n), parameter(layer, "running_var", 1.0, n)
    s = parameter(layer, "gamma", 1.0, n) / np.sqrt(var + layer.epsilon)
    return s, parameter(layer, "beta", 0.0, n) - mean * s


class _Graph:
    """Nodes one after another, each on the output of the last."""

    def __init__(self, lib: Any, dtype: Any) -> None:
        self.lib, self.dtype = lib, dtype
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.last = "X"

    def constant(self, name: str, array: Any) -> str:
        """Enter an array in the graph's dtype."""
        array = np.ascontiguousarray(array, self.dtype)
        self.constants.append(self.lib.numpy_helper.from_array(array, name))
        return name

    def node(self, kind: str, name: str, *others: str, source: str = "", **attributes: Any) -> str:
        """Enter an operator on the last output, or on another one, and return its output."""
        inputs = [source or self.last, *others]
        self.nodes.append(self.lib.helper.make_node(kind, inputs, [name], name=name, **attributes))
        self.last = name
        return name

    def finished(self, n_in: int | None, n_out: int | None) -> Any:
        """Return the model, checked."""
        helper = self.lib.helper
        self.node("Identity", "Y") if self.last == "X" else None
        self.nodes[-1].output[0] = "Y"
        kind = helper.np_dtype_to_tensor_dtype(self.dtype)
        ends = [
            helper.make_tensor_value_info(name, kind, ["N", n or f"{name}_features"])
            for name, n in (("X", n_in), ("Y", n_out))
        ]
        graph = helper.make_graph(self.nodes, "fastreg", ends[:1], ends[1:], self.constants)
        model = helper.make_model(
            graph, producer_name="fastreg", opset_imports=[helper.make_opsetid("", OPSET)]
        )
        model.ir_version = IR
        self.lib.checker.check_model(model)
        return model


def _width(model, end):
    """How many features go in or come out, or None if no layer says."""
    layers = list(model.layers)
    for layer in layers if end == 0 else layers[::-1]:
        if kind_of(layer) == "Dense":
            return layer.W.shape[end]
        if getattr(layer, "gamma", None) is not None:
            return layer.gamma.size
    return None


def _affine(graph: _Graph, name: str, layer: tuple[str, Array, Array]) -> None:
    kind, first, second = layer
    if kind == "matrix":
        graph.node("Gemm", name, graph.constant(f"{name}.W", first),
                   graph.constant(f"{name}.b", second))  # fmt: skip
        return
    graph.node("Mul", f"{name}.scaled", graph.constant(f"{name}.scale", first))
    graph.node("Add", name, graph.constant(f"{name}.shift", second))


def _layer_norm(graph: _Graph, name: str, layer: Any) -> None:
    n = _features(name, layer)
    graph.node(
        "LayerNormalization", name,
        graph.constant(f"{name}.gamma", parameter(layer, "gamma", 1.0, n)),
        graph.constant(f"{name}.beta", parameter(layer, "beta", 0.0, n)),
        axis=-1, epsilon=layer.epsilon,
    )  # fmt: skip


def _rms_norm(graph: _Graph, name: str, layer: Any) -> None:
    n, source = _features(name, layer), graph.last
    axes = f"{name}.axes"
    graph.constants.append(graph.lib.numpy_helper.from_array(np.array([-1], np.int64), axes))
    graph.node("Mul", f"{name}.squares", source)
    graph.node("ReduceMean", f"{name}.mean", axes, keepdims=1)
    graph.node("Add", f"{name}.above", graph.constant(f"{name}.epsilon", layer.epsilon))
    root = graph.node("Sqrt", f"{name}.root")
    graph.node("Div", f"{name}.unit", root, source=source)
    graph.node("Mul", name, graph.constant(f"{name}.gamma", parameter(layer, "gamma", 1.0, n)))


def _features(name, layer):
    """The length of a norm's rows, which are whole samples."""
    n = layer.n_features if layer.gamma is None else layer.gamma.shape
    n = n[0] if isinstance(n, (tuple, list)) and len(n) == 1 else n
    if not isinstance(n, int):
        raise TypeError(f"onnx: {name} cannot be expressed, its rows have the shape {tuple(n)}")
    return n


def _plain(kind, **attributes):
    def enter(graph, name, layer):
        found = {key: value(layer) for key, value in attributes.items()}
        graph.node(kind, name, **found)

    return enter


NODES: dict[Any, Callable[..., None]] = {
    "affine": _affine,  # Dense, BatchNorm
    "LayerNorm": _layer_norm,
    "RMSNorm": _rms_norm,
    "ReLU": _plain("Relu"),
    "LeakyReLU": _plain("LeakyRelu", alpha=lambda layer: layer.slope),
    "Tanh": _plain("Tanh"),
    "Sigmoid": _plain("Sigmoid"),
    "GELU": _plain("Gelu", approximate=lambda layer: "none" if layer.exact else "tanh"),
}
