"""Imports Keras, and checks its backend. For whatever needs Keras, before anything else."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow reads it once, while it is imported

import keras  # noqa: E402

if keras.config.backend() != "tensorflow":
    raise ImportError(
        "tf_learnprop needs Keras' TensorFlow backend: set the environment variable KERAS_BACKEND to "
        f"'tensorflow' before Keras is imported. Received: backend '{keras.config.backend()}'."
    )
