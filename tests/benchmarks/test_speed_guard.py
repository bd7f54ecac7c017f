import json

import pytest

from benchmarks.evaluation import parts_of_time, speed_guard


def test_a_ratio_that_is_more_than_a_tenth_worse_is_named():
    kept = {"small": 1.0, "large": 1.2, "gone": 1.0}
    measured = {"small": 1.099, "large": 1.33, "new": 9.0}
    assert speed_guard.worse(kept, measured) == ["large: 1.330 plain gradients, 1.200 are kept"]
    assert speed_guard.worse(kept, {"small": float("nan")})


def test_a_check_measures_as_the_file_says_and_fails_if_it_is_worse(tmp_path, monkeypatch):
    asked = []

    def ratio(*arguments):
        asked.append(arguments)
        return 1.05

    monkeypatch.setattr(parts_of_time, "ratio", ratio)
    path = tmp_path / "ratios.json"
    speed_guard.keep(["one", "two"], 8, 3, path)
    assert json.loads(path.read_text())["ratios"] == {"one": 1.05, "two": 1.05}
    speed_guard.check(["one", "two", "three"], 9, path)
    assert asked[2:] == [("one", 8, 9), ("two", 8, 9)]
    path.write_text(json.dumps({"batch": 8, "ratios": {"one": 0.9}}))
    with pytest.raises(SystemExit, match=r"one: 1\.050 plain gradients, 0\.900 are kept"):
        speed_guard.check(["one"], 9, path)


def test_parts_add_up_to_the_whole():
    seconds = {
        "plain gradient": 2.0,
        "forward": 0.8,
        "signals": 1.6,
        "signals and rules": 1.9,
        "signals, rules and evidence": 2.0,
        "no competition": 2.1,
        "explain": 2.4,
    }
    parts = parts_of_time.parts_of(seconds)
    assert parts.pop("plain gradient") == 2.0
    assert parts["rules"] == pytest.approx(0.15)
    assert parts["focus and zero"] == pytest.approx(0.1)
    whole = parts.pop("explain")
    assert sum(parts.values()) == pytest.approx(whole) == pytest.approx(1.2)
