"""Normalisation: by the batch, by the row, by groups of channels."""

from fastreg.norm import batch, group, layer
from fastreg.norm.batch import *
from fastreg.norm.group import *
from fastreg.norm.layer import *

__all__ = []
__all__ += batch.__all__
__all__ += group.__all__
__all__ += layer.__all__
