"""Equal averages of weights over the end of a run, and the statistics of the network they make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastreg._core import checks
from fastreg._core.checks import integer
from fastreg._train.loop import marks, rewind
from fastreg._train.predict import check_model, check_table
from fastreg.callbacks import Callback
from fastreg.nn.sequential import differ

if TYPE_CHECKING:
    from fastreg._core.types import Data, Saved

__all__ = ["SWA", "update_statistics"]


def _optional_rate(where, name, value):
    return None if value is None else checks.number(where, name, value, low=0.0)


class SWA(Callback):
    r"""Stochastic weight averaging: the equal average of the weights after the last epochs.

    .. math:: \bar\theta \leftarrow \bar\theta + \frac{\theta - \bar\theta}{n + 1}

    after every epoch from ``start`` on, in float64. `apply` puts the average into the network and
    gives its batch norms their statistics under it.

    Parameters
    ----------
    start : int
        Epochs before the first that is averaged, at least 0.
    every : int, keyword-only
        Epochs from one average to the next.
    learning_rate : float, optional, keyword-only
        A constant rate for the epochs that are averaged; the Trainer may then have no schedule.

    Attributes
    ----------
    count : int
        Epochs in the average so far.
    mean : dict of ndarray
        The average by parameter name, in float64.

    References
    ----------
    Izmailov et al., "Averaging weights leads to wider optima and better generalization", UAI 2018;
    ``torch.optim.swa_utils`` does the same.

    Examples
    --------
    >>> from fastreg.nn import mlp, mse
    >>> from fastreg.train import Trainer
    >>> X, swa = np.eye(4, dtype=np.float32), SWA(start=5)
    >>> run = Trainer(mlp([4, 1], rng=0), mse, fastreg.SGD(0.1), rng=0, callbacks=[swa])
    >>> _ = run.fit(X, X[:, :1], epochs=10)
    >>> swa.count
    5
    >>> swa.apply(X)
    """

    start: checks.Checked = checks.Checked(integer, low=0)
    every: checks.Checked = checks.Checked(integer, low=1)
    learning_rate: checks.Checked = checks.Checked(_optional_rate)
    count: int
    mean: dict[str, Any]

    def __init__(self, start: int, *, every: int = 1, learning_rate: float | None = None) -> None:
        self.start, self.every, self.learning_rate = start, every, learning_rate
        self.count, self.mean = 0, {}

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Begin a new average with a new run."""
        if self.learning_rate is not None and self.trainer.schedule is not None:
            raise ValueError(
                "SWA: learning_rate must be None where the Trainer has a schedule, got "
                f"{self.learning_rate}; let the schedule end in a constant rate"
            )
        if self.trainer.epoch == 0 and self.trainer.step == 0:
            self.count, self.mean = 0, {}

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Set the constant rate if it is time."""
        if self.learning_rate is not None and epoch >= self.start:
            self.trainer.optimizer.lr = self.learning_rate

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Take the weights into the average if it is time."""
        if epoch < self.start or (epoch - self.start) % self.every:
            return
        n, mean = self.count, {}
        for name, array in self.trainer.model.params.items():
            before = self.mean.get(name, 0.0)
            mean[name] = before + (array.astype(np.float64) - before) / (n + 1)
        self.count, self.mean = n + 1, mean

    def apply(self, X: Data, *, batch_size: int = 64) -> None:
        """Put the average in the place of the network's weights, and renew its statistics.

        Parameters
        ----------
        X : ndarray of shape (N, n_features)
            The training data, for `update_statistics`.
        batch_size : int, keyword-only
            Rows of a batch there.

        Raises
        ------
        RuntimeError
            If nothing has been averaged yet.
        """
        if not self.count:
            raise RuntimeError("SWA.apply: nothing has been averaged, run fit for more epochs")
        model = self.trainer.model
        params = {name: array.astype(np.float64) for name, array in model.params.items()}
        wrong = differ(params, self.mean)
        if wrong:
            raise ValueError(f"SWA.apply: the average must fit the network; {'; '.join(wrong)}")
        before = [array.copy() for array in model.params.values()]
        for name, array in model.params.items():
            array[...] = self.mean[name]
        try:
            _renew("SWA.apply", model, X, batch_size)
        except BaseException:
            for array, kept in zip(model.params.values(), before, strict=True):
                array[...] = kept
            raise

    def state_dict(self) -> dict[str, Any]:
        """Return the average and its count."""
        return {"count": self.count, **{name: array.copy() for name, array in self.mean.items()}}

    def load_state_dict(self, state: Saved) -> None:
        """Take over an average and its count; nothing changes unless all of it is valid."""
        where = "SWA.load_state_dict"
        if not isinstance(state, dict):
            raise TypeError(f"{where}: state must be a dict, got {checks.shown(state)}")
        if "count" not in state:
            raise ValueError(f"{where}: state must have a 'count', got {checks.shown(state)}")
        count = integer(where, "state['count']", state["count"], low=0)
        mean = {name: array for name, array in state.items() if name != "count"}
        for name, array in mean.items():
            if not isinstance(array, np.ndarray) or array.dtype != np.float64:
                raise TypeError(
                    f"{where}: state[{name!r}] must be a float64 array, got {checks.shown(array)}"
                )
        if bool(count) != bool(mean):
            raise ValueError(
                f"{where}: state must have averages where its count is not 0, got {count} epochs "
                f"and {len(mean)} arrays"
            )
        self.count, self.mean = count, {name: array.copy() for name, array in mean.items()}


def update_statistics(model: Any, X: Data, *, batch_size: int = 64) -> None:
    """Give every batch norm of a network the statistics of its inputs under the weights it has.

    For weights that no step has led to: averages, or those of a file. The statistics are the equal
    average over the batches, taken in training mode; the network is left in evaluation mode.

    Parameters
    ----------
    model : Sequential
        Its weights stay.
    X : ndarray of shape (N, n_features)
        The training data, in the order in which they are to be taken.
    batch_size : int, keyword-only
        Rows of a batch; the last may be smaller.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind; the layers say what they do not take.

    Examples
    --------
    >>> from fastreg.nn import mlp
    >>> model = mlp([2, 3, 1], batch_norm=True, rng=0)
    >>> update_statistics(model, np.ones((8, 2), np.float32), batch_size=4)
    >>> model.layers[1].batches
    2
    """
    _renew("update_statistics", model, X, batch_size)


def _renew(where, model, X, batch_size):
    """Renew the statistics of batch norms; an error leaves everything as it was."""
    size = integer(where, "batch_size", batch_size, low=1)
    check_model(where, model)
    X, _ = check_table(where, "X", X, None, None, model, None)
    if X.ndim != 2 and getattr(model, "n_in", None) is not None:
        raise ValueError(f"{where}: X must be of shape (N, {model.n_in}), got {X.shape}")
    norms = [layer for layer in getattr(model, "layers", ()) if hasattr(layer, "batches")]
    momenta, before, mode = [norm.momentum for norm in norms], marks(model), model.training
    try:
        for norm in norms:
            norm.momentum, norm.batches = None, 0
        model.train()
        for begin in range(0, len(X), size):
            model.forward(X[begin : begin + size])
        mode = False
    except BaseException:
        rewind(before)
        raise
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        model.train() if mode else model.eval()
