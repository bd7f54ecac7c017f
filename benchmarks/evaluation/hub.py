"""KerasHub, which some models are from."""

import types

from benchmarks.evaluation import images

#: Subjects whose models are from it.
SUBJECTS = ("known_swin", "cifar_mit", "cifar_hub_resnet")


def keras_hub() -> types.ModuleType:
    """Imports KerasHub.

    Raises:
        images.MissingData: It is not installed, or does not fit the installed TensorFlow.
    """
    try:
        import keras_hub
    except Exception as error:  # of a library that it loads, too
        reason = str(error).splitlines()[0]
        raise images.MissingData(
            f"KerasHub can't be imported ({reason}); install tf-learnprop[keras-hub]"
        ) from error
    return keras_hub
