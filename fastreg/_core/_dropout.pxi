# Dropout in blocks of elements; the bits of a block depend on its first element alone.
#
# From _threads: asked_threads; _memory: new_array, streams; _arrays: as_floats, as_input,
# as_output, dtype_row, float_array; _matrix: BLOCK.

cdef long long LAST_CALL = 2**62 - 1  # the counter has two bits for other uses; the next is 0
MAX_CALL = LAST_CALL


def philox(counter, uint64_t key):
    """Four counter words through Philox4x32-10 at the level in use."""
    cdef uint32_t block[4]
    cdef uint32_t words[4]
    words[0], words[1], words[2], words[3] = counter
    table.kernels[FR_FLOAT32].philox_block(block, words, key)
    return block[0], block[1], block[2], block[3]


def normals(cnp.ndarray radii not None, cnp.ndarray angles not None):
    """The pairs of normal deviates of uint32 words at the level in use, as two rows."""
    words = np.stack([radii, angles]).astype(np.uint32, copy=False)
    cdef cnp.ndarray source = words, deviates = np.empty(words.shape, np.float32)
    cdef const uint32_t *word = <const uint32_t *>cnp.PyArray_DATA(source)
    cdef float *deviate = <float *>cnp.PyArray_DATA(deviates)
    cdef Py_ssize_t n = cnp.PyArray_DIM(source, 1), done
    for done in range(0, n, BLOCK):
        table.kernels[FR_FLOAT32].normal_of_words(
            deviate + done, deviate + n + done, word + done, word + n + done,
            <int>min(<Py_ssize_t>BLOCK, n - done),
        )
    return deviates


cdef struct DropoutJob:
    char *y
    const char *x
    Py_ssize_t n, itemsize
    uint64_t first
    fr_mask mask
    fr_dropout kernel
    int asked
    bint stream


cdef void dropout_block(const void *job, Py_ssize_t block) noexcept nogil:
    cdef const DropoutJob *d = <const DropoutJob *>job
    cdef Py_ssize_t start = block * BLOCK, offset = start * d.itemsize
    d.kernel(d.y + offset, d.x + offset, min(<Py_ssize_t>BLOCK, d.n - start), d.first + start,
             &d.mask, d.stream)


cdef void run_dropout(cnp.ndarray target, cnp.ndarray source, fr_dropout kernel, fr_mask mask,
                      uint64_t first):
    """Kernels begin at multiples of 64: what is before the first of them is done by itself."""
    cdef DropoutJob job
    cdef double group[64]
    cdef Py_ssize_t lead = first % 64, head = 0
    cdef char *begun = <char *>group
    job.y, job.x = <char *>cnp.PyArray_DATA(target), <const char *>cnp.PyArray_DATA(source)
    job.n, job.itemsize = cnp.PyArray_SIZE(source), cnp.PyArray_ITEMSIZE(source)
    job.stream, job.asked = streams(target, source) and lead == 0, asked_threads()
    if lead:
        head = min(job.n, <Py_ssize_t>64 - lead)
        memset(group, 0, sizeof(group))
        memcpy(begun + lead * job.itemsize, job.x, head * job.itemsize)
        kernel(begun, begun, lead + head, first - lead, &mask, False)
        memcpy(job.y, begun + lead * job.itemsize, head * job.itemsize)
        job.y, job.x = job.y + head * job.itemsize, job.x + head * job.itemsize
        job.n -= head
    job.first, job.mask, job.kernel = first + head, mask, kernel
    with nogil:
        fr_run_tasks(dropout_block, &job, (job.n + BLOCK - 1) // BLOCK,
                     2 * job.n * job.itemsize, job.asked, False)


def dropout(str where, str name, object x, object out, uint64_t key, uint64_t call,
            uint64_t threshold, double scale, object shape=None, uint64_t first=0):
    """``x * mask`` for the mask of (key, call) from element ``first``."""
    cdef cnp.ndarray source = as_input(where, name, x, shape)
    cdef cnp.ndarray target = as_output(where, out, source)
    run_dropout(target, source, table.kernels[dtype_row(source)].dropout,
                fr_mask(key, call, threshold, scale, 0.0, 0.0), first)
    return target


def alpha_dropout(str where, str name, object x, object out, uint64_t key, uint64_t call,
                  uint64_t threshold, double scale, double kept_shift, double dropped_shift,
                  uint64_t first=0):
    """``x * scale + kept_shift`` where the mask keeps, ``x * 0 + dropped_shift`` elsewhere."""
    cdef cnp.ndarray source = as_input(where, name, x)
    cdef cnp.ndarray target = as_output(where, out, source)
    run_dropout(target, source, table.kernels[dtype_row(source)].alpha_dropout,
                fr_mask(key, call, threshold, scale, kept_shift, dropped_shift), first)
    return target


def gaussian_dropout(str where, str name, object x, object out, uint64_t key, uint64_t call,
                     double sigma, object shape=None, uint64_t first=0):
    """``x * (1 + sigma * z)`` for the deviates of (key, call) from element ``first``."""
    cdef cnp.ndarray source = as_input(where, name, x, shape)
    cdef cnp.ndarray target = as_output(where, out, source)
    run_dropout(target, source, table.kernels[dtype_row(source)].gaussian_dropout,
                fr_mask(key, call, 0, sigma, 0.0, 0.0), first)
    return target


cdef struct RunsJob:
    char *y
    const char *x
    const void *factors
    Py_ssize_t n, itemsize
    fr_runs runs
    fr_scale_runs kernel
    int asked
    bint stream


cdef void runs_block(const void *job, Py_ssize_t block) noexcept nogil:
    cdef const RunsJob *r = <const RunsJob *>job
    cdef Py_ssize_t start = block * BLOCK, offset = start * r.itemsize
    r.kernel(r.y + offset, r.x + offset, min(<Py_ssize_t>BLOCK, r.n - start), start, r.factors,
             r.runs, r.stream)


cdef Py_ssize_t gather(cnp.ndarray x, cnp.ndarray factors, int *axis, bint shared) noexcept:
    """The product of the axes before ``axis`` along which factors are shared, or differ."""
    cdef Py_ssize_t count = 1, dim
    while axis[0] > 0:
        dim = cnp.PyArray_DIM(x, axis[0] - 1)
        if dim != 1 and (cnp.PyArray_DIM(factors, axis[0] - 1) == 1) != shared:
            break
        count *= dim
        axis[0] -= 1
    return count


cdef fr_runs runs_of(cnp.ndarray x, cnp.ndarray factors, int *axis) noexcept:
    """From the last axis: shared (a run), different, shared (repeated), different.

    What is left of ``axis`` does not fit this pattern.
    """
    cdef fr_runs runs = fr_runs(1, 1, 1)
    axis[0] = cnp.PyArray_NDIM(x)
    runs.length = gather(x, factors, axis, True)
    runs.cols = gather(x, factors, axis, False)
    runs.repeat = gather(x, factors, axis, True)
    gather(x, factors, axis, False)
    return runs


def scale_runs(str where, str name, object x, object out, object factors, object shape=None):
    """``x * factors`` for an array of factors that broadcasts to x, axis by axis."""
    cdef cnp.ndarray source = as_input(where, name, x, shape)
    cdef cnp.ndarray target = as_output(where, out, source)
    cdef cnp.ndarray weights = np.asarray(factors, source.dtype, order="C")
    cdef RunsJob job
    cdef int axis = 0
    if not cnp.PyArray_SIZE(source):
        return target
    job.runs = runs_of(source, weights, &axis)
    if axis:  # rare: one factor for each element, but for the axes in front that share them
        front = 0
        while np.shape(weights)[front] == 1:
            front += 1
        weights = np.ascontiguousarray(np.broadcast_to(
            weights, np.shape(weights)[:front] + np.shape(source)[front:]))
        job.runs = runs_of(source, weights, &axis)
    job.y, job.x = <char *>cnp.PyArray_DATA(target), <const char *>cnp.PyArray_DATA(source)
    job.n, job.itemsize = cnp.PyArray_SIZE(source), cnp.PyArray_ITEMSIZE(source)
    job.factors = cnp.PyArray_DATA(weights)
    job.kernel = table.kernels[dtype_row(source)].scale_runs
    job.stream, job.asked = streams(target, source), asked_threads()
    with nogil:
        fr_run_tasks(runs_block, &job, (job.n + BLOCK - 1) // BLOCK,
                     2 * job.n * job.itemsize, job.asked, False)
    return target


def spread_dropout(str where, str name, object x, object out, uint64_t key, uint64_t call,
                   uint64_t threshold, double scale, object noise_shape, object shape=None,
                   uint64_t first=0):
    """``x * mask`` for a mask of ``noise_shape`` that broadcasts to x, from its element ``first``."""
    x = as_input(where, name, x, shape)
    dtype = x.dtype
    factors = new_array(np.broadcast_to(np.ones((), dtype), noise_shape))
    factors.fill(1)
    dropout(where, "mask", factors, factors, key, call, threshold, scale, None, first)
    return scale_runs(where, name, x, out, factors, shape)


def float_input(str where, str name, object x):
    """The input itself if it is an array of numbers."""
    float_array(where, name, as_floats(x))
    return x


def copy_through(str where, str name, object x, object out, object shape=None):
    """The input itself, or its copy in ``out``: a layer that does nothing in inference."""
    source = as_input(where, name, x, shape)
    if out is None:
        return x
    target = as_output(where, out, source)
    np.copyto(target, source)
    return target
