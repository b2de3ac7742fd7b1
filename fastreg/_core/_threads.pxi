# How many threads run. The team that runs them is C (csrc/team.c); its number of threads is asked
# for here, once a call, while Python can be asked for its context.

cdef extern from *:
    """
    #if defined(__clang__)
    #define FR_COMPILER "clang " __clang_version__
    #elif defined(__GNUC__)
    #define FR_COMPILER "gcc " __VERSION__
    #else
    #define FR_COMPILER "msvc"
    #endif
    """
    const char *FR_COMPILER


@cython.final
cdef class ThreadScope:
    """A number of threads asked for in a context, and the scope around it."""

    cdef readonly int n
    cdef ThreadScope outer
    cdef bint left


cdef object scope = contextvars.ContextVar("fastreg.num_threads")
cdef int team_threads = 1   # what the process may use
cdef int asked_of_all = 0   # set_num_threads; 0: the team decides

SERIAL_BYTES = FR_SERIAL_BYTES
fr_team_init()


cdef ThreadScope innermost():
    """The scope that the calling context is in."""
    cdef PyObject *value = NULL
    cdef ThreadScope found
    PyContextVar_Get(scope, NULL, &value)
    if value == NULL:
        return None
    found = <ThreadScope>value
    Py_DECREF(found)
    while found is not None and found.left:
        found = found.outer
    return found


cdef inline int asked_threads():
    """The threads asked for where a kernel is called; 0: the team decides."""
    cdef ThreadScope found = innermost()
    return asked_of_all if found is None else found.n


def num_threads():
    """The number of threads that a large kernel called from here may use."""
    return asked_threads() or team_threads


def set_team(int threads, long long awake, bytes cores):
    """Say what the process may use; how long (ns) helpers wait awake; the cores they run on."""
    global team_threads
    team_threads = threads
    fr_team_limits(threads, awake)
    fr_team_cores(cores, len(cores))


def ask_of_all(int n):
    """Ask for a number of threads in every context without a scope; 0: the team decides."""
    global asked_of_all
    asked_of_all = n


def enter_scope(int n):
    """Ask for a number of threads in the calling context."""
    cdef ThreadScope entered = ThreadScope()
    entered.n, entered.outer = n, innermost()
    scope.set(entered)
    return entered


def leave_scope(ThreadScope entered not None):
    """Withdraw what was asked for, in whatever context and order scopes are left.

    Generators leave theirs in the caller's context, perhaps another one, and not always the
    youngest first. A copy of the context made meanwhile, as a task has one, keeps the number.
    """
    if scope.get(None) is entered:
        scope.set(entered.outer)
    else:
        entered.left = True


def team_info():
    """What the team did, by the size of the regions."""
    cdef fr_team_report report
    cdef int k
    fr_team_tell(&report)
    return {
        "built": bool(fr_team_built()),
        "helpers": report.helpers,
        "refused": bool(report.refused),
        "asked": asked_threads(),
        "classes": [report.classes[k] for k in range(FR_SIZE_CLASSES)],
    }


def build_info():
    """How the extension was built."""
    return {"compiler": FR_COMPILER.decode()}
