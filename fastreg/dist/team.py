"""A team of ranks that trains one network: what `fastreg.train.Trainer` asks, answered together."""

from __future__ import annotations

import contextlib
import math
import signal
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from fastreg import checkpoint
from fastreg._core.functions import magnitudes, squares
from fastreg._train.alone import Alone
from fastreg._train.loop import marks, rewind
from fastreg._train.mean import weight_of
from fastreg._train.predict import loss_of
from fastreg._train.resume import settings_of
from fastreg.dist.batchnorm import flat
from fastreg.dist.copies import Copies
from fastreg.dist.exchange import Exchange
from fastreg.dist.pieces import PIECE
from fastreg.dist.tree import cuts
from fastreg.nn.targets import NoWeightError, rows_right
from fastreg.optim import LAMB, LARS, Optimizer
from fastreg.optim.coded import BLOCK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastreg._core.types import Array, PathLike

__all__ = ["Team", "slots_of"]

OF_A_RANK = ("names", "steps", "memory", "state_key")  # of an optimizer's state, or made so


def slots_of(optimizer: Optimizer) -> list[tuple[str, int]]:
    """Return the slots of an optimizer's state, and for how many elements each has a number.

    Examples
    --------
    >>> slots_of(fastreg.Momentum(state_dtype="int8", rng=0))
    [('v', 1), ('v_scale', 256)]
    """
    found = []
    for slot in optimizer._slot_names(masters=True):
        found.append((slot, 1))
        if slot in optimizer.scales:
            found.append((f"{slot}_scale", BLOCK))
    return found


class Team(Alone):
    """The ranks of a communicator.

    Every number that a run decides by is the same on all ranks: sums over shards are taken over a
    fixed tree, and all ranks are given them.
    """

    comm: Any
    shards: int
    first: bool
    signals: tuple[Any, ...]
    cut: dict[str, Any]

    def __init__(self, comm: Any, shards: int) -> None:
        self.comm, self.shards = comm, shards
        self.first = comm.rank == 0
        self.signals = (signal.SIGINT,)
        if comm.size > 1:  # which is what mpiexec makes of Ctrl-C
            self.signals = (signal.SIGINT, signal.SIGTERM)
        self.cut = {"shards": shards}
        self.exchange: Any = None
        self._total = 0.0
        self._whole = True
        self._shared: Any = None

    def _gather(self, own):
        return flat(self.comm.allgather(own))

    def _common(self, error):
        """Remember an error that all ranks have: they may handle it, and go on together."""
        self._shared = error
        return error

    def _is_common(self, error):
        """Whether all ranks end in the same way."""
        together = error is None or isinstance(error, FloatingPointError) or error is self._shared
        return together or self.comm.size == 1

    @contextlib.contextmanager
    def checking(self) -> Iterator[None]:
        """Let none begin if one refuses its arguments: the others raise what that rank does."""
        error = None
        try:
            yield
        except Exception as found:
            error = found
        said = self.comm.allgather(None if error is None else f"{type(error).__name__}: {error}")
        if error is not None:
            raise self._common(error)
        for rank, one in enumerate(said):
            if one is not None:
                raise self._common(
                    ValueError(f"Trainer.fit: rank {rank} refuses its arguments: {one}")
                )

    @contextlib.contextmanager
    def working(self, run: Any) -> Iterator[None]:
        """End the job, with one message, if this rank alone cannot go on."""
        try:
            yield
        except BaseException as error:
            if not self._is_common(error):
                sys.stderr.write(
                    f"Trainer.fit: rank {self.comm.rank} of {self.comm.size} failed in step "
                    f"{run.step} and ends the job: {type(error).__name__}: {error}. The last "
                    "checkpoint is as it was written\n"
                )
                sys.stderr.flush()
                self.comm.Abort(1)
            raise

    def begin(self, run: Any) -> None:
        """Give all ranks the first one's state, and each its part of the optimizer's."""
        model, comm, optimizer = run.model, self.comm, run.optimizer
        if self._whole:
            with self.checking():
                optimizer._updater.check(model.params)
        for layer in model.layers:
            if hasattr(layer, "_next_noise") and layer._key is None:
                layer._next_noise(None)
        self._compare(run)
        if comm.size > 1:
            ours = comm.bcast((model.state_dict(), run.rng.bit_generator.state), 0)
            model.load_state_dict(ours[0])
            run.rng.bit_generator.state = run._rng_state = ours[1]
        whole = isinstance(optimizer, (LAMB, LARS))
        self.exchange = Exchange(comm, self.shards, model.params, whole)
        low, high = self.exchange.bounds[comm.rank :][:2]
        self._copies = Copies(model, low, high, self._gather, self.shards)
        self._mine = range(low, high)
        self._cut_whole = whole
        self._parts: dict[str, Array] = {}
        if self._whole:
            key = {"state_key": optimizer._updater.key} if optimizer._updater.draws else {}
            self._share_out(optimizer, comm.bcast(key, 0))  # without a seed each drew its own
        self._whole = False

    def _compare(self, run):
        """Refuse ranks whose data, settings or optimizer are not those of the first."""
        numbers = {
            key: value
            for key, value in run.optimizer.state_dict().items()
            if not isinstance(value, np.ndarray) and key not in OF_A_RANK
        }
        own = {"data": run._cut, "settings": settings_of(run), "optimizer": numbers}
        said = self.comm.allgather(
            {key: {name: repr(value) for name, value in one.items()} for key, one in own.items()}
        )
        for rank, one in enumerate(said):
            for key, theirs in one.items():
                first = said[0][key]
                for name in {**first, **theirs}:
                    if first.get(name) != theirs.get(name):
                        raise self._common(
                            ValueError(
                                f"Trainer.fit: all ranks must be given the same {key}, got on rank "
                                f"{rank} other than on rank 0: {name} {theirs.get(name)} against "
                                f"{first.get(name)}"
                            )
                        )

    def _share_out(self, optimizer, key):
        state = optimizer.state_dict() | key
        names = state["names"]
        kept = [name for name in names if self.exchange.owned(name) is not None]
        part = {"names": kept}
        for key in ("steps", "memory"):
            part[key] = [x for x, name in zip(state[key], names, strict=True) if name in kept]
        for slot, unit in slots_of(optimizer):
            for name in names:
                array = state.pop(f"{name}.{slot}", None)
                if array is not None and name in kept:
                    owned = self.exchange.owned(name, unit)
                    part[f"{name}.{slot}"] = self.part(name, array) if unit == 1 else array[owned]
        optimizer._updater.places = self.exchange.places()
        optimizer._ranks = self.comm.size
        optimizer.load_state_dict(state | part)

    def end(self, run: Any, error: BaseException | None = None) -> None:
        """Give every rank the whole of the optimizer's state, unless this one ends the job."""
        if not self._whole and self._is_common(error):
            optimizer = run.optimizer
            state = self.state_of(optimizer)
            self._whole, optimizer._updater.places, optimizer._ranks = True, None, 0
            optimizer.load_state_dict(state)

    @contextlib.contextmanager
    def whole(self, run: Any) -> Iterator[None]:
        """Share the optimizer's state out again afterwards, if it is."""
        shared = not self._whole
        self.end(run)
        try:
            yield
        finally:
            if shared:
                self._share_out(run.optimizer, {})
                self._whole = False

    def own(self, n: int) -> tuple[int, int]:
        """Return from which row to before which the shards of this rank are, in a batch of n."""
        low, high = cuts(self.shards, self.comm.size)[self.comm.rank :][:2]
        bounds = cuts(n, self.shards)
        return bounds[low], bounds[high]

    def weight(self, run: Any, y: Any, options: Any) -> float:
        """Return what the last batch weighs, of which this rank may not have all."""
        return self._total

    def backward(self, run: Any, X: Any, y: Any, options: Any, before: Any) -> Any:
        """Go forward and back with this rank's shards; return what is known of all of them."""
        n = len(X)
        if not n:
            return None
        here = before if run._mean is None else marks(run.model)
        bounds = cuts(n, self.shards)
        mine = {j: slice(bounds[j], bounds[j + 1]) for j in self._mine if bounds[j] < bounds[j + 1]}
        rows = {j: bounds[j] for j in mine}
        outputs = self._copies.forward({j: X[rows] for j, rows in mine.items()}, rows)
        slopes, own = {}, {}
        for j, part in mine.items():
            theirs = {name: value[part] for name, value in options.items()}
            own[j], slopes[j] = self._judge(run, outputs[j], y[part], theirs)
        found = [*self._gather(own).values()]
        total = self._total = sum(one[0] for one in found)
        if not total:
            rewind(here)
            return None
        value = sum(one[1] * (one[0] / total) for one in found)
        if not math.isfinite(value):
            rewind(before)
            run._give_up(f"the loss of step {run.step} is {value}")
        if "seen" in run._so_far:
            seen = list(zip(*(one[5] for one in found), strict=True))
            run._so_far["seen"].append(
                [None if part[0] is None else np.concatenate(part) for part in seen]
            )
        if run.schedule is not None:
            run.optimizer.lr = run._rate()
        for j, slope in slopes.items():
            slopes[j] = slope * slope.dtype.type(own[j][0] / total)
        self._reduce(slopes, bounds)
        right = None if any(one[3] is None for one in found) else sum(one[3] for one in found)
        return value, sum(one[2] for one in found), right, n

    def _judge(self, run, outputs, y, options):
        """Weight, loss, rows right and outputs of a shard, and the loss's gradient."""
        weight = weight_of(run.loss, y, options)
        try:
            value, slope = loss_of("Trainer.fit", run.loss, outputs, y, options)
        except NoWeightError:
            weight, value, slope = 0.0, 0.0, np.zeros_like(outputs)
        weights = options.get("sample_weight")
        seen = None
        if "seen" in run._so_far:
            seen = np.array(outputs), np.array(y), None if weights is None else np.array(weights)
        own = len(y) if weights is None else magnitudes(weights)
        return (weight, value, own, rows_right(outputs, y, run._link), len(y), seen), slope

    def _reduce(self, slopes, bounds):
        exchange, known = self.exchange, {}
        subtrees = exchange._nodes[self.comm.rank]

        def present(node):
            return bounds[node[0]] < bounds[node[1]]

        def give(name, sums):
            exchange.give(name, sums, present)

        def keep(name, slope):
            part = self.part(name, slope)
            if part is not None:
                known[name] = part

        self._copies.backward(slopes, subtrees, give, keep)
        sums = exchange.summed() | known
        shaped = {}
        for name in exchange.layouts:
            if name in sums:
                shaped[name] = self._shaped(name, sums[name])
        self._parts = shaped

    def _shaped(self, name, row):
        return self.exchange.layouts[name].tensor(row) if self._cut_whole else row

    def gradients(self, run: Any) -> Any:
        """Return this rank's part of the parameters, and its gradients."""
        params = run.model.params
        return {name: self.part(name, params[name]) for name in self._parts}, self._parts

    def part(self, name: str, array: Array) -> Any:
        """Return this rank's part of an array of a parameter's shape, or None."""
        owned = self.exchange.owned(name)
        if owned is None:
            return None
        return self._shaped(name, self.exchange.layouts[name].row(array)[owned])

    def update(self, run: Any, params: Any, grads: Any) -> None:
        """Update this rank's part, then give it to all."""
        optimizer = run.optimizer
        updater: Any = optimizer._updater
        self._parts = grads
        if updater.clip_norm or updater.on_nonfinite != "propagate":
            updater.measured = self._norm()
        try:
            optimizer.update(params, grads)
        finally:
            updater.measured = None
        self.exchange.spread(run.model.params)

    def gradient_norm(self, run: Any) -> float:
        """Return the norm of all gradients of the last step."""
        return self._norm()[0] if self._parts or self.comm.size > 1 else math.nan

    def _norm(self, unit=1.0):
        """The norm of all gradients, summed in the order of their pieces; and if it is finite."""
        own = {}
        for name, grad in self._parts.items():
            layout, owned = self.exchange.layouts[name], self.exchange.owned(name)
            row = layout.row(grad) if self._cut_whole else grad
            for start in range(0, len(row), PIECE):
                piece = row[start : start + PIECE]
                piece = piece if unit == 1.0 else piece / np.float64(unit)
                place = list(self.exchange.layouts).index(name), owned.start + start
                own[place] = squares([piece]), float(np.abs(piece).max(initial=0.0))
        found = self._gather(own).values()
        total = 0.0
        for one, _ in found:
            total += one
        if 1e-280 < total < math.inf or unit != 1.0:
            return unit * math.sqrt(total), True
        peak = float(np.max([peak for _, peak in found], initial=0.0))
        if not 0.0 < peak < math.inf:
            return peak, math.isfinite(peak)
        return self._norm(peak)

    def stops(self, run: Any) -> bool:
        """Whether any rank is to stop: then all of them do, after the same step."""
        for stop, reason in self.comm.allgather((run.stop_training, run.stop_reason)):
            if stop:
                run.stop_training, run.stop_reason = True, reason
                return True
        return False

    def state_of(self, part: Any) -> Any:
        """Return the whole state of a part: of the optimizer, what all ranks have."""
        state = part.state_dict()
        if self._whole or not isinstance(part, Optimizer):
            return state
        kinds = {key: one.dtype for key, one in state.items() if isinstance(one, np.ndarray)}
        born = dict(zip(state["names"], zip(state["steps"], state["memory"], strict=True),
                        strict=True))  # fmt: skip
        all_born: dict[Any, Any] = {}
        all_kinds: dict[str, Any] = {}
        for one, theirs in self.comm.allgather((born, kinds)):
            all_born |= one
            all_kinds |= theirs
        names = [name for name in self.exchange.layouts if name in all_born]
        whole = {key: value for key, value in state.items() if key not in kinds}
        whole["names"] = names
        whole["steps"] = [all_born[name][0] for name in names]
        whole["memory"] = [all_born[name][1] for name in names]
        for slot, unit in slots_of(part):
            for name in names:
                key = f"{name}.{slot}"
                if key in all_kinds:
                    own = state.get(key)
                    if own is not None and self._cut_whole and unit == 1:
                        own = self.exchange.layouts[name].row(own)
                    whole[key] = self.exchange.collect(name, own, all_kinds[key], unit)
        return whole

    def save(self, path: PathLike, state: Any) -> None:
        """Write a file once; an error of the first rank is one of all."""
        error = None
        if self.first:
            try:
                checkpoint.save(path, state)
            except Exception as found:
                error = found
        said = self.comm.bcast(None if error is None else f"{type(error).__name__}: {error}", 0)
        if said is not None:
            raise self._common(error or OSError(f"Trainer.save: rank 0 could not write: {said}"))

    def hears(self, callback: Any) -> bool:
        """Whether a callback is called on this rank: what only writes or prints, on the first."""
        return self.first or not getattr(callback, "first_rank_only", False)
