"""Valid calls of what takes networks elsewhere; onnx and torch need their packages."""

import numpy as np
from bad_values import one_of, path, torch
from calls import add
from calls_layers import network

from fastreg import checkpoint, export


def no_network(value):
    return False


def file(value):
    """A file that may not be there."""
    return None if path(value) else False


add(
    "export.npz",
    lambda: export.npz,
    says="npz",
    errors=(OSError,),
    model=(network(), no_network),
    path=("new.npz", path),
)
add(
    "export.load_npz",
    lambda: export.load_npz,
    says="load_npz",
    errors=(OSError, checkpoint.CheckpointError),
    model=(network(), no_network),
    path=("network.npz", file),
)
add(
    "export.onnx",
    lambda: export.onnx,
    says="onnx",
    package="onnx",
    errors=(OSError,),
    model=(network(), no_network),
    path=("new.onnx", path),
    link=("softmax", one_of("identity", "softmax", "sigmoid", "log")),
)
for one in ("torch", "torch_state"):
    add(
        f"export.{one}",
        lambda one=one: getattr(export, one),
        says=one,
        package="torch",
        model=(network(), no_network),
    )
add(
    "export.from_torch",
    lambda: export.from_torch,
    says="from_torch",
    package="torch",
    module=(torch and torch.nn.Linear(3, 2), no_network),
)
add(
    "export.load_torch_state",
    lambda: export.load_torch_state,
    says="load_torch_state",
    model=(network(), no_network),
    state=(
        {
            "0.weight": np.ones((4, 3)),
            "0.bias": np.zeros(4),
            "2.weight": np.ones((2, 4)),
            "2.bias": np.zeros(2),
        },
        lambda value: False,
    ),
)
