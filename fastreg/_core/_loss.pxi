# Losses: rows of outputs against labels, outputs against targets, in chunks of rows cut by the shape
# alone; and the softmax of rows.
#
# From _threads: asked_threads; _memory: new_array; _arrays: as_input,
# dtype_row, is_dense; _matrix: BLOCK, Sums, sums_of.

cdef dict LOSSES = {
    "binary": FR_LOSS_binary, "squared": FR_LOSS_squared, "absolute": FR_LOSS_absolute,
    "huber": FR_LOSS_huber, "quantile": FR_LOSS_quantile, "poisson": FR_LOSS_poisson,
    "focal": FR_LOSS_focal}


cdef struct LossJob:
    fr_cross_entropy by_label
    fr_point_loss by_target
    fr_softmax softmax
    char *dz
    const char *z
    const char *targets
    const int64_t *labels
    const double *shares
    double *values
    double share, smoothing, a, b
    Py_ssize_t rows, cols, chunk_rows, chunks, itemsize


cdef LossJob loss_job(cnp.ndarray z, cnp.ndarray dz, cnp.ndarray shares) noexcept:
    """A job over a matrix of outputs that are not empty, with a share for each row or None."""
    cdef LossJob job
    job.rows, job.cols = cnp.PyArray_DIM(z, 0), cnp.PyArray_DIM(z, 1)
    job.chunk_rows = max(1, BLOCK // job.cols)
    job.chunks = (job.rows + job.chunk_rows - 1) // job.chunk_rows
    job.itemsize = cnp.PyArray_ITEMSIZE(z)
    job.dz, job.z = <char *>cnp.PyArray_DATA(dz), <const char *>cnp.PyArray_DATA(z)
    job.shares = NULL
    if shares is not None:
        job.shares = <const double *>cnp.PyArray_DATA(shares)
    return job


cdef double run_loss(fr_task task, LossJob *job, int arrays):
    """The sum over all chunks, in their order, of a pass over this many arrays."""
    cdef Sums values = sums_of(1, job.chunks)
    cdef double value = 0.0
    cdef Py_ssize_t k
    cdef int asked = asked_threads()
    job.values = values.row(0)
    with nogil:
        fr_run_tasks(task, job, job.chunks, arrays * job.rows * job.cols * job.itemsize, asked,
                     False)
        for k in range(job.chunks):
            value += job.values[k]
    return value


cdef void cross_entropy_task(const void *job, Py_ssize_t k) noexcept nogil:
    cdef const LossJob *j = <const LossJob *>job
    cdef Py_ssize_t row = k * j.chunk_rows, offset = row * j.cols * j.itemsize
    j.by_label(j.dz + offset, j.values + k, j.z + offset, j.labels + row,
               j.shares + row if j.shares else NULL, j.share, j.smoothing,
               min(j.chunk_rows, j.rows - row), j.cols)


cdef void point_loss_task(const void *job, Py_ssize_t k) noexcept nogil:
    cdef const LossJob *j = <const LossJob *>job
    cdef Py_ssize_t row = k * j.chunk_rows, offset = row * j.cols * j.itemsize
    j.by_target(j.dz + offset, j.values + k, j.z + offset, j.targets + offset,
                j.shares + row if j.shares else NULL, j.share, j.a, j.b,
                min(j.chunk_rows, j.rows - row), j.cols)


cdef void softmax_task(const void *job, Py_ssize_t k) noexcept nogil:
    cdef const LossJob *j = <const LossJob *>job
    cdef Py_ssize_t row = k * j.chunk_rows, offset = row * j.cols * j.itemsize
    j.values[k] = 0
    j.softmax(j.dz + offset, j.z + offset, min(j.chunk_rows, j.rows - row), j.cols)


def check_labels(str where, object labels, Py_ssize_t rows, Py_ssize_t classes,
                 object ignored=None):
    """Labels as a contiguous int64 array, each from 0 to ``classes`` - 1, or -1 where ignored."""
    cdef cnp.ndarray array
    cdef const int64_t *label
    cdef Py_ssize_t i
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iu":
        raise TypeError(
            f"{where}: labels must be integers, got {labels.dtype}; number the classes")
    if labels.ndim != 1 or labels.shape[0] != rows:
        raise ValueError(
            f"{where}: labels must have shape ({rows},), one per row, got {np.shape(labels)}")
    array = np.ascontiguousarray(labels, dtype=np.int64)
    out = None
    if ignored is not None:
        out = array == ignored
        array = np.where(out, -1, array)
    label = <const int64_t *>cnp.PyArray_DATA(array)
    for i in range(rows):
        if not 0 <= label[i] < classes and (out is None or not out[i]):
            raise ValueError(
                f"{where}: labels must be from 0 to {classes - 1}, got {labels[i]}")
    return array


ctypedef fused real_t:
    float
    double


cdef bint is_first(const real_t *outputs, Py_ssize_t k) noexcept nogil:
    """Whether element k, which is NaN, is the first NaN of a row."""
    cdef Py_ssize_t i
    for i in range(k):
        if outputs[i] != outputs[i]:
            return False
    return True


cdef Py_ssize_t right_rows(const real_t *outputs, const int64_t *labels, Py_ssize_t rows,
                           Py_ssize_t cols) noexcept nogil:
    cdef Py_ssize_t i, k, count = 0
    cdef int wrong
    cdef real_t wanted
    for i in range(rows):
        if 0 <= labels[i] < cols:
            wanted, wrong = outputs[labels[i]], 0
            for k in range(labels[i]):  # without branches: what a row holds cannot be foreseen
                wrong |= not (outputs[k] < wanted)
            for k in range(labels[i] + 1, cols):
                wrong |= not (outputs[k] <= wanted)
            count += is_first(outputs, labels[i]) if wanted != wanted else not wrong
        outputs += cols
    return count


def count_right(outputs, labels):
    """Rows of an (N, K) matrix whose largest element, NaN above all, is first at the label."""
    cdef cnp.ndarray matrix = as_input("accuracy", "outputs", outputs), wanted
    if isinstance(labels, cnp.ndarray) and is_dense(labels) and (
            cnp.PyArray_TYPE(<cnp.ndarray>labels) == cnp.NPY_INT64
            and cnp.PyArray_ISNOTSWAPPED(<cnp.ndarray>labels)):
        wanted = labels
    else:
        wanted = np.ascontiguousarray(labels, np.int64)
    cdef Py_ssize_t rows = cnp.PyArray_DIM(matrix, 0), cols = cnp.PyArray_DIM(matrix, 1)
    cdef const int64_t *label = <const int64_t *>cnp.PyArray_DATA(wanted)
    if cnp.PyArray_SIZE(wanted) != rows or not cols:
        raise ValueError(f"accuracy: labels must have shape ({rows},), got {np.shape(labels)}")
    if dtype_row(matrix) == FR_FLOAT32:
        return right_rows(<const float *>cnp.PyArray_DATA(matrix), label, rows, cols)
    return right_rows(<const double *>cnp.PyArray_DATA(matrix), label, rows, cols)


def cross_entropy(cnp.ndarray logits not None, cnp.ndarray labels not None, object shares,
                  double smoothing):
    """The weighted sum of the rows' losses and its gradient; without shares, the mean.

    Labels are int64, or the classes' shares of every row: a contiguous matrix like the logits."""
    return entropy_of(logits, labels, shares, smoothing)


cdef tuple entropy_of(cnp.ndarray logits, cnp.ndarray labels, object shares, double smoothing):
    cdef cnp.ndarray target = new_array(logits)
    cdef LossJob job = loss_job(logits, target, shares)
    cdef const fr_kernels *kernels = table.kernels[dtype_row(logits)]
    job.share = 1.0 / job.rows
    if cnp.PyArray_NDIM(labels) == 2:
        job.by_target, job.targets = kernels.soft_cross_entropy, <const char *>cnp.PyArray_DATA(labels)
        job.a, job.b = 1.0 - smoothing, smoothing / job.cols
        return run_loss(point_loss_task, &job, 3), target
    job.by_label, job.labels = kernels.cross_entropy, <const int64_t *>cnp.PyArray_DATA(labels)
    job.smoothing = smoothing
    return run_loss(cross_entropy_task, &job, 2), target


def usual_cross_entropy(object logits, object labels, double smoothing):
    """`cross_entropy` of what a training step has: a matrix of floats and a label for each of its
    rows, all of them in order. None if anything is unusual, and is to be checked or converted."""
    cdef cnp.ndarray matrix, wanted
    cdef const int64_t *label
    cdef Py_ssize_t i, rows, classes
    if not cnp.PyArray_CheckExact(logits) or not cnp.PyArray_CheckExact(labels):
        return None
    matrix, wanted = logits, labels
    if cnp.PyArray_NDIM(matrix) != 2 or dtype_row(matrix) < 0 or not is_dense(matrix) or (
            cnp.PyArray_NDIM(wanted) != 1 or cnp.PyArray_TYPE(wanted) != cnp.NPY_INT64
            or not is_dense(wanted) or not cnp.PyArray_ISNOTSWAPPED(wanted)):
        return None
    rows, classes = cnp.PyArray_DIM(matrix, 0), cnp.PyArray_DIM(matrix, 1)
    if not rows or cnp.PyArray_DIM(wanted, 0) != rows or not 0.0 <= smoothing <= 1.0:
        return None
    label = <const int64_t *>cnp.PyArray_DATA(wanted)
    for i in range(rows):
        if not 0 <= label[i] < classes:
            return None
    return entropy_of(matrix, wanted, None, smoothing)


def point_loss(str kind, cnp.ndarray outputs not None, cnp.ndarray targets not None, object shares,
               double a=0.0, double b=0.0):
    """The mean of a loss in LOSSES over the elements and its gradient; rows weigh their shares.

    The targets are a contiguous matrix like the outputs; what a and b are is the kernel's matter."""
    cdef cnp.ndarray target = new_array(outputs)
    cdef LossJob job = loss_job(outputs, target, shares)
    cdef int which = LOSSES[kind]
    cdef double size = job.cols if job.shares else <double>job.rows * job.cols
    job.by_target = table.kernels[dtype_row(outputs)].loss[which]
    job.targets = <const char *>cnp.PyArray_DATA(targets)
    job.share, job.a, job.b = (2.0 if which == FR_LOSS_squared else 1.0) / size, a, b
    return run_loss(point_loss_task, &job, 3) / size, target


def softmax_rows(str where, str name, object x):
    """The softmax of each row of a matrix."""
    cdef cnp.ndarray logits = as_input(where, name, x), target = new_array(logits)
    cdef LossJob job
    if cnp.PyArray_SIZE(logits):
        job = loss_job(logits, target, None)
        job.softmax = table.kernels[dtype_row(logits)].softmax
        run_loss(softmax_task, &job, 2)
    return target
