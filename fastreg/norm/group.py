"""Group norm and instance norm, over the channels and positions of each sample."""

from __future__ import annotations

from fastreg._core import checks
from fastreg.norm.rows import RowNorm

__all__ = ["GroupNorm", "InstanceNorm"]


class GroupNorm(RowNorm):
    r"""Normalisation of groups of neighbouring channels of each sample.

    .. math:: Y = \gamma \frac{X - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta

    with the mean :math:`\mu` and the biased variance :math:`\sigma^2` of each group, over its
    channels and all positions, the same in training and in inference; gamma and beta have one
    entry per channel.

    Parameters
    ----------
    n_groups : int
        Number of groups, a divisor of n_features. One group is layer norm over a whole sample,
        n_features groups are instance norm.
    n_features : int
        Number of channels C of (N, C, ...), at least 1.
    epsilon : float, default 1e-5
        Added to the variance, above 0.
    affine : bool, default True, keyword-only
        Whether to learn a scale gamma and a shift beta.

    Attributes
    ----------
    gamma, beta : ndarray of shape (n_features,), or None
        Scale (ones at first) and shift (zeros); float64, or whatever float dtype is assigned.
    dgamma, dbeta : ndarray of shape (n_features,), or None
        Gradients, set by ``backward``.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range.

    Notes
    -----
    Accuracy is as in `BatchNorm`. The layer keeps X itself for ``backward``, not a copy: leave
    X unchanged until then.

    References
    ----------
    Wu & He, "Group Normalization", ECCV 2018.

    Examples
    --------
    >>> layer = GroupNorm(2, 4)
    >>> layer.forward(np.array([[1.0, 3.0, 10.0, 30.0]])).round(3)
    array([[-1.,  1., -1.,  1.]])
    """

    n_features: checks.Fixed = checks.Fixed(checks.size)
    n_groups: checks.Fixed = checks.Fixed(checks.integer, low=1)

    def __init__(
        self, n_groups: int, n_features: int, epsilon: float = 1e-5, *, affine: bool = True
    ) -> None:
        where = type(self).__name__
        self.n_features, self.n_groups = n_features, n_groups
        if self.n_features % self.n_groups:
            raise ValueError(
                f"{where}: n_groups must be a divisor of n_features, {n_features}, got "
                f"{checks.shown(n_groups)}"
            )
        super().__init__((self.n_features,), epsilon, affine)

    def _rows(self, where, X):
        if X.ndim < 2 or X.shape[1] != self.n_features:
            raise ValueError(
                f"{where}: X must have shape (N, {self.n_features}, ...), got {X.shape}"
            )
        return len(X) * self.n_groups, self.n_groups, self.n_features // self.n_groups


class InstanceNorm(GroupNorm):
    r"""Normalisation of each channel of each sample over its positions.

    .. math:: Y = \frac{X - \mu}{\sqrt{\sigma^2 + \epsilon}}

    with the mean :math:`\mu` and the biased variance :math:`\sigma^2` of each channel of each
    sample, the same in training and in inference.

    Parameters
    ----------
    n_features : int
        Number of channels C of (N, C, L) or (N, C, H, W), at least 1.
    epsilon : float, default 1e-5
        Added to the variance, above 0.
    affine : bool, default False, keyword-only
        Whether to learn a scale gamma and a shift beta.

    Attributes
    ----------
    gamma, beta, dgamma, dbeta : ndarray of shape (n_features,), or None
        As in `GroupNorm`, of which this is the case of one channel per group.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range.

    References
    ----------
    Ulyanov, Vedaldi & Lempitsky, "Instance Normalization: The Missing Ingredient for Fast
    Stylization", 2016.

    Examples
    --------
    >>> layer = InstanceNorm(2)
    >>> layer.forward(np.array([[[1.0, 3.0], [30.0, 10.0]]])).round(3)
    array([[[-1.,  1.],
            [ 1., -1.]]])
    """

    def __init__(self, n_features: int, epsilon: float = 1e-5, *, affine: bool = False) -> None:
        super().__init__(n_features, n_features, epsilon, affine=affine)

    def _rows(self, where, X):
        if X.ndim < 3:
            raise ValueError(
                f"{where}: X must have shape (N, {self.n_features}, L) or "
                f"(N, {self.n_features}, H, W), got {X.shape}"
            )
        return super()._rows(where, X)
