"""Trains propagation rules on several hosts, each of which takes a part of every batch.

    python examples/several_hosts.py --images photos --backup backup --processes 2

starts two workers on this machine, to try it out. On several hosts, start one worker on each with the same
arguments. TF_CONFIG tells TensorFlow who the workers are, and which of them this one is:

    export TF_CONFIG='{"cluster": {"worker": ["one:2222", "two:2222"]},
                       "task": {"type": "worker", "index": 0}}'
    python examples/several_hosts.py --images /shared/photos --backup /shared/backup

If a worker stops, the others do so too. Start all of them again: they continue after the last finished epoch.
The images and the backup must be where all workers can read them.
"""

import argparse
import json
import os
import socket
import subprocess
import sys

import keras
import tensorflow as tf

import tf_learnprop as tlp


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", required=True, help="folder, or pattern of image files")
    parser.add_argument("--backup", required=True, help="folder for the state after each epoch")
    parser.add_argument("--model", default="efficientnet_lite0", help="name, or file of a saved model")
    parser.add_argument(
        "--preprocess", help="'tf', 'torch', 'caffe' or 'none', for the file of a saved model"
    )
    parser.add_argument("--out", default="rules.keras", help="rule file to write")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--steps", type=int, default=50, help="steps per epoch")
    parser.add_argument("--batch-size", type=int, default=16, help="of all workers together")
    parser.add_argument("--shuffle", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1, help="workers to start on this machine")
    arguments = parser.parse_args()
    if arguments.processes > 1 and "TF_CONFIG" not in os.environ:
        return start(arguments.processes)

    # Before anything else of TensorFlow: it waits for the other workers.
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    first = strategy.cluster_resolver.task_id in (None, 0)
    keras.utils.set_random_seed(arguments.seed)
    with strategy.scope():
        spec = tlp.zoo.load_model(arguments.model, arguments.preprocess)
        wrapped = tlp.wrap_model(spec.model)
        rate = keras.optimizers.schedules.CosineDecay(5e-3, arguments.epochs * arguments.steps)
        wrapped.compile(keras.optimizers.Adam(rate, global_clipnorm=1.0), steps_per_execution=5)
    # All workers see the same batches, in the same order, and take their part of each.
    images = tlp.data.from_folder(arguments.images, wrapped, preprocess=spec.preprocess).cache()
    images = images.shuffle(1000, seed=arguments.seed) if arguments.shuffle else images
    images = images.repeat().batch(arguments.batch_size)
    # All workers read the backup, and the first one writes it.
    backup = keras.callbacks.BackupAndRestore(
        arguments.backup, save_freq="epoch" if first else sys.maxsize, delete_checkpoint=first
    )
    try:
        wrapped.fit(
            images,
            epochs=arguments.epochs,
            steps_per_epoch=arguments.steps,
            shuffle=False,
            callbacks=[backup],
            verbose=2 if first else 0,
        )
    except ConnectionError as error:
        sys.exit(str(error))
    if first:
        wrapped.save_rules(arguments.out)
        print(f"rules written to {arguments.out}")


def start(count):
    """Starts this script in several processes, and returns when all of them have ended."""
    ports = [socket.create_server(("localhost", 0)) for _ in range(count)]
    hosts = [f"localhost:{port.getsockname()[1]}" for port in ports]
    for port in ports:
        port.close()
    workers = []
    for index in range(count):
        task = {"cluster": {"worker": hosts}, "task": {"type": "worker", "index": index}}
        workers.append(
            subprocess.Popen([sys.executable, *sys.argv], env={**os.environ, "TF_CONFIG": json.dumps(task)})
        )
    sys.exit(max(abs(worker.wait()) for worker in workers))


if __name__ == "__main__":
    main()
