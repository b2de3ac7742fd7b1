"""One file per experiment, found by the report, the command line and the tests.

An experiment is a module here. Its docstring's first line begins with its place in the chapter,
as ``Exercise 2:`` or ``Section 3.1:``; its ``run(data="digits", seeds=5, *, quick=False, **how)``
returns a `fastreg.lab.result.Result`; ``TINY`` holds the arguments of its smallest run, which the
tests use. Nothing else needs to know of it.
"""
