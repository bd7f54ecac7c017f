import numpy as np
import tensorflow as tf


def test_saved_model_explains_the_class(run, model, photo, tmp_path):
    out = tmp_path / "served" / "1"
    status, _, _ = run("export", *model, "--class", 2, "--out", out)
    assert status == 0
    served = tf.saved_model.load(out).signatures["explain_encoded"]
    answer = served(tf.constant([photo.read_bytes()]))
    assert answer["class_ids"].numpy().tolist() == [2]
    assert np.isfinite(answer["attributions"]).all()
    status, _, err = run("export", *model, "--out", out)
    assert status == 2 and "--out must be a new folder" in err
