"""What the page says of a photo that can't be opened, and of a model that fails."""

import numpy as np
import pytest
from PIL import Image

import tf_learnprop as tlp
from tests import toys
from tf_learnprop.app.backends import WrappedBackend

gr = pytest.importorskip("gradio")

from tf_learnprop.app.handlers import Handlers  # noqa: E402


@pytest.fixture
def said(monkeypatch):
    """What the page has warned of."""
    texts = []
    monkeypatch.setattr(gr, "Warning", texts.append)
    return texts


def test_the_reason_is_given(in_process, tmp_path, said):
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "depth.tif")
    asked, _, file = Handlers(in_process, tmp_path).open(str(tmp_path / "depth.tif"))
    assert asked is None and file is None
    (text,) = said
    assert text.startswith("depth.tif can't be read as an image (Pixels must have 8 or 16 bits.")


def test_a_failing_model_is_not_blamed_on_the_photo(wrapped, photo_file, tmp_path, said):
    spec = tlp.zoo.ModelSpec("toy", wrapped.source, lambda photos: photos * np.nan)
    handlers = Handlers(WrappedBackend(spec, wrapped, (toys.SIDE, toys.SIDE, 3)), tmp_path)
    with pytest.raises(ValueError, match="must be finite"):
        handlers.open(str(photo_file))
    assert not said
