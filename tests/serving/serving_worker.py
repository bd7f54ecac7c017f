"""Asks exported models through the C API, in a process that never imports TensorFlow's Python.

Reads pickles of (path, list of (signature, inputs), number of threads) from its standard input until that is
closed. It answers each with a pickled list: for each request a dict of arrays, or the message of its error.
"""

import concurrent.futures
import os
import pickle
import sys
from typing import Any

import c_api  # examples/serving/c_api.py, on the path that `serving_client` sets


def ask(model: c_api.SavedModel, request: tuple[str, dict[str, Any]]) -> dict[str, Any] | str:
    try:
        return model.run(*request)
    except c_api.RequestError as error:
        return str(error)


def main() -> None:
    # What TensorFlow prints must not end up between the answers.
    answers_to = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    while True:
        try:
            path, requests, threads = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        model = c_api.SavedModel(path)
        with concurrent.futures.ThreadPoolExecutor(threads) as pool:
            answers = list(pool.map(lambda request, model=model: ask(model, request), requests))
        model.close()
        if "tensorflow" in sys.modules or "keras" in sys.modules:
            raise RuntimeError("TensorFlow's Python was imported, so this was no test of the C API alone.")
        pickle.dump(answers, answers_to)
        answers_to.flush()


if __name__ == "__main__":
    main()
