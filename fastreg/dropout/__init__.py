"""Dropout and other noise: no stored mask, a pure function of (seed, call, element)."""

from fastreg.dropout import elements, noise
from fastreg.dropout.elements import *
from fastreg.dropout.noise import *

__all__ = []
__all__ += elements.__all__
__all__ += noise.__all__
