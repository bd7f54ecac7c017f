"""Asks exported models through the C API; a process of its own, which never imports TensorFlow's Python.

Reads a pickle of (path, list of (signature, inputs), number of threads) from its standard input, and writes
one of the answers: a dict of arrays each, or the message of the error.
"""

import concurrent.futures
import pickle
import sys

import c_api  # examples/serving/c_api.py; `serving_client.ask` says where it is


def main():
    path, requests, threads = pickle.load(sys.stdin.buffer)
    model = c_api.SavedModel(path)

    def ask(request):
        try:
            return model.run(*request)
        except c_api.RequestError as error:
            return str(error)

    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        answers = list(pool.map(ask, requests))
    model.close()
    if "tensorflow" in sys.modules or "keras" in sys.modules:
        raise RuntimeError("TensorFlow's Python was imported, so this was no test of the C API alone.")
    pickle.dump(answers, sys.stdout.buffer)


if __name__ == "__main__":
    main()
