"""Time and memory of maps, wrapping and training, against the plain gradient of the same model.

The sides of a comparison take turns, and medians are compared. Each part is written to
RESULTS/speed/PART.json:

profile     where the processor time of `explain` goes: forward, backward, rules, evidence, sums, focus
explain     `explain`, once it is compiled, against the compiled gradient; both in one process
training    a training step against a forward pass of the same batch
peak        peak memory of `explain` and of a training step against that of plain gradients, and of a wrapped
            forward pass against the model's, in fresh processes
first_call  wrapping and the first `explain` against the gradient's first call, in fresh processes
memory      growth of a process that wraps a model of 12 convolutions and explains, again and again
precision   `explain` and a training step against the plain gradient, on a GPU if there is one, else the
            CPU: by precision, with and without XLA, and by batch size
throughput  images a second from `tf.data`, with larger and larger batches until that gains nothing
replicas    a step of `fit` on two logical CPUs against one device, with the same batch, the largest
series      `explain` of long series against the compiled gradient: processor time in one process, and
            peak memory in fresh ones

`--check` runs no part. It measures the processor time of `explain` against the gradient's for the models and
batch sizes that benchmarks/speed_ratios.json holds, and fails if a ratio is 10 % worse than there. `--keep`
writes that file.
"""

import itertools
import json
import pathlib

import keras
import tensorflow as tf

import tf_learnprop as tlp
from benchmarks.evaluation import (
    clock,
    device_speed,
    first_call,
    fresh,
    options,
    parts_of_time,
    peak_memory,
    series_speed,
    speed_guard,
    wrap_memory,
)

ALL_SIZES = tlp.readouts.MultiLayerReadout(max_size=None)
SIDES = {
    "relevance": {"rule": "learned"},
    "relevance, all sizes read": {"rule": "learned", "readout": ALL_SIZES},
    "channel_mixing": {"rule": "channel_mixing"},
}


def profile(arguments):
    """The part `profile`: dict from a model to `parts_of_time.measure`, of the largest batch."""
    report, batch = {}, max(arguments.batches)
    for name in _chosen(arguments, parts_of_time.MODELS):
        report[name] = parts_of_time.measure(name, batch, arguments.rounds)
        print(f"\n{name}, batch {batch}: shares of the plain gradient's processor time")
        for part, share in report[name].items():
            print(f"{part:42}{share:10.3f}", flush=True)
    return report


def explain(arguments):
    """The part `explain`: dict from model and batch size to `measure_explain`."""
    report = {}
    for name, batch in itertools.product(_chosen(arguments, parts_of_time.CLASSIFIERS), arguments.batches):
        rounds = arguments.rounds if batch == 1 else max(3, arguments.rounds // 3)
        rows = measure_explain(parts_of_time.model(name), batch, rounds)
        report[f"{name}, batch {batch}"] = rows
        _print_rows(f"{name}, batch {batch}", rows, "plain gradient")
    return report


def measure_explain(model, batch, rounds):
    """Dict from a side to (seconds an image, ratio to the plain gradient)."""
    images = parts_of_time.images_for(model, batch)
    functions = {"plain gradient": clock.plain_gradient(model), "forward": clock.forward(model)}
    for name, settings in SIDES.items():
        functions[f"explain: {name}"] = tlp.wrap_model(model, **settings).explain
    times = clock.seconds({name: lambda f=f: f(images) for name, f in functions.items()}, rounds)
    base = times["plain gradient"]
    return {name: (value / batch, value / base) for name, value in times.items()}


def training(arguments, batch=8, rounds=3):
    """The part `training`: dict from a model to dict from a side to (seconds an image, ratio to forward)."""
    report = {}
    for name in _chosen(arguments, parts_of_time.CLASSIFIERS):
        model = parts_of_time.model(name)
        images = parts_of_time.images_for(model, batch)
        wrapped = tlp.wrap_model(model, rule="learned")
        wrapped.compile()
        call = clock.forward(model)
        sides = {
            "forward": lambda call=call, images=images: call(images),
            "training step": lambda wrapped=wrapped, images=images: wrapped.train_on_batch(images),
        }
        times = clock.seconds(sides, rounds)
        rows = {side: (value / batch, value / times["forward"]) for side, value in times.items()}
        report[f"{name}, batch {batch}"] = rows
        _print_rows(f"{name}, training, batch {batch}", rows, "forward")
    return report


def peak(arguments):
    """The part `peak`: dict from a model to `peak_memory.measure`, of the largest batch."""
    report, batch = {}, max(arguments.batches)
    for name in _chosen(arguments, parts_of_time.CLASSIFIERS):
        report[name] = peak_memory.measure(name, batch)
        print(f"\n{name}, batch {batch}: MB beyond the model's")
        for side, (mb, against, ratio) in ((side, row.values()) for side, row in report[name].items()):
            print(f"{side:20}{mb:8.0f}  {peak_memory.AGAINST[side]:20}{against:8.0f}{ratio:8.2f}", flush=True)
    return report


def first_calls(arguments):
    """The part `first_call`: dict from a model to `first_call.measure`."""
    report = {}
    titles = ("gradient", "wrap + explain", "wrap alone", "ratio", "CPU ratio")
    print(f"\n{'seconds of the first call':26}" + "".join(f"{title:>16}" for title in titles))
    for name in _chosen(arguments, first_call.MODELS):
        found = report[name] = first_call.measure(name, arguments.processes)
        gradient, explain, ratio = found.values()
        cells = (gradient["seconds"], explain["seconds"], explain["wrap_seconds"], *ratio.values())
        print(f"{name:26}" + "".join(f"{cell:16.2f}" for cell in cells), flush=True)
    return report


def memory(arguments):
    """The part `memory`: dict from a case to `wrap_memory.measure`, each in a fresh process."""
    report = {}
    cases = {
        "wrap and explain, clear_session": ("wrap and explain", True),
        "wrap and explain": ("wrap and explain", False),
        "plain gradient, clear_session": ("plain gradient", True),
    }
    print(f"\nMB that a process grows by: the first time, and {arguments.wraps} times more")
    for name, case in cases.items():
        found = report[name] = fresh.call(wrap_memory.measure, arguments.wraps, *case)
        first, growth, each = found.values()
        print(f"{name:34}{first:8.1f}{growth:8.1f} ({each:.2f} each)", flush=True)
    return report


def precision(arguments):
    """The part `precision`: dict from a model and its settings to `device_speed.precision`."""
    report = {}
    for settings in itertools.product(
        _chosen(arguments, device_speed.MODELS), arguments.precisions, arguments.xla
    ):
        for batch in arguments.batches:
            name, policy, jit = settings
            title = f"{name}, {policy}{', XLA' if jit == 'on' else ''}, batch {batch}"
            rounds = max(3, arguments.rounds // 3)
            rows = device_speed.precision(name, policy, jit == "on", batch, rounds, not arguments.maps_alone)
            report[title] = rows
            _print_rows(title, rows, "plain gradient")
    return report


def throughput(arguments):
    """The part `throughput`: dict from a model to `device_speed.throughput`."""
    report = {}
    for name in _chosen(arguments, device_speed.MODELS):
        report[name] = device_speed.throughput(name, arguments.seconds)
        print(f"\n{name}, images a second")
        for batch, rows in report[name].items():
            cells = "".join(f"  {side} {rate:.1f}" for side, rate in rows.items())
            print(f"batch {batch:4}{cells}", flush=True)
    return report


def replicas(arguments):
    """The part `replicas`: dict from a model to `device_speed.replicas`."""
    report = {}
    for name in _chosen(arguments, device_speed.MODELS):
        found = report[name] = fresh.call(
            device_speed.replicas, name, 2, max(arguments.batches), 3, arguments.rounds
        )
        one, two, ratio, cpu_ratio = found.values()
        ratios = f"{ratio:.2f}x, of processor time {cpu_ratio:.2f}x"
        print(f"\n{name}, fit: {one:.2f} s a step, with 2 replicas {two:.2f} s ({ratios})", flush=True)
    return report


def series(arguments):
    """The part `series`: dict from a model and a length to what `series_speed` measures."""
    report = {}
    for name, length in itertools.product(series_speed.MODELS, arguments.lengths):
        found = report[f"{name}, {length}"] = series_speed.measure(name, length, arguments.rounds)
        for side, values in found.items():
            values["peak_mb"] = fresh.call(series_speed.grown_mb, name, length, side)
        cells = (f"{side} {1e3 * v['seconds']:.0f} ms, {v['peak_mb']:.0f} MB" for side, v in found.items())
        ratio = found["explain"]["ratio"]
        print(f"{name}, {length:,} positions: {'; '.join(cells)}; ratio {ratio:.2f}", flush=True)
    return report


def _chosen(arguments, names):
    """Those of the models of a part that `--models` names, and a line for the others that it names."""
    others = [name for name in arguments.models if name not in names]
    if others and arguments.models != list(parts_of_time.MODELS):
        print(f"left out, as this part does not measure them: {', '.join(others)}")
    return [name for name in names if name in arguments.models]


def _print_rows(title, rows, against):
    print(f"\n{title}\n{'':42}{'ms/image':>10}{'x ' + against:>18}", flush=True)
    for name, (value, ratio) in rows.items():
        print(f"{name:42}{1e3 * value:10.1f}{ratio:18.2f}", flush=True)


PARTS = {
    "profile": profile,
    "explain": explain,
    "training": training,
    "peak": peak,
    "first_call": first_calls,
    "memory": memory,
    "precision": precision,
    "throughput": throughput,
    "replicas": replicas,
    "series": series,
}


def add_options(parser):
    every = list(parts_of_time.MODELS)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--models", nargs="+", choices=every, default=every, metavar="MODEL", help=str(every))
    whole = options.at_least(1)
    parser.add_argument("--batches", nargs="+", type=whole, default=[1, 8, 32], help="batch sizes")
    parser.add_argument("--rounds", type=whole, default=9, help="of explain at batch 1; a third at larger")
    parser.add_argument("--processes", type=whole, default=3, help="of each side of first_call")
    known = device_speed.PRECISIONS
    parser.add_argument("--precisions", nargs="+", choices=known, default=list(known), help="of precision")
    parser.add_argument("--xla", nargs="+", choices=["off", "on"], default=["off", "on"], help="of precision")
    parser.add_argument("--maps-alone", action="store_true", help="no training step in precision")
    parser.add_argument("--seconds", type=whole, default=5, help="of each row of throughput")
    guard = parser.add_mutually_exclusive_group()
    guard.add_argument("--check", action="store_true", help="fail if a map costs 10 %% more than is kept")
    guard.add_argument("--keep", action="store_true", help="measure anew what --check compares with")
    parser.add_argument("--wraps", type=whole, default=30, help="of memory")
    lengths = [5000, 32_000, 160_000]
    parser.add_argument("--lengths", nargs="+", type=whole, default=lengths, help="of series")


def run(arguments):
    names = _chosen(arguments, parts_of_time.MODELS)
    if arguments.check:
        return speed_guard.check(names, arguments.batches, arguments.rounds)
    if arguments.keep:
        return speed_guard.keep(names, arguments.batches, arguments.rounds)
    _run_parts(arguments)


def _run_parts(arguments):
    folder = pathlib.Path(arguments.results) / "speed"
    folder.mkdir(parents=True, exist_ok=True)
    machine = {
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        **speed_guard.where(),
        "device": device_speed.device(),
    }
    print(f"device: {machine['device']}")
    for name in arguments.parts:
        path = folder / f"{name}.json"
        path.write_text(json.dumps({**machine, name: PARTS[name](arguments)}, indent=1))
        print(f"written to {path}")
