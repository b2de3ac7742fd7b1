# How many threads run, and what else a context asks for. The team that runs them is C
# (csrc/team.c); its number of threads is asked for here, once per call, while Python can be asked
# for its context.

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
cdef class Scope:
    """A number asked for, and where: threads, or whose matrix products."""

    cdef readonly int n
    cdef object variable, token   # of the context that asked
    cdef bint left


cdef object thread_scopes = contextvars.ContextVar("fastreg.num_threads")   # tuples, the innermost last
cdef object product_scopes = contextvars.ContextVar("fastreg.products")
cdef int team_threads = 1   # what the process may use
cdef int asked_of_all = 0   # set_num_threads; 0: the team decides

SERIAL_BYTES = FR_SERIAL_BYTES
fr_team_init()


cdef int asked_here(object variable, int otherwise):
    """The number that the innermost scope of the calling context asks for."""
    cdef PyObject *value = NULL
    cdef tuple entered
    cdef Py_ssize_t k
    PyContextVar_Get(variable, NULL, &value)
    if value == NULL:
        return otherwise
    entered = <tuple>value
    Py_DECREF(entered)
    for k in range(len(entered) - 1, -1, -1):
        if not (<Scope>entered[k]).left:
            return (<Scope>entered[k]).n
    return otherwise


cdef int asked_threads():
    """The threads asked for where a kernel is called; 0: the team decides."""
    return asked_here(thread_scopes, asked_of_all)


cdef tuple scopes_besides(object variable, Scope one):
    """The scopes that the calling context is in, but for this one."""
    cdef Scope other
    cdef list found = []
    for other in variable.get(()):
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


def enter_scope(int n, bint of_products=False):
    """Ask for a number of threads, or for BLAS's products (1) or not (0), in the calling context."""
    cdef Scope entered = Scope()
    entered.n, entered.variable = n, product_scopes if of_products else thread_scopes
    try:
        entered.token = entered.variable.set((*scopes_besides(entered.variable, None), entered))
    except BaseException:  # no memory for the token; the variable may be set
        entered.left = True
        raise
    return entered


def leave_scope(Scope entered not None):
    """Withdraw what was asked for, in whatever context and order scopes are left.

    Generators leave theirs in the context of whoever ends them, and not always the youngest
    first. In the context that asked, the scope goes; a copy made meanwhile, as a task has one,
    keeps the number. Left in another context, the scope ends in all of them.
    """
    token, entered.token = entered.token, None
    try:
        remaining = scopes_besides(entered.variable, entered)
        entered.variable.reset(token)
        entered.variable.set(remaining)
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
