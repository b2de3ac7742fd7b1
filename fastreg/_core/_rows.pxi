# The order of an epoch, drawn as NumPy draws it, and rows of training data gathered in it, batch by
# batch.
#
# From _threads: asked_threads; _arrays: is_dense; _matrix: BRIEF.

cdef extern from *:
    """
    #if defined(__GNUC__)
    #define FR_FETCH(address) __builtin_prefetch(address)
    #else
    #define FR_FETCH(address) ((void)(address))
    #endif

    /* Rows from[order[0 .. n - 1]], one after the other. The first lines of a row, which no
     * hardware foresees, are asked for while the row before is copied. */
    static void fr_gather(char *to, const char *from, const int64_t *order, ptrdiff_t n,
                          size_t bytes)
    {
        enum { LINES = 8 * 64 };
        if (bytes == 8) { /* numbers: a copy of so little is one load and one store */
            for (ptrdiff_t i = 0; i < n; i++)
                memcpy(to + 8 * i, from + 8 * (size_t)order[i], 8);
            return;
        }
        for (ptrdiff_t i = 0; i < n; i++, to += bytes) {
            if (i + 1 < n)
                for (size_t at = 0; at < bytes && at < LINES; at += 64)
                    FR_FETCH(from + (size_t)order[i + 1] * bytes + at);
            memcpy(to, from + (size_t)order[i] * bytes, bytes);
        }
    }
    """
    void fr_gather(char *to, const char *from_, const int64_t *order, Py_ssize_t n,
                   size_t bytes) noexcept nogil

cdef extern from *:
    """
    #include <numpy/random/bitgen.h>

    /* NumPy's shuffle: each place from the last exchanges its number with a place up to it, drawn
     * by rejection. Half of the draws may be rejected, which no processor foresees: so none is
     * jumped over, but exchanges a number with itself. */
    static void fr_shuffle(int64_t *order, int64_t n, bitgen_t *source)
    {
        uint32_t mask = 0xffffffff;
        for (int64_t last = n - 1; last > 0;) {
            while (last <= mask >> 1)
                mask >>= 1;
            const int64_t drawn = source->next_uint32(source->state) & mask;
            const int64_t place = drawn <= last ? drawn : last, number = order[place];
            order[place] = order[last], order[last] = number;
            last -= drawn <= last;
        }
    }
    """
    ctypedef struct bitgen_t:
        pass
    void fr_shuffle(int64_t *order, int64_t n, bitgen_t *source) noexcept nogil

cdef long long SHUFFLED = 2**32  # numbers, of which 32 bits draw one


def shuffle(object rng, cnp.ndarray order not None):
    """``rng.shuffle(order)`` of int64: for NumPy's Generator with the same draws in a third of the
    time."""
    cdef Py_ssize_t n = cnp.PyArray_SIZE(order)
    source = rng.bit_generator if type(rng) is np.random.Generator else None
    if source is None or not is_dense(order) or not cnp.PyArray_ISWRITEABLE(order) or (
            cnp.PyArray_NDIM(order) != 1 or cnp.PyArray_TYPE(order) != cnp.NPY_INT64
            or not cnp.PyArray_ISNOTSWAPPED(order) or n > SHUFFLED):
        rng.shuffle(order)
        return
    with source.lock:
        fr_shuffle(
            <int64_t *>cnp.PyArray_DATA(order), n,
            <bitgen_t *>PyCapsule_GetPointer(source.capsule, "BitGenerator"))


cdef enum:
    GATHERED = 0x8000  # bytes that a task copies


cdef struct RowsJob:
    char *to
    const char *source
    const int64_t *order
    Py_ssize_t rows, chunk, bytes


cdef void rows_task(const void *job, Py_ssize_t k) noexcept nogil:
    cdef const RowsJob *j = <const RowsJob *>job
    cdef Py_ssize_t first = k * j.chunk
    fr_gather(j.to + first * j.bytes, j.source, j.order + first, min(j.chunk, j.rows - first),
              j.bytes)


cdef cnp.ndarray rows_like(cnp.ndarray source, Py_ssize_t rows):
    """An uninitialised array of so many rows. Its memory is NumPy's: its owner may keep it."""
    cdef cnp.npy_intp[64] shape
    cdef int axis, ndim = cnp.PyArray_NDIM(source)
    for axis in range(ndim):
        shape[axis] = cnp.PyArray_DIMS(source)[axis]
    shape[0] = rows
    return cnp.PyArray_EMPTY(ndim, shape, cnp.PyArray_TYPE(source), 0)


def rows_at(cnp.ndarray source not None, cnp.ndarray order not None, Py_ssize_t start,
            Py_ssize_t stop, cnp.ndarray room=None):
    """``source[order[start:stop]]``, in the first rows of ``room`` if that is given.

    The source is a contiguous array of numbers, the order one of int64, the room like the source."""
    cdef RowsJob job
    cdef cnp.ndarray target = room
    cdef Py_ssize_t i, n = stop - start, length, moved
    cdef int asked = asked_threads()
    if not (is_dense(source) and is_dense(order)) or cnp.PyArray_TYPE(order) != cnp.NPY_INT64 or (
            cnp.PyArray_NDIM(source) < 1 or not cnp.PyArray_ISNOTSWAPPED(source)
            or not (cnp.PyArray_ISNUMBER(source) or cnp.PyArray_ISBOOL(source))):
        raise TypeError("rows_at: source must be native and contiguous numbers, order int64")
    if not 0 <= start <= stop <= cnp.PyArray_SIZE(order):
        raise ValueError(f"rows_at: no places {start} to {stop} among {cnp.PyArray_SIZE(order)}")
    length, job.order = cnp.PyArray_DIM(source, 0), <const int64_t *>cnp.PyArray_DATA(order) + start
    for i in range(n):
        if not 0 <= job.order[i] < length:
            raise IndexError(f"rows_at: no row {job.order[i]} among {length}")
    if target is None:
        target = rows_like(source, n)
    elif n != cnp.PyArray_DIM(target, 0):
        target = target[:n]
    if cnp.PyArray_DIM(target, 0) != n or not is_dense(target) or (
            cnp.PyArray_TYPE(target) != cnp.PyArray_TYPE(source)
            or cnp.PyArray_NDIM(target) != cnp.PyArray_NDIM(source)
            or not cnp.PyArray_CompareLists(cnp.PyArray_DIMS(target) + 1,
                                            cnp.PyArray_DIMS(source) + 1,
                                            cnp.PyArray_NDIM(source) - 1)):
        raise ValueError("rows_at: room must be contiguous, like the source, with rows enough")
    job.bytes = cnp.PyArray_NBYTES(source) // max(1, length)
    job.to, job.source = <char *>cnp.PyArray_DATA(target), <const char *>cnp.PyArray_DATA(source)
    job.rows, job.chunk = n, max(1, GATHERED // max(1, job.bytes))
    moved = 2 * n * job.bytes
    if moved < BRIEF:
        fr_run_tasks(rows_task, &job, (n + job.chunk - 1) // job.chunk, moved, asked, False)
    else:
        with nogil:
            fr_run_tasks(rows_task, &job, (n + job.chunk - 1) // job.chunk, moved, asked, False)
    return target
