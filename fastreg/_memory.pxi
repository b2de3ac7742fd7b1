# Where results live. A layer's output comes from a block that returns here when the array and
# all its views are gone, so that a training loop in steady state touches no fresh page. Blocks
# are aligned to cache lines; small arrays are left to NumPy, whose allocator is good at them.

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
    """
    void fr_huge_pages(void *data, size_t bytes) noexcept nogil

cdef enum:
    POOL_MIN_BYTES = 64 * 1024           # smaller arrays never see the pool
    POOL_LIMIT_BYTES = 1024 * 1024 * 1024  # idle blocks hold no more than this together,
    POOL_LIMIT_BLOCKS = 64               # nor are there more of them
    # Outputs from here on are written past the caches. Measured on a server core with 2 MB of L2:
    # writing and then reading 8 MB is 10 % faster so, 16 MB 27 %; 4 MB is 30 % slower.
    STREAM_BYTES = 8 * 1024 * 1024

cdef struct Idle:
    void *memory
    size_t bytes

cdef Idle idle[POOL_LIMIT_BLOCKS]
cdef int idle_blocks = 0
cdef size_t idle_bytes = 0, live_bytes = 0
cdef cython.pymutex pool_lock


def hold_pool():
    """Wait until no thread is inside the pool, and let none in: a fork copies what it finds."""
    pool_lock.acquire()


def release_pool():
    """Let threads in again, in the parent and in the child."""
    pool_lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=hold_pool, after_in_parent=release_pool, after_in_child=release_pool)


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
    with pool_lock:
        for i in range(idle_blocks - 1, -1, -1):  # the last returned is the warmest
            if idle[i].bytes == bytes:
                memory = idle[i].memory
                idle_blocks -= 1
                idle_bytes -= bytes
                while i < idle_blocks:
                    idle[i] = idle[i + 1]
                    i += 1
                break
        live_bytes += bytes
    if memory == NULL:
        memory = PyMem_RawMalloc(bytes + 64)
        if memory == NULL:
            with pool_lock:
                live_bytes -= bytes
        else:
            fr_huge_pages(memory, bytes)
    return memory


cdef void give(void *memory, size_t bytes) noexcept:
    """Keep a block for the next array; free the oldest ones beyond the limits."""
    global idle_blocks, idle_bytes, live_bytes
    cdef Idle oldest
    cdef int i
    with pool_lock:
        live_bytes -= bytes
    if bytes > POOL_LIMIT_BYTES:
        PyMem_RawFree(memory)
        return
    while True:
        with pool_lock:
            if idle_blocks < POOL_LIMIT_BLOCKS and idle_bytes + bytes <= POOL_LIMIT_BYTES:
                idle[idle_blocks] = Idle(memory, bytes)
                idle_blocks += 1
                idle_bytes += bytes
                return
            oldest = idle[0]
            idle_blocks -= 1
            idle_bytes -= oldest.bytes
            for i in range(idle_blocks):
                idle[i] = idle[i + 1]
        PyMem_RawFree(oldest.memory)


cdef cnp.ndarray pooled(int ndim, cnp.npy_intp *shape, int kind):
    """An uninitialised C-contiguous array of float32 or float64."""
    cdef size_t bytes = sizeof(float) if kind == cnp.NPY_FLOAT32 else sizeof(double)
    cdef Block block
    cdef cnp.ndarray array
    cdef int axis
    for axis in range(ndim):
        bytes *= shape[axis]
    if bytes < POOL_MIN_BYTES:
        return cnp.PyArray_EMPTY(ndim, shape, kind, 0)
    block = Block()
    block.bytes = size_class(bytes)
    block.memory = take(block.bytes)
    if block.memory == NULL:
        sizes = tuple(shape[axis] for axis in range(ndim))
        raise MemoryError(f"fastreg: {block.bytes} bytes for an array of shape {sizes}")
    array = cnp.PyArray_SimpleNewFromData(
        ndim, shape, kind, <void *>((<uintptr_t>block.memory + 63) & ~<uintptr_t>63))
    cnp.set_array_base(array, block)
    return array


cdef cnp.ndarray new_array(cnp.ndarray like):
    """An uninitialised C-contiguous array of this shape and dtype."""
    return pooled(cnp.PyArray_NDIM(like), cnp.PyArray_DIMS(like), cnp.PyArray_TYPE(like))


def empty_cache():
    """Give the idle blocks back to the system."""
    global idle_blocks, idle_bytes
    cdef void *memory
    while True:
        memory = NULL
        with pool_lock:
            if idle_blocks:
                idle_blocks -= 1
                idle_bytes -= idle[idle_blocks].bytes
                memory = idle[idle_blocks].memory
        if memory == NULL:
            return
        PyMem_RawFree(memory)


def pool_info():
    """Bytes of live and of idle blocks, and the number of idle ones."""
    return {"live_bytes": live_bytes, "idle_bytes": idle_bytes, "idle_blocks": idle_blocks}
