"""What `serving.pictures` draws and reads: photos in, heat maps over photos out."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import toys
from serving_client import ask, strings
from serving_toys import assert_overlay, assert_same_maps, jpeg, photo, png, preprocess, trained

SIDE = toys.SIDE


class TestPhotos:
    """`explain_encoded`: what comes before the map and after it."""

    def test_overlay_is_the_heat_over_the_photo(self, small, wrapped):
        pixels = photo(SIDE, SIDE, 2)
        (answer,) = ask(small, [("explain_encoded", {"encoded": strings(png(pixels))})])
        (single,) = wrapped.explain(preprocess(np.float32(pixels[None])))
        assert_overlay(answer["overlays_bytes"][0], pixels, single)

    @pytest.mark.parametrize("crop", [False, True])
    def test_photos_of_any_size_and_format(self, wrapped, tmp_path, crop):
        path = wrapped.export(
            tmp_path / "model" / "1",
            preprocess=keras.layers.Rescaling(1 / 64, -127 / 64),
            crop_to_aspect_ratio=crop,
            colormap="viridis",
            alpha=1.0,
        )
        contents = [png(photo(40, 24)), jpeg(photo(31, 50, 1)), png(photo(8, 8)[..., :1])]
        (answer,) = ask(path, [("explain_encoded", {"encoded": strings(*contents)})])
        images = []
        for content in contents:
            pixels = tf.io.decode_image(content, 3).numpy()
            if crop:
                height, width = pixels.shape[:2]
                side = min(height, width)
                top, left = (height - side) // 2, (width - side) // 2
                pixels = pixels[top : top + side, left : left + side]
            images.append(tf.image.resize(pixels, (SIDE, SIDE), antialias=True).numpy())
        images = np.stack(images)
        assert_same_maps(answer["attributions"], wrapped, preprocess(images))
        maps = wrapped.explain(preprocess(images))
        for content, pixels, single in zip(answer["overlays_bytes"], images, maps, strict=True):
            assert_overlay(content, pixels, single, "viridis", 1.0)

    @pytest.mark.slow
    def test_grey_photos(self, tmp_path):
        wrapped = trained(toys.small_cnn(shape=(SIDE, SIDE, 1)))
        path = wrapped.export(tmp_path / "model" / "1", preprocess=preprocess)
        grey = photo(SIDE, SIDE)[..., :1]
        (answer,) = ask(path, [("explain_encoded", {"encoded": strings(png(grey))})])
        maps = wrapped.explain(preprocess(np.float32(grey[None])))
        assert_same_maps(answer["attributions"], wrapped, preprocess(np.float32(grey[None])))
        assert_overlay(answer["overlays_bytes"][0], np.repeat(grey, 3, -1), maps[0])
