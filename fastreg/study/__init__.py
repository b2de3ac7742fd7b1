"""Questions about a training: how it went, what its error is made of, which optimizer to use."""

from fastreg.study.compare import compare_optimizers
from fastreg.study.decomposition import BiasVariance, bias_variance
from fastreg.study.diagnosis import Diagnosis, diagnose

__all__ = ["BiasVariance", "Diagnosis", "bias_variance", "compare_optimizers", "diagnose"]
