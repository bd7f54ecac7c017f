"""Benchmarks of tf_learnprop: `python -m benchmarks NAME [options]`."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # read once, when TensorFlow is first imported
