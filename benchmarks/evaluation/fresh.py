"""Functions that run in a fresh process, and the memory that a process uses (Linux)."""

import concurrent.futures
import multiprocessing
import pathlib
import re
from collections.abc import Callable
from typing import Any


def call(function: Callable, *arguments: Any) -> Any:
    """Calls a function of a module in a new process, and returns or raises what it does."""
    # Spawned, not forked: a fork would inherit TensorFlow's caches and threads.
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *arguments).result()


def resident_mb() -> float:
    """Resident memory of this process in MB."""
    return _status("VmRSS")


def peak_mb() -> float:
    """Peak resident memory of this process in MB."""
    # Not `ru_maxrss`: on Linux a new process starts with its parent's.
    return _status("VmHWM")


def _status(field):
    status = pathlib.Path("/proc/self/status").read_text()
    return int(re.search(rf"{field}:\s+(\d+) kB", status)[1]) * 1024 / 1e6
