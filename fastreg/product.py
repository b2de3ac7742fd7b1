"""Matrix products whose bits depend on nothing but the numbers."""

from __future__ import annotations

from fastreg._core._kernels import matmul

__all__ = ["matmul"]

matmul.__module__ = __name__  # a function around it would cost a small product a tenth
