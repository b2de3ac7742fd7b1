# How many threads run. The team that runs them is C (csrc/team.c); its number of threads is asked
# for here, once per call, while Python can be asked for its context.

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
    """A number of threads asked for, and where."""

    cdef readonly int n
    cdef object token   # the context that asked
    cdef bint left


cdef object scopes = contextvars.ContextVar("fastreg.num_threads")   # a tuple, the innermost last
cdef int team_threads = 1   # what the process may use
cdef int asked_of_all = 0   # set_num_threads; 0: the team decides

SERIAL_BYTES = FR_SERIAL_BYTES
fr_team_init()


cdef int asked_threads():
    """The threads asked for where a kernel is called; 0: the team decides."""
    cdef PyObject *value = NULL
    cdef tuple entered
    cdef Py_ssize_t k
    PyContextVar_Get(scopes, NULL, &value)
    if value == NULL:
        return asked_of_all
    entered = <tuple>value
    Py_DECREF(entered)
    for k in range(len(entered) - 1, -1, -1):
        if not (<ThreadScope>entered[k]).left:
            return (<ThreadScope>entered[k]).n
    return asked_of_all


cdef tuple scopes_besides(ThreadScope one):
    """The scopes that the calling context is in, but for this one."""
    cdef ThreadScope other
    cdef list found = []
    for other in scopes.get(()):
        if not other.left and other is not one:
            found.append(other)
    return tuple(found)


def num_threads():
    """The number of threads that a large kernel called from here may use."""
    return asked_threads() or team_threads


def set_team(int threads, long long awake, bytes cores):
    """Say what the process may use; how long (ns) helpers wait awake; the cores they run on."""
    global team_threads
    team_threads = min(threads, FR_MAX_THREADS)
    fr_team_limits(team_threads, awake)
    fr_team_cores(cores, len(cores))


def ask_of_all(int n):
    """Ask for a number of threads in every context without a scope; 0: the team decides."""
    global asked_of_all
    asked_of_all = n


def enter_scope(int n):
    """Ask for a number of threads in the calling context."""
    cdef ThreadScope entered = ThreadScope()
    entered.n = n
    try:
        entered.token = scopes.set((*scopes_besides(None), entered))
    except BaseException:  # no memory for the token; the variable may be set
        entered.left = True
        raise
    return entered


def leave_scope(ThreadScope entered not None):
    """Withdraw what was asked for, in whatever context and order scopes are left.

    Generators leave theirs in the context of whoever ends them, and not always the youngest
    first. In the context that asked, the scope goes; a copy made meanwhile, as a task has one,
    keeps the number. Left in another context, the scope ends in all of them.
    """
    token, entered.token = entered.token, None
    try:
        remaining = scopes_besides(entered)
        scopes.reset(token)
        scopes.set(remaining)
    except ValueError:  # another context
        entered.left = True
    except BaseException:  # no memory: it ends all the same
        entered.left = True
        raise


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
