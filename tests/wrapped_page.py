"""The page docs/what_can_be_wrapped.md, made of the models that the tests wrap.

`python -m tests.wrapped_page` writes it.
"""

import collections
import importlib
import pathlib
import warnings
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

import keras
from keras import layers

import tf_learnprop as tlp
from tests import custom_layers, masked_models, models, placed_models, recurrent_models, token_models
from tests.graph import geometry_models
from tf_learnprop.coverage import Row
from tf_learnprop.graph.activations import SkipReason

FILE = pathlib.Path(__file__).parents[1] / "docs" / "what_can_be_wrapped.md"

INTRO = """\
# What can be wrapped

The kinds of model that the tests of this package wrap, each as a small example. The tables are made from
these examples, and say what the [coverage](glossary.md#coverage) of the wrapped model says:

- **With a rule**: the activations, attentions and normalisations that have a rule by default, each with its
  number if there are several. `recurrence` is a recurrent layer.
- **Left as they are, and why**: what keeps its plain gradient, or is not read for the map. `?` is an
  activation that can't be seen. The softmax or sigmoid of an output is not listed: it is left out, as the
  logit is explained.
- **The map is read from**: where the default [readout](glossary.md#readout) takes the map from.

[Your model](guides/your_model.md) shows how such models are wrapped. [Limits](limits.md) says what can't be
done.
"""

HEAD = "| Model | With a rule | Left as they are, and why | The map is read from |\n|---|---|---|---|\n"


class Situation(NamedTuple):
    """A kind of model.

    Attributes:
        text: What it is, in a few words.
        build: Makes the model.
        ends: `output` and `explained_input` for `wrap_model`.
    """

    text: str
    build: Callable[[], keras.Model]
    ends: dict[str, Any] = {}


# -- what is wrapped ---------------------------------------------------------------------------------


def cases(kind: models.Kind) -> list[Situation]:
    """The cases of a kind."""
    return [_case(name) for name, case in models.CASES.items() if case.kind is kind]


def masked() -> list[Situation]:
    """Models of ids with a mask."""
    bodies = masked_models.BODIES.items()
    return [Situation(text, partial(masked_models.classifier, body)) for text, body in bodies]


def placed() -> list[Situation]:
    """Models in which layers move the places."""
    model, bodies = placed_models.model, placed_models.BODIES.items()
    pairs = (*placed_models.PAIRS, placed_models.stacked, placed_models.apart)
    return [
        *(Situation(text, partial(model, front)) for text, front in placed_models.FRONTS.items()),
        *(Situation(text, partial(model, body=body)) for text, body in bodies),
        *(of(build, explained_input="ct", output=0) for build in pairs),
    ]


def opened() -> list[Situation]:
    """Models with layers that can be opened."""
    found = custom_layers.OPENED.items()
    return [
        *(Situation(text, partial(_around, build)) for text, (build, _) in found),
        of(custom_layers.subclassed),
    ]


def closed() -> list[Situation]:
    """Models with layers that can't be opened."""
    found = custom_layers.CLOSED.items()
    return [
        *(Situation(text, partial(_around, partial(layer, name="mine"))) for text, (layer, _) in found),
    ]


def keras_hub() -> list[Situation]:
    """The image classifiers of KerasHub, which must be installed."""
    hub_models = importlib.import_module("tests.hub_models")
    return [
        Situation(hub_models.title(family), partial(hub_models.classifier, family))
        for family in hub_models.FAMILIES
    ]


def mixed_precision() -> list[Situation]:
    """Some of the others in half precision."""
    return [
        *(_in_half(policy, _case(name)) for policy, name in models.MIXED_PRECISION),
        *(
            _in_half("mixed_float16", situation)
            for situation in masked()
            if situation.text in masked_models.MIXED_PRECISION
        ),
    ]


def of(build: Callable[[], keras.Model], **ends: Any) -> Situation:
    """A situation whose text is the docstring of a function."""
    return Situation(build.__doc__ or "", build, ends)


def _around(build: Callable[[], Any]) -> keras.Model:
    return custom_layers.around(build())


def _case(name: str) -> Situation:
    case = models.CASES[name]
    return Situation(case.text, partial(case.build, case.head), case.ends)


def _in_half(policy: str, situation: Situation) -> Situation:
    def build() -> keras.Model:
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(policy)
        try:
            return situation.build()
        finally:
            keras.config.set_dtype_policy(before)

    return situation._replace(text=f"`{policy}`: {situation.text}", build=build)


#: {heading: the rows under it}
TABLES: dict[str, Callable[[], list[Situation]]] = {
    **{kind.value: partial(cases, kind) for kind in models.Kind},
    "Transformers, mixers and text": lambda: [of(build) for build, _ in token_models.MODELS.values()],
    "Recurrent layers, and layers at each step": lambda: [*map(of, recurrent_models.MODELS)],
    "Masks": masked,
    "Layers and models of your own": opened,
    "Layers that keep their plain gradient": closed,
    "KerasHub": keras_hub,
    "Mixed precision": mixed_precision,
    "Images that are cropped, flipped or padded, and two images": placed,
}

#: What stands above a table.
NOTES = {
    "KerasHub": """\
The tables show image classifiers. Of the 78 families of backbones in KerasHub 0.32, 67 were built
small, with random weights and a dense head (commits 4f33f68 to 87229f2). 64 of these are wrapped:
the gradient at their inputs (for texts, at their weights) equals that of a tape around the model,
they are explained, and a SavedModel gives the same maps. XLNet and Gemma 3n use their ids for more
than an embedding, and are refused. The score of SAM had no gradient here. RWKV-7 and Qwen3.5 loop
over the text in Python: they are exported for texts of a fixed length only.

"""
}

PLACES = """\
## Where the map lies

A map lies where the evidence is, if the package knows which pixels each place of a layer stands for. It
follows the places through these layers and operations of Keras. `GetItem` is a slice, such as `x[:, 2:]`.

| What moves the places | Layers and operations |
|---|---|
"""


# -- how it is written -------------------------------------------------------------------------------


def table(title: str) -> str:
    """One table with its heading."""
    return f"## {title}\n\n{NOTES.get(title, '')}{HEAD}" + "".join(
        _row(situation) for situation in TABLES[title]()
    )


def _row(situation: Situation) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what they say is in the row
        return row(situation.text, tlp.wrap_model(situation.build(), **situation.ends).coverage)


def row(text: str, coverage: tlp.Coverage) -> str:
    """The line for a model, from its description and its coverage."""
    swapped = _counted(one.activation for one in coverage if one.swapped)
    source = coverage.reading().removeprefix("The map is read from ")
    return f"| {text.rstrip('.')} | {swapped} | {_left(coverage)} | {source} |\n"


def _counted(names: Iterable[str]) -> str:
    counts = collections.Counter(names)
    return ", ".join(name if count == 1 else f"{name} × {count}" for name, count in counts.items())


def _left(coverage: tlp.Coverage) -> str:
    """What has no rule, but for the output's own activation, or is not read; by its reason."""
    names = collections.defaultdict(list)
    for one in coverage:
        for reason in one.reason.split("; "):
            if _says_more(one, reason):
                names[reason].append(one.activation)
    lines = (f"{_counted(found)}: {reason}" for reason, found in names.items())
    return "; ".join(lines).replace("not read: ", "not read, as ")


def _says_more(one: Row, reason: str) -> bool:
    if one.swapped:
        return reason.startswith("not read")
    return reason != SkipReason.OUTPUT.value


def places() -> str:
    """The table of the layers through which places are followed."""
    kinds = {**geometry_models.PLACED_BY_KIND, "Gates and norms over all places": geometry_models.GATED}
    # Convolutions stand in front of many others.
    first, *others = (_operations(group.values()) for group in kinds.values())
    rows = [first, *([name for name in names if name not in first] for names in others)]
    lines = (f"| {kind} | {', '.join(names)} |\n" for kind, names in zip(kinds, rows, strict=True))
    return PLACES + "".join(lines)


def _operations(group: Iterable[geometry_models.Placed]) -> list[str]:
    """Names of the classes of layers and operations, each once."""
    found = (type(part) for placed in group for part in models.walk(geometry_models.build(*placed)))
    names = (f"`{kind.__name__}`" for kind in found if not issubclass(kind, (layers.InputLayer, keras.Model)))
    return [*dict.fromkeys(names)]


def page() -> str:
    """All of the page."""
    return "\n".join([INTRO, *(table(title) for title in TABLES), places()])


if __name__ == "__main__":
    FILE.write_text(page(), encoding="utf-8")
