"""Leaving: a trained network as ONNX, as torch modules, or as arrays in an ``.npz`` file.

=================================  ==========================================================
`onnx` (extra ``onnx``)            a file for ONNX runtimes: inference, batch norm folded
`torch` and `from_torch`           the same layers as torch's modules, and back; needs torch
`torch_state`, `load_torch_state`  the weights alone, under the keys of torch's state dicts
`npz` and `load_npz`               the weights alone, as NumPy arrays by name
=================================  ==========================================================

Importing this module imports neither onnx nor torch. A fitted estimator of `fastreg.sklearn` has
its network as ``network_``: ``export.onnx(classifier.network_, "model.onnx")``.
"""

from fastreg.export.arrays import load_npz, npz
from fastreg.export.to_onnx import onnx
from fastreg.export.to_torch import from_torch, torch
from fastreg.export.torch_states import load_torch_state, torch_state

__all__ = ["from_torch", "load_npz", "load_torch_state", "npz", "onnx", "torch", "torch_state"]
