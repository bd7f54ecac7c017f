"""What TensorFlow computes on."""

import tensorflow as tf


def are_cpus() -> bool:
    """Whether TensorFlow sees no other device than CPUs."""
    return all(device.device_type == "CPU" for device in tf.config.list_physical_devices())
