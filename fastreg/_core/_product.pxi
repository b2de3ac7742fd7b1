# Matrix products: what is multiplied, where the result lives, who computes it.
#
# From _threads: asked_threads, team_threads; _memory: pooled; _arrays: as_floats, dtype_row,
# float_array, is_dense, matching; _matrix: BRIEF, doubles.

cdef cnp.ndarray product_side(str name, object value, object other):
    """One side of a product: a float matrix or vector whose strides count whole elements.

    Integers and truth values are read in the dtype of the other side."""
    cdef cnp.ndarray array
    cdef int axis, ndim
    cdef bint whole
    if not cnp.PyArray_CheckExact(value) or dtype_row(<cnp.ndarray>value) < 0:
        is_float = isinstance(other, cnp.ndarray) and dtype_row(<cnp.ndarray>other) >= 0
        value = float_array("matmul", name, as_floats(value, other.dtype if is_float else None))
    array = value
    ndim, whole = cnp.PyArray_NDIM(array), cnp.PyArray_ISALIGNED(array)
    if ndim != 1 and ndim != 2:
        raise ValueError(
            f"matmul: {name} must be a matrix or a vector, got shape {np.shape(value)}; multiply "
            "the matrices of a stack one by one")
    for axis in range(ndim):
        whole &= cnp.PyArray_STRIDES(array)[axis] % cnp.PyArray_ITEMSIZE(array) == 0
    return array if whole else np.array(value, order="C", copy=True, subok=False)


cdef cnp.ndarray matrix_side(cnp.ndarray array):
    """A float matrix as a side of a product: a copy if its strides do not count whole elements."""
    cdef Py_ssize_t size = cnp.PyArray_ITEMSIZE(array)
    if cnp.PyArray_ISALIGNED(array) and cnp.PyArray_STRIDES(array)[0] % size == 0 and (
            cnp.PyArray_STRIDES(array)[1] % size == 0):
        return array
    return np.array(array, order="C", copy=True, subok=False)


cdef void extent(cnp.ndarray array, uintptr_t *low, uintptr_t *high) noexcept:
    """The first byte of an array, whatever its strides, and the first one behind it."""
    cdef int axis
    cdef cnp.npy_intp reach
    low[0] = high[0] = <uintptr_t>cnp.PyArray_DATA(array)
    if cnp.PyArray_SIZE(array):
        high[0] += cnp.PyArray_ITEMSIZE(array)
        for axis in range(cnp.PyArray_NDIM(array)):
            reach = (cnp.PyArray_DIMS(array)[axis] - 1) * cnp.PyArray_STRIDES(array)[axis]
            if reach < 0:
                low[0] -= <uintptr_t>-reach
            else:
                high[0] += <uintptr_t>reach


cdef bint overlap(cnp.ndarray a, cnp.ndarray b):
    """Whether two arrays have a byte in common; NumPy is asked where their extents meet."""
    cdef uintptr_t a_low, a_high, b_low, b_high
    extent(a, &a_low, &a_high)
    extent(b, &b_low, &b_high)
    return a_low < b_high and b_low < a_high and np.shares_memory(a, b)


cdef cnp.ndarray product_target(object out, int ndim, cnp.npy_intp *shape, cnp.ndarray a,
                                cnp.ndarray b):
    """The array to write: ``out`` if it fits and shares nothing, a new one if it is None."""
    cdef cnp.ndarray array
    cdef bint fits
    if out is None:
        return pooled(ndim, shape, cnp.PyArray_TYPE(a))
    array = float_array("matmul", "out", out)
    fits = cnp.PyArray_TYPE(array) == cnp.PyArray_TYPE(a) and cnp.PyArray_NDIM(array) == ndim
    if not fits or not cnp.PyArray_CompareLists(cnp.PyArray_DIMS(array), shape, ndim):
        matching("matmul", "out", out, tuple([shape[0], shape[1]][:ndim]), a.dtype)
    if not is_dense(array):
        raise ValueError(
            f"matmul: out must be C-contiguous and aligned, got strides {out.strides}; pass a "
            "contiguous array and copy the result")
    if not cnp.PyArray_ISWRITEABLE(array):
        raise ValueError("matmul: out must be writeable, got a read-only array")
    if overlap(array, a) or overlap(array, b):
        raise ValueError(
            f"matmul: out must share no memory with {'a' if overlap(array, a) else 'b'}, which is "
            "read while out is written; leave it out or pass another array")
    return array


cdef void run_packs(const fr_kernels *kernels, const fr_product *job, int asked) noexcept nogil:
    """What a planned product packs beforehand."""
    if job.packs:
        fr_run_tasks(kernels.pack_product, job, job.packs, 2 * job.packed_bytes, asked, False)


cdef void run_product(const fr_kernels *kernels, const fr_product *job, int asked) noexcept nogil:
    """The whole of a product that has been planned and has its room."""
    run_packs(kernels, job, asked)
    fr_run_tasks(kernels.product, job, job.tasks, job.cost, asked, False)


cdef cnp.ndarray give_room(fr_product *job):
    """The array that a planned product packs into, which must outlive it, or None."""
    cdef cnp.ndarray room = None
    if job.packed_bytes:
        room = doubles(1, (job.packed_bytes + 7) // 8)
        job.packed = cnp.PyArray_DATA(room)
    return room


cdef int compute(fr_product *job, const fr_kernels *kernels) except -1:
    """Plan a product whose sides and target are known, and run it."""
    cdef int asked = asked_threads()
    if not job.rows or not job.cols:
        return 0
    kernels.plan_product(job, asked or team_threads)
    room = give_room(job)
    if job.cost < BRIEF:
        run_product(kernels, job, asked)
    else:
        with nogil:
            run_product(kernels, job, asked)
    return 0


@cython.final
@cython.freelist(8)
cdef class Product:
    """A product of two float matrices of one dtype that fit: where it goes is known before its
    second side is, and it may be computed in the midst of a pass over that or over the result."""

    cdef fr_product job
    cdef const fr_kernels *kernels
    cdef cnp.ndarray left, right, target, room
    cdef object bias
    cdef bint left_turned, right_turned, blas, done

    cdef int take_right(self, cnp.ndarray right, bint turned) except -1:
        """Name the second side, turned if it says so."""
        cdef Py_ssize_t size
        self.right, self.right_turned = matrix_side(right), turned
        size = cnp.PyArray_ITEMSIZE(self.right)
        self.job.b = cnp.PyArray_DATA(self.right)
        self.job.b_row = cnp.PyArray_STRIDES(self.right)[turned] // size
        self.job.b_col = cnp.PyArray_STRIDES(self.right)[not turned] // size
        return 0

    cdef int finish_with(self, object bias, bint relu) except -1:
        """Have the product's own pass add a bias, a row of its dtype or None, then ReLU."""
        self.bias, self.job.relu = bias, relu
        if bias is not None:
            self.job.bias = cnp.PyArray_DATA(<cnp.ndarray>bias)
        return 0

    cdef cnp.ndarray compute(self):
        """The result. BLAS leaves bias and ReLU out."""
        if self.done:
            return self.target
        if self.blas:
            np.dot(np.asarray(self.left.T if self.left_turned else self.left),
                   np.asarray(self.right.T if self.right_turned else self.right), self.target)
        else:
            compute(&self.job, self.kernels)
        self.done = True
        return self.target

    cdef bint cut_like(self, Py_ssize_t panel_cols, Py_ssize_t panels) except -1:
        """Whether the pass that does so many columns at a time may compute these as it goes.

        If so all is prepared, and the product is done once that pass is."""
        cdef int asked = asked_threads(), threads = asked or team_threads
        cdef fr_product job = self.job  # a plan may exchange the sides
        if self.done or self.blas or not job.rows or not job.cols:
            return False
        self.kernels.plan_product(&job, threads)
        if job.turned or job.shared_b or (panels < threads and job.tasks > 1):
            return False
        self.job = job
        self.job.col_block = panel_cols
        if job.packs:
            self.room = give_room(&self.job)
            with nogil:
                run_packs(self.kernels, &self.job, asked)
        self.done = True
        return True


cdef Product product_of(cnp.ndarray left, bint turned, Py_ssize_t cols, bint blas):
    """The product of a float matrix, turned if it says so, with one of so many columns."""
    cdef Product product = Product.__new__(Product)
    cdef Py_ssize_t size
    cdef cnp.npy_intp[2] shape
    product.left = matrix_side(left)
    product.left_turned, product.blas, product.done = turned, blas, False
    product.kernels = table.kernels[dtype_row(product.left)]
    size = cnp.PyArray_ITEMSIZE(product.left)
    shape[0], shape[1] = cnp.PyArray_DIM(product.left, turned), cols
    product.target = pooled(2, shape, cnp.PyArray_TYPE(product.left))
    product.job.c, product.job.a = (
        cnp.PyArray_DATA(product.target), cnp.PyArray_DATA(product.left))
    product.job.rows, product.job.cols = shape[0], cols
    product.job.depth = cnp.PyArray_DIM(product.left, not turned)
    product.job.a_row = cnp.PyArray_STRIDES(product.left)[turned] // size
    product.job.a_col = cnp.PyArray_STRIDES(product.left)[not turned] // size
    product.job.c_row, product.job.relu, product.job.bias = cols, False, NULL
    return product


def matmul(object a, object b, *, object out=None):
    r"""Return the matrix product ``a @ b``, with the same bits on every machine.

    Parameters
    ----------
    a : array of shape (M, K) or (K,)
        float32 or float64, with any strides: a transposed or sliced view is read as it lies.
        Integers and truth values are read in the dtype of ``b``.
    b : array of shape (K, N) or (K,)
        Of the same dtype as ``a``.
    out : array of shape (M, N), optional
        Where to write the result: C-contiguous, of the inputs' dtype, sharing no memory with them.

    Returns
    -------
    array of shape (M, N)
        ``out``, or a new array. As in `numpy.matmul` a vector's axis is left out of the result,
        and two vectors give a number.

    Raises
    ------
    TypeError
        If an argument is not an array of float32 or float64, or the dtypes differ.
    ValueError
        If the shapes do not fit, an input has no or more than two axes, or ``out`` overlaps one.

    Notes
    -----
    Element (i, j) is

    .. math:: c_{ij} = \sum_{B} \; \mathrm{fma}(a_{ik}, b_{kj}, \ldots) \quad k \in B

    blocks B of 256 values of k are taken in order, in each a chain of fused multiply-adds in the
    order of k, which starts at 0; the chains' ends are added in order. All of it is in the arrays'
    dtype, and the order depends neither on threads nor on the instruction set, so
    `fastreg.reference.matmul`, which spells it out, has the same bits. The error is bounded by
    that of a sum of 256 + K / 256 terms. NaN and infinity propagate: a factor of 0 does not skip
    them. With K = 0 the result is 0.

    This is for the usual rounding, to nearest. Where a caller has set another mode (C's
    ``fesetround``), every step rounds in that mode, on all threads alike: the result is the same
    for any number of threads and any instruction set, but not that of the reference, whose own
    arithmetic needs rounding to nearest.

    The baseline of x86-64 has no fused multiply-add. There each step is a call of C's ``fma``,
    with the same bits and about a hundredth of the speed; `fastreg.show_config` says so.

    References
    ----------
    Goto & van de Geijn, *Anatomy of high-performance matrix multiplication*, ACM TOMS 34, 2008.

    Examples
    --------
    >>> X, W = np.arange(6.0).reshape(2, 3), np.ones((3, 2))
    >>> fastreg.matmul(X, W)
    array([[ 3.,  3.],
           [12., 12.]])
    >>> dW = np.empty((3, 2))
    >>> fastreg.matmul(X.T, np.ones((2, 2)), out=dW) is dW
    True
    """
    cdef cnp.ndarray left = product_side("a", a, b), right = product_side("b", b, left)
    cdef cnp.ndarray target
    cdef int rows_left = cnp.PyArray_NDIM(left) - 1, cols_right = cnp.PyArray_NDIM(right) - 1
    cdef Py_ssize_t itemsize = cnp.PyArray_ITEMSIZE(left)
    cdef cnp.npy_intp[2] shape
    cdef int ndim = 0
    cdef fr_product job
    if cnp.PyArray_TYPE(left) != cnp.PyArray_TYPE(right):
        raise TypeError(f"matmul: a and b must have one dtype, got {left.dtype} and {right.dtype}; "
                        "convert one with astype")
    job.depth = cnp.PyArray_DIM(left, rows_left)
    if cnp.PyArray_DIM(right, 0) != job.depth:
        raise ValueError(
            f"matmul: b must have as many rows as a has columns, got a of shape {np.shape(left)} "
            f"and b of shape {np.shape(right)}")
    job.rows = job.cols = 1
    job.a_row = job.b_col = 0
    job.a_col = cnp.PyArray_STRIDES(left)[rows_left] // itemsize
    job.b_row = cnp.PyArray_STRIDES(right)[0] // itemsize
    if rows_left:
        shape[ndim] = job.rows = cnp.PyArray_DIM(left, 0)
        job.a_row = cnp.PyArray_STRIDES(left)[0] // itemsize
        ndim += 1
    if cols_right:
        shape[ndim] = job.cols = cnp.PyArray_DIM(right, 1)
        job.b_col = cnp.PyArray_STRIDES(right)[1] // itemsize
        ndim += 1
    target = product_target(out, ndim, shape, left, right)
    job.a, job.b, job.c = (
        cnp.PyArray_DATA(left), cnp.PyArray_DATA(right), cnp.PyArray_DATA(target))
    job.c_row, job.bias, job.relu = job.cols, NULL, False
    compute(&job, table.kernels[dtype_row(left)])
    return target if ndim or out is not None else target[()]
