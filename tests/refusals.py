"""Arguments that every layer refuses, and the check that a refusal changes nothing."""

import numpy as np
import pytest

NOT_NUMBERS = [None, "0.1", True, [0.1], 1j]
OUT_OF_RANGE = [float("nan"), float("inf"), -0.1]


def frozen(array):
    array.flags.writeable = False
    return array


SWAPPED = np.dtype(float).newbyteorder()
X = np.ones((4, 3))
INPUTS = [  # what replaces a good (4, 3) float64 array, the exception, the message
    (np.ones((4, 3), np.float16), TypeError, "float16"),
    (np.ones((4, 3), np.longdouble), TypeError, "float128"),
    (np.ones((4, 3), complex), TypeError, "complex128"),
    (np.ones((4, 3), SWAPPED), TypeError, "native byte order"),
    ([[1.0, 2.0, 3.0]] * 4, TypeError, "list"),
    (None, TypeError, "NoneType"),
    (np.ones((4, 3), object), TypeError, "object"),
]
OUTPUTS = [
    (np.ones((4, 3), np.float32), TypeError, "out must be float64, got float32"),
    (np.ones((3, 4)), ValueError, r"out must have shape \(4, 3\), got \(3, 4\)"),
    (np.asfortranarray(np.ones((4, 3))), ValueError, "out must be C-contiguous"),
    (frozen(np.ones((4, 3))), ValueError, "out must be writeable"),
    (np.ones((4, 3), int), TypeError, "out must be float32 or float64"),
    ([[0.0] * 3] * 4, TypeError, "out must be a float32 or float64 array, got list"),
]


def refuses(layer, method, *args, error, message, **options):
    """The call raises, and the layer is what it was."""
    before = repr({k: v for k, v in vars(layer).items() if k != "_lock"})
    with pytest.raises(error, match=message):
        getattr(layer, method)(*args, **options)
    assert repr({k: v for k, v in vars(layer).items() if k != "_lock"}) == before
