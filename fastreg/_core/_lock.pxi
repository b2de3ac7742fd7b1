# Locks that neither a fork, a signal handler nor a finaliser turns into a deadlock.
#
# A lock knows the thread inside. If that thread enters again, it would wait for itself: a call is
# refused by name, and reading the state is allowed. In a forked child a lock that another
# thread held is open, and one that the forking thread holds is still its own. The child's handler
# is C, inside fork itself: no Python code runs before it.

cdef extern from *:
    """
    #include <pythread.h>
    static unsigned long fr_forks = 0;         /* between this process and the one it began as */
    static unsigned long fr_forked_thread = 0; /* the thread that came through the last of them */
    #if !defined(_WIN32)
    #include <pthread.h>
    static void fr_in_child(void) { fr_forks++; fr_forked_thread = PyThread_get_thread_ident(); }
    static void fr_count_forks(void) { pthread_atfork(NULL, NULL, fr_in_child); }
    #else
    static void fr_count_forks(void) {}
    #endif
    """
    unsigned long fr_forks, fr_forked_thread
    void fr_count_forks()
    ctypedef void *PyThread_type_lock
    PyThread_type_lock PyThread_allocate_lock() nogil
    void PyThread_free_lock(PyThread_type_lock) nogil
    int PyThread_acquire_lock(PyThread_type_lock, int) nogil
    int PyThread_acquire_lock_timed(PyThread_type_lock, long long microseconds, int intr) nogil
    void PyThread_release_lock(PyThread_type_lock) nogil
    int PY_LOCK_ACQUIRED, PY_LOCK_FAILURE
    int PyErr_CheckSignals() except -1
    object PyObject_GenericGetDict(object, void *)
    bint PyDict_Next(dict, Py_ssize_t *, PyObject **, PyObject **)
    PyObject *PyDict_GetItemWithError(dict, object)
    int PyDict_SetItem(dict, object, object) except -1

fr_count_forks()


cdef class Lock:
    """One thread at a time: ``with`` waits for the others, and Ctrl-C ends the wait.

    Code of this extension enters and leaves by ``try`` and ``finally``: its ``with`` allocates
    before it leaves, and where that fails the lock would stay shut."""

    cdef PyThread_type_lock mutex
    cdef unsigned long owner  # the thread inside, 0 if none
    cdef unsigned long forks  # fr_forks when the mutex was made
    cdef str name, what       # for errors: whose, and what is under way while it is held

    def __cinit__(self, str name not None, str what="call", *owners):
        self.name, self.what, self.forks = name, what, fr_forks
        self.mutex = PyThread_allocate_lock()
        if not self.mutex:
            raise MemoryError()

    def __dealloc__(self):
        if self.mutex:
            PyThread_free_lock(self.mutex)

    cdef bint is_stale(self) noexcept:
        """Whether the thread inside belongs to the process that this one was forked from."""
        return self.forks != fr_forks and self.owner != fr_forked_thread

    cdef bint is_mine(self) noexcept:
        return self.owner == PyThread_get_thread_ident() and not self.is_stale()

    cdef int refuse_own(self, str method) except -1:
        """Refuse a thread that is inside: it would wait for itself."""
        if self.is_mine():
            where = self.name if method is None else f"{self.name}.{method}"
            raise RuntimeError(
                f"{where}: called from inside its own {self.what}, by what that calls, a signal "
                "handler or a finaliser; only the state may be read there"
            )
        return 0

    cdef int enter(self, str method=None) except -1:
        """Wait until no other thread is inside."""
        if self.is_stale():
            self.renew()
        self.refuse_own(method)
        if not PyThread_acquire_lock(self.mutex, 0):
            self.wait()
        self.owner = PyThread_get_thread_ident()
        return 0

    cdef int wait(self) except -1:
        cdef int got = PY_LOCK_FAILURE
        while got != PY_LOCK_ACQUIRED:
            PyErr_CheckSignals()
            with nogil:
                got = PyThread_acquire_lock_timed(self.mutex, -1, 1)
        return 0

    cdef void leave(self) noexcept:
        self.owner = 0
        PyThread_release_lock(self.mutex)

    cdef int renew(self) except -1:
        """Begin anew in a child. The old mutex is abandoned: its holder is not in this process."""
        cdef PyThread_type_lock mutex
        with cython.critical_section(self):
            if self.is_stale():
                mutex = PyThread_allocate_lock()
                if not mutex:
                    raise MemoryError()
                self.mutex, self.owner = mutex, 0
                self.forks = fr_forks
        return 0

    cdef void look_back(self, int readers) noexcept:
        """A reader comes (1) inside a call, or goes (-1): it sees what was before the call."""

    cdef bint enter_to_read(self) except -1:
        """Wait as `enter` does, unless a call of this thread is under way, which is returned."""
        cdef bint inside = self.is_mine()
        if inside:
            self.look_back(1)
        else:
            self.enter()
        return inside

    cdef void leave_read(self, bint inside) noexcept:
        if inside:
            self.look_back(-1)
        else:
            self.leave()

    def __enter__(self):
        self.enter()

    def __exit__(self, kind, error, trace):
        self.leave()

    def reading(self):
        """A context for reading the state: inside a call of this thread, that before the call."""
        return Reading(self)


@cython.final
cdef class Reading:
    """Lets a reader in once no other thread is inside."""

    cdef Lock lock
    cdef bint inside

    def __cinit__(self, Lock lock not None):
        self.lock = lock

    def __enter__(self):
        """Return whether a call of this thread is under way."""
        self.inside = self.lock.enter_to_read()
        return self.inside

    def __exit__(self, kind, error, trace):
        self.lock.leave_read(self.inside)


cdef class Whole(Lock):
    """A lock over several objects: a call that fails leaves their attributes as they were.

    What an attribute holds is not copied, so the call must replace arrays, not change them."""

    cdef tuple owners
    cdef list before    # everybody the call under way may change, each with a copy of its attributes
    cdef list arrays    # that it writes in place
    cdef list kept      # and copies of them
    cdef int readers    # inside that call

    def __cinit__(self, str name not None, str what="call", *owners):
        self.owners = owners

    def run(self, function, caller, *args, list arrays=[]):
        """``function(caller, *args)``, which leaves the caller and the owners as they were if it
        fails, and what the ``arrays`` hold. No interrupt comes between the call and this."""
        cdef list before = [], kept = []
        self.begin(function.__name__.strip("_"), before)
        try:
            for owner in self.owners:
                self.remember(owner)
            self.remember(caller)
            for array in arrays:
                kept.append((<cnp.ndarray?>array).copy(order="K"))
            self.arrays, self.kept = arrays, kept
            return function(caller, *args)
        except BaseException:
            self.take_back()
            raise
        finally:
            self.end()

    cdef int begin(self, str method, list before) except -1:
        """Enter. What ``before`` will hold dies with the caller's frame, when the lock is open."""
        self.enter(method)
        self.before = before
        return 0

    cdef void end(self) noexcept:
        self.before = self.arrays = self.kept = None
        self.leave()

    cdef int remember(self, object owner) except -1:
        """Copy an object's attributes, and those of layers that it is made of."""
        cdef tuple pair
        cdef dict own
        for pair in self.before:
            if pair[0] is owner:
                return 0
        try:
            own = attributes(owner)
        except AttributeError:  # it has no dictionary of them
            return 0
        self.before.append((owner, own.copy()))
        if type(own.get("layers")) is tuple:
            self.remember_all(own["layers"])
        return 0

    cdef int remember_all(self, object owners) except -1:
        for owner in owners:
            self.remember(owner)
        return 0

    cdef void look_back(self, int readers) noexcept:
        if self.readers == 0:
            self.exchange()
        self.readers += readers
        if self.readers == 0:
            self.exchange()

    cdef void exchange(self) noexcept:
        """Exchange the attributes with those before the call; nothing is allocated or freed."""
        cdef Py_ssize_t i
        cdef tuple pair
        if self.before is not None:
            for pair in self.before:
                exchange_values(attributes(pair[0]), <dict>pair[1])
        if self.kept is not None:
            for i in range(len(self.kept)):
                exchange_elements(self.arrays[i], self.kept[i])

    cdef int take_back(self) except -1:
        """Have everything as it was before the call, without attributes that the call brought."""
        cdef tuple pair
        self.exchange()
        for pair in self.before:
            remove_others(attributes(pair[0]), <dict>pair[1])
        return 0


cdef inline dict attributes(object owner):
    return <dict>PyObject_GenericGetDict(owner, NULL)


cdef int remove_others(dict one, dict other) except -1:
    """Remove what ``other`` has not; where memory has run out, too: nothing is allocated."""
    cdef PyObject *key
    cdef PyObject *value
    cdef Py_ssize_t place
    while len(one) > len(other):
        place = 0
        while PyDict_Next(one, &place, &key, &value):
            if <object>key not in other:
                name = <object>key
                del one[name]
                break
    return 0


cdef void exchange_values(dict one, dict other) noexcept:
    """Exchange the values of every key of ``other``; all of them stay alive."""
    cdef PyObject *key
    cdef PyObject *value
    cdef PyObject *now
    cdef Py_ssize_t place = 0
    while PyDict_Next(other, &place, &key, &value):
        now = PyDict_GetItemWithError(one, <object>key)
        if now != value and now != NULL:
            mine, theirs = <object>now, <object>value
            PyDict_SetItem(other, <object>key, mine)
            PyDict_SetItem(one, <object>key, theirs)


cdef int exchange_elements(cnp.ndarray one, cnp.ndarray other) except -1:
    """Exchange what two arrays of one shape and dtype hold."""
    if cnp.PyArray_IS_C_CONTIGUOUS(one) or cnp.PyArray_IS_F_CONTIGUOUS(one):  # and so is the other, its copy in the same order
        exchange_bytes(<char *>cnp.PyArray_DATA(one), <char *>cnp.PyArray_DATA(other),
                       cnp.PyArray_NBYTES(one))
        return 0
    values = one.copy()
    cnp.PyArray_CopyInto(one, other)
    return cnp.PyArray_CopyInto(other, values)


cdef void exchange_bytes(char *a, char *b, Py_ssize_t left) noexcept nogil:
    cdef char buffer[4096]
    cdef Py_ssize_t part
    while left:
        part = min(left, <Py_ssize_t>sizeof(buffer))
        memcpy(buffer, a, part)
        memcpy(a, b, part)
        memcpy(b, buffer, part)
        a, b, left = a + part, b + part, left - part
