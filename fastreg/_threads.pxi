# How many threads run, and what keeps a forked child alive.

cdef extern from *:
    """
    #ifdef _OPENMP
    #include <omp.h>
    #endif
    #ifdef _MSC_VER
    #define FR_THREAD_LOCAL __declspec(thread)
    #else
    #define FR_THREAD_LOCAL _Thread_local
    #endif

    static int fr_default_threads = 1;               /* set_num_threads */
    static FR_THREAD_LOCAL int fr_local_threads = 0; /* with num_threads(n): this thread only */

    #if defined(_OPENMP) && defined(__GNUC__) && !defined(__clang__) && !defined(_WIN32)
    /* libgomp keeps its pool across fork, and the child waits for threads it does not have.
     * Ending the forking thread's pool first cures it; the next region starts a new one. */
    #include <pthread.h>
    static void fr_before_fork(void) { omp_pause_resource_all(omp_pause_hard); }
    static void fr_guard_fork(void) { pthread_atfork(fr_before_fork, NULL, NULL); }
    #define FR_OPENMP_RUNTIME "libgomp"
    #else
    static void fr_guard_fork(void) {}
    #ifdef _OPENMP
    #define FR_OPENMP_RUNTIME "libomp or vcomp"
    #else
    #define FR_OPENMP_RUNTIME "none"
    #endif
    #endif

    #if defined(__clang__)
    #define FR_COMPILER "clang " __clang_version__
    #elif defined(__GNUC__)
    #define FR_COMPILER "gcc " __VERSION__
    #else
    #define FR_COMPILER "msvc"
    #endif
    """
    int fr_default_threads
    int fr_local_threads
    void fr_guard_fork()
    const char *FR_OPENMP_RUNTIME
    const char *FR_COMPILER

# Below this many bytes moved, waking a team costs more than it saves (measured: a region costs
# 2 to 5 us, one core moves 256 KB in about 12).
cdef enum:
    SERIAL_BYTES = 256 * 1024

fr_guard_fork()

# A lock that another thread held when the process forked would never open in the child.
guarded = weakref.WeakSet()


def renew_locks():
    """Give everything that has a lock a new one."""
    for owner in list(guarded):
        owner.renew_lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=renew_locks)


cdef inline int team(Py_ssize_t bytes_moved) noexcept nogil:
    """Threads for this much work: one, or all."""
    if bytes_moved < SERIAL_BYTES:
        return 1
    return fr_local_threads if fr_local_threads else fr_default_threads


ctypedef void (*Task)(const void *job, Py_ssize_t k) noexcept nogil


cdef inline void run_share(Task task, const void *job, Py_ssize_t begin, Py_ssize_t end,
                           bint backwards) noexcept nogil:
    cdef Py_ssize_t k
    for k in range(begin, end):
        task(job, begin + end - 1 - k if backwards else k)


cdef void run_tasks(Task task, const void *job, Py_ssize_t n, int threads,
                    bint backwards=False) noexcept nogil:
    """Run tasks 0 .. n-1 of a job, in one region: the only prange of the library.

    Each thread has a share of neighbours, the same share in every pass over a job. A pass that
    runs backwards begins with what the pass before it left in cache.
    """
    cdef int share
    if threads == 1 or n == 1:
        run_share(task, job, 0, n, backwards)
    else:
        for share in prange(threads, schedule="static", num_threads=threads):
            run_share(task, job, n * share // threads, n * (share + 1) // threads, backwards)


def num_threads():
    """The number of threads a large kernel uses when called from this thread."""
    return fr_local_threads if fr_local_threads else fr_default_threads


def set_default_threads(int n):
    """Set the number of threads for every Python thread without an override."""
    global fr_default_threads
    fr_default_threads = n


def set_local_threads(int n):
    """Set this Python thread's override (0: none) and return the one before."""
    global fr_local_threads
    before = fr_local_threads
    fr_local_threads = n
    return before


def build_info():
    """How the extension was built."""
    return {"compiler": FR_COMPILER.decode(), "openmp": FR_OPENMP_RUNTIME.decode()}
