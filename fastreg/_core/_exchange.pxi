# Tensors of another library, read in their own memory.
#
# A tensor's class offers a table of functions (DLPack's exchange table) that says where a tensor
# lies, without a view being made of it.
#
# From _arrays: dtype_row; _matrix: doubles, row_of.

cdef extern from *:
    """
    typedef struct {
        void *data;
        struct { int32_t type, id; } device;
        int32_t ndim;
        struct { uint8_t code, bits; uint16_t lanes; } dtype;
        int64_t *shape, *strides;
        uint64_t byte_offset;
    } fr_dl_tensor;
    typedef struct {
        struct { uint32_t major, minor; void *before; } header;
        void *allocate, *take, *give;
        int (*borrow)(void *object, fr_dl_tensor *out);
        void *stream;
    } fr_dl_table;
    """
    ctypedef struct fr_dl_device "struct { int32_t type, id; }":
        int type
    ctypedef struct fr_dl_type "struct { uint8_t code, bits; uint16_t lanes; }":
        int code, bits, lanes
    ctypedef struct fr_dl_header "struct { uint32_t major, minor; void *before; }":
        uint32_t major
    ctypedef struct fr_dl_tensor:
        char *data
        fr_dl_device device
        int ndim
        fr_dl_type dtype
        int64_t *shape
        int64_t *strides
        uint64_t byte_offset
    ctypedef struct fr_dl_table:
        fr_dl_header header
        int (*borrow)(void *, fr_dl_tensor *) except -1


cdef const fr_dl_table *table_of(str where, capsule) except NULL:
    """The table in a capsule, if it is one that is known here."""
    cdef const fr_dl_table *found = <const fr_dl_table *>PyCapsule_GetPointer(
        capsule, "dlpack_exchange_api")
    if found.header.major != 1:
        raise ImportError(
            f"{where}: needs version 1 of DLPack's exchange table, got {found.header.major}")
    return found


cdef inline char *place_of(const fr_dl_tensor *t) noexcept:
    return t.data + t.byte_offset


cdef inline Py_ssize_t size_of(const fr_dl_tensor *t) noexcept:
    cdef Py_ssize_t n = 1
    cdef int axis
    for axis in range(t.ndim):
        n *= t.shape[axis]
    return n


cdef inline int type_of(const fr_dl_tensor *t) noexcept:
    """The table row of a float tensor in the host's memory, or -1."""
    if t.device.type != 1 or t.dtype.code != 2 or t.dtype.lanes != 1:
        return -1
    return FR_FLOAT32 if t.dtype.bits == 32 else FR_FLOAT64 if t.dtype.bits == 64 else -1


cdef inline int param_type_of(const fr_dl_tensor *t) noexcept:
    """The same, also of a parameter of 16 bits."""
    if t.device.type != 1 or t.dtype.bits != 16 or t.dtype.lanes != 1:
        return type_of(t)
    return FR_FLOAT16 if t.dtype.code == 2 else FR_BFLOAT16 if t.dtype.code == 4 else -1


cdef bint lies_alike(const fr_dl_tensor *a, const fr_dl_tensor *b, int dtype) noexcept:
    """Whether a tensor is of this type and has the shape and, where they count, the strides of
    another."""
    cdef int axis
    if a.ndim != b.ndim or param_type_of(a) != dtype:
        return False
    for axis in range(a.ndim):
        if a.shape[axis] != b.shape[axis]:
            return False
        if a.shape[axis] != 1 and a.strides[axis] != b.strides[axis]:
            return size_of(a) == 0
    return True


cdef bint is_compact(const fr_dl_tensor *t) noexcept:
    """Contiguous in some order of its axes, and aligned."""
    cdef Py_ssize_t step = 1, left = size_of(t)
    cdef int axis
    if <uintptr_t>place_of(t) % (t.dtype.bits // 8):
        return False
    while left > 1:
        for axis in range(t.ndim):
            if t.shape[axis] > 1 and t.strides[axis] == step:
                break
        else:
            return False
        step *= t.shape[axis]
        left //= t.shape[axis]
    return True


cdef inline double number_at(const char *place, int dtype) noexcept:
    return (<const float *>place)[0] if dtype == FR_FLOAT32 else (<const double *>place)[0]


cdef inline void put_number(char *place, int dtype, double value) noexcept nogil:
    if dtype == FR_FLOAT32:
        (<float *>place)[0] = <float>value
    else:
        (<double *>place)[0] = value


def tensor_view(capsule, tensor):
    """The array over a tensor's memory, which keeps the tensor alive; None if that holds no float32
    or float64 numbers that can be read here."""
    cdef fr_dl_tensor t
    cdef cnp.npy_intp[32] strides
    cdef cnp.npy_intp[32] shape
    cdef int axis, kind
    cdef cnp.ndarray array
    try:
        table_of("tensor_view", capsule).borrow(<void *>tensor, &t)
    except RuntimeError:  # it has no memory of its own: sparse, or a batch of tensors
        return None
    kind = type_of(&t)
    if kind < 0 or t.ndim > 32:
        return None
    for axis in range(t.ndim):
        shape[axis], strides[axis] = t.shape[axis], t.strides[axis] * (t.dtype.bits // 8)
    array = cnp.PyArray_New(
        cnp.ndarray, t.ndim, shape, cnp.NPY_FLOAT32 if kind == FR_FLOAT32 else cnp.NPY_FLOAT64,
        strides, place_of(&t), 0, cnp.NPY_ARRAY_WRITEABLE, None)
    cnp.set_array_base(array, tensor)
    return array


cdef inline double float_at(cnp.ndarray array, Py_ssize_t i) noexcept:
    """Entry i of a contiguous float array."""
    return number_at(<char *>cnp.PyArray_DATA(array) + i * cnp.PyArray_ITEMSIZE(array),
                     dtype_row(array))


def wide_row(array, Py_ssize_t n, double default):
    """n numbers as a row of float64; n times ``default`` if there are none."""
    cdef cnp.ndarray row = doubles(1, n)
    cdef Py_ssize_t i
    cdef cnp.ndarray source = None if array is None else np.ascontiguousarray(array)
    for i in range(n):
        row_of(row, 0)[i] = default if source is None else float_at(source, i)
    return row


def follow(cnp.ndarray running not None, cnp.ndarray statistics not None, Py_ssize_t row,
           double factor, double correction):
    """Move running statistics by ``factor`` of the way to a row of a batch's, in place."""
    cdef Py_ssize_t i, step = cnp.PyArray_STRIDES(running)[0]
    cdef char *place = <char *>cnp.PyArray_DATA(running)
    cdef int kind = dtype_row(running)
    for i in range(cnp.PyArray_SIZE(running)):
        put_number(place + i * step, kind, (1.0 - factor) * number_at(place + i * step, kind)
                   + factor * correction * row_of(statistics, row)[i])
