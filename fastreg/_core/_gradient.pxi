# The forms in which a gradient may be given, and the copy of one that a kernel cannot read.
#
# From _arrays: is_masked; _halves: param_array.

cdef object scalar_type(str where, object name, object value):
    """float64 for a Python number, the NumPy type for a NumPy scalar."""
    if isinstance(value, (np.float64, np.float32)):
        return type(value)
    if isinstance(value, (float, int)) and not isinstance(value, bool):
        return np.float64
    raise TypeError(
        f"{where}: params[{name!r}] must be a float32 or float64 array or a float, got "
        f"{type(value).__name__}"
    )


cdef object listed_numbers(str where, str name, object value):
    """The array of a list of numbers, or of a Python number."""
    try:
        array = np.array(value)
    except (TypeError, ValueError, OverflowError):
        array = None
    if array is None or not (array.dtype.kind in "biu" or array.dtype in (np.float32, np.float64)):
        raise TypeError(
            f"{where}: {name} must hold real numbers, got {shown(value)}; "
            "convert it with numpy.asarray(..., float)"
        )
    return array


cdef cnp.ndarray laid_out(str where, str name, object value, cnp.ndarray param):
    """A gradient as an array of its own, in its parameter's dtype and layout.

    Integers and truth values become floats, and a plain number is every element's gradient."""
    cdef bint plain = isinstance(value, np.generic) or type(value) in (float, int, bool)
    if type(value) in (list, tuple, float, int, bool):
        array = listed_numbers(where, name, value)
    elif isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "biu":
        array = value if not is_masked(value) else param_array(where, name, value)
    else:
        array = param_array(where, name, np.asarray(value) if plain else value)
        if array.dtype != param.dtype:
            raise TypeError(
                f"{where}: {name} must have its parameter's dtype {param.dtype}, got "
                f"{array.dtype}; convert it with astype"
            )
    if not plain and np.shape(array) != np.shape(param):
        raise ValueError(
            f"{where}: {name} must have its parameter's shape {np.shape(param)}, got "
            f"{np.shape(array)}"
        )
    laid = np.empty_like(param, subok=False)
    np.copyto(laid, array, casting="unsafe")
    return laid
