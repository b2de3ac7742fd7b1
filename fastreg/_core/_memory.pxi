# The pool of memory for results. A layer's output uses a block that returns to the pool when the
# array and all its views are gone, so that a warm training loop causes no page faults. Blocks are
# aligned to cache lines. Small arrays are NumPy's own, and whole ones of them are used again: to make
# one takes a third of the time of the kernel that fills it.

cdef extern from *:
    """
    #if defined(__linux__)
    #include <sys/mman.h>
    static void fr_huge_pages(void *data, size_t bytes)
    {
        uintptr_t start = ((uintptr_t)data + 4095) & ~(uintptr_t)4095;
        if (bytes >= (4u << 20))
            madvise((void *)start, bytes - (start - (uintptr_t)data), MADV_HUGEPAGE);
    }
    #else
    static void fr_huge_pages(void *data, size_t bytes) { (void)data; (void)bytes; }
    #endif

    #if defined(__SANITIZE_ADDRESS__) /* gcc */
    #define FR_SANITIZED
    #elif defined(__has_feature)
    #if __has_feature(address_sanitizer) /* clang */
    #define FR_SANITIZED
    #endif
    #endif

    /* Smaller arrays do not use the pool. Under the address sanitizer none does, so that guards
     * stand around every result. */
    #if defined(FR_SANITIZED)
    enum { POOL_MIN_BYTES = 0x7fffffff };
    #else
    enum { POOL_MIN_BYTES = 64 * 1024 };
    #endif

    /* Small arrays that results were in, with one reference to each. An array that nobody else
     * refers to, no view and no weak reference either, serves again if it is as it was made. Python
     * without the GIL cannot tell, and the sanitizer is to see a new array every time. */
    #if defined(Py_GIL_DISABLED) || defined(FR_SANITIZED)
    static PyObject *fr_small_array(int ndim, npy_intp *shape, int kind)
    {
        return PyArray_EMPTY(ndim, shape, kind, 0);
    }
    static int fr_small_arrays(void) { return 0; }
    static void fr_forget_small_arrays(void) {}
    #else
    enum { KEPT_SETS = 16, KEPT_WAYS = 8 };
    static PyArrayObject *fr_kept[KEPT_SETS][KEPT_WAYS];
    static unsigned fr_turn[KEPT_SETS];

    /* NumPy itself has one object per type: others have a byte order or metadata of their own. */
    static int fr_is_usual_type(PyArray_Descr *type, int kind)
    {
        PyArray_Descr *usual = PyArray_DescrFromType(kind);
        Py_DECREF(usual);
        return type == usual;
    }

    /* An axis of length 1 may have been given any stride, and the array is still contiguous. */
    static int fr_has_usual_strides(PyArrayObject *array)
    {
        npy_intp stride = PyArray_ITEMSIZE(array);
        for (int axis = PyArray_NDIM(array) - 1; axis >= 0; axis--) {
            if (PyArray_STRIDE(array, axis) != stride)
                return 0;
            stride *= PyArray_DIM(array, axis) ? PyArray_DIM(array, axis) : 1;
        }
        return 1;
    }

    static int fr_is_free(PyArrayObject *array, int ndim, npy_intp *shape, int kind)
    {
        enum { AS_MADE = NPY_ARRAY_CARRAY | NPY_ARRAY_OWNDATA };
        const PyArrayObject_fields *fields = (const PyArrayObject_fields *)array;
        return array && Py_REFCNT(array) == 1 && PyArray_NDIM(array) == ndim
               && PyArray_CompareLists(PyArray_DIMS(array), shape, ndim)
               && fr_has_usual_strides(array) && fr_is_usual_type(fields->descr, kind)
               && (fields->flags & AS_MADE) == AS_MADE && !fields->base && !fields->weakreflist;
    }

    static PyObject *fr_small_array(int ndim, npy_intp *shape, int kind)
    {
        size_t sizes = !ndim ? 0 : (size_t)shape[0] + 7 * (size_t)shape[ndim - 1] + (size_t)ndim;
        size_t set = (sizes ^ sizes >> 4) % KEPT_SETS;
        PyArrayObject **kept = fr_kept[set], *array, *before;
        for (int way = 0; way < KEPT_WAYS; way++)
            if (fr_is_free(kept[way], ndim, shape, kind))
                return Py_NewRef((PyObject *)kept[way]);
        array = (PyArrayObject *)PyArray_EMPTY(ndim, shape, kind, 0);
        if (array) {
            unsigned way = fr_turn[set]++ % KEPT_WAYS;
            before = kept[way];
            kept[way] = (PyArrayObject *)Py_NewRef((PyObject *)array);
            Py_XDECREF(before);
        }
        return (PyObject *)array;
    }

    static int fr_small_arrays(void)
    {
        int n = 0;
        for (int set = 0; set < KEPT_SETS; set++)
            for (int way = 0; way < KEPT_WAYS; way++)
                n += fr_kept[set][way] != NULL;
        return n;
    }

    static void fr_forget_small_arrays(void)
    {
        for (int set = 0; set < KEPT_SETS; set++)
            for (int way = 0; way < KEPT_WAYS; way++)
                Py_CLEAR(fr_kept[set][way]);
    }
    #endif

    /* The pool is entered with the GIL, which is its lock and is never given up inside. Python
     * without one needs a mutex, and a fork must find nobody inside: its handlers are C, so that
     * no Python code, which may free arrays, runs while they hold the mutex. */
    #ifdef Py_GIL_DISABLED
    static PyMutex fr_pool_mutex;
    static void fr_enter_pool(void) { PyMutex_Lock(&fr_pool_mutex); }
    static void fr_leave_pool(void) { PyMutex_Unlock(&fr_pool_mutex); }
    #if !defined(_WIN32)
    static void fr_open_pool(void) { memset(&fr_pool_mutex, 0, sizeof fr_pool_mutex); }
    static void fr_guard_pool(void) { pthread_atfork(fr_enter_pool, fr_leave_pool, fr_open_pool); }
    #else
    static void fr_guard_pool(void) {}
    #endif
    #else
    static void fr_enter_pool(void) {}
    static void fr_leave_pool(void) {}
    static void fr_guard_pool(void) {}
    #endif
    """
    size_t POOL_MIN_BYTES
    void fr_huge_pages(void *data, size_t bytes) noexcept nogil
    void fr_enter_pool() noexcept
    void fr_leave_pool() noexcept
    void fr_guard_pool() noexcept
    object fr_small_array(int ndim, cnp.npy_intp *shape, int kind)
    void fr_forget_small_arrays()
    int fr_small_arrays() noexcept

cdef enum:
    POOL_LIMIT_BYTES = 0x40000000  # idle blocks hold no more than this together,
    POOL_LIMIT_BLOCKS = 64               # nor are there more of them
    # Outputs from here on are written past the caches. Measured on a server core with 2 MB of L2:
    # writing and then reading 8 MB is 10 % faster that way, 16 MB 27 %; 4 MB is 30 % slower.
    STREAM_BYTES = 0x800000

cdef struct Idle:
    void *memory
    size_t bytes

cdef Idle idle[POOL_LIMIT_BLOCKS]
cdef int idle_blocks = 0
cdef size_t idle_bytes = 0, live_bytes = 0

fr_guard_pool()

cdef bint streams(cnp.ndarray target, cnp.ndarray source) noexcept:
    """Whether a kernel from ``source`` to ``target`` should write past the caches."""
    return (cnp.PyArray_NBYTES(target) >= STREAM_BYTES
            and cnp.PyArray_DATA(target) != cnp.PyArray_DATA(source))


@cython.final
cdef class Block:
    """Memory of one array; its base, so that it outlives every view."""

    cdef void *memory
    cdef size_t bytes

    def __dealloc__(self):
        if self.memory != NULL:
            give(self.memory, self.bytes)


cdef size_t size_class(size_t bytes) noexcept:
    """Round up by at most an eighth, so that batches of almost one size share blocks."""
    cdef size_t step = 4096
    while step * 16 < bytes:
        step *= 2
    return (bytes + step - 1) // step * step


cdef void *take(size_t bytes) noexcept:
    """An idle block of this size class, or new memory; NULL if there is none."""
    global idle_blocks, idle_bytes, live_bytes
    cdef void *memory = NULL
    cdef int i
    fr_enter_pool()
    for i in range(idle_blocks - 1, -1, -1):  # the last returned is the warmest
        if idle[i].bytes == bytes:
            memory = drop_idle(i)
            break
    live_bytes += bytes
    fr_leave_pool()
    if memory == NULL:
        memory = PyMem_RawMalloc(bytes + 64)
        if memory == NULL:
            fr_enter_pool()
            live_bytes -= bytes
            fr_leave_pool()
        else:
            fr_huge_pages(memory, bytes)
    return memory


cdef void *drop_idle(int i) noexcept:
    """Take idle block i out of the list; the pool has been entered."""
    global idle_blocks, idle_bytes
    cdef void *memory = idle[i].memory
    idle_blocks -= 1
    idle_bytes -= idle[i].bytes
    while i < idle_blocks:
        idle[i] = idle[i + 1]
        i += 1
    return memory


cdef void give(void *memory, size_t bytes) noexcept:
    """Keep a block for the next array; free the oldest ones beyond the limits."""
    global idle_blocks, idle_bytes, live_bytes
    cdef void *oldest
    fr_enter_pool()
    live_bytes -= bytes
    while bytes <= POOL_LIMIT_BYTES:
        if idle_blocks < POOL_LIMIT_BLOCKS and idle_bytes + bytes <= POOL_LIMIT_BYTES:
            idle[idle_blocks] = Idle(memory, bytes)
            idle_blocks += 1
            idle_bytes += bytes
            fr_leave_pool()
            return
        oldest = drop_idle(0)
        fr_leave_pool()
        PyMem_RawFree(oldest)
        fr_enter_pool()
    fr_leave_pool()
    PyMem_RawFree(memory)


cdef int refuse_memory(size_t bytes, int ndim, cnp.npy_intp *shape) except -1:
    cdef list sizes = []
    for axis in range(ndim):
        sizes.append(shape[axis])
    raise MemoryError(f"fastreg: {bytes} bytes for an array of shape {tuple(sizes)}")


cdef cnp.ndarray pooled(int ndim, cnp.npy_intp *shape, int kind):
    """An uninitialised C-contiguous array of float32 or float64."""
    cdef size_t bytes = sizeof(float) if kind == cnp.NPY_FLOAT32 else sizeof(double)
    cdef Block block
    cdef cnp.ndarray array
    cdef int axis
    for axis in range(ndim):
        bytes *= shape[axis]
    if bytes < POOL_MIN_BYTES:
        return fr_small_array(ndim, shape, kind)
    block = Block()
    block.bytes = size_class(bytes)
    block.memory = take(block.bytes)
    if block.memory == NULL:
        refuse_memory(block.bytes, ndim, shape)
    array = cnp.PyArray_SimpleNewFromData(
        ndim, shape, kind, <void *>((<uintptr_t>block.memory + 63) & ~<uintptr_t>63))
    cnp.set_array_base(array, block)
    return array


cdef cnp.ndarray new_array(cnp.ndarray like):
    """An uninitialised C-contiguous array of this shape and dtype."""
    return pooled(cnp.PyArray_NDIM(like), cnp.PyArray_DIMS(like), cnp.PyArray_TYPE(like))


def empty_cache():
    """Give the idle blocks back to the system, and NumPy its small arrays."""
    cdef void *memory = NULL
    fr_forget_small_arrays()
    while True:
        fr_enter_pool()
        memory = drop_idle(idle_blocks - 1) if idle_blocks else NULL
        fr_leave_pool()
        if memory == NULL:
            return
        PyMem_RawFree(memory)


def pool_info():
    """Bytes of live and of idle blocks, the number of idle ones, and that of small arrays kept."""
    return {"live_bytes": live_bytes, "idle_bytes": idle_bytes, "idle_blocks": idle_blocks,
            "small_arrays": fr_small_arrays()}
