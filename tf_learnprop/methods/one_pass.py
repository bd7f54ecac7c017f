"""Methods of one forward and one backward pass: a rule and a readout each."""

import dataclasses
from typing import Any, ClassVar

import keras

from tf_learnprop import readouts
from tf_learnprop.graph.explained import Explained
from tf_learnprop.methods.base import Explainer, Method, Need, explained_of, register
from tf_learnprop.model import PropagationModel
from tf_learnprop.rule_files import saving
from tf_learnprop.wrapping import assembly, policy


def wrap(explained: Explained, rule: str, readout: str | readouts.Readout | None) -> PropagationModel:
    """As `wrap_model`, for a model that was read already."""
    choice = policy.choose_rules(explained, rule)
    return PropagationModel(
        explained.graph.model, assembly.make_rule_set(explained, choice, readout), explained
    )


class OnePassMethod(Method):
    """A rule and a readout.

    Attributes:
        rule: Name of the rule.
        readout: Name of the readout.
    """

    rule: ClassVar[str] = "gradient"
    readout: ClassVar[str] = "saliency"
    needs: ClassVar[tuple[Need, ...]] = (Need.GRADIENT,)

    def passes(self, explained: Explained) -> int:
        return 2

    def on_explained(self, explained: Explained) -> PropagationModel:
        return wrap(explained, self.rule, self.make_readout())

    def make_readout(self) -> readouts.Readout | None:
        """A new readout."""
        return readouts.get(self.readout)


@register("universal")
class Universal(OnePassMethod):
    """Rules and a readout for any model, which were learned on other models; see `tf_learnprop.universal`."""

    label = "universal rule"
    source = "this package"
    needs = ()
    signed = True
    rule = "universal"

    def make_readout(self) -> None:
        return None


@register("learned")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Learned(Method):
    """The rules of a wrapped model, or of a rule file.

    Args:
        rules: A rule file of the model, or the name of rules that come with the package. None: those of the
            wrapped model that is explained.
    """

    rules: str | None = None
    label = "learned rules"
    source = "this package"
    signed = True

    def passes(self, explained: Explained) -> int:
        return 2

    def on_explained(self, explained: Explained) -> Explainer:
        path = saving.rule_file_of(self.rules)
        if not path:
            raise ValueError(
                "Method 'learned' needs a wrapped model, or a rule file in its option `rules`. "
                f"Received: a Keras model and rules={self.rules!r}"
            )
        return PropagationModel(
            explained.graph.model, saving.load_rules_for(path, explained.graph), explained
        )

    def on(self, model: keras.Model, **ends: Any) -> Explainer:
        if self.rules is None and isinstance(model, PropagationModel):
            explained_of(model, **ends)  # refuses ends
            return model
        return super().on(model, **ends)


@register("saliency")
class Saliency(OnePassMethod):
    """max_c |∂s/∂x|, the largest absolute gradient of the channels."""

    label = "saliency"
    source = "Simonyan et al. 2013, arXiv 1312.6034"


@register("gradient_x_input")
class GradientTimesInput(OnePassMethod):
    """Σ_c x·∂s/∂x."""

    label = "gradient × input"
    source = "Shrikumar et al. 2016, arXiv 1605.01713"
    signed = True

    def make_readout(self) -> readouts.Readout:
        return readouts.InputReadout(blur=0.0)


@register("guided_backprop")
class GuidedBackprop(OnePassMethod):
    """max_c |G|, G the signal at the input if activations pass on positive signals alone."""

    label = "guided backprop"
    source = "Springenberg et al. 2014, arXiv 1412.6806"
    rule = "guided_backprop"


@register("deconvnet")
class DeconvNet(OnePassMethod):
    """max_c |G|, G the signal at the input if activations are ReLUs of the signal."""

    label = "DeconvNet"
    source = "Zeiler & Fergus 2014, arXiv 1311.2901"
    rule = "deconvnet"


@register("libra")
class Libra(GradientTimesInput):
    """Σ_c x·G, G the signal at the input under LibraGrad's rules, for transformers."""

    label = "LibraGrad × input"
    source = "Mehri et al. 2025, CVPR, arXiv 2411.16760"
    rule = "libra"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassActivationMethod(OnePassMethod):
    """The channels of a feature map, weighed by the gradient at it.

    Args:
        layer: Name or path of the layer whose output is the feature map. None: the last tensor before
            attention in which places are apart and which all paths to the output pass.
    """

    layer: str | None = None
    needs = (Need.FEATURE_MAP,)

    def reading(self, explained: Explained) -> Explained:
        return explained.with_layer(self.layer)

    def make_readout(self) -> readouts.Readout:
        return readouts.REGISTRY.make(self.readout, layer=self.layer)


@register("grad_cam")
class GradCAM(ClassActivationMethod):
    """See `tf_learnprop.readouts.GradCAMReadout`."""

    label = "Grad-CAM"
    source = "Selvaraju et al. 2017, ICCV, arXiv 1610.02391"
    readout = "grad_cam"


@register("grad_cam_pp")
class GradCAMPlusPlus(ClassActivationMethod):
    """See `tf_learnprop.readouts.GradCAMPlusPlusReadout`."""

    label = "Grad-CAM++"
    source = "Chattopadhyay et al. 2018, WACV, arXiv 1710.11063"
    readout = "grad_cam_pp"


@register("layer_cam")
class LayerCAM(ClassActivationMethod):
    """See `tf_learnprop.readouts.LayerCAMReadout`."""

    label = "LayerCAM"
    source = "Jiang et al. 2021, IEEE TIP"
    readout = "layer_cam"


@register("hires_cam")
class HiResCAM(ClassActivationMethod):
    """See `tf_learnprop.readouts.HiResCAMReadout`."""

    label = "HiResCAM"
    source = "Draelos & Carin 2020, arXiv 2011.08891"
    readout = "hires_cam"
