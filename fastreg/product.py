"""Matrix products whose bits depend on nothing but the numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastreg._core import _kernels

if TYPE_CHECKING:
    from fastreg._core.types import Array

__all__ = ["matmul"]


def matmul(a: Array, b: Array, *, out: Array | None = None) -> Any:
    r"""Return the matrix product ``a @ b``, with the same bits on every machine.

    Parameters
    ----------
    a : array of shape (M, K) or (K,)
        float32 or float64, with any strides: a transposed or sliced view is read as it lies.
        Integers and truth values are read in the dtype of ``b``.
    b : array of shape (K, N) or (K,)
        Of the same dtype as ``a``.
    out : array of shape (M, N), optional
        Where to write the result: C-contiguous, of the inputs' dtype, sharing no memory with them.

    Returns
    -------
    array of shape (M, N)
        ``out``, or a new array. As in `numpy.matmul` a vector's axis is left out of the result,
        and two vectors give a number.

    Raises
    ------
    TypeError
        If an argument is not an array of float32 or float64, or the dtypes differ.
    ValueError
        If the shapes do not fit, an input has no or more than two axes, or ``out`` overlaps one.

    Notes
    -----
    Element (i, j) is

    .. math:: c_{ij} = \sum_{B} \; \mathrm{fma}(a_{ik}, b_{kj}, \ldots) \quad k \in B

    blocks B of 256 values of k are taken in order, in each a chain of fused multiply-adds in the
    order of k, which starts at 0; the chains' ends are added in order. All of it is in the arrays'
    dtype, and the order depends neither on threads nor on the instruction set, so
    `fastreg.reference.matmul`, which spells it out, has the same bits. The error is bounded by
    that of a sum of 256 + K / 256 terms. NaN and infinity propagate: a factor of 0 does not skip
    them. With K = 0 the result is 0.

    This is for the usual rounding, to nearest. Where a caller has set another mode (C's
    ``fesetround``), every step rounds in that mode, on all threads alike: the result is the same
    for any number of threads and any instruction set, but not that of the reference, whose own
    arithmetic needs rounding to nearest.

    The baseline of x86-64 has no fused multiply-add. There each step is a call of C's ``fma``,
    with the same bits and about a hundredth of the speed; `fastreg.show_config` says so.

    References
    ----------
    Goto & van de Geijn, *Anatomy of high-performance matrix multiplication*, ACM TOMS 34, 2008.

    Examples
    --------
    >>> X, W = np.arange(6.0).reshape(2, 3), np.ones((3, 2))
    >>> fastreg.matmul(X, W)
    array([[ 3.,  3.],
           [12., 12.]])
    >>> dW = np.empty((3, 2))
    >>> fastreg.matmul(X.T, np.ones((2, 2)), out=dW) is dW
    True
    """
    return _kernels.matmul(a, b, out)
