"""What a run does by itself that the ranks of a team do together; see `fastreg.dist.team.Team`."""

from __future__ import annotations

import contextlib
import signal
from typing import TYPE_CHECKING, Any

from fastreg import checkpoint
from fastreg._train.history import of_gradients
from fastreg._train.mean import weight_of

if TYPE_CHECKING:
    from fastreg._core.types import Array, PathLike

__all__ = ["Alone"]


class Alone:
    """One process that trains by itself: every question has the answer of its own run.

    Attributes
    ----------
    first : bool
        Whether this process writes files and shows progress.
    signals : tuple
        What ends a run between two steps.
    cut : dict
        What of it a run that goes on must have in common.
    own : callable or None
        Which rows of a batch it computes; see `fastreg._train.feed.Feed`.

    Examples
    --------
    >>> Alone().first
    True
    """

    first: bool = True
    signals: tuple[Any, ...] = (signal.SIGINT,)
    cut: dict[str, Any] = {}
    own: Any = None

    def checking(self) -> Any:
        """Return a context for the checks of a fit's arguments."""
        return contextlib.nullcontext()

    def working(self, run: Any) -> Any:
        """Return a context for a run: an exception inside ends all ranks."""
        return contextlib.nullcontext()

    def begin(self, run: Any) -> None:
        """Be told that the steps of a fit begin."""

    def end(self, run: Any, error: BaseException | None = None) -> None:
        """Be told that they have ended, or that something needs all of the optimizer's state."""

    def whole(self, run: Any) -> Any:
        """Return a context in which the optimizer has all of its state."""
        return contextlib.nullcontext()

    def backward(self, run: Any, X: Any, y: Any, options: Any, before: Any) -> Any:
        """Fill the gradients of a batch; return what `Steps._backward` does."""
        return run._backward(X, y, options, before)

    def weight(self, run: Any, y: Any, options: Any) -> float:
        """Return what the last batch weighs in a mean over several."""
        return weight_of(run.loss, y, options)

    def gradients(self, run: Any) -> Any:
        """Return the parameters that this process updates, and their gradients."""
        return run.model.params, run.model.grads

    def part(self, name: str, array: Array) -> Any:
        """Return of an array that belongs to a parameter what this process updates, or None."""
        return array

    def update(self, run: Any, params: Any, grads: Any) -> None:
        """Let the optimizer take its step."""
        run.optimizer.update(params, grads)

    def gradient_norm(self, run: Any) -> float:
        """Return the norm of all gradients of the last step."""
        return of_gradients(run.model)

    def stops(self, run: Any) -> bool:
        """Whether the run ends here."""
        return run.stop_training

    def state_of(self, part: Any) -> Any:
        """Return the whole state of a part."""
        return part.state_dict()

    def save(self, path: PathLike, state: Any) -> None:
        """Write a file."""
        checkpoint.save(path, state)

    def hears(self, callback: Any) -> bool:
        """Whether a callback is called in this process."""
        return True
