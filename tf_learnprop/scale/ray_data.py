"""The engine Ray: a pool of actors, one for each device of a cluster, fed by Ray Data."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import pickle
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from tf_learnprop.scale import extras, shard_maps, shards

if TYPE_CHECKING:
    from tf_learnprop.serving import Explainer

_SECONDS_TO_CONNECT = 10


class Worker:
    """An actor: it loads the model once, and explains one shard after the other.

    Args:
        explainer: See `explaining.process`.
        options: See `explaining.process`.
        folder: See `explaining.process`.
    """

    def __init__(self, explainer: Explainer, options: shard_maps.ShardOptions, folder: str):
        self._arguments = options, folder
        self._explainer = explainer

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Explains the shard of a row, and writes its output.

        Returns:
            `count`, the number of images; `error`, an exception that ends the run as bytes, or b"".
        """
        shard = pickle.loads(row["shard"])
        # If the node of an actor is lost, its shards go to another. What was finished is not made again.
        try:
            return {"count": shard_maps.process(self._explainer, shard, *self._arguments), "error": b""}
        except Exception as error:  # of any kind; Ray would turn it into a page of text
            return {"count": 0, "error": _pickled(error)}


@contextlib.contextmanager
def started(address: str | None = None, workers: int | None = None) -> Iterator[Callable[..., None]]:
    """Connects to a cluster, and yields the function `run` of this engine; see `local.started`.

    All nodes must see the model, the images and the folder of the output under the same paths.

    Args:
        address: Address of the cluster, as for `ray.init`. None: that of the environment variable
            RAY_ADDRESS, else a cluster on this machine, which is ended afterwards.
        workers: Number of actors. None: one for each GPU of the cluster, or one for each CPU if it has none.

    Raises:
        ImportError: If Ray is not installed.
        ConnectionError: If the cluster can't be reached.
    """
    # Ray's C++ code logs on standard error what concerns only its developers.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    ray, data = extras.require("ray", "ray"), extras.require("ray.data", "ray")
    _check_reachable(address)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    is_own_cluster = not ray.is_initialized()
    if is_own_cluster:
        try:
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError, ValueError) as error:
            place = address or os.environ.get("RAY_ADDRESS")
            raise ConnectionError(f"No Ray cluster can be reached at {place} ({error})") from error
    try:
        available = ray.cluster_resources()
        device = "GPU" if available.get("GPU") else "CPU"
        if not available.get(device):
            raise ConnectionError("The Ray cluster must have a CPU or a GPU for the work")
        yield functools.partial(_run, ray, data, device, workers or int(available[device]))
    finally:
        if is_own_cluster:
            ray.shutdown()


def _run(
    ray: Any,
    data: Any,
    device: str,
    workers: int,
    explainer: Explainer,
    todo: Sequence[shards.Shard],
    options: shard_maps.ShardOptions,
    folder: str | os.PathLike[str],
    report: Callable[[int], None],
) -> None:
    data.DataContext.get_current().enable_progress_bars = False
    rows = [{"shard": pickle.dumps(shard)} for shard in todo]
    done = data.from_items(rows, override_num_blocks=len(rows)).map(
        Worker,
        fn_constructor_args=(explainer, options, os.path.abspath(folder)),
        compute=data.ActorPoolStrategy(size=min(workers, len(rows))),
        **{f"num_{device.lower()}s": 1},
    )
    try:
        for row in done.iter_rows():
            if row["error"]:
                raise pickle.loads(row["error"])
            report(row["count"])
    except ray.exceptions.RayError as error:
        raise RuntimeError(f"Ray's workers have failed: {str(error).strip().splitlines()[-1]}") from error


def _pickled(error: Exception) -> bytes:
    try:
        pickle.loads(pickle.dumps(error))
        return pickle.dumps(error)
    except Exception:  # of any kind: its class can't be sent
        return pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))


def _check_reachable(address: str | None) -> None:
    """Checks that something listens at an address; Ray itself would try for a minute."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if not host:
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _SECONDS_TO_CONNECT).close()
    except (OSError, ValueError) as error:
        raise ConnectionError(f"No Ray cluster can be reached at {address} ({error})") from error
