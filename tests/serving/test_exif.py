import numpy as np
import pytest
import tensorflow as tf

from tests import photo_files, toys
from tf_learnprop.serving import exif

#: As a part of a graph, which is what it is made for.
orientation = tf.function(exif.orientation, [tf.TensorSpec([], tf.string)], autograph=False)


class TestOrientation:
    @pytest.mark.parametrize("order", [b"II", b"MM"])
    def test_both_byte_orders(self, order):
        def number(value, size):
            return value.to_bytes(size, "little" if order == b"II" else "big")

        def file(entries, directory=8):
            head = order + number(42, 2) + number(directory, 4) + bytes(directory - 8)
            body = b"".join(
                number(a, 2) + number(3, 2) + number(1, 4) + number(b, 2) + b"\0\0" for a, b in entries
            )
            tiff = head + number(len(entries), 2) + body + bytes(4)
            return (
                b"\xff\xd8\xff\xe0\0\x04JF\xff\xe1" + (len(tiff) + 8).to_bytes(2, "big") + b"Exif\0\0" + tiff
            )

        def found(content):
            return orientation(content).numpy()

        assert found(file([(0x0100, 5), (0x0112, 6)])) == 6
        assert found(file([(0x0112, 8)], directory=20)) == 8
        assert found(file([(0x0100, 6)])) == 1
        assert found(file([])) == 1
        assert found(file([(0x0112, 9)])) == 1
        whole = file([(0x0100, 5), (0x0112, 6)])
        for length in range(len(whole) - 8):  # the entry ends in two unused bytes, then come four zeros
            assert found(whole[:length]) == 1

    def test_noise_is_no_error(self):
        generator = toys.rng(0)
        for _ in range(50):
            noise = generator.integers(0, 256, 60, dtype=np.uint8).tobytes()
            content = b"\xff\xd8\xff\xe1\0\0Exif\0\0" + (b"II*\0", b"MM\0*", b"")[len(noise) % 3] + noise
            assert 1 <= orientation(content).numpy() <= 8

    def test_upright(self):
        pixels = photo_files.smooth()
        for value, turn in photo_files.TURNS.items():
            np.testing.assert_array_equal(exif.upright(tf.constant(pixels), tf.constant(value)), turn(pixels))
