import json

import pytest

from benchmarks.evaluation import parts_of_time, speed_guard


def test_a_ratio_that_is_more_than_a_tenth_worse_is_named():
    assert speed_guard.worse("small", 8, 1.0, 1.099) is None
    text = "large, batch 8: 1.330 plain gradients, 1.200 are kept"
    assert speed_guard.worse("large", 8, 1.2, 1.33) == text
    assert speed_guard.worse("small", 8, 1.0, float("nan"))


def test_a_check_measures_what_the_file_holds_and_fails_if_it_is_worse(tmp_path, monkeypatch):
    asked = []

    def ratio(*arguments):
        asked.append(arguments)
        return 1.05

    monkeypatch.setattr(parts_of_time, "ratio", ratio)
    path = tmp_path / "ratios.json"
    speed_guard.keep(["one", "two"], [1, 8], 3, path)
    assert json.loads(path.read_text())["ratios"] == dict.fromkeys(["one", "two"], {"1": 1.05, "8": 1.05})
    speed_guard.check(["one", "two", "three"], [8, 32], 9, path)
    assert asked[4:] == [("one", 8, 9), ("two", 8, 9)]
    path.write_text(json.dumps({"ratios": {"one": {"8": 0.9}}}))
    with pytest.raises(SystemExit, match=r"one, batch 8: 1\.050 plain gradients, 0\.900 are kept"):
        speed_guard.check(["one"], [8], 9, path)


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
