"""Seconds of the first call in fresh processes: wrapping by default and explaining, against the gradient."""

import statistics
import time

from benchmarks.evaluation import clock, fresh, parts_of_time
from tf_learnprop import wrap_model  # loaded before anything is measured

MODELS = ("MobileNetV2", "ResNet50", "DenseNet121", "EfficientNetV2B0", "ViT-Tiny")
SIDES = ("plain gradient", "wrap and explain")


def measure(name: str, rounds: int) -> dict[str, dict[str, float]]:
    """Medians of each side's first call, the sides taking turns, and under "ratio" the second to the first.

    Args:
        name: One of `MODELS`.
        rounds: Number of fresh processes for each side.
    """
    found = {side: [] for side in SIDES}
    for _ in range(rounds):
        for side in SIDES:
            found[side].append(fresh.call(first_call, name, side))
    medians = {
        side: {key: statistics.median(row[key] for row in rows) for key in rows[0]}
        for side, rows in found.items()
    }
    gradient, explain = medians.values()
    return {**medians, "ratio": {key: explain[key] / gradient[key] for key in ("seconds", "cpu_seconds")}}


def first_call(name: str, side: str) -> dict[str, float]:
    """Times of a side's first call, in this process, on one image.

    Returns:
        Dict with `seconds`, `cpu_seconds` (of all threads; other work on the machine changes it less), and
        `wrap_seconds`, the part of `seconds` before the first call.
    """
    model = parts_of_time.model(name)
    images = parts_of_time.images_for(model, 1)
    start, cpu_start = time.perf_counter(), time.process_time()
    function = clock.plain_gradient(model) if side == "plain gradient" else wrap_model(model).explain
    wrapped = time.perf_counter()
    function(images)
    return {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - cpu_start,
        "wrap_seconds": wrapped - start,
    }
