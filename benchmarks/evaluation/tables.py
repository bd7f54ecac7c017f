"""Results as Markdown: means, 95 % bootstrap intervals over images, paired differences to our method."""

import numpy as np

from tf_learnprop import metrics

#: Column title, name of the measure, whether larger is better (None: neither).
COLUMNS = (
    ("ins−del, 5 fills", "fidelity", True),
    ("unseen fills", "fidelity_unseen", True),
    ("degradation 8", "degradation/8", True),
    ("degradation 14", "degradation/14", True),
    ("µFidelity", "mu_fidelity", True),
    ("infidelity", "infidelity", False),
    ("pointing 2×2", "pointing/2", True),
    ("… ranks", "pointing_ranks/2", True),
    ("pointing 3×3", "pointing/3", True),
    ("… ranks", "pointing_ranks/3", True),
    ("known, ranks", "known_ranks", True),
    ("known, mass", "known_mass", True),
    ("class corr.", "class_sensitivity", False),
    ("max-sens.", "max_sensitivity", False),
    ("Gini", "gini", None),
    ("TV", "total_variation", None),
    ("high freq.", "high_frequency", None),
)
PAIRED = (
    "fidelity",
    "fidelity_unseen",
    "degradation/8",
    "mu_fidelity",
    "pointing/2",
    "pointing_ranks/2",
    "pointing/3",
    "pointing_ranks/3",
    "known_ranks",
    "known_mass",
)


def markdown(name, heading, results, ours, sanity):
    """The tables of one subject.

    Args:
        name: str.
        heading: str, one line about the subject.
        results: dict from method names to dicts with `passes`, `seconds` (for an image), `variant` and
            `measures`, a dict from names to lists with one value for each image.
        ours: str, the method that the others are compared with.
        sanity: dict with `randomisation` and `convergence`, see `evaluation/sanity.py`.

    Returns:
        str.
    """
    order = sorted(results, key=lambda method: -np.mean(results[method]["measures"]["fidelity"]))
    return "\n\n".join(
        [
            f"## {name}",
            heading,
            table(
                ["method", "passes", "s an image", *(title for title, _, _ in COLUMNS)], _rows(results, order)
            ),
            f"Difference to {ours}, paired by image; positive: {ours} is ahead.",
            table(["method", *_titles(PAIRED)], _differences(results, order, ours)),
            "Insertion − deletion, fill by fill.",
            table(["method", *_fills(results)], _by_fill(results, order)),
            f"Sanity of {ours}: likeness of maps to those before layers were randomised, from the output on, "
            "where the last layer was randomised several times.",
            table(["test", "layer", "rank correlation", "SSIM"], _randomised(sanity["randomisation"])),
            "Cosine of the signals at the input that start from random directions at the output.",
            table(list(sanity["convergence"]), [map(_short, sanity["convergence"].values())]),
        ]
    )


def summary(results, measure):
    """A table of means with a row for each method and a column for each subject; the best are bold.

    Args:
        results: dict from subjects to dicts from methods to results, see `markdown`.
        measure: str, name of a measure for which larger is better.

    Returns:
        str.
    """
    means = {
        subject: {method: np.mean(result["measures"][measure]) for method, result in found.items()}
        for subject, found in results.items()
    }
    everywhere = {method: [] for found in means.values() for method in found}
    for method, collected in everywhere.items():
        for found in means.values():
            cell = _short(found[method]) if method in found else "–"
            best = method in found and found[method] == max(found.values())
            collected.append(f"**{cell}**" if best else cell)
    return table(["method", *means], [[method, *cells] for method, cells in everywhere.items()])


def _titles(names):
    return [title for title, name, _ in COLUMNS if name in names]


def _rows(results, order):
    best = {name: _best(results, order, name, larger) for _, name, larger in COLUMNS if larger is not None}
    for method in order:
        result = results[method]
        cells = []
        for _, name, _ in COLUMNS:
            cell = interval(result["measures"].get(name))
            cells.append(f"**{cell}**" if best.get(name) == method else cell)
        variant = f" ({result['variant']})" if result["variant"] else ""
        yield [method + variant, result["passes"], f"{result['seconds']:.3g}", *cells]


def _best(results, order, name, larger):
    means = {
        method: np.mean(results[method]["measures"][name])
        for method in order
        if name in results[method]["measures"]
    }
    return (max if larger else min)(means, key=means.get, default=None)


def interval(values):
    """Mean and 95 % bootstrap interval of a list of floats as text; a dash if there are none."""
    if not values:
        return "–"
    mean, low, high = metrics.bootstrap_interval(values)
    return f"{_short(mean)} [{_short(low)}, {_short(high)}]"


def _differences(results, order, ours):
    for method in order:
        if method == ours:
            continue
        cells = [method]
        for name in PAIRED:
            mine, theirs = (results[key]["measures"].get(name) for key in (ours, method))
            both = mine and theirs and len(mine) == len(theirs)
            cells.append(interval(list(np.subtract(mine, theirs))) if both else "–")
        yield cells


def _fills(results):
    first = next(iter(results.values()))["measures"]
    return [name.removeprefix("fidelity/") for name in first if name.startswith("fidelity/")]


def _by_fill(results, order):
    for method in order:
        values = results[method]["measures"]
        yield [method, *(_short(np.mean(values[f"fidelity/{fill}"])) for fill in _fills(results))]


def _randomised(tests):
    for name, rows in tests.items():
        for layer, correlation, ssim in rows:
            yield [name, layer, _short(correlation), _short(ssim)]


def _short(value):
    return f"{value:.3f}".replace("0.", ".", 1) if abs(value) < 10 else f"{value:.3g}"


def table(titles, rows):
    """A Markdown table from a list of titles and an iterable of rows of cells."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
