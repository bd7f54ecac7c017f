"""Do maps point right when objects are small? Four test images each, shrunk into one of the usual size.

In the mosaics of `quality`, images keep their size and the model is enlarged. Here a cell has a quarter of
the places of the last feature map, so a readout that looks at large regions can confuse the cells.
"""

import keras
import tensorflow as tf

import tf_learnprop as tlp
from benchmarks.evaluation import measures, options, subjects, tables
from tf_learnprop import metrics

#: Arguments of `wrap_model` for each row.
ROWS = {
    "universal rule": {},
    "… not guided": {"readout": tlp.readouts.MultiLayerReadout(guided=False)},
    "… names compete": {"readout": tlp.readouts.MultiLayerReadout(contrast="names")},
    "… names compete, 8 rivals": {"readout": tlp.readouts.MultiLayerReadout(contrast="names", rivals=8)},
    "Grad-CAM": {"rule": "gradient", "readout": "grad_cam"},
}


def shrunk(subject, count):
    """Mosaics of 2 × 2 images that the model is sure of, resized to the size of one image."""
    probabilities = keras.ops.softmax(subjects.logits(subject.forward, subject.test)).numpy()
    found = metrics.mosaics(subject.test, subject.labels, probabilities, count=count)
    size = subject.test.shape[1:3]
    return found._replace(images=tf.image.resize(found.images, size, antialias=True).numpy())


def add_options(parser):
    options.add_subjects(parser, ["imagenet_lite0", "cifar_resnet20", "cifar_resnet44"])
    parser.add_argument("--mosaics", type=options.at_least(1), default=24, help="mosaics at most")


def run(arguments):
    rows = []
    for subject in options.chosen_subjects(arguments):
        mosaics = shrunk(subject, arguments.mosaics)
        for row, settings in ROWS.items():
            wrapped = tlp.wrap_model(subject.model, **settings)
            found = measures.pointing(wrapped.explain, mosaics)
            rows.append([subject.name, row, *(tables.interval(list(values)) for values in found.values())])
            print(rows[-1], flush=True)
    print(tables.table(["", "", "pointing", "… by ranks"], rows))
