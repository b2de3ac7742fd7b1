"""Powers and cosines of one number in fixed arithmetic: what a schedule computes once per step."""

from __future__ import annotations

from fastreg._core._kernels import cosine, missing_power, power, sine

__all__ = ["cosine", "missing_power", "power", "sine"]
