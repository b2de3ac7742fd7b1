"""The suites' pytest side: the options, the fixture, what is saved."""

pytest_plugins = ["fastreg.bench.plugin"]
