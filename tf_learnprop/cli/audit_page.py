"""The page that `audit` writes."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

import tf_learnprop as tlp
from tf_learnprop import html_page

if TYPE_CHECKING:
    from tf_learnprop.scale.audit import Audit, ClassSummary, Example, Finding

_TITLE = "Audit of attribution maps"
_STYLE = """figure { display: inline-block; margin: 0 .5rem .5rem 0; vertical-align: top; width: 7rem; }
figure img { display: block; width: 100%; } td img { width: 3rem; display: block; }
figcaption { font-size: .75rem; line-height: 1.3; overflow-wrap: anywhere; color: #444; }
li { margin-bottom: .5rem; } li strong { display: block; } h3 { margin-top: 1.5rem; }
.cluster { display: flex; gap: 1rem; } .cluster > figure { flex: none; }
"""
_SIDE = 112
_ALPHA = 0.7
#: Examples beside a finding.
_SHOWN = 6


def page(audit: Audit, maps: str, images: str | os.PathLike | None, details: int) -> str:
    """Fills in the page.

    Args:
        audit: The audit.
        maps: Name of the folder of maps.
        images: Folder of the images; None shows maps alone.
        details: Number of classes to show in detail.

    Returns:
        HTML text.
    """
    folder = None if images is None else pathlib.Path(images)
    classes = {one.class_id: one for one in audit.classes}
    findings = "".join(_finding(finding, classes, folder) for finding in audit.findings)
    unusual = "".join(_figure(example, folder, one.name) for one, example in audit.unusual())
    detailed = "".join(_details(one, folder) for one in audit.classes[:details])
    body = f"""<h1>{_TITLE}</h1>
<p>{audit.images:,} maps of {len(audit.classes):,} classes in {escape(maps)}. Images without a
usable map: {audit.without_map:,}. A map's weight is what lies above zero. Classes are those that were
explained.</p>
<h2>Findings</h2>
<ul>{findings or "<li>No region takes conspicuously much weight in a class or in a part of one.</li>"}</ul>
<h2>Most unusual maps</h2>
<p>Those that are farthest from the clusters of their class, and how many times the usual distance.</p>
{unusual or "<p>No class has enough maps to tell.</p>"}
<h2>Share of the weight by region</h2>
{_table(audit)}
<h2>Classes</h2>
<p>Clusters of a sample of each class, with their mean map and their most typical images.</p>
{detailed}"""
    return html_page.document(_TITLE, body, _STYLE)


def _finding(finding: Finding, classes: Mapping[int, ClassSummary], folder: pathlib.Path | None) -> str:
    figures = ""
    text = escape(finding.text)
    if finding.class_id is not None:
        one = classes[finding.class_id]
        examples = [example for cluster in one.clusters for example in cluster.examples]
        if finding.cluster is not None:
            examples = one.clusters[finding.cluster].examples
        figures = "".join(_figure(example, folder) for example in examples[:_SHOWN])
        text = f'<a href="#class-{one.class_id}">{text}</a>'
    return f"<li><strong>{text}</strong>{figures}</li>"


def _table(audit: Audit) -> str:
    names = list(audit.shares)
    areas = [f"<td>{audit.areas[name]:.0%}</td>" if name in audit.areas else "<td></td>" for name in names]
    rows = [
        ("part of the area", "", "", "".join(areas)),
        ("all classes", "", f"{audit.images:,}", _shares(audit.shares)),
    ]
    for one in audit.classes:
        name = f'<a href="#class-{one.class_id}">{escape(one.name)}</a>'
        rows.append((name, _map(one.mean_map), f"{one.images:,}", _shares(one.shares)))
    head = "".join(f"<th>{escape(name)}</th>" for name in ("class", "mean map", "maps", *names))
    body = "".join(
        f"<tr><td>{name}</td><td>{picture}</td><td>{images}</td>{shares}</tr>"
        for name, picture, images, shares in rows
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div style="overflow-x: auto">{table}</div>'


def _shares(shares: Mapping[str, float]) -> str:
    return "".join(
        "<td></td>"
        if np.isnan(share)
        else f'<td style="background: rgba(230, 120, 30, {min(share, 1):.2f})">{share:.0%}</td>'
        for share in shares.values()
    )


def _details(one: ClassSummary, folder: pathlib.Path | None) -> str:
    clusters = "".join(
        f'<div class="cluster"><figure>{_map(cluster.mean_map)}<figcaption>{cluster.part:.0%} of the sample'
        f"</figcaption></figure><div>{''.join(_figure(e, folder) for e in cluster.examples)}</div></div>"
        for cluster in one.clusters
    )
    unusual = "".join(_figure(example, folder) for example in one.unusual)
    return (
        f'<h3 id="class-{one.class_id}">{escape(one.name)}</h3><p>{one.images:,} maps, mean probability '
        f"{one.probability:.2f}</p>{clusters}" + (f"<p>Most unusual:</p>{unusual}" if unusual else "")
    )


def _figure(example: Example, folder: pathlib.Path | None, name: str | None = None) -> str:
    """An image above its map."""
    height, width = example.map.shape
    size = (round(_SIDE * height / width), _SIDE)
    photo = None if folder is None else tlp.data.read_image(folder / example.path, *size)
    picture = "" if photo is None else _img(photo, "image")
    caption = "<br>".join(
        [
            *([escape(name)] if name else []),
            escape(example.path),
            *([f"{example.unusual:.1f} × the usual distance"] if name else []),
        ]
    )
    return f"<figure>{picture}{_map(example.map, photo, size)}<figcaption>{caption}</figcaption></figure>"


def _map(values: np.ndarray, photo: np.ndarray | None = None, size: tuple[int, int] | None = None) -> str:
    """A map, over its photo if there is one."""
    import tensorflow as tf

    from tf_learnprop.serving import photo_codec

    maps = tf.convert_to_tensor(values[None, ..., None], tf.float32)
    maps = maps if size is None else tf.image.resize(maps, size)
    dark = np.zeros((*maps.shape[1:3], 3), np.float32)
    overlays = photo_codec.overlays(
        (dark if photo is None else photo.astype(np.float32))[None],
        maps[..., 0],
        photo_codec.colour_table("inferno"),
        1.0 if photo is None else _ALPHA,
    )
    return _img(tf.io.decode_png(overlays[0]), "map")


def _img(pixels: Any, alt: str) -> str:
    import tensorflow as tf

    picture = tf.io.encode_jpeg(pixels, quality=85).numpy()
    return f'<img alt="{alt}" src="{html_page.inline(picture, "jpeg")}">'
