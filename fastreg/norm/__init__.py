"""Normalisation over the batch, over each row, and over groups of channels."""

from typing import TYPE_CHECKING

from fastreg.norm.batch import *
from fastreg.norm.group import *
from fastreg.norm.layer import *

if not TYPE_CHECKING:  # type checkers cannot add lists up; they read the imports above
    from fastreg.norm import batch, group, layer

    __all__ = []
    __all__ += batch.__all__
    __all__ += group.__all__
    __all__ += layer.__all__
