"""The engine that is always there: threads of this process."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from tf_learnprop.argument_checks import ArgumentError
from tf_learnprop.scale import shard_maps, shards

if TYPE_CHECKING:
    from tf_learnprop.serving import Explainer


class _Stopped(Exception):
    """Another shard has failed, or Ctrl-C was pressed."""


@contextlib.contextmanager
def started(address: str | None = None, workers: int | None = None) -> Iterator[Callable[..., None]]:
    """Yields the function `run` of this engine, which explains shards and writes their output.

    Each thread works on a shard of its own, so one reads and writes while another computes. All of them use
    one copy of the model.

    Args:
        address: Must be None.
        workers: Number of threads. None: 2.

    Raises:
        ValueError: If `address` is given.
    """
    if address is not None:
        raise ArgumentError("address", "be None for the engine 'local'", address)

    def run(
        explainer: Explainer,
        todo: Sequence[shards.Shard],
        options: shard_maps.ShardOptions,
        folder: str | os.PathLike[str],
        report: Callable[[int], None],
    ) -> None:
        stop, lock = threading.Event(), threading.Lock()

        def step(count: int) -> None:
            if stop.is_set():
                raise _Stopped
            with lock:
                report(count)

        with concurrent.futures.ThreadPoolExecutor(workers or 2) as pool:
            work = [
                pool.submit(shard_maps.process, explainer, shard, options, folder, step) for shard in todo
            ]
            try:
                for future in concurrent.futures.as_completed(work):
                    future.result()
            finally:
                stop.set()
                pool.shutdown(cancel_futures=True)

    yield run
