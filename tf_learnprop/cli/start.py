"""How a command loads TensorFlow: without its log lines, and with Ctrl-C in one line."""

import contextlib
import importlib
import os
import re
import signal
import sys
import tempfile
import types
from collections.abc import Iterator

#: Lines that TensorFlow's C++ code writes to standard error, other than fatal ones.
_LOG_LINE = re.compile(
    rb"WARNING: All log messages before absl::InitializeLog|[IWE]\d{4} \d\d:\d\d:\d+\.\d+ .*\]|"
    rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: [IWE] |To enable the following instructions:"
)


def load_package(show_log: bool) -> None:
    """Loads what commands need. Ctrl-C raises KeyboardInterrupt, whatever it interrupts.

    No environment variable turns off all of TensorFlow's log lines: some come before it sets up its log.

    Args:
        show_log: Whether TensorFlow's log lines are shown. So they are if TF_CPP_MIN_LOG_LEVEL is 0.
    """
    log_is_shown = show_log or os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "0"
    with _interruptible():
        with contextlib.nullcontext() if log_is_shown else _without_log_lines():
            _load_tensorflow()
        importlib.import_module("tf_learnprop.wrapping")


def _load_tensorflow() -> None:
    importlib.import_module("tf_learnprop._keras_backend")  # first: it sets how much TensorFlow logs
    import tensorflow as tf

    tf.config.list_logical_devices()  # sets them up, which logs more lines


@contextlib.contextmanager
def _without_log_lines() -> Iterator[None]:
    """Keeps TensorFlow's log lines off standard error. All lines are shown if the block fails."""
    try:
        terminal = os.dup(2)
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
                os.dup2(terminal, 2)
                file.seek(0)
                hidden = file.read()
    except Exception:
        os.write(2, hidden)
        raise
    else:
        os.write(2, b"".join(line for line in hidden.splitlines(True) if not _LOG_LINE.match(line)))
    finally:
        os.close(terminal)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Raises KeyboardInterrupt at the end of a block during which Ctrl-C was pressed.

    Within an import, Python or the imported code may turn it into another error, or ignore it.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as for jobs in the background
        yield
        return
    pressed = []

    def press(number: int, frame: types.FrameType | None) -> None:
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
