# Checks of arrays before a kernel uses them. Every refusal names the function, the argument, what
# was expected, what came, and what to do.
#
# From _memory: new_array.

cdef inline int dtype_row(cnp.ndarray array) noexcept:
    """The table row of a native float array, or -1."""
    cdef int kind = cnp.PyArray_TYPE(array)
    if not cnp.PyArray_ISNOTSWAPPED(array):
        return -1
    return FR_FLOAT32 if kind == cnp.NPY_FLOAT32 else FR_FLOAT64 if kind == cnp.NPY_FLOAT64 else -1


cdef inline bint is_masked(object value):
    """Whether an array has masked elements."""
    return not cnp.PyArray_CheckExact(value) and hasattr(value, "filled")


cdef object float_array(str where, str name, object value):
    """Refuse whatever is not a float32 or float64 array; a masked one would be read unmasked."""
    if not isinstance(value, cnp.ndarray) or is_masked(value):
        raise TypeError(
            f"{where}: {name} must be a float32 or float64 array, got {type(value).__name__}"
            f"{cure(name, value)}"
        )
    if dtype_row(<cnp.ndarray>value) < 0:
        raise TypeError(
            f"{where}: {name} must be float32 or float64 in native byte order, got dtype "
            f"{value.dtype}; convert it with {name}.astype"
        )
    return value


cdef object as_floats(object value, object dtype=None):
    """An array of integers or truth values as float64 or this dtype; anything else as it is."""
    if isinstance(value, cnp.ndarray) and (
            cnp.PyArray_ISBOOL(<cnp.ndarray>value) or cnp.PyArray_ISINTEGER(<cnp.ndarray>value)):
        return value.astype(np.float64 if dtype is None else dtype)
    return value


cdef inline tuple shape_of(object array):
    """A tuple, without the half microsecond that ``np.shape`` takes to be called."""
    return array.shape


cdef bint same_shape(cnp.ndarray a, cnp.ndarray b) noexcept:
    cdef int ndim = cnp.PyArray_NDIM(a)
    return ndim == cnp.PyArray_NDIM(b) and cnp.PyArray_CompareLists(
        cnp.PyArray_DIMS(a), cnp.PyArray_DIMS(b), ndim)


cdef inline bint same_layout(cnp.ndarray a, cnp.ndarray b) noexcept:
    """Whether two arrays have equal shapes and, in elements, equal strides where they count."""
    cdef int axis, ndim = cnp.PyArray_NDIM(a)
    cdef cnp.npy_intp size_a = cnp.PyArray_ITEMSIZE(a), size_b = cnp.PyArray_ITEMSIZE(b)
    cdef cnp.npy_intp n
    cdef bint alike = True
    if ndim != cnp.PyArray_NDIM(b):
        return False
    for axis in range(ndim):
        n = cnp.PyArray_DIMS(a)[axis]
        if n != cnp.PyArray_DIMS(b)[axis]:
            return False
        alike &= n == 1 or (cnp.PyArray_STRIDES(a)[axis] * size_b
                            == cnp.PyArray_STRIDES(b)[axis] * size_a)
    return alike or cnp.PyArray_SIZE(a) == 0


cdef inline bint is_dense(cnp.ndarray array) noexcept:
    """Aligned and contiguous, in C order."""
    return cnp.PyArray_ISALIGNED(array) and cnp.PyArray_IS_C_CONTIGUOUS(array)


cdef inline bint is_block(cnp.ndarray array) noexcept:
    """Aligned and contiguous, in some order of its axes."""
    return cnp.PyArray_ISALIGNED(array) and (
        cnp.PyArray_IS_C_CONTIGUOUS(array) or cnp.PyArray_IS_F_CONTIGUOUS(array)
        or is_permuted(array))


cdef bint is_permuted(cnp.ndarray array) noexcept:
    """Contiguous in some order of its axes."""
    cdef int axis, ndim = cnp.PyArray_NDIM(array)
    cdef cnp.npy_intp step = cnp.PyArray_ITEMSIZE(array), left = cnp.PyArray_SIZE(array)
    while left > 1:  # the axis whose neighbours lie a run of the axes before it apart
        for axis in range(ndim):
            if cnp.PyArray_DIMS(array)[axis] > 1 and cnp.PyArray_STRIDES(array)[axis] == step:
                break
        else:
            return False
        step *= cnp.PyArray_DIMS(array)[axis]
        left //= cnp.PyArray_DIMS(array)[axis]
    return True


cdef cnp.ndarray matching(str where, str name, object value, object shape, object dtype):
    """Refuse whatever is not a float array, of this shape and dtype if they are given."""
    cdef cnp.ndarray array = float_array(where, name, value)
    if dtype is not None and array.dtype != dtype:
        raise TypeError(
            f"{where}: {name} must be {dtype}, got {array.dtype}; convert it with {name}.astype")
    if shape is not None and shape_of(array) != shape:
        raise ValueError(f"{where}: {name} must have shape {shape}, got {np.shape(array)}")
    return array


cpdef object empty_like(str where, str name, object x, cnp.ndarray like=None):
    """An uninitialised array from the pool, in the shape and dtype of ``x``.

    ``x`` must be a float32 or float64 array, and match ``like`` if that is given."""
    if like is None:
        return new_array(matching(where, name, x, None, None))
    return new_array(matching(where, name, x, shape_of(like), like.dtype))


cdef cnp.ndarray as_dense(cnp.ndarray array):
    """The array itself, or a copy in C order."""
    return array if is_dense(array) else np.array(array, order="C", copy=True, subok=False)


cdef cnp.ndarray as_input(str where, str name, object value, object shape=None,
                          object dtype=None):
    """A C-contiguous view or copy of an input, of this shape and dtype if they are given.

    Integers and truth values are read as floats."""
    value = as_floats(value, dtype)
    return as_dense(matching(where, name, value, shape, dtype))


cdef bint share_memory(cnp.ndarray a, cnp.ndarray b) noexcept:
    """Whether two dense arrays have a byte in common."""
    cdef uintptr_t p = <uintptr_t>cnp.PyArray_DATA(a), q = <uintptr_t>cnp.PyArray_DATA(b)
    return p < q + <uintptr_t>cnp.PyArray_NBYTES(b) and q < p + <uintptr_t>cnp.PyArray_NBYTES(a)


def byte_bounds(cnp.ndarray array not None):
    """The addresses of an array's first byte and of that after its last, in any layout.

    NumPy's function of that name reads through a null pointer where memory runs out."""
    cdef uintptr_t low = <uintptr_t>cnp.PyArray_DATA(array), high = low
    cdef cnp.npy_intp reach
    cdef int axis
    if not cnp.PyArray_SIZE(array):
        return low, low
    for axis in range(cnp.PyArray_NDIM(array)):
        reach = cnp.PyArray_STRIDES(array)[axis] * (cnp.PyArray_DIMS(array)[axis] - 1)
        if reach < 0:
            low -= <uintptr_t>-reach
        else:
            high += <uintptr_t>reach
    return low, high + <uintptr_t>cnp.PyArray_ITEMSIZE(array)


cdef cnp.ndarray as_output(str where, object out, cnp.ndarray like, str name="out"):
    """The array to write: ``out`` if it fits, a new one if it is None.

    ``out`` may be ``like`` itself but may not overlap it in any other way.
    """
    cdef cnp.ndarray array
    if out is None:
        return new_array(like)
    array = float_array(where, name, out)
    if cnp.PyArray_TYPE(array) != cnp.PyArray_TYPE(like):
        raise TypeError(f"{where}: {name} must be {like.dtype}, got {array.dtype}")
    if not same_shape(array, like):
        raise ValueError(f"{where}: {name} must have shape {np.shape(like)}, got {np.shape(array)}")
    if not is_dense(array):
        raise ValueError(
            f"{where}: {name} must be C-contiguous and aligned, got strides {out.strides}; "
            "pass a contiguous array and copy the result"
        )
    if not cnp.PyArray_ISWRITEABLE(array):
        raise ValueError(f"{where}: {name} must be writeable, got a read-only array")
    if cnp.PyArray_DATA(array) != cnp.PyArray_DATA(like) and share_memory(array, like):
        raise ValueError(
            f"{where}: {name} must be the input itself or share no memory with it, got an array "
            "shifted against it"
        )
    return array
