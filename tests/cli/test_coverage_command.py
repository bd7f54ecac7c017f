import json


def test_table_and_json(run, model):
    status, out, _ = run("coverage", *model, "--json")
    found = json.loads(out)
    assert status == 0
    assert [row["activation"] for row in found["activations"] if row["swapped"]] == ["relu", "relu"]
    status, out, _ = run("coverage", *model)
    assert status == 0 and "universal" in out
