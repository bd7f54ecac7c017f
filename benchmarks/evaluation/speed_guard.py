"""Guards the price of a map: its ratio to the plain gradient, against the ratios that are kept in a file."""

import datetime
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


def measure(names, batch, rounds):
    """Dict from a model to the ratio of `explain` to the plain gradient, by processor time."""
    ratios = {}
    for name in names:
        ratios[name] = round(parts_of_time.ratio(name, batch, rounds), 3)
        print(f"{name:26}{ratios[name]:8.3f}", flush=True)
    return ratios


def worse(kept, measured, tolerance=TOLERANCE):
    """One line for each model whose ratio is worse than the one that is kept by more than a tolerance."""
    return [
        f"{name}: {ratio:.3f} plain gradients, {kept[name]:.3f} are kept"
        for name, ratio in measured.items()
        if name in kept and not ratio <= kept[name] * (1 + tolerance)
    ]


def check(names, rounds, path=FILE):
    """Measures as the file says, and ends the program if a ratio is worse.

    Raises:
        SystemExit: If it is.
    """
    kept = json.loads(path.read_text())
    measured = measure([name for name in names if name in kept["ratios"]], kept["batch"], rounds)
    if lines := worse(kept["ratios"], measured):
        raise SystemExit(f"More than {TOLERANCE:.0%} slower than in {path.name}:\n" + "\n".join(lines))


def keep(names, batch, rounds, path=FILE):
    """Measures, and writes the file."""
    ratios = measure(names, batch, rounds)
    path.write_text(
        json.dumps({**where(), "batch": batch, "rounds": rounds, "ratios": ratios}, indent=1) + "\n"
    )


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
