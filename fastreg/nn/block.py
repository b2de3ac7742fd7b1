"""Blocks: a matrix product and the layers after it run as one, in one pass each way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastreg._core._kernels import Chain
from fastreg.dropout import Dropout
from fastreg.nn.activations import ReLU
from fastreg.nn.dense import Dense
from fastreg.norm import BatchNorm

if TYPE_CHECKING:
    from collections.abc import Sequence

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


class Block(Chain):
    """Dense, BatchNorm, ReLU and Dropout as one forward and one backward pass.

    Bits and state (gradients, running statistics, dropout's call count) are those of the layers
    run one after the other, which is also what happens while one of them is not in training.
    """

    def __init__(self, layers: Sequence[Any]) -> None:
        by_type = {type(layer): layer for layer in layers}
        dense, norm, relu, dropout = map(by_type.get, PARTS)
        super().__init__(layers, dense, norm, relu is not None, dropout)

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
