"""S: what is shipped."""

import subprocess

from charter import absent, kept_by


def lazily_bound(patch):
    """readelf tells of an extension that is neither bound at once nor read-only."""
    plain = subprocess.run

    def run(command, *arguments, **how):
        done = plain(command, *arguments, **how)
        if command[0] == "readelf":
            done.stdout = done.stdout.replace("BIND_NOW", "").replace("GNU_RELRO", "")
        return done

    patch.setattr(subprocess, "run", run)


kept_by(
    "S-03",
    "the extension exports its entry alone, is bound at once, read-only, without an executable stack or a foreign path",
    "tests/core/test_extension_file.py",
    times=1,
    faults=(lazily_bound,),
)
absent("S-01", "two builds give the same bytes", "`make wheel` does; its fault is owed")
absent(
    "S-02", "the wheel and its tests without the sources", "`make wheel` does; its fault is owed"
)
absent(
    "S-04", "published by the index's trust alone", "needs the index; the workflow is `wheels.yml`"
)
absent("S-05", "every wheel lists what is in it", "`make wheel` does; its fault is owed")
absent("S-06", "workflows without findings of zizmor", "not written yet")
absent("S-07", "NumPy alone; no network, no process at import or run", "not written yet")
