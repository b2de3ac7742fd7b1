"""The common base of all layers: a training and an inference mode, a lock, pickling."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastreg._core._kernels import Whole
from fastreg._core.checks import Checked, flag
from fastreg._core.spelling import spelled

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastreg._core.types import Array

__all__ = ["Layer"]

GRADIENTS = ("dW", "db", "dgamma", "dbeta")


class Layer:
    """A mode, a lock so that threads may share one object, and pickling without the last batch.

    A call computes everything first and then assigns all its results in one statement, so that a
    call that fails leaves the layer as it was.
    """

    forward: Callable[..., Array]  # each layer has its own
    backward: Callable[..., Any]

    training: Checked = Checked(flag)

    _batch: tuple[str, ...] = ("_last",)  # the attributes that hold the last batch

    def __init__(self) -> None:
        self.training = True
        self._lock = Whole(type(self).__name__)
        self._last: Any = None  # what the last forward call left for backward

    def train(self) -> None:
        """Enter training mode."""
        vars(self)["training"] = True

    def eval(self) -> None:
        """Enter inference mode."""
        vars(self)["training"] = False

    def __repr__(self) -> str:
        return spelled(self)

    def __getstate__(self) -> dict[str, Any]:
        """Weights and state; neither the last batch nor its gradients."""
        state = self.__dict__.copy()
        del state["_lock"]
        return state | dict.fromkeys((*self._batch, *(n for n in GRADIENTS if n in state)))

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = Whole(type(self).__name__)

    def _forwarded(self, last):
        """What the last forward call left for backward."""
        if last is None:
            where = type(self).__name__
            raise RuntimeError(f"{where}.backward: forward must be called first")
        return last
