"""Explains four of scikit-image's photos."""

import numpy as np

from tf_learnprop.cli import options
from tf_learnprop.cli.errors import UsageError

PHOTOS = ("chelsea", "coffee", "rocket", "astronaut")


def arguments(parser):
    """Adds the command's arguments."""
    parser.add_argument("--rules", metavar="FILE", help="trained rules; without them, the universal rule")
    parser.add_argument("--out", default="demo.png", help="picture to write (demo.png)")


def run(arguments, console):
    """Draws the plain gradient, guided backprop and learned rules side by side.

    Returns:
        dict: `picture`, the file; `classes`, what the model sees.
    """
    import tf_learnprop as tlp
    from tf_learnprop import plotting, zoo

    try:
        import skimage.data
    except ImportError as error:
        raise UsageError("the demo's photos are scikit-image's: pip install 'tf-learnprop[demo]'") from error
    if not arguments.out.endswith(".png"):
        raise UsageError(f"--out must end in .png. Received: {arguments.out}")
    out = options.new_file(arguments.out, overwrite=True)
    source = zoo.load_model("efficientnet_lite0")
    learned = options.wrapped(arguments, source)
    photos = np.stack([zoo.load_image(getattr(skimage.data, name)()) for name in PHOTOS])
    images = zoo.preprocess(photos)
    columns = {}
    for rule in ("gradient", "guided_backprop"):
        signal = tlp.wrap_model(source.model, rule).input_signal(images)
        columns[rule.replace("_", " ")] = np.abs(signal).max(-1)  # Simonyan et al. 2013
    columns["learned rules"] = learned.explain(images)
    titles = [source.class_names[k] for k in learned.logits(images).argmax(1)]
    plotting.compare(photos, columns, titles=titles).savefig(out, dpi=100)
    console.print(f"{', '.join(titles)}: figure written to {out}")
    return {"picture": str(out), "classes": titles}
