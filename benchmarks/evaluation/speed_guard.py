"""Guards the price of a map: its ratio to the plain gradient, against the ratios that are kept in a file."""

import datetime
import itertools
import json
import pathlib
import platform
import re
import subprocess

from benchmarks.evaluation import parts_of_time

#: The ratios that docs/speed.md shows, and when and where they were measured.
FILE = pathlib.Path(__file__).parents[1] / "speed_ratios.json"
#: How much worse a ratio may be, as a share of the one that is kept.
TOLERANCE = 0.10


def measure(name, batch, rounds):
    """The ratio of `explain` to the plain gradient, by processor time."""
    ratio = round(parts_of_time.ratio(name, batch, rounds), 3)
    print(f"{name:26}{batch:4}{ratio:8.3f}", flush=True)
    return ratio


def worse(name, batch, kept, measured, tolerance=TOLERANCE):
    """One line if a ratio is worse than the one that is kept by more than a tolerance, else None."""
    if measured <= kept * (1 + tolerance):
        return None
    return f"{name}, batch {batch}: {measured:.3f} plain gradients, {kept:.3f} are kept"


def check(names, batches, rounds, path=FILE):
    """Measures what the file holds for some models and batches, and ends the program if a ratio is worse.

    Raises:
        SystemExit: If it is.
    """
    kept = json.loads(path.read_text())["ratios"]
    pairs = [(name, batch) for name in names for batch in batches if str(batch) in kept.get(name, {})]
    lines = [worse(*pair, kept[pair[0]][str(pair[1])], measure(*pair, rounds)) for pair in pairs]
    if any(lines):
        raise SystemExit(
            f"More than {TOLERANCE:.0%} slower than in {path.name}:\n" + "\n".join(filter(None, lines))
        )


def keep(names, batches, rounds, path=FILE):
    """Measures, and writes the file anew after each ratio."""
    ratios = {}
    for batch, name in itertools.product(batches, names):
        ratios.setdefault(name, {})[batch] = measure(name, batch, rounds)
        path.write_text(json.dumps({**where(), "rounds": rounds, "ratios": ratios}, indent=1) + "\n")


def where():
    """Date, commit and machine, a dict."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, cwd=FILE.parent, capture_output=True, text=True, check=False).stdout
    return {
        "date": datetime.date.today().isoformat(),
        "commit": commit.strip(),
        "processor": _processor(),
    }


def _processor():
    """Number of cores and name of the processor (Linux), or its family."""
    file = pathlib.Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*:\s*(.+)", file.read_text()) if file.exists() else []
    return f"{len(names)} cores of {names[0]}" if names else platform.machine()
