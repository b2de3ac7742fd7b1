"""The reference: a page per public module and a page per name, with what the docstrings say.

The pages are written anew in each build from the modules' own lists (``__all__``), so that a name
that is exported is a name that is documented. A name that several modules export has one page,
under the first of them.
"""

import functools
import importlib
import importlib.util
import inspect
import re
from pathlib import Path

__all__ = ["FAMILIES", "homes", "setup"]

#: Headings, and the modules under them in the order of the pages.
FAMILIES = {
    "What most programs need": {
        "fastreg": "optimizers, dropout, norms, penalties, products, settings",
        "fastreg.nn": "networks and losses",
        "fastreg.train": "the training loop",
        "fastreg.schedule": "learning rates and other values as functions of the step",
        "fastreg.callbacks": "what happens during a training",
        "fastreg.metrics": "what a training records beside the loss",
        "fastreg.data": "readers, splits, sources",
        "fastreg.checkpoint": "files of arrays, written completely or not at all",
    },
    "Further": {
        "fastreg.averages": "averages of weights",
        "fastreg.history": "what a training recorded",
        "fastreg.stopping": "early stopping",
        "fastreg.plateau": "lower rates on a plateau",
        "fastreg.study": "questions about a training",
        "fastreg.lab": "the chapter as experiments",
    },
    "Bridges": {
        "fastreg.sklearn": "scikit-learn's estimators",
        "fastreg.torch": "torch's optimizers and modules",
        "fastreg.export": "networks as ONNX, torch modules, plain arrays",
        "fastreg.dist": "one training on several processes or machines",
    },
    "Families: where the names of `fastreg` are defined": {
        "fastreg.optim": "optimizers",
        "fastreg.dropout": "dropout",
        "fastreg.norm": "norms",
        "fastreg.penalty": "penalties",
        "fastreg.product": "matrix products",
        "fastreg.config": "settings",
    },
    "Inside": {
        "fastreg.reference": "everything again in plain NumPy",
        "fastreg.bench": "the benchmarks",
        "fastreg.lab.data": "the lab's data",
        "fastreg.lab.fits": "many independent fits",
        "fastreg.lab.result": "results of experiments",
        "fastreg.lab.plots": "figures",
        "fastreg.lab.statistics": "intervals and rankings",
    },
}
#: Whose names share the module's page: they are read together.
ON_ONE_PAGE = ("fastreg.reference", "fastreg.lab.", "fastreg.product")


def modules():
    """Yield name and module of everything that the reference covers."""
    for family in FAMILIES.values():
        for name in family:
            if name not in absent():
                yield name, importlib.import_module(name)


def absent():
    """Return what cannot be imported here: its pages need torch while they are built."""
    return () if importlib.util.find_spec("torch") else ("fastreg.torch",)


def homes():
    """Return where each public object has its page: pairs of module and name, by both."""
    first, found = {}, {}
    for module, content in modules():
        for name in content.__all__:
            thing = getattr(content, name)
            key = thing.__name__ if inspect.ismodule(thing) else id(thing)
            plain = not hasattr(thing, "__name__")  # a constant: equal ones are not the same name
            home = (module, name) if plain else first.setdefault(key, (module, name))
            found[module, name] = home
    return found


def write(folder):
    """Write the pages to a folder."""
    folder.mkdir(exist_ok=True)
    pages = {"index": _contents()}
    for name in absent():
        pages[name] = _title(name) + "These pages were built without torch, which it needs.\n"
    found = homes()
    for module, content in modules():
        pages[module] = _module(module, content, found)
        if not module.startswith(ON_ONE_PAGE):
            for name in content.__all__:
                thing = getattr(content, name)
                if found[module, name] == (module, name) and not inspect.ismodule(thing):
                    pages[f"{module}.{name}"] = _thing(module, name, thing, found)
    for old in folder.glob("*.rst"):
        if old.stem not in pages:
            old.unlink()
    for name, text in pages.items():
        path = folder / f"{name}.rst"
        if not path.exists() or path.read_text("utf-8") != text:  # or Sphinx reads all again
            path.write_text(text, encoding="utf-8")


def _title(text):
    return f"{text}\n{'=' * len(text)}\n\n"


def _contents():
    parts = [_title("Reference"), "Everything that can be imported, from the docstrings.\n\n"]
    for heading, family in FAMILIES.items():
        heading = heading.replace("`", "``")
        parts.append(f"{heading}\n{'-' * len(heading)}\n\n")
        parts += [f":doc:`{name} <{name}>`\n    {about}\n\n" for name, about in family.items()]
    names = "".join(f"   {name}\n" for family in FAMILIES.values() for name in family)
    return "".join([*parts, ".. toctree::\n   :hidden:\n\n", names])


def _module(module, content, found):
    parts = [_title(module)]
    if module.startswith(ON_ONE_PAGE):
        parts.append(f".. automodule:: {module}\n   :members:\n")
        return "".join(parts)
    parts.append(f".. automodule:: {module}\n   :no-members:\n\n.. currentmodule:: None\n\n")
    kinds = {"Classes": [], "Functions": [], "Constants": [], "Modules": []}
    for name in sorted(content.__all__, key=str.lower):
        thing = getattr(content, name)
        kinds[_kind(thing)].append(".".join(found[module, name]))
    own = [
        f"{name} <{module}.{name}>" for name in sorted(content.__all__, key=str.lower)
        if found[module, name] == (module, name) and not inspect.ismodule(getattr(content, name))
    ]  # fmt: skip
    for kind, names in kinds.items():
        if names and kind == "Modules":
            parts += [".. rubric:: Modules\n\n", *(f"- :doc:`{name}`\n" for name in names), "\n"]
        elif names:
            parts += [f".. rubric:: {kind}\n\n.. autosummary::\n   :nosignatures:\n\n"]
            parts += [f"   ~{name}\n" for name in names] + ["\n"]
    if own:
        parts += [".. toctree::\n   :hidden:\n\n", *(f"   {name}\n" for name in own)]
    return "".join(parts)


def _kind(thing):
    if inspect.ismodule(thing):
        return "Modules"
    if inspect.isclass(thing):
        return "Classes"
    return "Functions" if callable(thing) else "Constants"


def _thing(module, name, thing, found):
    kind = {"Classes": "class", "Functions": "function", "Constants": "data"}[_kind(thing)]
    if inspect.isclass(thing) and issubclass(thing, Exception):
        kind = "exception"
    text = _title(f"{module}.{name}") + f".. currentmodule:: {module}\n\n"
    text += f".. auto{kind}:: {module}.{name}\n"
    if kind == "class":
        elsewhere = ", ".join(sorted(_elsewhere(thing, found)))
        text += f"   :members:\n   :inherited-members: {elsewhere}\n"
        text += "   :show-inheritance:\n" if any(map(_told, thing.__bases__)) else ""
        requests = [one for one in dir(thing) if one.endswith(("_request", "_routing"))]
        if requests:  # scikit-learn's, of every estimator
            text += f"   :exclude-members: {', '.join(requests)}\n"
    return text


def _elsewhere(thing, found):
    """Return the names of bases whose methods are not listed again: they are documented."""
    public = {getattr(importlib.import_module(module), name) for module, name in found.values()
              if name in {base.__name__ for base in thing.__mro__}}  # fmt: skip
    names = {"object"}
    for base in thing.__mro__[1:]:
        if base in public:
            names |= {one.__name__ for one in base.__mro__}
        elif base.__module__.partition(".")[0] != "fastreg":
            names.add(base.__name__)
    return names


def _told(base):
    """Whether readers know a base: it has a page, or comes from another library."""
    package, _, rest = base.__module__.partition(".")
    return base is not object and (package != "fastreg" or base in _public())


@functools.cache
def _public():
    return {thing for _, content in modules() for name in content.__all__
            if inspect.isclass(thing := getattr(content, name))}  # fmt: skip


def _bases(app, name, thing, options, bases):
    bases[:] = [base if base in _public() else f"``{base.__module__}.{base.__qualname__}``"
                for base in bases if _told(base)]  # fmt: skip


def _plain(app, what, name, obj, options, signature, answer):
    """Write defaults that know that they are defaults as the numbers they are."""
    if signature:
        return re.sub(r"\bDefault\(([^)]*)\)", r"\1", signature), answer
    return None


def _begin(app):
    write(Path(app.srcdir) / "api")


def setup(app):
    """Write the pages before Sphinx looks for its sources."""
    app.connect("autodoc-process-signature", _plain)
    app.connect("autodoc-process-bases", _bases)
    app.connect("config-inited", lambda app, config: _begin(app), priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
