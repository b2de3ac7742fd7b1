# Sums and element-wise results over a list of arrays, with the blocks of all tensors in one
# parallel region; and norms of rows or columns. A block's bits depend on its tensor alone, and the
# sums of blocks are merged in the order of the list, so that threads change nothing.
#
# From _threads: asked_threads; _memory: new_array, streams; _arrays: as_input, as_output,
# dtype_row, float_array, is_dense; _matrix: BLOCK, doubles, matrix_job, matrix_task, MatrixJob,
# MatrixTask, row_of, run_matrix.

cdef dict SUMS = {"abs": FR_SUM_abs, "squares": FR_SUM_squares, "near_zero": FR_SUM_near_zero,
                  "zeros": FR_SUM_zeros}
cdef dict MAPS = {"zero": FR_MAP_zero, "l1": FR_MAP_l1, "l2": FR_MAP_l2, "elastic": FR_MAP_elastic,
                  "soft": FR_MAP_soft, "prox": FR_MAP_prox}

cdef enum:
    MAX_SUMS = 4  # sums of one sweep

cdef struct WeightBlock:
    const fr_kernels *kernels
    const char *x
    char *y
    Py_ssize_t n
    bint stream

cdef struct Sweep:
    # What is done to every block: sums of these kinds, a row of `sums` per block, then a map.
    const WeightBlock *blocks
    double *sums
    int kinds[MAX_SUMS]
    int n_sums, result
    double a, b, number


cdef void sweep_block(const void *job, Py_ssize_t k) noexcept nogil:
    """Sum a block, then map it: the second read finds it in cache."""
    cdef const Sweep *s = <const Sweep *>job
    cdef const WeightBlock *block = &s.blocks[k]
    cdef int i
    for i in range(s.n_sums):
        s.sums[k * s.n_sums + i] = block.kernels.sum[s.kinds[i]](block.x, block.n, s.number)
    if s.result >= 0:
        block.kernels.map[s.result](block.y, block.x, block.n, s.a, s.b, block.stream)


cdef str entry(str name, object key):
    """What an error calls one array of a structure."""
    return name if key is None else f"{name}[{key!r}]"


def weights(str where, str name, list keys not None, list arrays not None):
    """The arrays as C-contiguous views or copies; plain numbers as arrays without axes."""
    cdef list dense = []
    for key, value in zip(keys, arrays):
        if isinstance(value, (int, float, np.generic)):
            value = np.asarray(value)
        if not (cnp.PyArray_CheckExact(value) and dtype_row(value) >= 0
                and is_dense(value)):
            value = as_input(where, entry(name, key), value)
        dense.append(value)
    return dense


cdef refuse_shared_outputs(str where, list keys, list sources, list targets):
    """Refuse an output that overlaps another output, or an input that is not its own."""
    cdef uintptr_t output_end = 0, end = 0
    cdef list ranges = []
    for key, source, target in zip(keys, sources, targets):
        start = <uintptr_t>cnp.PyArray_DATA(target)
        ranges.append((start, start + target.nbytes, True, key))
        if cnp.PyArray_DATA(source) != cnp.PyArray_DATA(target):
            start = <uintptr_t>cnp.PyArray_DATA(source)
            ranges.append((start, start + source.nbytes, False, key))
    ranges.sort(key=lambda item: item[:2])
    for first, last, is_output, key in ranges:
        if first < last and first < (end if is_output else output_end):
            raise ValueError(
                f"{where}: {entry('out', key)} must share no memory with other entries or their "
                "inputs; pass arrays of their own"
            )
        end = max(end, <uintptr_t>last)
        if is_output:
            output_end = max(output_end, <uintptr_t>last)


cpdef tuple unpack(object weights):
    """What errors call each array of a dict, list or tuple (None for a single one), the arrays."""
    if isinstance(weights, dict):
        return list(weights), list(weights.values())
    if isinstance(weights, (list, tuple)):
        return list(range(len(weights))), list(weights)
    return [None], [weights]


cpdef object pack(object weights, list results):
    """One result per array, in the structure of ``weights``."""
    if isinstance(weights, dict):
        return dict(zip(weights, results))
    if isinstance(weights, (list, tuple)):
        return tuple(results) if isinstance(weights, tuple) else results
    return results[0]


def sweep(str where, str name, object structure, tuple sums=(), str result=None, list out=None,
          double a=0.0, double b=0.0, double number=1.0):
    """The sums over all arrays together and, with ``result``, an array for each array.

    ``sums`` and ``result`` are names in SUMS and MAPS; ``out`` lists the arrays to write.
    """
    cdef list keys, given, sources, targets, totals = [], results = []
    cdef Sweep job
    cdef WeightBlock *blocks
    cdef cnp.ndarray source, target
    cdef int asked = asked_threads()
    cdef Py_ssize_t n_blocks = 0, moved = 0, start, i, k = 0, size, itemsize
    cdef bint plain = False  # whether some of the weights are plain numbers
    keys, given = unpack(structure)
    sources = targets = weights(where, name, keys, given)
    if result is not None:
        targets = []
        for key, given_out, source in zip(keys, sources if out is None else out, sources):
            targets.append(new_array(source) if out is None else as_output(
                where, float_array(where, entry("out", key), given_out), source,
                entry("out", key)))
        if out is not None and len(sources) > 1:
            refuse_shared_outputs(where, keys, sources, targets)
    for source in sources:
        n_blocks += (cnp.PyArray_SIZE(source) + BLOCK - 1) // BLOCK
        moved += cnp.PyArray_NBYTES(source) * (1 if result is None else 2)
    for value, target in zip(given, targets):
        results.append(target)
        plain |= not isinstance(value, np.ndarray)
    # Before anything is written: only numbers, and sums, are made of what kernels leave.
    answer = totals, None if result is None or plain else pack(structure, results)
    job.n_sums, job.result = len(sums), -1 if result is None else <int>MAPS[result]
    for i in range(job.n_sums):
        job.kinds[i] = SUMS[sums[i]]
    job.a, job.b, job.number = a, b, number
    job.sums = <double *>PyMem_Malloc((n_blocks + 1) * job.n_sums * sizeof(double))
    blocks = <WeightBlock *>PyMem_Malloc((n_blocks + 1) * sizeof(WeightBlock))
    try:
        if not job.sums or not blocks:
            raise MemoryError()
        for i in range(len(sources)):
            source, target = sources[i], targets[i]
            size, itemsize = cnp.PyArray_SIZE(source), cnp.PyArray_ITEMSIZE(source)
            for start in range(0, size, BLOCK):
                blocks[k].kernels = table.kernels[dtype_row(source)]
                blocks[k].x = <const char *>cnp.PyArray_DATA(source) + start * itemsize
                blocks[k].y = <char *>cnp.PyArray_DATA(target) + start * itemsize
                blocks[k].n = min(<Py_ssize_t>BLOCK, size - start)
                blocks[k].stream = streams(target, source)
                k += 1
        job.blocks = blocks
        with nogil:
            fr_run_tasks(sweep_block, &job, n_blocks, moved, asked, False)
        fr_merge(job.sums, n_blocks, job.n_sums)
        for i in range(job.n_sums):
            totals.append(job.sums[i])
    finally:
        PyMem_Free(job.sums)
        PyMem_Free(blocks)
    if result is None or not plain:
        return answer
    for i in range(len(results)):
        if not isinstance(given[i], np.ndarray):
            results[i] = results[i][()]
    return totals, pack(structure, results)


cdef struct Rows:
    # A matrix whose rows are groups: row k is summed, or scaled by its factor.
    const char *x
    char *y
    Py_ssize_t cols, itemsize
    const fr_kernels *kernels
    double *squares
    const double *factors


cdef Rows rows_job(cnp.ndarray matrix) noexcept:
    cdef Rows job
    job.x, job.cols = <const char *>cnp.PyArray_DATA(matrix), cnp.PyArray_DIM(matrix, 1)
    job.itemsize = cnp.PyArray_ITEMSIZE(matrix)
    job.kernels = table.kernels[dtype_row(matrix)]
    job.y, job.squares, job.factors = NULL, NULL, NULL
    return job


cdef void row_squares_task(const void *job, Py_ssize_t k) noexcept nogil:
    cdef const Rows *r = <const Rows *>job
    r.squares[k] = r.kernels.sum[<int>FR_SUM_squares](
        r.x + k * r.cols * r.itemsize, r.cols, 1.0)


cdef void scale_row_task(const void *job, Py_ssize_t k) noexcept nogil:
    cdef const Rows *r = <const Rows *>job
    cdef Py_ssize_t offset = k * r.cols * r.itemsize
    r.kernels.map[<int>FR_MAP_l2](r.y + offset, r.x + offset, r.cols, 0.0, r.factors[k], False)


cdef void column_squares_task(const void *job, Py_ssize_t k) noexcept nogil:
    cdef const MatrixJob *j = <const MatrixJob *>job
    cdef MatrixTask t = matrix_task(j, k)
    j.kernels.column_squares(j.sum_1 + t.sums, j.x + t.first, t.panel)


cdef void scale_columns_task(const void *job, Py_ssize_t k) noexcept nogil:
    cdef const MatrixJob *j = <const MatrixJob *>job
    cdef MatrixTask t = matrix_task(j, k)
    j.kernels.scale_columns(j.target + t.first, j.x + t.first, t.panel,
                            j.channels.gamma + t.col)


def group_squares(cnp.ndarray matrix not None, bint by_rows):
    """The sum of squares of each row, or of each column, of a C-contiguous matrix."""
    cdef Py_ssize_t groups = cnp.PyArray_DIM(matrix, 0 if by_rows else 1)
    cdef Rows rows = rows_job(matrix)
    cdef MatrixJob job = matrix_job(matrix, True)
    cdef cnp.ndarray sums = doubles(1 if by_rows else max(1, job.chunks), groups)
    rows.squares = job.sum_1 = row_of(sums, 0)
    if by_rows:
        with nogil:
            fr_run_tasks(row_squares_task, &rows, groups, cnp.PyArray_NBYTES(matrix),
                         job.asked, False)
    else:
        run_matrix(column_squares_task, &job, 1)
        fr_merge(job.sum_1, job.chunks, job.cols)
    return sums[0]


def scale_groups(cnp.ndarray matrix not None, bint by_rows, cnp.ndarray factors not None,
                 cnp.ndarray out=None):
    """Each row, or each column, of a matrix times its float64 factor: in ``out`` or a new one."""
    cdef cnp.ndarray target = new_array(matrix) if out is None else out
    cdef Rows rows = rows_job(matrix)
    cdef MatrixJob job = matrix_job(matrix, True)
    rows.y = job.target = <char *>cnp.PyArray_DATA(target)
    rows.factors = job.channels.gamma = <const double *>cnp.PyArray_DATA(factors)
    if by_rows:
        with nogil:
            fr_run_tasks(scale_row_task, &rows, job.rows, 2 * cnp.PyArray_NBYTES(matrix), job.asked,
                         False)
    else:
        run_matrix(scale_columns_task, &job, 2, True)
    return target
