"""Early stopping: end training when the validation loss no longer improves, keep the best weights.

`fastreg.plateau` says what counts as an improvement.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, ValuesView
from numbers import Number
from types import NoneType
from typing import TYPE_CHECKING, Any, NamedTuple

from fastreg._core.checks import (
    Checked,
    choice,
    flag,
    integer,
    items,
    optional_number,
    sequence,
    shown,
)
from fastreg.plateau import Plateau, from_json, loss_value, to_json, whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fastreg._core.types import Saved

__all__ = ["EarlyStopping", "Replay"]

_REASONS = ("patience", "stopping_threshold", "divergence_threshold", "check_finite")


class Replay(NamedTuple):
    """Where one setting of `EarlyStopping` would have ended a recorded run.

    ``stop_epoch`` and ``stop_reason`` are None if the run would have gone on to its end.
    """

    patience: int
    stop_epoch: int | None
    epochs_run: int
    best_epoch: int | None
    best_loss: float
    stop_reason: str | None


class EarlyStopping(Plateau):
    """Stop training when the validation loss no longer improves.

    Parameters
    ----------
    patience : int
        Number of epochs in a row without improvement after which training stops. An epoch that
        improves never stops it, so 0 and 1 both stop at the first that does not.
    min_delta : float
        Improvement means ``val_loss < best_loss - min_delta``.
    restore_best : bool
        Keep a copy of the best weights for `restore`.
    mode : {"min", "max"}
        Whether a smaller or a larger value is better.
    min_delta_mode : {"abs", "rel"}
        Whether ``min_delta`` is in units of the loss or a fraction of ``|best_loss|``.
    start_from_epoch : int
        Calls at the beginning that are recorded in ``history`` and otherwise ignored.
    baseline : float, optional
        An improvement resets the counter only if it also improves on this value. Other
        improvements are counted against patience, but do not stop training.
    stopping_threshold, divergence_threshold : float, optional
        Stop at once when the loss is better than the first, or worse than the second.
    check_finite : bool
        Stop at once on NaN or infinity; otherwise such an epoch counts against patience.
    cooldown : int
        Epochs left out of the count after each improvement and each `cool_down`.
    verbose : bool, default True
        Print a line on stopping.

    Attributes
    ----------
    best_loss : float
        The best finite loss so far; infinite before the first.
    best_epoch : int or None
        The call that brought it, counted from 0.
    best_weights
        A copy of the weights that were passed with it, or None.
    counter : int
        Epochs counted against patience.
    stop_reason : str or None
        The argument that stopped the last call: "patience", "stopping_threshold",
        "divergence_threshold" or "check_finite".
    history : list of float
        Every loss so far.

    Examples
    --------
    >>> stopping = EarlyStopping(patience=2)
    >>> [stopping(loss) for loss in [0.9, 0.5, 0.6, 0.7]]
    Early stopping triggered after 2 epochs without improvement
    [False, False, False, True]
    >>> stopping.best_loss, stopping.best_epoch, stopping.stop_reason
    (0.5, 1, 'patience')
    """

    best_loss: Any

    restore_best: Checked = Checked(flag)
    start_from_epoch: Checked = Checked(integer, low=0)
    baseline: Checked = Checked(optional_number)
    stopping_threshold: Checked = Checked(optional_number)
    divergence_threshold: Checked = Checked(optional_number)
    check_finite: Checked = Checked(flag)
    verbose: Checked = Checked(flag)

    def __init__(
        self,
        patience: int = 10,
        min_delta: float = 0.0001,
        restore_best: bool = True,
        *,
        mode: str = "min",
        min_delta_mode: str = "abs",
        start_from_epoch: int = 0,
        baseline: float | None = None,
        stopping_threshold: float | None = None,
        divergence_threshold: float | None = None,
        check_finite: bool = False,
        cooldown: int = 0,
        verbose: bool = True,
    ) -> None:
        super().__init__(
            patience=patience,
            min_delta=min_delta,
            mode=mode,
            min_delta_mode=min_delta_mode,
            cooldown=cooldown,
        )
        self.restore_best, self.start_from_epoch = restore_best, start_from_epoch
        self.baseline, self.check_finite = baseline, check_finite
        self.stopping_threshold = stopping_threshold
        self.divergence_threshold = divergence_threshold
        self.verbose = verbose
        self.reset()

    def _forget(self) -> None:
        super()._forget()
        self.best_epoch: int | None = None
        self.best_weights: Any = None
        self.stop_reason: str | None = None
        self.history: list[float] = []

    def __call__(self, val_loss: float, model_weights: Any = None) -> bool:
        """Record an epoch's loss, and a copy of the weights if it is the best; return the verdict.

        ``model_weights`` is a dict, list or tuple of arrays, nested as you like, or one array; a
        dict's ``values()`` and a generator count as a list.
        """
        return whole(self, self._record, val_loss, model_weights)

    def _record(self, val_loss, model_weights):
        loss = loss_value("EarlyStopping", "val_loss", val_loss)
        watched = len(self.history) >= self.start_from_epoch
        best = watched and self._improves(loss, self.best_loss)
        if isinstance(model_weights, (Iterator, ValuesView)):
            model_weights = list(model_weights)
        # Copied first: if memory runs out here, the epoch has not been counted.
        weights = (
            _copied("EarlyStopping", "model_weights", model_weights)
            if best and self.restore_best
            else None
        )
        if best:
            self.best_loss, self.best_epoch, self.best_weights = (loss, len(self.history), weights)
        self.history = [*self.history, loss]  # a new list: what fails from here on is taken back
        self.stop_reason = self._reason(loss, watched, best)
        if self.verbose and self.stop_reason:
            print(self._sentence())
        return self.stop_reason is not None

    def _reason(self, loss, watched, best):
        if self.check_finite and not math.isfinite(loss):
            return "check_finite"
        if not watched:
            return None
        improved = best and (self.baseline is None or self._improves(loss, self.baseline))
        out_of_patience = self._count(improved) and not best
        if improved:
            self.cool_down()
        goal, limit = self.stopping_threshold, self.divergence_threshold
        if goal is not None and math.isfinite(loss) and self._better(loss, goal):
            return "stopping_threshold"
        if limit is not None and self._better(limit, loss):
            return "divergence_threshold"
        return "patience" if out_of_patience else None

    def _sentence(self):
        """The text printed on stopping; in the chapter's words where patience has run out."""
        if self.stop_reason == "patience":
            return f"Early stopping triggered after {self.patience} epochs without improvement"
        return (
            f"Early stopping triggered by {self.stop_reason} at epoch {len(self.history) - 1}; "
            f"best loss {self.best_loss:.6g} at epoch {self.best_epoch}"
        )

    def restore(self, weights: Any) -> Any:
        """Write the best weights into ``weights``, in place, and return ``weights``.

        Names, lengths, shapes and dtypes are compared first, so that either everything is written
        or nothing. Plain numbers are replaced in the dict or list that holds them.

        Raises
        ------
        RuntimeError
            If no best weights have been kept.
        TypeError, ValueError
            If ``weights`` is not built like the weights that were saved.
        """
        if isinstance(weights, (Iterator, ValuesView)):
            weights = list(weights)
        if self.best_weights is None:
            raise RuntimeError(
                "EarlyStopping.restore: no best weights have been kept; pass model_weights with "
                "each loss and leave restore_best=True"
            )
        for saved, live, holder, key in _pairs(self.best_weights, weights, "weights"):
            if _is_array(saved):
                live[...] = saved
            else:
                holder[key] = saved
        return weights

    @classmethod
    def replay(
        cls,
        val_losses: Iterable[float],
        patience: int | Sequence[int] = (5, 10, 20),
        min_delta: float = 0.0001,
        **settings: Any,
    ) -> list[Replay]:
        """Say where each patience would have stopped, from the losses of one recorded run.

        Parameters
        ----------
        val_losses : sequence of float
            One loss per epoch, recorded without stopping.
        patience : int or sequence of int
            The settings to compare.
        min_delta, **settings
            As for the class. No weights are kept.

        Returns
        -------
        list of Replay
            One for each patience, in the order given.

        Raises
        ------
        TypeError, ValueError
            If a loss is not a number, or a setting is of the wrong kind or out of range.

        Examples
        --------
        >>> losses = [0.9, 0.5, 0.6, 0.7, 0.4, 0.5]
        >>> [run.stop_epoch for run in EarlyStopping.replay(losses, patience=[2, 3])]
        [3, None]
        """
        where = "EarlyStopping.replay"
        val_losses = sequence(where, "val_losses", val_losses, "losses")
        losses = [loss_value(where, "val_losses", loss) for loss in val_losses]
        several = items(patience)
        patiences: tuple[Any, ...] = (patience,) if several is None else several
        settings = {**settings, "restore_best": False, "verbose": False}
        watches = [cls(p, min_delta, **settings) for p in patiences]
        for watch in watches:
            any(watch(loss) for loss in losses)  # stops where the run would have
        return [
            Replay(
                patience=watch.patience,
                stop_epoch=len(watch.history) - 1 if watch.stop_reason else None,
                epochs_run=len(watch.history),
                best_epoch=watch.best_epoch,
                best_loss=watch.best_loss,
                stop_reason=watch.stop_reason,
            )
            for watch in watches
        ]

    def state_dict(self) -> dict[str, Any]:
        """Return everything learnt so far: JSON-able values, and a copy of the best weights.

        A number that JSON cannot hold is given by its name ("nan", "inf", "-inf").
        """
        return {
            **self._base_state(),
            "best_epoch": self.best_epoch,
            "stop_reason": self.stop_reason,
            "history": [to_json(loss) for loss in self.history],
            "best_weights": copy.deepcopy(self.best_weights),
        }

    def load_state_dict(self, state: Saved) -> None:
        """Continue from ``state``; nothing changes unless all of it is valid.

        Settings are not part of the state: they stay as the constructor was given them.
        """
        names = ("best_epoch", "stop_reason", "history", "best_weights")
        where, checked = self._checked_state(state, names)
        if not isinstance(state["history"], (list, tuple)):
            raise TypeError(f"{where}: history must be a list, got {shown(state['history'])}")
        checked["history"] = [loss_value(where, "history", from_json(v)) for v in state["history"]]
        epoch, last = state["best_epoch"], len(checked["history"]) - 1
        if epoch is not None:
            epoch = integer(where, "best_epoch", epoch, low=0, high=last)
        checked["best_epoch"] = epoch
        reason = state["stop_reason"]
        if reason is not None:
            choice(where, "stop_reason", reason, _REASONS)
        checked["stop_reason"] = reason
        checked["best_weights"] = _copied(where, "best_weights", state["best_weights"])
        vars(self).update(checked)


def _copied(where, name, weights):
    try:
        return copy.deepcopy(weights)
    except TypeError as error:
        raise TypeError(
            f"{where}: {name} must be arrays that can be copied, got {shown(weights)}; {error}"
        ) from None


def _pairs(saved, live, where, holder=None, key=None):
    """Walk two trees of weights side by side; return (saved, live, holder, key) for each leaf.

    Raise on the first difference, naming the place.
    """
    place = f"EarlyStopping.restore: {where}"
    if isinstance(saved, Mapping):
        if not isinstance(live, Mapping):
            raise TypeError(f"{place} must be a dict, got {type(live).__name__}")
        if saved.keys() != live.keys():
            raise ValueError(f"{place} must have the names {list(saved)}, got {list(live)}")
        keys = list(saved)
    elif isinstance(saved, (list, tuple)):
        if not isinstance(live, (list, tuple)):
            raise TypeError(f"{place} must be a list, got {type(live).__name__}")
        if len(saved) != len(live):
            raise ValueError(f"{place} must have {len(saved)} entries, got {len(live)}")
        keys = range(len(saved))
    else:
        _check_leaf(saved, live, place, holder)
        return [(saved, live, holder, key)]
    inner = (_pairs(saved[k], live[k], f"{where}[{k!r}]", live, k) for k in keys)
    return [pair for pairs in inner for pair in pairs]


def _is_array(leaf):
    return hasattr(leaf, "flags") and hasattr(leaf, "__setitem__")


def _check_leaf(saved, live, place, holder):
    if not _is_array(saved):
        if not isinstance(saved, (Number, str, NoneType)):
            got = type(saved).__name__
            raise TypeError(f"{place} must be a NumPy array or a number to come back, got {got}")
        if type(live) is not type(saved):
            raise TypeError(f"{place} must be {type(saved).__name__}, got {type(live).__name__}")
        if not hasattr(holder, "__setitem__"):
            raise TypeError(f"{place} is a number in no dict or list, so it cannot be replaced")
    elif not _is_array(live) or live.dtype != saved.dtype:
        got = live.dtype if _is_array(live) else type(live).__name__
        raise TypeError(f"{place} must be an array of {saved.dtype}, got {got}")
    elif live.shape != saved.shape:
        raise ValueError(f"{place} must have shape {saved.shape}, got {live.shape}")
    elif not live.flags.writeable:
        raise ValueError(f"{place} must be writeable, got a read-only array")
