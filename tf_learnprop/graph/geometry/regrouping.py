"""Reshape: the strands of a tensor in row-major order, shared out among new axes."""

from collections.abc import Sequence

from tf_learnprop.graph.geometry.layout import Axis, Layout, Lost, Size, Strand, Unknown, product


def reshape(layout: Layout, shape: Sequence[Size]) -> Layout:
    """The layout of the same entries in another shape.

    Args:
        layout: The layout before.
        shape: The new shape. What is unknown in it follows from the layout.
    """
    if layout.shape == tuple(shape):
        return layout
    # An axis with a class token in front can't be taken apart: it is passed on as a whole.
    pieces = [
        piece
        for axis in layout.axes
        for piece in ([axis] if axis.lead or axis.trail else axis.strands)
        if piece.size != 1
    ]
    sizes = list(shape)
    back = []
    while sizes and sizes[-1] is not None:
        back.insert(0, _take(pieces, sizes.pop(), last=True))
    front = []
    while sizes and (sizes[0] is not None or len(sizes) > 1):
        front.append(_take(pieces, sizes.pop(0), last=False))
    middle = [_axis(pieces)] if sizes else []
    if pieces and not sizes:
        raise Unknown("it is reshaped in a way that is not known")
    return layout.with_axes([*front, *middle, *back])


def _take(pieces: list, size: Size, last: bool) -> Axis:
    """An axis of the next strands with a product of `size`, which are taken from the list."""
    if size is None:
        if not pieces or pieces[0].size is not None:
            raise Unknown("sizes that are unknown are reshaped")
        return _axis([pieces.pop(0)])
    strands: list[Strand | Axis] = []
    while size > 1:
        piece = pieces.pop(-1 if last else 0) if pieces else None
        if piece is None or piece.size is None:
            raise Unknown("sizes that are unknown are reshaped")
        if size % piece.size:
            piece, size = _split(pieces, piece, size, last), 1
        else:
            size //= piece.size
        strands.insert(0 if last else len(strands), piece)
    return _axis(strands)


def _split(pieces: list, piece: Strand | Axis, size: int, last: bool) -> Strand:
    """The part of a strand with a given size; the rest is put back."""
    if isinstance(piece, Axis) or piece.size is None or piece.size % size:
        raise Lost("a reshape mixes its places")
    inner_size = size if last else piece.size // size
    outer = Strand(piece.size // inner_size, piece.side, piece.step * inner_size)
    inner = Strand(inner_size, piece.side, piece.step)
    if last:
        pieces.append(outer)
        return inner
    pieces.insert(0, inner)
    return outer


def _axis(pieces: list) -> Axis:
    if any(isinstance(piece, Axis) for piece in pieces):
        if len(pieces) > 1:
            raise Lost("a reshape mixes places with entries that are none")
        return pieces[0]
    return Axis(fused(pieces))


def fused(strands: Sequence[Strand]) -> tuple[Strand, ...]:
    """Strands, with neighbours that are one even walk along a side joined."""
    joined: list[Strand] = []
    for strand in strands:
        last = joined[-1] if joined else None
        if last and last.side == strand.side and _is_even(last, strand):
            joined[-1] = Strand(product([last.size, strand.size]), strand.side, strand.step)
        else:
            joined.append(strand)
    return tuple(joined)


def _is_even(outer: Strand, inner: Strand) -> bool:
    """Whether an outer step is as long as all the inner ones."""
    if outer.size is None or inner.size is None:
        return False
    return inner.side is None or outer.step == inner.step * inner.size
