"""Layers that run as one: what follows a matrix product, in one pass each way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastreg._core._kernels import (
    bias_gate,
    dense_gradients,
    dense_product,
    gate_backward,
    norm_gate,
    norm_gate_backward,
)
from fastreg.dropout import Dropout
from fastreg.dropout.base import MAX_CALL
from fastreg.nn.activations import ReLU
from fastreg.nn.dense import Dense
from fastreg.norm import BatchNorm

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastreg._core.types import Array

__all__ = ["Block", "blocks"]

# A block is these in this order: one of the first two, ReLU, and perhaps dropout.
PARTS = (Dense, BatchNorm, ReLU, Dropout)


def blocks(layers: Sequence[Any]) -> list[Any]:
    """Gather layers that can run as one into blocks; leave the others as they are."""
    stages, i = [], 0
    while i < len(layers):
        block = Block.of(layers[i:])
        stages.append(block or layers[i])
        i += len(block.layers) if block else 1
    return stages


class Block:
    """Dense, BatchNorm, ReLU and Dropout as one forward and one backward pass.

    Bits and state (gradients, running statistics, dropout's call count) are those of the layers
    run one after the other, which is also what happens while one of them is not in training.
    """

    dense: Any
    norm: Any
    dropout: Any

    def __init__(self, layers: Sequence[Any]) -> None:
        self.layers = layers
        by_type = {type(layer): layer for layer in layers}
        self.dense, self.norm, _, self.dropout = map(by_type.get, PARTS)
        self._last: Any = (
            None  # (X, statistics, gamma, Y, scale) if the last forward call was fused
        )

    @classmethod
    def of(cls, layers: Sequence[Any]) -> Block | None:
        """Return a block of the first layers, or None if they do not make one."""
        found: list[Any] = []
        for part in PARTS:
            if len(found) < len(layers) and type(layers[len(found)]) is part:
                found.append(layers[len(found)])
            elif part is ReLU:
                return None
        if type(found[-1]) is Dropout and found[-1]._noise_shape is not None:
            found.pop()
        return cls(found) if type(found[0]) in (Dense, BatchNorm) else None

    def forward(self, X: Array) -> Array:
        """Return the last layer's output."""
        dense, norm, dropout = self.dense, self.norm, self.dropout
        training = (norm is None or norm.training) and (dropout is None or dropout.training)
        if not training or getattr(X, "ndim", 0) != 2:
            self._last = None
            for layer in self.layers:
                X = layer.forward(X)
            return X
        given, bias = X, None
        if dense is not None:
            X, bias = dense_product(X, dense.W), dense.b
        draw: Any = None if dropout is None else dropout._next_noise(X)
        if norm is None:
            Y, statistics, gamma = bias_gate(X, bias, True, draw), None, None
        else:
            if bias is not None:
                X = bias_gate(X, bias, False, None)
            norm._mind_one_value(X)
            X, statistics, gamma, beta, moved = norm._observed("BatchNorm.forward", X)
            Y = norm_gate(X, statistics, gamma, beta, True, draw)
        # Everything is computed; from here on nothing is called that could fail.
        if dense is not None:
            dense._last = given
        if norm is not None:
            vars(norm).update(moved, _last=(X, True, statistics), _trained=(X, statistics))
        if dropout is not None:
            dropout._last, dropout._drawn, dropout._calls = (
                (Y.shape, draw, None),
                (draw, Y.shape, Y.dtype),
                draw[1] + 1 & MAX_CALL,
            )
        self._last = X, statistics, gamma, Y, 1.0 if draw is None else draw[3]
        return Y

    def backward(self, dY: Array, *, input_gradient: bool = True) -> Any:
        """Return the first layer's dX, if it is wanted; store every gradient."""
        dense, norm = self.dense, self.norm
        if self._last is None:
            for layer in reversed(self.layers[1:]):
                dY = layer.backward(dY)
            skipped = {"input_gradient": input_gradient} if dense is not None else {}
            return self.layers[0].backward(dY, **skipped)
        dX: Any
        X, statistics, gamma, Y, scale = self._last
        db = None if dense is None else dense._bias_gradient()
        if norm is None:
            dX = gate_backward("Dense.backward", dY, Y, scale, db)
        else:
            dX, *sums = norm_gate_backward("BatchNorm.backward", dY, Y, X, statistics, gamma, scale)
            norm._affine("BatchNorm.backward")  # may have been replaced: the gradients follow
            slopes = norm._slopes(*sums)
            dX = dX if db is None else gate_backward("Dense.backward", dX, None, 1.0, db)
        if dense is not None:
            dX, dW = dense_gradients(dense._last, dense.W, dX, input_gradient)
            dense.dW, dense.db = dW, db
        if norm is not None:
            norm.dgamma, norm.dbeta = slopes
        return dX
