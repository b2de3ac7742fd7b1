"""One copy of a network's layers for each shard of this rank; they go forward and back in step.

The copies share the parameters' memory, and each remembers its own input. A batch norm, which
needs all shards at once, is one for all of them.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from fastreg.dist.batchnorm import SyncBatchNorm
from fastreg.dist.exchange import plus
from fastreg.dist.tree import tree_sum
from fastreg.dropout.base import RandomLayer
from fastreg.nn.block import Block, blocks
from fastreg.nn.dense import Dense
from fastreg.nn.sequential import PARAMETERS
from fastreg.norm import BatchNorm

if TYPE_CHECKING:
    from fastreg._core.types import Array

__all__ = ["Copies"]


class Copies:
    """The copies of the shards ``first`` to before ``last``."""

    def __init__(self, model: Any, first: int, last: int, gather: Any, shards: int) -> None:
        self._layers = model.layers
        self._shards = shards
        self._copies = {j: [copy.copy(layer) for layer in model.layers] for j in range(first, last)}
        self._stages: list[Any] = []  # (place of the first layer, a SyncBatchNorm or by shard)
        start = 0
        for i, layer in enumerate((*model.layers, None)):
            alone = isinstance(layer, (BatchNorm, RandomLayer))
            if not alone and layer is not None:
                continue
            self._add(start, i)
            start = i + 1
            if isinstance(layer, BatchNorm):
                self._stages.append((i, 1, SyncBatchNorm(layer, gather, shards)))
            elif layer is not None:
                self._add(i, start)

    def _add(self, start, stop):
        """Add what runs shard by shard: some layers, as far as they can as blocks."""
        by_shard = {j: blocks(layers[start:stop]) for j, layers in self._copies.items()}
        lengths = [len(s.layers) if isinstance(s, Block) else 1
                   for s in blocks(self._layers[start:stop])]  # fmt: skip
        for k, length in enumerate(lengths):
            self._stages.append((start, length, {j: each[k] for j, each in by_shard.items()}))
            start += length

    def _renew(self, rows):
        """Let the copies be as the layers are now, in a batch in which each begins at its row."""
        for i, layer in enumerate(self._layers):
            own = layer.__getstate__() if hasattr(layer, "_lock") else vars(layer)
            for j, layers in self._copies.items():
                vars(layers[i]).update(own)
                if isinstance(layer, RandomLayer):
                    layers[i]._row = rows.get(j, 0)

    def forward(self, parts: dict[int, Array], rows: dict[int, int]) -> dict[int, Array]:
        """Return the outputs of some shards, which begin at these rows of their batch."""
        for layer in self._layers:
            if isinstance(layer, RandomLayer) and layer.training and layer._key is None:
                layer._next_noise(None)  # draws the key, which all copies are to have
        self._renew(rows)
        for _, _, stage in self._stages:
            if isinstance(stage, SyncBatchNorm):
                parts = stage.forward(parts)
            else:
                parts = {j: stage[j].forward(X) for j, X in parts.items()}
        for layer in self._layers:
            if isinstance(layer, RandomLayer) and layer.training:
                layer._calls = layer._calls + 1
        return parts

    def backward(self, slopes: dict[int, Array], subtrees: Any, give: Any, known: Any) -> None:
        """Go back; ``give(name, sums)`` each gradient by subtree, ``known(name, sum)`` if all is.

        A layer's gradients are given before the layer before it goes back.
        """
        for number, (start, length, stage) in reversed([*enumerate(self._stages)]):
            if isinstance(stage, SyncBatchNorm):
                slopes, dgamma, dbeta = stage.backward(slopes)
                layer = stage.layer
                for name, slope in (("gamma", dgamma), ("beta", dbeta)):
                    array = getattr(layer, name)
                    if array is not None:
                        known(f"{start}.{name}", slope.reshape(array.shape).astype(array.dtype))
                continue
            before = {}
            for j, slope in slopes.items():
                if number == 0 and isinstance(stage[j], (Block, Dense)):
                    before[j] = stage[j].backward(slope, input_gradient=False)
                else:
                    before[j] = stage[j].backward(slope)
            slopes = before
            for i in range(start, start + length):
                for name in PARAMETERS:
                    if getattr(self._layers[i], name, None) is None:
                        continue
                    parts = {(j, j + 1): getattr(self._copies[j][i], f"d{name}") for j in slopes}
                    sums = {}
                    for low, high in subtrees:
                        total = tree_sum(low, high, parts, plus)
                        if total is not None:
                            sums[low, high] = total
                    give(f"{i}.{name}", sums)
