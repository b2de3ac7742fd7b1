"""Penalties and constraints on the norms of groups: the columns, rows or filters of a weight.

``axis`` names the axes along which a norm is taken; every index of the other axes is a group. The
default 0 groups the incoming weights of each unit of a dense layer (inputs, units); (0, 1, 2) does
so for convolution kernels (height, width, inputs, filters). A bias vector is one group.

Norms are taken in float64 in a fixed order, the same for every number of threads.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from fastreg._core._kernels import byte_bounds, group_squares, scale_groups
from fastreg._core.checks import integer, number, shown
from fastreg.penalty.weights import dense, pack, sweep, unpack

if TYPE_CHECKING:
    from fastreg._core.types import Structure, Weights

__all__ = ["GroupLasso", "max_norm", "unit_norm"]

SMALLEST_SQUARE = 1e-280  # sums of squares below it have lost digits to float64's range
SMALLEST_NORM = np.finfo(np.float64).tiny  # below it, 1 / norm is infinite


class GroupLasso:
    r"""Group lasso: whole groups of weights become 0 (Yuan & Lin, 2006).

    .. math:: \lambda \sum_g \sqrt{n_g} \, \|w_g\|_2

    for groups of :math:`n_g` weights.

    Parameters
    ----------
    lambda_group : float, default 0.01
        Strength, at least 0.
    axis : int or tuple of int, default 0
        Axes that the norm of a group runs along.

    Raises
    ------
    TypeError, ValueError
        If a parameter is of the wrong kind or out of range; methods also if an array is of the
        wrong kind or dtype or lacks the axis.

    Examples
    --------
    >>> lasso, W = GroupLasso(lambda_group=1 / 2**0.5), np.array([[3.0, 0.1], [4.0, 0.0]])
    >>> lasso.value(W)
    5.1
    >>> lasso.prox(W)  # columns: one is 1 shorter, one was shorter than 1
    array([[2.4, 0. ],
           [3.2, 0. ]])
    """

    def __init__(self, lambda_group: float = 0.01, *, axis: int | tuple[int, ...] = 0) -> None:
        self.lambda_group, self.axis = lambda_group, axis

    @property
    def lambda_group(self) -> float:
        """Strength of the penalty."""
        return self._lambda_group

    @lambda_group.setter
    def lambda_group(self, value: float) -> None:
        self._lambda_group = number("GroupLasso", "lambda_group", value, low=0.0)

    @property
    def axis(self) -> int | tuple[int, ...]:
        """Axes along which a norm is taken."""
        return self._axis

    @axis.setter
    def axis(self, value: int | tuple[int, ...]) -> None:
        self._axis = _axes("GroupLasso", value)

    def value(self, weights: Weights) -> float:
        """Return the penalty."""
        return self._value(_groups("GroupLasso.value", "weights", weights, self._axis))

    def gradient(self, W: Structure) -> Structure:
        """Return the gradient in the structure of W; a group that is 0 has gradient 0."""
        return self._gradient(W, _groups("GroupLasso.gradient", "W", W, self._axis))

    def value_and_gradient(self, weights: Structure) -> tuple[float, Structure]:
        """Return value and gradient from one set of norms."""
        groups = _groups("GroupLasso.value_and_gradient", "weights", weights, self._axis)
        return self._value(groups), self._gradient(weights, groups)

    def prox(self, W: Structure, step_size: float = 1.0) -> Structure:
        r"""Return each group shorter by :math:`step\_size \cdot \lambda \sqrt{n_g}`, or 0.

        This v minimises the penalty plus :math:`\|v - w\|^2 / (2 \cdot step\_size)`.
        """
        where = "GroupLasso.prox"
        step = number(where, "step_size", step_size, low=0.0)
        groups = _groups(where, "W", W, self._axis)
        scaled = []
        for group in groups:
            cut = step * self._lambda_group * math.sqrt(group.size)
            if not cut:
                scaled.append(group.scaled(np.ones_like(group.norms)))
                continue
            share_cut = _quotient(cut, group.norms, otherwise=1.0)
            scaled.append(group.scaled(np.maximum(1.0 - share_cut, 0.0)))
        return pack(W, scaled)

    def _value(self, groups):
        if not self._lambda_group:
            return 0.0
        norms = [math.sqrt(group.size) * group.norms for group in groups]
        return self._lambda_group * sweep("GroupLasso", "norms", norms, ("abs",))[0][0]

    def _gradient(self, W, groups):
        scaled = []
        for group in groups:
            strength = self._lambda_group * math.sqrt(group.size)
            if not strength:
                scaled.append(group.zeros())
                continue
            scaled.append(group.scaled(_quotient(strength, group.norms, otherwise=0.0)))
        return pack(W, scaled)


def max_norm(weights: Structure, max_value: float, *, axis: int | tuple[int, ...] = 0) -> Structure:
    """Shorten every group whose norm is above ``max_value`` to that norm, in place.

    Parameters
    ----------
    weights : ndarray, or dict, list or tuple of ndarray
        Writeable float32 or float64 arrays, any memory layout.
    max_value : float
        The largest norm, above 0.
    axis : int or tuple of int, default 0
        Axes that the norm of a group runs along.

    Returns
    -------
    The weights themselves. Norms are at most ``max_value``, up to rounding; groups that were
    not longer keep their bits.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range, or arrays share memory; nothing has
        been written then.

    References
    ----------
    Srebro & Shraibman, COLT 2005; Srivastava et al., JMLR 15, 2014.

    Examples
    --------
    >>> W = np.array([[3.0, 0.5], [4.0, 0.0]])
    >>> max_norm(W, 1.0)
    array([[0.6, 0.5],
           [0.8, 0. ]])
    """
    where = "max_norm"
    limit = number(where, "max_value", max_value, low=0.0, open_low=True)
    return _constrain(
        where, weights, axis, lambda norms: _quotient(limit, norms, 1.0, norms > limit)
    )


def unit_norm(weights: Structure, *, axis: int | tuple[int, ...] = 0) -> Structure:
    """Scale every group to norm 1, in place; a group that is 0 (below 2.3e-308) stays so.

    Parameters
    ----------
    weights : ndarray, or dict, list or tuple of ndarray
        Writeable float32 or float64 arrays, any memory layout.
    axis : int or tuple of int, default 0
        Axes that the norm of a group runs along.

    Returns
    -------
    The weights themselves.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range, or arrays share memory; nothing has
        been written then.

    Examples
    --------
    >>> unit_norm(np.array([[3.0, 0.0], [4.0, 0.0]]))
    array([[0.6, 0. ],
           [0.8, 0. ]])
    """
    return _constrain("unit_norm", weights, axis, lambda norms: _quotient(1.0, norms, 1.0))


class _Groups:
    """One array as a matrix whose rows or columns are the groups, and their norms."""

    def __init__(self, where, label, array, axis):
        ndim = array.ndim
        axes = sorted({a + ndim if a < 0 else a for a in axis})
        if len(axes) < len(axis) or axes[0] < 0 or axes[-1] >= ndim:
            got = f"{shown(axis)} for shape {array.shape}"
            raise ValueError(f"{where}: axis must name axes of {label}, each once, got {got}")
        others = [a for a in range(ndim) if a not in axes]
        self.by_rows = axes[-1] >= len(axes) or len(axes) == ndim  # unless they lead
        self._order = [*others, *axes] if self.by_rows else [*axes, *others]
        self.size = math.prod(array.shape[a] for a in axes)
        count = math.prod(array.shape[a] for a in others)
        permuted = array.transpose(self._order)  # axes that are neither first nor last cost a copy
        self._shape = permuted.shape
        self._matrix = np.ascontiguousarray(permuted).reshape(
            (count, self.size) if self.by_rows else (self.size, count)
        )
        self.norms = self._norms(self._matrix)

    @np.errstate(under="ignore", over="ignore")
    def _norms(self, matrix):
        """Return the norms, also where squares would leave the range, in float64 beyond 1e154."""
        squares = group_squares(matrix, self.by_rows)
        fits = (squares > SMALLEST_SQUARE) & (squares < np.inf)
        if fits.all() or matrix.dtype == np.float32 or not matrix.size:
            return np.sqrt(squares)
        peaks = np.abs(matrix).max(axis=1 if self.by_rows else 0)
        powers = np.where(fits | ~np.isfinite(peaks), 0, np.frexp(peaks)[1])
        shrunk = np.ldexp(matrix, -(powers[:, None] if self.by_rows else powers))
        return np.ldexp(np.sqrt(group_squares(shrunk, self.by_rows)), powers)

    def zeros(self):
        """Return the gradient of a penalty of strength 0."""
        return np.zeros([self._shape[a] for a in self._axes_back()], self._matrix.dtype)

    def _axes_back(self):
        """The order that takes the axes back to where they were."""
        return sorted(range(len(self._order)), key=self._order.__getitem__)

    def scaled(self, factors):
        """Return a new array with each group times its factor."""
        result = self._matrix
        for one in self._in_range(factors):
            result = scale_groups(
                result, self.by_rows, one, None if result is self._matrix else result
            )
        return np.ascontiguousarray(self._as_given(result))

    def steps(self, factors, out):
        """Return what scales ``out``, whose groups these are: functions and their arguments."""
        if np.may_share_memory(self._matrix, out):
            return [
                (scale_groups, (self._matrix, self.by_rows, one, self._matrix))
                for one in self._in_range(factors)
            ]
        return [(np.copyto, (out, self.scaled(factors)))]

    @np.errstate(under="ignore", over="ignore")
    def _in_range(self, factors):
        """The factors, or two times as many whose products they are and that the dtype has."""
        range_ = np.finfo(self._matrix.dtype)
        if ((factors > range_.max) | ((factors < range_.tiny) & (factors > 0.0))).any():
            half = np.sqrt(factors)  # this dtype cannot hold the factor, but its root
            return [half, factors / half]
        return [factors]

    def _as_given(self, matrix):
        """The matrix of the groups in the shape of their array."""
        return matrix.reshape(self._shape).transpose(self._axes_back())


def _groups(where, name, weights, axis):
    labels, arrays = dense(where, name, weights)
    return [_Groups(where, label, array, axis) for label, array in zip(labels, arrays, strict=True)]


def _constrain(where, weights, axis, factors_of):
    """Check every array, then scale its groups in place by factors of their norms."""
    axes = _axes(where, axis)
    keys, arrays = unpack(weights)
    labels = ["weights" if key is None else f"weights[{key!r}]" for key in keys]
    for label, array in zip(labels, arrays, strict=True):
        if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
            got = getattr(array, "dtype", type(array).__name__)
            raise TypeError(
                f"{where}: {label} must be a float32 or float64 array to be scaled in place, got "
                f"{got}"
            )
    groups = _groups(where, "weights", weights, axes)
    for label, array in zip(labels, arrays, strict=True):
        if not array.flags.writeable:
            raise ValueError(f"{where}: {label} must be writeable, got a read-only array")
    _refuse_shared(where, labels, arrays)
    steps = []
    for group, array in zip(groups, arrays, strict=True):
        factors = factors_of(group.norms)
        if (factors != 1.0).any():
            steps += group.steps(factors, array)
    for function, arguments in steps:  # everything is at hand: all arrays are scaled, or none
        function(*arguments)
    return weights


def _refuse_shared(where, labels, arrays):
    """Refuse arrays that share memory: shared elements would be scaled twice."""
    ranges = [(*byte_bounds(array), k) for k, array in enumerate(arrays) if array.size]
    before = []  # arrays that may reach into the next one
    for start, end, k in sorted(ranges):
        before = [(stop, i) for stop, i in before if stop > start]
        for _, i in before:
            if np.shares_memory(arrays[i], arrays[k]):
                raise ValueError(
                    f"{where}: {labels[i]} and {labels[k]} must not share memory, each is scaled "
                    "in place; pass one of them"
                )
        before.append((end, k))


@np.errstate(under="ignore", over="ignore")
def _quotient(above, norms, otherwise, where=None):
    """Return ``above / norms``, and ``otherwise`` where a norm is 0 or left out."""
    where = ~(norms < SMALLEST_NORM) if where is None else where
    return np.divide(above, norms, out=np.full_like(norms, otherwise), where=where)


def _axes(where, axis):
    axes = axis if isinstance(axis, tuple) else (axis,)
    if not axes:
        raise ValueError(f"{where}: axis must name at least one axis, got ()")
    return tuple(integer(where, "axis", a) for a in axes)
