import json

import pytest


@pytest.mark.slow
def test_draws_four_photos(run, tmp_path):
    status, out, _ = run("demo", "--out", tmp_path / "demo.png", "--json")
    assert status == 0 and len(json.loads(out)["classes"]) == 4
    assert (tmp_path / "demo.png").stat().st_size > 10_000


def test_bad_usage(fails):
    assert "--out must end in .png" in fails("demo", "--out", "demo.txt")
