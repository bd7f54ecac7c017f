"""The engine Beam: a pipeline on the runner that its options name, or in processes of this machine."""

from __future__ import annotations

import builtins
import contextlib
import functools
import logging
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from tf_learnprop.scale import explaining, extras, output, shards

if TYPE_CHECKING:
    from apache_beam.options.pipeline_options import PipelineOptions

    from tf_learnprop_explainer import Explainer

#: Of the last line of a traceback, which is all that is left of a worker's error.
_ERROR = re.compile(r"^(\w+(?:Error|Exception)): (.*?)(?: \[while running .*)?$", re.MULTILINE)
_SECONDS = 1.0


@contextlib.contextmanager
def started(
    address: str | None = None, workers: int | None = None, pipeline_options: Sequence[str] = ()
) -> Iterator[Callable[..., None]]:
    """Yields the function `run` of this engine; see `local.started`.

    All workers must see the model, the images and the folder of the output under the same paths.

    Args:
        address: Must be None.
        workers: Number of processes of this machine (default: 2). Must be None if the options name a runner.
        pipeline_options: Options of Beam and of a runner, such as "--runner=FlinkRunner". Without a runner,
            the pipeline runs in processes of this machine.

    Raises:
        ImportError: If Apache Beam is not installed.
        ValueError: If an option is unknown or out of range, or does not go with another.
    """
    if address is not None:
        raise ValueError(
            "`address` must be None for the engine 'beam': its runner's options tell where it is. "
            f"Received: address='{address}'"
        )
    yield functools.partial(_run, _options(list(pipeline_options), workers))


def _options(given: list[str], workers: int | None) -> PipelineOptions:
    with _quiet():
        extras.require("apache_beam", "beam")
    from apache_beam.options.pipeline_options import PipelineOptions

    try:
        options = PipelineOptions(given)
        known = options.get_all_options()
        unknown = sorted(set(options.get_all_options(retain_unknown_options=True)) - set(known))
    except SystemExit as error:  # of argparse, for a value out of range
        raise ValueError(f"`pipeline_options` must be valid in Apache Beam. Received: {given}") from error
    if unknown:
        raise ValueError(f"`pipeline_options` must be those of Apache Beam. Received: {unknown}")
    if known["runner"] is not None:
        if workers is not None:
            raise ValueError(
                "`workers` must be None if `pipeline_options` name a runner, which has an option of its own. "
                f"Received: workers={workers}"
            )
        return options
    # The direct runner would download another runner first, unless triggers are allowed that this can't do.
    ours = ["--runner=DirectRunner", "--allow_unsafe_triggers", "--direct_running_mode=multi_processing"]
    ours += [f"--direct_num_workers={workers or 2}", "--default_sdk_harness_log_level=ERROR"]
    return PipelineOptions([*ours, *given])


def _run(
    pipeline_options: PipelineOptions,
    explainer: Explainer,
    todo: Sequence[shards.Shard],
    options: explaining.Options,
    folder: str | os.PathLike[str],
    report: Callable[[int], None],
) -> None:
    with _quiet(), _reported(todo, folder, report), _ended_if_a_worker_is_killed():
        import apache_beam as beam

        from tf_learnprop.scale.beam import ExplainShards

        pipeline = beam.Pipeline(options=pipeline_options)
        pipeline | beam.Create(todo) | ExplainShards(explainer, options, folder)
        try:
            pipeline.run().wait_until_finish()
        except RuntimeError as error:
            raise _cause(error) from error


@contextlib.contextmanager
def _reported(
    todo: Sequence[shards.Shard], folder: str | os.PathLike[str], report: Callable[[int], None]
) -> Iterator[None]:
    """Reports the output that appears during a block. What runs a pipeline need not tell."""
    metadata = extras.require("pyarrow.parquet").read_metadata
    waiting = {shard.name: output.file_of(folder, shard.name) for shard in todo}
    ended = threading.Event()

    def look() -> None:
        for name, path in list(waiting.items()):
            if path.exists():
                report(metadata(path).num_rows)
                del waiting[name]

    def watch() -> None:
        while not ended.wait(_SECONDS):
            look()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    look()


@contextlib.contextmanager
def _ended_if_a_worker_is_killed() -> Iterator[None]:
    """Ends a block if a process that the direct runner has started dies: the runner would wait forever.

    The other processes finish their part first. Works in the main thread only.
    """
    killed = []
    before = threading.excepthook

    def hook(arguments: threading.ExceptHookArgs) -> None:
        died = arguments.thread is not None and arguments.thread.name == "run_worker"
        if not (died and in_main_thread or killed):  # its connections fail as well
            before(arguments)
        elif not killed:
            killed.append(arguments.exc_value)
            signal.pthread_kill(main_thread, signal.SIGINT)

    main_thread = threading.main_thread().ident or 0
    in_main_thread = threading.get_ident() == main_thread
    threading.excepthook = hook
    try:
        yield
    except KeyboardInterrupt:
        if killed:
            raise RuntimeError(
                "A process that Beam had started was killed, perhaps for want of memory. What was finished "
                f"is kept. ({killed[0]})"
            ) from None
        raise
    finally:
        threading.excepthook = before


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps Beam's log off the console: errors are raised. Its import must not change the root logger."""
    root, ours = logging.getLogger(), logging.getLogger("apache_beam")
    handlers, level = root.handlers[:], ours.level
    root.addHandler(silent := logging.NullHandler())
    ours.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        root.removeHandler(silent)
        root.handlers[:] = handlers
        ours.setLevel(level)


def _cause(error: RuntimeError) -> Exception:
    """The error that was raised in a worker, of its own type if that is built in."""
    found = _ERROR.findall(str(error))
    if not found:
        return error
    kind, message = found[-1]
    return getattr(builtins, kind, RuntimeError)(message)
