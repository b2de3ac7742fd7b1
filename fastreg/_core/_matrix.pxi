# A matrix in tasks, chunks of rows times panels of columns, and the rows of float64 that tasks sum
# into. Chunks are cut by shape alone and a column is summed alike in panels of any width, so that
# results depend on neither threads nor level.
#
# From _threads: asked_threads, team_threads; _memory: POOL_MIN_BYTES, pooled; _arrays: dtype_row.

cdef enum:
    BLOCK = 16384  # elements of a span that one kernel call works on
    CHUNK = 65536  # elements of a chunk of rows
    NARROW = 64  # columns that a panel is not cut below: a group of dropout's draws
    SHORT = 1024  # rows whose narrowest panel stays in L2, with all that a pass makes of it
    BRIEF = 0x10000  # bytes moved in a time for which the GIL is not worth giving up


cdef struct MatrixJob:
    # A matrix in tasks, row chunks times column panels, and what a pass over it reads and writes.
    # Its entries are runs of one element in (N, C), of L in (N, C, L). x, dy and target are
    # matrices; the sums have one row per chunk; the others one entry per column.
    Py_ssize_t rows, cols, run, chunk_rows, chunks, panel_cols, panels, itemsize
    const fr_kernels *kernels
    const char *x
    const char *origin
    const char *dy
    char *target
    double *sum_1
    double *sum_2
    fr_channels channels
    const double *mean_dy
    const double *slope
    Py_ssize_t besides  # bytes moved in the time of what else the tasks do
    int asked
    bint stream


cdef struct MatrixTask:
    fr_panel panel
    Py_ssize_t first, col, sums  # offset of the first element, first column, place of its sums


cdef inline bint is_serial(const MatrixJob *job) noexcept:
    """Whether a pass over the matrix is too short to be shared."""
    return 4 * job.rows * job.cols * job.run * job.itemsize < FR_SERIAL_BYTES


cdef inline bint has_a_panel_each(const MatrixJob *job) noexcept:
    """Whether a pass is to be shared, and wide enough for a panel per thread."""
    return not is_serial(job) and job.cols >= (job.asked or team_threads) * NARROW


cdef inline void share_panels(MatrixJob *job, Py_ssize_t chunks) noexcept:
    """Cut panels so that each thread has its part of so many chunks."""
    cdef Py_ssize_t threads = job.asked or team_threads
    cdef Py_ssize_t share = (chunks * job.cols + threads - 1) // threads
    job.panel_cols = min(FR_PANEL_COLS, (share + NARROW - 1) // NARROW * NARROW)
    job.panels = (job.cols + job.panel_cols - 1) // job.panel_cols


cdef MatrixJob matrix_job(cnp.ndarray x, bint channels_last=False) noexcept:
    """A job over an array with channels in the last axis or the second."""
    cdef MatrixJob job
    cdef int last = cnp.PyArray_NDIM(x) - 1, axis
    job.cols, job.rows, job.run = cnp.PyArray_DIM(x, last if channels_last else 1), 1, 1
    for axis in range(last + 1):
        if axis == 0 or (channels_last and axis < last):
            job.rows *= cnp.PyArray_DIM(x, axis)
        elif axis > 1 and not channels_last:
            job.run *= cnp.PyArray_DIM(x, axis)
    job.itemsize, job.asked = cnp.PyArray_ITEMSIZE(x), asked_threads()
    job.kernels = table.kernels[dtype_row(x)]
    if job.run == 1:
        job.chunk_rows = max(1, CHUNK // max(1, job.cols) // FR_PANEL_ROWS) * FR_PANEL_ROWS
        job.panel_cols = FR_PANEL_COLS
    else:
        job.chunk_rows = max(1, CHUNK // max(1, job.cols * job.run))
        job.panel_cols = max(1, min(job.cols, CHUNK // max(1, job.run)))
    job.chunks = (job.rows + job.chunk_rows - 1) // job.chunk_rows
    job.panels = (job.cols + job.panel_cols - 1) // job.panel_cols
    if job.run == 1 and has_a_panel_each(&job):
        share_panels(&job, job.chunks)
    job.x = job.origin = <const char *>cnp.PyArray_DATA(x)
    job.besides = 0
    return job


cdef inline MatrixTask matrix_task(const MatrixJob *job, Py_ssize_t k) noexcept nogil:
    cdef MatrixTask t
    cdef Py_ssize_t chunk = k // job.panels, row = chunk * job.chunk_rows
    t.col = k % job.panels * job.panel_cols
    t.first = (row * job.cols + t.col) * job.run * job.itemsize
    t.sums = chunk * job.cols + t.col
    t.panel.rows = min(job.chunk_rows, job.rows - row)
    t.panel.cols = min(job.panel_cols, job.cols - t.col)
    t.panel.stride, t.panel.run = job.cols * job.run, job.run
    return t


cdef bint cut_by_columns(MatrixJob *job) noexcept:
    """Make a job's tasks whole columns if these stay in cache, and every thread has some."""
    if job.run > 1 or job.rows > SHORT or not (is_serial(job) or has_a_panel_each(job)):
        return False
    if not is_serial(job):
        share_panels(job, 1)
    return True


cdef inline MatrixTask column_task(const MatrixJob *job, Py_ssize_t k) noexcept nogil:
    cdef MatrixTask t = matrix_task(job, k)
    t.panel.rows = job.rows
    return t


cdef inline fr_channels channels_from(const fr_channels *whole, Py_ssize_t col) noexcept nogil:
    cdef fr_channels part
    part.mean, part.inv_std = whole.mean + col, whole.inv_std + col
    part.gamma, part.beta = whole.gamma + col, whole.beta + col
    return part


cdef void run_matrix(fr_task task, const MatrixJob *job, int arrays, bint backwards=False,
                    bint by_columns=False) noexcept:
    """One pass that reads and writes this many arrays of the matrix's size.

    The GIL is kept where the pass is over before another thread could start."""
    cdef Py_ssize_t moved = arrays * job.rows * job.cols * job.run * job.itemsize + job.besides
    cdef Py_ssize_t tasks = job.panels if by_columns else job.chunks * job.panels
    if moved < BRIEF:
        fr_run_tasks(task, job, tasks, moved, job.asked, backwards)
    else:
        with nogil:
            fr_run_tasks(task, job, tasks, moved, job.asked, backwards)


cdef inline double *row_of(cnp.ndarray table, Py_ssize_t k) noexcept nogil:
    """Row k of a matrix that ``doubles`` made."""
    return <double *>cnp.PyArray_DATA(table) + k * cnp.PyArray_DIM(table, 1)


@cython.final
@cython.freelist(8)
cdef class Sums:
    """Rows of float64 that only a kernel sees: made in a third of the time of an array."""

    cdef double *data
    cdef Py_ssize_t cols
    cdef cnp.ndarray room  # where there are so many that they come from the pool

    def __dealloc__(self):
        if self.room is None:
            PyMem_RawFree(self.data)

    cdef inline double *row(self, Py_ssize_t k) noexcept:
        return self.data + k * self.cols


cdef Sums sums_of(Py_ssize_t rows, Py_ssize_t cols):
    cdef Sums sums = Sums.__new__(Sums)
    cdef size_t bytes = <size_t>rows * cols * sizeof(double)
    sums.cols = cols
    if bytes < POOL_MIN_BYTES:
        sums.data = <double *>PyMem_RawMalloc(bytes + 1)
        if sums.data == NULL:
            raise MemoryError()
    else:
        sums.room = doubles(rows, cols)
        sums.data = row_of(sums.room, 0)
    return sums


cdef cnp.ndarray doubles(Py_ssize_t rows, Py_ssize_t cols):
    """An uninitialised float64 matrix, for what tasks sum."""
    cdef cnp.npy_intp[2] shape
    shape[0], shape[1] = rows, cols
    return pooled(2, shape, cnp.NPY_FLOAT64)
