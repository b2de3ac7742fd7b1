"""Penalties on weights: values, gradients, proximal operators, constraints, counts."""

from fastreg.penalty import elastic, group, sparsity
from fastreg.penalty.elastic import *
from fastreg.penalty.group import *
from fastreg.penalty.sparsity import *

__all__ = []
__all__ += elastic.__all__
__all__ += group.__all__
__all__ += sparsity.__all__
