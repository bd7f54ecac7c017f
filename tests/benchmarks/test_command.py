"""`python -m benchmarks`, without running a benchmark."""

import argparse
import json

import pytest

from benchmarks import __main__ as command
from benchmarks import quality, speed
from benchmarks.evaluation import fresh, options

NAMES = (
    "ablation against_xplique distillation dozen_photos known_answer natural_fills objects quality rule_gain "
    "scale serving similar_texts small_objects speed targets training_time universal".split()
)


def test_help_lists_every_benchmark_with_a_line(capsys):
    with pytest.raises(SystemExit) as stopped:
        command.main(["--help"])
    text = capsys.readouterr().out
    assert stopped.value.code == 0
    assert sorted(command.benchmarks()) == NAMES
    assert all(f"\n  {name} " in text for name in NAMES)


def test_an_unknown_name(capsys):
    with pytest.raises(SystemExit) as stopped:
        command.main(["qualty"])
    assert stopped.value.code == 2
    assert "invalid choice: 'qualty'" in capsys.readouterr().err


def test_options_go_to_the_benchmark(monkeypatch, tmp_path):
    monkeypatch.setitem(speed.PARTS, "memory", lambda arguments: {"wraps": arguments.wraps})
    command.main(["speed", "--parts", "memory", "--wraps", "3", "--results", str(tmp_path)])
    written = json.loads((tmp_path / "speed" / "memory.json").read_text())
    assert written["memory"] == {"wraps": 3}


def test_help_of_a_benchmark(capsys):
    with pytest.raises(SystemExit) as stopped:
        command.main(["ablation", "--help"])
    text = capsys.readouterr().out
    assert stopped.value.code == 0
    assert text.startswith("usage: python -m benchmarks ablation")
    assert "--subject" in text and "--results" in text


class TestOptions:
    def test_numbers(self):
        assert options.at_least(2)("2") == 2
        for text in ("1", "-3", "2.5", "two"):
            with pytest.raises(argparse.ArgumentTypeError, match="whole number >= 2"):
                options.at_least(2)(text)

    def test_subjects_with_and_without_numbers(self):
        found = quality.chosen_subjects("digits_swish:60,imagenet_lite0")
        assert found == {"digits_swish": 60, "imagenet_lite0": None}
        for text in ("digits", "digits_swish:", "digits_swish:0", "digits_swish:x"):
            with pytest.raises(argparse.ArgumentTypeError, match="number of images above 0"):
                quality.chosen_subjects(text)


class TestFreshProcess:
    def test_returns_and_raises_what_the_function_does(self):
        assert fresh.call(divmod, 7, 2) == (3, 1)
        with pytest.raises(ZeroDivisionError):
            fresh.call(divmod, 7, 0)

    def test_memory_of_a_process_holds_what_it_allocates(self):
        before = fresh.resident_mb()
        block = bytearray(b"1" * 50_000_000)
        assert 45 < fresh.resident_mb() - before < 110
        assert fresh.peak_mb() >= fresh.resident_mb() - 1
        assert len(block) == 50_000_000
