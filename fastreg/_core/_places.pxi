# Attributes of layers: new values that take their places at once, and what stands at many places.
#
# From _lock: attributes, PyDict_GetItemWithError, PyDict_SetItem.

cdef struct Change:
    PyObject *own    # a dictionary of attributes
    PyObject *name
    PyObject *value  # the new one; once settled, the one before


@cython.final
@cython.freelist(4)
cdef class Pending:
    """New values of attributes, which all take their places at once."""

    cdef Change *changes
    cdef Py_ssize_t n, room

    def __dealloc__(self):
        cdef Py_ssize_t i
        for i in range(self.n):
            Py_XDECREF(self.changes[i].own)
            Py_XDECREF(self.changes[i].name)
            Py_XDECREF(self.changes[i].value)
        PyMem_Free(self.changes)

    cdef int change(self, dict own, str name, object value) except -1:
        """Have `settle` give an attribute a new value."""
        cdef Change *longer
        if self.n == self.room:
            longer = <Change *>PyMem_Realloc(self.changes, (2 * self.room + 16) * sizeof(Change))
            if longer == NULL:
                raise MemoryError()
            self.changes, self.room = longer, 2 * self.room + 16
        self.changes[self.n] = Change(<PyObject *>own, <PyObject *>name, <PyObject *>value)
        Py_INCREF(own)
        Py_INCREF(name)
        Py_INCREF(value)
        self.n += 1
        return 0

    cdef void settle(self) noexcept:
        """Give all attributes their new values; nothing is allocated or freed, no Python code runs.

        The old values live on until this object dies."""
        cdef PyObject *now
        cdef Change *one
        cdef Py_ssize_t i
        for i in range(self.n):
            one = &self.changes[i]
            now = PyDict_GetItemWithError(<dict>one.own, <object>one.name)
            if now != NULL:
                Py_INCREF(<object>now)
                PyDict_SetItem(<dict>one.own, <object>one.name, <object>one.value)
                Py_DECREF(<object>one.value)  # the dictionary has it
                one.value = now


@cython.final
cdef class Places:
    """Attributes of layers by key: where they stand, and what stands there."""

    cdef list places
    cdef dict empty  # all keys, without values

    def __cinit__(self, list places not None):
        """``places``: (key, layer, name of an attribute)."""
        self.places, self.empty = [], {}
        for key, layer, name in places:
            self.places.append((key, layer, name, is_plain(layer, name)))
            self.empty[key] = None

    def values(self, bint complete=False):
        """What stands there, None where nothing does; None at all if that may not be."""
        cdef dict found = self.empty.copy()
        cdef tuple place
        for place in self.places:
            value = attribute(place[1], place[2], place[3])
            if value is not None:
                found[place[0]] = value
            elif complete:
                return None
        return found

    def marks(self):
        """The same as (layer, name, value)."""
        cdef list found = []
        cdef tuple place
        for place in self.places:
            value = attribute(place[1], place[2], place[3])
            if value is None:  # or the attribute has been deleted, which is an error
                value = getattr(place[1], place[2])
            found.append((place[1], place[2], value))
        return found


cdef bint is_plain(object layer, str name):
    """Whether an attribute is what the layer's dictionary says, if it is in there."""
    return hasattr(layer, "__dict__") and not hasattr(getattr(type(layer), name, None), "__set__")


cdef inline object attribute(object layer, object name, bint plain):
    """A layer's attribute, None if it has none."""
    cdef PyObject *found = PyDict_GetItemWithError(attributes(layer), name) if plain else NULL
    return getattr(layer, name, None) if found == NULL else <object>found
