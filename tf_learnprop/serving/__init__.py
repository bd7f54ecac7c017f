"""Attribution as a service: a SavedModel that answers with maps and needs no Python."""

from tf_learnprop.serving.saved_model import export

__all__ = ["export"]
