"""Geometry of convolution, pooling and patches: each place sees a window."""

import math

from tf_learnprop.graph.geometry.layout import Axis, Layout, Size, Strand, Unknown, free_axis, known
from tf_learnprop.graph.geometry.moving import move
from tf_learnprop.graph.geometry.regrouping import fused
from tf_learnprop.graph.geometry.varying import largest
from tf_learnprop.graph.geometry.visit import Visit, each


def slid(
    layout: Layout, k: int, kernel: int, stride: int = 1, dilation: int = 1, padding: str = "valid"
) -> Layout:
    """The layout after a window slid along axis k.

    "same" padding depends on the size of the axis, and the odd entry goes to the end. Where the size is
    unknown, it is taken as a multiple of the stride.
    """
    span = (kernel - 1) * dilation
    count, front = _window_grid(layout.axes[k].size, span, stride, padding)
    exact = padding != "same" or stride == 1 or layout.axes[k].size is not None
    return move(layout, k, count, stride, span / 2 - front, span / 2, span / 2, exact)


def _window_grid(size: Size, span: int, stride: int, padding: str) -> tuple[Size, int]:
    """The number of windows, and the entries of padding in front."""
    if padding == "valid":
        return (None if size is None else largest((size - span - 1) // stride + 1, 0)), 0
    count = None if size is None else -(-size // stride)
    if padding == "causal":
        return count, span
    if size is None or count is None:
        return None, max(span + 1 - stride, 0) // 2
    return count, largest((count - 1) * stride + span + 1 - size, 0) // 2


def _all_slid(visit: Visit, layout: Layout, kernel: tuple, stride: tuple, dilation: tuple) -> Layout:
    for k, size, step, rate in zip(visit.spatial_axes, kernel, stride, dilation, strict=True):
        layout = slid(layout, k, size, step, rate, visit.setting("padding"))
    return layout


def _kernel_settings(visit: Visit) -> tuple[tuple, tuple, tuple]:
    count = visit.rank - 2
    kernel = visit.setting("kernel_size") or tuple(visit.shapes[1][:count])
    if None in each(kernel, count):
        raise Unknown("a kernel of unknown size")
    return (
        each(kernel, count),
        each(visit.setting("strides"), count),
        each(visit.setting("dilation_rate", 1), count),
    )


def convolution(visit: Visit) -> Layout:
    """Any convolution that mixes channels."""
    channels = visit.channel_axis
    if visit.setting("groups", 1) > 1 and visit.layout.axes[channels].sides:
        raise Unknown("groups of channels that are places are convolved")
    layout = visit.layout.mixed(channels, visit.output_shapes[0][channels])
    return _all_slid(visit, layout, *_kernel_settings(visit))


def depthwise_convolution(visit: Visit) -> Layout:
    """A convolution of each channel alone, into one or several."""
    channels = visit.channel_axis
    axis = visit.layout.axes[channels]
    unknown = "an unknown number of channels is convolved"
    count = known(visit.output_shapes[0][channels], unknown) // known(axis.size, unknown)
    strands = fused([*axis.strands, *free_axis(count).strands])
    layout = visit.layout.with_axis(channels, Axis(strands))
    return _all_slid(visit, layout, *_kernel_settings(visit))


def transposed_convolution(visit: Visit) -> Layout:
    """The transpose of a convolution, whose windows overlap in the result."""
    channels = visit.channel_axis
    layout = visit.layout.mixed(channels, visit.output_shapes[0][channels])
    padding = each(visit.setting("output_padding") or 0, visit.rank - 2)
    own = visit.setting("output_padding") is not None
    windows = zip(visit.spatial_axes, *_kernel_settings(visit), padding, strict=True)
    for k, kernel, stride, dilation, more in windows:
        span, size = (kernel - 1) * dilation, layout.axes[k].size
        same = visit.setting("padding") == "same"
        growth = _growth(span, stride, same, more if own else None)
        # TensorFlow pads as the convolution from the result back to the input does.
        front = max(span + 1 - stride - growth, 0) // 2 if same else 0
        count = None if size is None else size * stride + growth
        layout = move(layout, k, count, 1 / stride, (front - span / 2) / stride, *[span / 2 / stride] * 2)
    return layout


def _growth(span: int, stride: int, same: bool, more: int | None) -> int:
    """By how much the result of a transposed convolution is longer than `size · stride`."""
    if more is None:
        return 0 if same else max(span + 1 - stride, 0)
    return ((span + 1) % 2 if same else span + 1) + more - stride


def pooling(visit: Visit) -> Layout:
    """Maximum or average over windows."""
    count = visit.rank - 2
    size = each(visit.setting("pool_size"), count)
    stride = each(visit.setting("strides") or size, count)
    return _all_slid(visit, visit.layout, size, stride, (1,) * count)


def global_pooling(visit: Visit) -> Layout:
    """Maximum or average over all places."""
    return reduced(visit.layout, visit.spatial_axes, visit.setting("keepdims", False))


def reduced(layout: Layout, axes: list[int], keepdims: bool) -> Layout:
    """The layout after a sum or the like over some axes."""
    for k in axes:
        layout = layout.mixed(k, 1)
    return layout if keepdims else layout.with_axes(a for k, a in enumerate(layout.axes) if k not in axes)


def adaptive_pooling(visit: Visit) -> Layout:
    """Maximum or average over windows that share out each axis."""
    layout = visit.layout
    for k, size in zip(visit.spatial_axes, each(visit.setting("output_size"), visit.rank - 2), strict=True):
        ratio = known(layout.axes[k].size, "an axis of unknown size is shared out") / size
        half = math.ceil(ratio) / 2 + 0.5
        layout = move(layout, k, size, ratio, ratio / 2 - 0.5, half, half)
    return layout


def patches(visit: Visit) -> Layout:
    """`ops.image.extract_patches`: the pixels of each window become channels, its rows first."""
    layout, size = visit.layout, visit.setting("size")
    stride = each(visit.setting("strides") or size, len(size))
    dilation = each(visit.setting("dilation_rate"), len(size))
    channels = _image_channels(visit, size)
    axes = [k for k in range(visit.rank - len(size) - 1, visit.rank) if k != channels]
    inner = [
        Strand(kernel, strand.side, strand.step * rate)
        for k, kernel, rate in zip(axes, size, dilation, strict=True)
        for strand in layout.axes[k].strands[-1:]
    ]
    layout = layout.with_axis(channels, Axis(fused([*inner, *layout.axes[channels].strands])))
    for k, kernel, step, rate in zip(axes, size, stride, dilation, strict=True):
        span, padding = (kernel - 1) * rate, visit.setting("padding")
        count, front = _window_grid(layout.axes[k].size, span, step, padding)
        layout = move(layout, k, count, step, -front)
    return layout


def blurred(visit: Visit) -> Layout:
    """`ops.image.gaussian_blur`."""
    layout, size = visit.layout, visit.setting("kernel_size")
    channels = _image_channels(visit, size)
    axes = [k for k in range(visit.rank - len(size) - 1, visit.rank) if k != channels]
    for k, kernel in zip(axes, size, strict=True):
        layout = slid(layout, k, kernel, padding="same")
    return layout


def _image_channels(visit: Visit, size: tuple) -> int:
    last = visit.setting("data_format") == "channels_last"
    return visit.rank - 1 if last else visit.rank - len(size) - 1


def convolutional_recurrence(visit: Visit) -> Layout:
    """ConvLSTM: the places of a frame stay, those in time are mixed."""
    operation = visit.operation
    if operation.data_format == "channels_first":
        raise Unknown("a recurrent convolution with the channels first")
    times = visit.layout.axes[1].size
    layout = visit.layout.mixed(1, times).mixed(visit.rank - 1, visit.output_shapes[0][-1])
    count = visit.rank - 3
    settings = (each(getattr(operation, name), count) for name in ("kernel_size", "strides", "dilation_rate"))
    for k, kernel, stride, rate in zip(range(2, visit.rank - 1), *settings, strict=True):
        layout = slid(layout, k, kernel, stride, rate, operation.padding)
        steps = math.inf if times is None else times - 1
        back = -(-(kernel - 1) // 2) * steps if kernel > 1 else 0
        layout = move(layout, k, layout.axes[k].size, 1, 0, back, back)
    return layout if operation.return_sequences else layout.with_axes([layout.axes[0], *layout.axes[2:]])
