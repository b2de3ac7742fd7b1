"""Run rows of the charter and write down the results: ``python tests/reliability [ROW ...]``."""

import argparse
import sys
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import charter  # noqa: E402
import results  # noqa: E402
import rows  # noqa: E402


def main():
    parser = argparse.ArgumentParser(prog="make reliability", description=charter.__doc__)
    parser.add_argument("rows", nargs="*", help="all of them if none is named")
    parser.add_argument("--share", type=float, default=1.0, help="how much of the full count")
    parser.add_argument("--twins", action="store_true", help="plant their faults instead")
    parser.add_argument("--page", action="store_true", help="write docs/reliability.md alone")
    parser.add_argument("--list", action="store_true", help="say what there is")
    asked = parser.parse_args()
    chosen = [rows.ROWS[name] for name in asked.rows] or list(rows.ROWS.values())
    red = 0
    if asked.list:
        for row in chosen:
            print(f"{row.id}  {row.promise}")
        return 0
    for row in chosen if not asked.page else ():
        missing = row.why_not or row.needs()
        if missing:
            print(f"{row.id}: not here: {missing}", flush=True)
        elif asked.twins:
            for fault in row.faults:
                noticed = seen(row, fault)
                red += not noticed
                results.record_fault(row, fault, noticed)
                said = "noticed" if noticed else "NOT NOTICED"
                print(f"{row.id}: {fault.__name__} {said}", flush=True)
        else:
            red += not run(row, max(1, int(row.full * asked.share)))
    results.PAGE.write_text(results.page(rows.ROWS), "utf-8")
    return red


def seen(row, fault):
    """Whether a fault is noticed; a check that cannot run with it keeps no other from running."""
    try:
        return charter.is_noticed(row, fault)
    except Exception:
        traceback.print_exc()
        return False


def run(row, n):
    began, count, result = time.time(), 0, "held"
    try:
        count = row.check(n)
        if not count:
            raise charter.Broken("nothing was done")
    except Exception as error:
        if not isinstance(error, AssertionError):
            traceback.print_exc()
        print(error)
        result = "BROKEN"
    seconds = time.time() - began
    print(f"{row.id}: {result}, {count:,} {row.unit} in {seconds:.1f} s", flush=True)
    results.record(row, n, count, seconds, result)
    return result == "held"


if __name__ == "__main__":
    sys.exit(main() != 0)
