"""Feeds from what is read while it trains: rows by slices, or batches one after another."""

from __future__ import annotations

import inspect
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import numpy as np

from fastreg._core.checks import integer, shown
from fastreg._train.feed import ArrayFeed, Feed
from fastreg._train.pieces import Part, Pieces
from fastreg._train.predict import check_alike, check_table, check_weight, counted
from fastreg.data.rows import Rows, sliceable
from fastreg.nn.targets import option_of

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["RowsFeed", "StreamFeed", "feed_of", "is_source", "reader_of", "validation_of"]

BLOCK = 2**20  # bytes of X that are read together


class RowsFeed(Feed):
    """A source with a length and slices, whose blocks are read in a new order every epoch."""

    rows: Rows

    def __init__(
        self, where: str, run: Any, name: str, source: Any, size: int, accumulate: int
    ) -> None:
        self.rows = rows = source if isinstance(source, Rows) else Rows(source)
        self._n, self._size, self._accumulate = len(rows), size, accumulate
        if not self._n:
            raise ValueError(f"{where}: {name} must have at least one row, got none")
        self._pieces = Pieces(where, run, name)
        X, y, by_row = self._few = self._read(0, min(size, self._n))
        row = max(1, X.nbytes // len(X))
        self._block = min(self._n, rows.block or max(1, BLOCK // row))
        self._blocks = -(-self._n // self._block)
        self._held: Any = None
        self.steps = -(-self._n // (size * accumulate))
        self.whole = self._blocks <= rows.window
        how = [self._block, rows.window, rows.shuffle]
        self.cut = {"rows": self._n, "batch_size": size, "sample": list(X.shape[1:]),
                    "weights": by_row is not None, "source": how}  # fmt: skip

    def _read(self, start, end, rows=None):
        return self._pieces.read(self.rows[start:end], f"[{start}:{end}]", end - start, rows)

    def epoch(self, rng: Any, epoch: int, first: int) -> Iterator[Any]:
        """Draw the order of an epoch; return its groups from one step on."""
        blocks, seeds, order = np.arange(self._blocks), None, None
        if self.rows.shuffle and self.whole:
            order = rng.permutation(self._n)  # as for arrays
        elif self.rows.shuffle:
            blocks = rng.permutation(self._blocks)
            seeds = rng.integers(2**63, size=-(-self._blocks // self.rows.window))
        self.last = first >= self.steps
        skip = first * self._accumulate * self._size
        windows = self._windows(blocks, seeds, order, skip, self.own)
        return self._groups(self._batches(windows, self._n - skip), first)

    def _groups(self, batches, first):
        for step in range(first, self.steps):
            self.last = step == self.steps - 1
            yield islice(batches, self._accumulate)

    def _windows(self, blocks, seeds, order, skip, own=None):
        """Yield windows of rows and the order in which to take them, from a row on."""
        place = skip
        for i in range(0, self._blocks, self.rows.window):
            chosen = np.sort(blocks[i : i + self.rows.window]).tolist()
            count = sum(min(self._block, self._n - b * self._block) for b in chosen)
            if skip >= count:
                skip -= count
                continue
            picked = order
            if seeds is not None:
                picked = np.random.default_rng(seeds[i // self.rows.window]).permutation(count)
            elif picked is None:
                picked = np.arange(count)
            picked = picked[skip:]
            mine = None
            if own is not None:
                mine = np.zeros(count, np.bool_)
                mine[picked[self._are_own(place, place + len(picked))]] = True
            yield self._window(chosen, count, mine), picked
            place, skip = place + len(picked), 0

    def _are_own(self, start, stop):
        """Whether the rows at some places of an epoch are those that this process computes."""
        batch, place = np.divmod(np.arange(start, stop), self._size)
        whole, last = self.own(self._size), self.own(self._n % self._size)
        ends = batch == self._n // self._size
        low, high = (np.where(ends, a, b) for a, b in zip(last, whole, strict=True))
        return (low <= place) & (place < high)

    def _window(self, chosen, count, mine):
        """Read some blocks, perhaps only some of their rows; valid until the next window."""
        if self._held is None:
            room = min(self._n, self._block * self.rows.window)
            self._held = _room(self._few, room)
        start = 0
        for b in chosen:
            end = min((b + 1) * self._block, self._n)
            stop = start + end - b * self._block
            rows = None if mine is None else np.flatnonzero(mine[start:stop])
            if rows is None or len(rows):
                found = self._read(b * self._block, end, rows)
                for held, one in zip(self._held, found, strict=True):
                    if held is not None:
                        held[start:stop][slice(None) if rows is None else rows] = one
            start = stop
        return [None if held is None else held[:count] for held in self._held]

    def _batches(self, windows, left):
        """Cut windows into batches of so many rows; of each, take those that are computed here."""
        size = min(self._size, self._n)
        low, high = self._span(min(size, left))
        X = _room(self._few, high - low + 1)[0]  # spans of smaller batches may be longer by one
        room, filled = [X[: high - low], *_room(self._few, high - low)[1:]], 0
        for window, order in windows:
            for start in range(0, len(order), size):
                rest = order[start : start + size]
                while len(rest):
                    picked, rest = rest[: size - filled], rest[size - filled :]
                    end = filled + len(picked)
                    first, last = max(low, filled), min(high, end)
                    if first < last:
                        taken = picked[first - filled : last - filled]
                        for held, one in zip(room, window, strict=True):
                            if held is not None:
                                one.take(taken, 0, held[first - low : last - low], "clip")
                    filled = end
                    if filled == min(size, left):
                        yield self._batch(room, low, filled)
                        left, filled = left - filled, 0
                        low, high = self._span(min(size, left))
                        room = [X[: high - low], *_room(self._few, high - low)[1:]]

    def _span(self, n):
        return (0, n) if self.own is None else self.own(n)

    def _batch(self, room, low, n):
        if self.own is None:
            return self._pieces.counted(*room)
        return Part(room[0], low, n), Part(room[1], low, n), {}

    def pieces(self) -> Iterator[Any]:
        """Yield all rows in their order as (X, y, options), a window at a time."""
        blocks = np.arange(self._blocks)
        for window, _ in self._windows(blocks, None, None, 0):
            yield self._pieces.counted(*window)

    def some(self) -> Any:
        """Return the first rows."""
        return self._pieces.counted(*self._few)


def _room(like: Any, n: int) -> list[Any]:
    return [None if one is None else np.empty((n, *one.shape[1:]), one.dtype) for one in like]


class StreamFeed(Feed):
    """Batches one after another: an iterable, or a function that returns one."""

    def __init__(
        self, where: str, run: Any, name: str, source: Any, accumulate: int, steps: int | None
    ) -> None:
        self._where, self._name, self._source = where, name, source
        self._accumulate, self._run = accumulate, run
        self._numbered = callable(source) and _takes_a_number(source)
        self._pieces = Pieces(where, run, name)
        self._given, self._length = steps, None
        if steps is None and not callable(source):
            self._length = _length_of(source)
            steps = None if self._length is None else -(-self._length // accumulate)
        self.steps, self.whole = steps, False
        self._head: Any = None
        self._stream: Any = None  # over the epochs of a run with steps_per_epoch
        opened = self._open(0)
        self.once = opened is source
        head = next(opened, None)
        if head is None:
            raise ValueError(f"{where}: {name} must give at least one batch, got none")
        X, y, by_row = self._pieces.read(head, ", batch 0,")
        self._few = X.copy(), y.copy(), by_row
        self._ready = chain([head], opened)  # the first pass is open already
        self.cut = {"rows": 0, "batch_size": 0, "sample": list(X.shape[1:]),
                    "weights": by_row is not None, "source": steps or 0}  # fmt: skip

    def _open(self, number):
        """Return an iterator over a pass."""
        source: Any = self._source
        if callable(source):
            source = source(number) if self._numbered else source()
        try:
            return iter(source)
        except TypeError:
            raise TypeError(
                f"{self._where}: {self._name} must be or return an iterable of batches, got "
                f"{shown(source)}"
            ) from None

    def _pass(self, number, own=None):
        """Yield the checked batches of a pass; say so if there is none."""
        ready, self._ready = self._ready, None
        if number or ready is None:
            ready = self._open(number)
        count = 0
        for count, found in enumerate(ready, 1):
            place = f", batch {count - 1} of pass {number},"
            if own is None:
                yield self._pieces.read(found, place)
            else:
                yield self._pieces.part(found, place, own)
        wrong = count if self._length is None or self._given else count - self._length
        if not count or (self._length is not None and not self._given and wrong):
            wanted = "at least one batch" if self._length is None else f"{self._length} batches"
            raise ValueError(
                f"{self._where}: {self._name} must give {wanted} in pass {number}, got {count}"
            )

    def _endless(self):
        """Yield batches of one pass after another."""
        number = 0
        while True:
            yield from self._pass(number, self.own)
            number += 1
            if self.once:
                raise ValueError(
                    f"{self._where}: {self._name} is an iterator and has ended before the fit; "
                    "give a function that returns a new one, or fewer epochs"
                )

    def epoch(self, rng: Any, epoch: int, first: int) -> Iterator[Any]:
        """Return the groups of an epoch from one step on; what comes before is read and dropped."""
        skip = first * self._accumulate
        if self._given is None:
            stream = self._pass(epoch, self.own)
        elif self._stream is None:
            skip += epoch * self._given * self._accumulate
            stream = self._stream = self._endless()
        else:
            stream, skip = self._stream, 0
        self.last = self._given is not None and first >= self._given
        return self._groups(stream, first, skip)

    def _groups(self, stream, step, skip):
        for _ in islice(stream, skip):
            pass
        if self._given is not None:
            for number in range(step, self._given):
                self.last = number == self._given - 1
                yield (self._pieces.counted(*one) for one in islice(stream, self._accumulate))
            return
        self._head = next(stream, None)
        self.last = self._head is None
        while not self.last:
            yield self._ahead(stream)

    def _ahead(self, stream):
        """Yield the batches of a group; then read one more, to know whether it is the last."""
        yield self._pieces.counted(*self._head)
        for one in islice(stream, self._accumulate - 1):
            yield self._pieces.counted(*one)
        self._head = next(stream, None)
        self.last = self._head is None

    def pieces(self) -> Iterator[Any]:
        """Yield all batches of a pass as (X, y, options), or those of an epoch's steps."""
        end = None if self._given is None else self._given * self._accumulate
        return (self._pieces.counted(*one) for one in islice(self._pass(0), end))

    def some(self) -> Any:
        """Return the first batch."""
        return self._pieces.counted(*self._few)


def _length_of(source):
    """The number of batches, if it is known: loaders of what has no length may raise."""
    try:
        return len(source)
    except (TypeError, NotImplementedError):
        return None


def _takes_a_number(function):
    """Whether a function must be given an argument: the number of the epoch."""
    try:
        wanted = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # a function of another language
        return False
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return any(p.kind in positional and p.default is p.empty for p in wanted)


def feed_of(
    where: str, run: Any, data: Any, size: int, accumulate: int, steps: Any, epochs: int
) -> Feed:
    """Return what feeds a training with the batches of arrays or of a source."""
    feed = _feed_of(where, run, data, size, accumulate, steps, epochs)
    # Where rows of a source may take no part, only all of a batch's tell which are whose.
    left_out = feed.cut["weights"] or option_of(run.loss, "ignore_index") is not None
    if isinstance(feed, ArrayFeed) or not left_out:
        feed.own = run._team.own
    return feed


def _feed_of(where, run, data, size, accumulate, steps, epochs):
    X, y, sample_weight = data
    if steps is not None:
        steps = integer(where, "steps_per_epoch", steps, low=1)
    if y is not None or not is_source(X):
        if steps is not None:
            raise ValueError(
                f"{where}: steps_per_epoch must be None for arrays, got {shown(steps)}"
            )
        return ArrayFeed(where, run, X, y, sample_weight, size, accumulate)
    if sample_weight is not None:
        raise ValueError(f"{where}: sample_weight must come from the source, as (X, y, weights)")
    if not _has_rows(X):
        feed = StreamFeed(where, run, "source", X, accumulate, steps)
        if feed.once and steps is None and epochs > 1:
            raise ValueError(
                f"{where}: an iterator has the batches of one epoch, got epochs={shown(epochs)}; "
                "give a function that returns a new one, or steps_per_epoch="
            )
        return feed
    if steps is not None:
        raise ValueError(f"{where}: steps_per_epoch must be None with a length, got {shown(steps)}")
    return RowsFeed(where, run, "source", X, size, accumulate)


def validation_of(where: str, run: Any, X: Any, y: Any, feed: Feed) -> Feed | None:
    """Return what feeds the evaluation at an epoch's end."""
    if X is None and y is None:
        return None
    found: Feed
    if y is not None or not is_source(X):
        X, y = check_table(where, "X_val", X, "y_val", y, run.model, run.loss)
        X, y, _ = counted(where, "y_val", X, y, None, run.loss)
        check_weight(where, "y_val", y, run.model, run.loss)
        found = ArrayFeed.__new__(ArrayFeed)
        found.X, found.y, found.weights, found._size = X, y, None, 1
        found.cut = {"rows": len(X)}
    else:
        found = reader_of(where, run, "X_val", X)
        if found.once:
            raise ValueError(f"{where}: X_val must be read every epoch, got an iterator")
        found.cut["rows"] = found.cut["rows"] or 1  # at least
    check_alike(where, *feed.some()[:2], *found.some()[:2])
    return found


def reader_of(where: str, run: Any, name: str, source: Any) -> Feed:
    """Return what feeds an evaluation from a source."""
    if _has_rows(source):
        return RowsFeed(where, run, name, source, 4096, 1)
    return StreamFeed(where, run, name, source, 1, None)


def is_source(X: Any) -> bool:
    """Whether something is a source of rows or batches, not an array without targets.

    Examples
    --------
    >>> is_source(np.ones((3, 2))), is_source([[1.0], [2.0]]), is_source([(1, 2)])
    (False, False, True)
    """
    if isinstance(X, (str, bytes, dict, set, type)) or hasattr(X, "__array__"):
        return False
    if isinstance(X, (list, tuple)):
        return bool(X) and isinstance(X[0], tuple)
    return sliceable(X) or callable(X) or hasattr(X, "__iter__")


def _has_rows(X):
    return sliceable(X) and not isinstance(X, (list, tuple))
