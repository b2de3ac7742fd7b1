"""Fixtures of the tests of threads."""

import pytest
from fresh import python


@pytest.fixture(scope="module")
def alone():
    """The bits of the work on one thread."""
    return python("import fastreg; fastreg.set_num_threads(1); print(work())")
