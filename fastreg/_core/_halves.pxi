# Parameters of 16 bits: NumPy's float16, and bfloat16, which is known by its name, since the library
# that brings it (ml_dtypes) is its user's.
#
# From _arrays: dtype_row, is_masked.

cdef int bfloat16_number = -1  # of the type, once it has been seen


cdef inline int param_row(cnp.ndarray array) noexcept:
    """The table row of a float array, that of a parameter of 16 bits, or -1."""
    cdef int kind = cnp.PyArray_TYPE(array)
    if kind == cnp.NPY_FLOAT32 or kind == cnp.NPY_FLOAT64:
        return dtype_row(array)
    if not cnp.PyArray_ISNOTSWAPPED(array):
        return -1
    return (FR_FLOAT16 if kind == cnp.NPY_FLOAT16
            else FR_BFLOAT16 if kind == bfloat16_number and kind >= 0 else -1)


cdef inline bint is_half(int row) noexcept nogil:
    """Whether this is the row of a type of 16 bits."""
    return row > FR_FLOAT64


cdef object param_array(str where, str name, object value):
    """Refuse whatever is not an array that an optimizer can step; a masked one would be read
    unmasked."""
    global bfloat16_number
    if not isinstance(value, cnp.ndarray) or is_masked(value):
        raise TypeError(
            f"{where}: {name} must be a float32 or float64 array, float16 or bfloat16, got "
            f"{type(value).__name__}{cure(name, value)}"
        )
    if param_row(<cnp.ndarray>value) < 0 and value.dtype.name == "bfloat16":
        bfloat16_number = value.dtype.num
    if param_row(<cnp.ndarray>value) < 0:
        raise TypeError(
            f"{where}: {name} must be float32 or float64, float16 or bfloat16, in native byte order, "
            f"got dtype {value.dtype}; convert it with {name}.astype"
        )
    return value
