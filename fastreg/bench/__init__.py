"""The benchmarks: every contender does the same work, in a process of its own, round by round.

`work` says what is done, ``problems`` what it takes and how its result is checked, ``contenders``
who does it. `turns` lets the processes take turns (`worker` is their other end), `plugin` hands the
times to pytest-benchmark. What comes of it is read from its JSON file: `results`, `markdown`,
`plots`, `page`. The works themselves are listed in the suites, which are pytest files.
"""

__all__: list[str] = []
