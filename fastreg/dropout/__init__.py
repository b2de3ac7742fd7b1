"""Dropout and other noise: no stored mask, a pure function of (seed, call, element)."""

from typing import TYPE_CHECKING

from fastreg.dropout.elements import *
from fastreg.dropout.noise import *

if not TYPE_CHECKING:  # type checkers cannot add lists up; they read the imports above
    from fastreg.dropout import elements, noise

    __all__ = []
    __all__ += elements.__all__
    __all__ += noise.__all__
