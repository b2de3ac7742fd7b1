"""Noticing that a loss no longer improves, and `ReduceOnPlateau`, which then lowers a value.

A loss improves when it is finite and better than the best so far by more than ``min_delta``
(times ``|best|`` with ``min_delta_mode="rel"``); NaN and infinity never improve. Epochs without
improvement are counted, and the count is compared with ``patience``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fastreg._core.checks import Checked, choice, integer, is_number, number, shown

if TYPE_CHECKING:
    from fastreg._core.types import Saved

__all__ = ["Plateau", "ReduceOnPlateau"]


def whole(counting: Any, method: Any, *arguments: Any) -> Any:
    """Return what a method returns; if it fails, the object is as before.

    The method replaces what an attribute holds and changes nothing in place.
    """
    own = vars(counting)
    before = own.copy()
    try:
        return method(*arguments)
    except BaseException:
        own.update(before)
        raise


class Plateau:
    """The best loss so far and the number of epochs since."""

    patience: Checked = Checked(integer, low=0)
    min_delta: Checked = Checked(number, low=0.0)
    mode: Checked = Checked(choice, choices=("min", "max"))
    min_delta_mode: Checked = Checked(choice, choices=("abs", "rel"))
    cooldown: Checked = Checked(integer, low=0)
    counter: Checked = Checked(integer, low=0)
    cooldown_left: Checked = Checked(integer, low=0)
    best_loss: Any

    def __init__(
        self, *, patience: int, min_delta: float, mode: str, min_delta_mode: str, cooldown: int
    ) -> None:
        self.patience, self.min_delta = patience, min_delta
        self.mode, self.min_delta_mode = mode, min_delta_mode
        self.cooldown = cooldown

    def reset(self) -> None:
        """Forget all epochs, for another run; the settings stay."""
        whole(self, self._forget)

    def _forget(self) -> None:
        self.best_loss = math.inf if self.mode == "min" else -math.inf
        self.counter = 0
        self.cooldown_left = 0

    def _improves(self, loss, reference):
        if not math.isfinite(loss) or math.isinf(reference):
            return math.isfinite(loss)
        margin = self.min_delta * (abs(reference) if self.min_delta_mode == "rel" else 1.0)
        return self._better(loss, reference - margin if self.mode == "min" else reference + margin)

    def _better(self, loss, other):
        return loss < other if self.mode == "min" else loss > other

    def _count(self, improved):
        """Count an epoch; return whether patience has run out, never after an improvement."""
        paused = self.cooldown_left > 0
        self.cooldown_left -= paused
        if improved:
            self.counter = 0
        elif not paused:
            self.counter += 1
            return self.counter >= self.patience
        return False

    def cool_down(self) -> None:
        """Leave the next ``cooldown`` epochs out of the count, whatever their losses are.

        Call it when the training loop has just changed its learning rate, data or frozen layers.
        """
        self.cooldown_left = self.cooldown

    def _base_state(self):
        return {
            "best_loss": to_json(self.best_loss),
            "counter": self.counter,
            "cooldown_left": self.cooldown_left,
        }

    def _checked_state(self, state, names):
        where = f"{type(self).__name__}.load_state_dict"
        names = {"best_loss", "counter", "cooldown_left", *names}
        if not isinstance(state, Mapping):
            raise TypeError(f"{where}: state must be a dict, got {type(state).__name__}")
        if state.keys() != names:
            got = sorted(map(str, state))
            raise ValueError(f"{where}: state must have {sorted(names)}, got {got}")
        best = loss_value(where, "best_loss", from_json(state["best_loss"]))
        if math.isnan(best):
            raise ValueError(f"{where}: best_loss must not be NaN, which no loss improves on")
        return where, {
            "best_loss": best,
            "counter": integer(where, "counter", state["counter"], low=0),
            "cooldown_left": integer(where, "cooldown_left", state["cooldown_left"], low=0),
        }


class ReduceOnPlateau(Plateau):
    """Multiply a value by ``factor`` whenever the loss has not improved for ``patience`` epochs.

    Call `update` with each epoch's loss. The object itself is a function of the step that returns
    the current value, so it can be used as a schedule; unlike other schedules it has a state.

    Parameters
    ----------
    initial_value : float
        The value to begin with, at least 0.
    factor : float
        What a reduction multiplies by, in (0, 1).
    patience, min_delta, min_delta_mode, mode
        As in `EarlyStopping`, with a relative ``min_delta`` by default.
    cooldown : int
        Epochs after a reduction that are not counted, whatever their losses are.
    min_value : float
        The value never falls below this.

    Examples
    --------
    >>> rate = ReduceOnPlateau(0.1, factor=0.5, patience=2)
    >>> [rate.update(loss) for loss in [1.0, 1.0, 1.0, 0.5]]
    [0.1, 0.1, 0.05, 0.05]
    """

    value: Checked = Checked(number, low=0.0)
    min_value: Checked = Checked(number, low=0.0)
    factor: Checked = Checked(number, low=0.0, high=1.0, open_low=True, open_high=True)
    initial_value: Checked = Checked(number, low=0.0)

    def __init__(
        self,
        initial_value: float,
        *,
        factor: float = 0.1,
        patience: int = 10,
        min_delta: float = 0.0001,
        min_delta_mode: str = "rel",
        mode: str = "min",
        cooldown: int = 0,
        min_value: float = 0.0,
    ) -> None:
        super().__init__(
            patience=patience,
            min_delta=min_delta,
            mode=mode,
            min_delta_mode=min_delta_mode,
            cooldown=cooldown,
        )
        self.factor, self.initial_value = factor, initial_value
        high = self.initial_value
        self.min_value = number("ReduceOnPlateau", "min_value", min_value, low=0.0, high=high)
        self.reset()

    def reset(self) -> None:
        """Forget all epochs and return to ``initial_value``, for another run."""
        whole(self, self._forget)

    def _forget(self) -> None:
        super()._forget()
        self.value = self.initial_value

    def __call__(self, step: int) -> float:
        """Return the current value, whatever the step."""
        return self.value

    def update(self, val_loss: float) -> float:
        """Record an epoch's loss and return the value for the next epoch."""
        loss = loss_value("ReduceOnPlateau.update", "val_loss", val_loss)
        return whole(self, self._record, loss)

    def _record(self, loss: Any) -> Any:
        improved = self._improves(loss, self.best_loss)
        if improved:
            self.best_loss = loss
        if self._count(improved):
            self.value = max(self.value * self.factor, self.min_value)
            self.counter = 0
            self.cool_down()
        return self.value

    def state_dict(self) -> dict[str, Any]:
        """Return the state as JSON-able values."""
        return {**self._base_state(), "value": self.value}

    def load_state_dict(self, state: Saved) -> None:
        """Continue from ``state``; nothing changes unless all of it is valid.

        Settings are not part of the state: they stay as the constructor was given them.
        """
        where, checked = self._checked_state(state, ("value",))
        checked["value"] = number(where, "value", state["value"], low=0.0)
        vars(self).update(checked)


def loss_value(where: str, name: str, value: Any) -> float:
    """Return ``value`` as a float; unlike a hyper-parameter, a loss may be NaN or infinite."""
    try:
        if is_number(value):
            return float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        pass
    raise TypeError(f"{where}: {name} must be a number within float64, got {shown(value)}")


def to_json(value: Any) -> float | str:
    """Return ``value``, or its name if JSON has no such number."""
    return value if math.isfinite(value) else str(value)


def from_json(value: Any) -> Any:
    """Undo `to_json`."""
    return float(value) if isinstance(value, str) and value in ("nan", "inf", "-inf") else value
