import types

import numpy as np

import tf_learnprop as tlp
from benchmarks import natural_fills
from tests import toys


def test_a_table_of_the_methods(monkeypatch, capsys, tmp_path):
    model = toys.small_cnn()
    images = toys.images(4)
    subject = types.SimpleNamespace(
        name="toy", model=model, test=images, labels=np.arange(4), forward=tlp.wrap_model(model).logits
    )
    monkeypatch.setattr(natural_fills.options, "chosen_subjects", lambda arguments: [subject])
    wrapped = tlp.wrap_model(model, "learned")
    wrapped.save_rules(tmp_path / "rules.keras")
    monkeypatch.setattr(natural_fills.learned_rules, "path", lambda *_, **__: tmp_path / "rules.keras")
    arguments = types.SimpleNamespace(images=4, methods=["saliency", "rise"], masks=6, results=tmp_path)
    natural_fills.run(arguments)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    titles = [line.split("|")[1].strip() for line in lines[2:]]
    assert titles == [
        "universal rule",
        "… not guided",
        "… names compete",
        "trained rules",
        "saliency",
        "rise",
    ]
    maps = tlp.wrap_model(model).explain(images, np.arange(4))
    direct = tlp.metrics.insertion_deletion(
        subject.forward,
        images,
        maps,
        np.arange(4),
        fills=("image", "blocks"),
        step=-(-images[0, ..., 0].size // 14),
    )
    assert lines[2].split("|")[2].split()[0] == natural_fills.tables.interval(list(direct.scores)).split()[0]
