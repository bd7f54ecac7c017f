"""How the package starts: without TensorFlow's log lines, and in a command only once it is needed."""

import contextlib
import ctypes
import importlib
import itertools
import os
import re
import signal
import sys
import tempfile
from collections.abc import Iterator

#: Lines that TensorFlow's C++ code writes to standard error, other than fatal ones.
_LOG_LINE = re.compile(
    rb"WARNING: All log messages before absl::InitializeLog|[IWE]\d{4} \d\d:\d\d:\d+\.\d+ .*\]|"
    rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: [IWE] |To enable the following instructions:"
)


def is_command() -> bool:
    """Whether this process is the `tf-learnprop` command, which loads TensorFlow only when it needs it."""
    if "tf_learnprop_command" in sys.modules:
        return True
    # While Python imports the package for `python -m tf_learnprop`, the program's name is "-m".
    return sys.argv[:1] == ["-m"] and ("-m", "tf_learnprop") in itertools.pairwise(sys.orig_argv)


def load_package(show_log: bool) -> None:
    """Completes the package in a command. Ctrl-C raises KeyboardInterrupt, whatever it interrupts.

    Args:
        show_log: Whether TensorFlow's log lines are shown.
    """
    package = sys.modules[__package__]
    if hasattr(package, "wrap_model"):
        return
    with _interruptible():
        if show_log:
            import tensorflow  # noqa: F401
        else:
            load_tensorflow(devices=True)
        importlib.reload(package)


def load_tensorflow(devices: bool = False) -> None:
    """Imports Keras and TensorFlow without TensorFlow's log lines, unless TF_CPP_MIN_LOG_LEVEL is 0.

    No environment variable turns these lines off: they come before TensorFlow sets up its log.

    Args:
        devices: Whether TensorFlow also sets up its devices, which logs more lines.
    """
    if "tensorflow" in sys.modules or os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "0":
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with _without_log_lines():
        import keras  # noqa: F401
        import tensorflow as tf

        if devices:
            tf.config.list_logical_devices()
        elif not _has_cuda():
            tf.config.list_physical_devices()  # else the first tensor reports that there is no GPU


@contextlib.contextmanager
def _without_log_lines() -> Iterator[None]:
    """Keeps TensorFlow's log lines off standard error. All lines are shown if the block fails."""
    try:
        shown = os.dup(2)
    except OSError:  # a process without standard error
        yield
        return
    hidden = b""
    try:
        with tempfile.TemporaryFile() as file:
            sys.stderr.flush()
            os.dup2(file.fileno(), 2)
            try:
                yield
            finally:
                sys.stderr.flush()
                os.dup2(shown, 2)
                file.seek(0)
                hidden = file.read()
    except Exception:
        os.write(2, hidden)
        raise
    else:
        os.write(2, b"".join(line for line in hidden.splitlines(True) if not _LOG_LINE.match(line)))
    finally:
        os.close(shown)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Raises KeyboardInterrupt at the end of a block during which Ctrl-C was pressed.

    Within an import, Python or the imported code may turn it into another error, or ignore it.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as for jobs in the background
        yield
        return
    pressed = []

    def press(number, frame):
        pressed.append(number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, press)
    try:
        yield
    except BaseException as error:
        if pressed:
            raise KeyboardInterrupt from error
        raise
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        raise KeyboardInterrupt


def _has_cuda() -> bool:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True
