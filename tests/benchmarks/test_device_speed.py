import pytest

from benchmarks.evaluation import device_speed

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(device_speed, "SIDE", 32)


def test_ratios_are_to_the_gradient_of_the_same_settings():
    found = device_speed.precision("MobileNetV2", "mixed_bfloat16", jit_compile=True, batch=2, rounds=1)
    seconds, ratio = found["plain gradient"]
    assert ratio == 1.0
    for value, relative in found.values():
        assert relative == pytest.approx(value / seconds)


def test_the_training_step_can_be_left_out():
    found = device_speed.precision("MobileNetV2", "float32", False, batch=1, rounds=1, training=False)
    assert list(found) == ["plain gradient", "explain"]


def test_batches_grow_until_that_gains_too_little():
    found = device_speed.throughput("MobileNetV2", seconds=0, gain=1e9)
    assert list(found) == [1, 2]
    assert all(rate > 0 for rows in found.values() for rate in rows.values())
