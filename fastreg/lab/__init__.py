"""The lab: experiments that train real networks and write a report a reader can check.

Each experiment is one module with ``run(...) -> result``; a result knows its table, its figures
and what they show. The modules here are the only ones that may import the packages of the
extra ``lab``.
"""

try:
    import jinja2  # noqa: F401
    import matplotlib  # noqa: F401
    import sklearn  # noqa: F401
    import tqdm  # noqa: F401
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        "fastreg lab needs the extra 'lab': pip install 'fastreg[lab]'", name=missing.name
    ) from missing
