"""The local server of the page. Nothing leaves the machine: the browser is told to load nothing elsewhere."""

import contextlib
import os
import pathlib
import socket
import tempfile
import webbrowser
from collections.abc import Iterator
from typing import Any

from starlette.middleware import Middleware

from tf_learnprop.app import page, places_page
from tf_learnprop.app.backends import Backend
from tf_learnprop.app.places import PlacesBackend

#: The first port that is tried if none is asked for, and how many are.
FIRST_PORT, PORTS = 7860, 100
#: What a page may load and where it may connect to: this server alone.
_POLICY = b"default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'"


@contextlib.contextmanager
def serve(backend: Backend, title: str, host: str, port: int) -> Iterator[str]:
    """Serves the page while the block runs; gives its URL.

    Uploaded photos and pictures are kept in a temporary folder, which is deleted at the end.

    Args:
        backend: What answers for the model.
        title: Name of the model.
        host: Address to listen on.
        port: A free port.

    Raises:
        OSError: If the port is not free.
    """
    with tempfile.TemporaryDirectory(prefix="tf-learnprop-") as folder:
        files = pathlib.Path(folder) / "files"
        files.mkdir()
        os.environ["GRADIO_TEMP_DIR"] = str(pathlib.Path(folder) / "uploads")
        if isinstance(backend, PlacesBackend):
            blocks = places_page.build(backend, title, files)
        else:
            blocks = page.build(backend, title, files)
        try:
            _, url, _ = blocks.launch(
                server_name=host,
                server_port=port,
                prevent_thread_lock=True,
                quiet=True,
                share=False,
                ssr_mode=False,
                run_history=False,  # would keep photos in the browser
                footer_links=[],
                theme=page.THEME,
                css=page.CSS,
                app_kwargs={"middleware": [Middleware(_OwnSiteOnly)]},
            )
            yield url
        finally:
            blocks.close(verbose=False)


def free_port(host: str, port: int | None) -> int:
    """Returns `port` if it is free, or for None the first free one from `FIRST_PORT` on.

    Raises:
        OSError: If it is not free, if none is, or if the host is not an address of this machine.
    """
    if port is None:
        for candidate in range(FIRST_PORT, FIRST_PORT + PORTS):
            with contextlib.suppress(OSError):
                return free_port(host, candidate)
        port = FIRST_PORT
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
        tried.bind(address)
    return port


def open_browser(url: str) -> bool:
    """Opens a URL in a browser with windows, if there is one; returns whether."""
    # Without a screen, `webbrowser` may start one that takes over the terminal.
    has_screen = os.name == "nt" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return bool(has_screen) and webbrowser.open(url)


class _OwnSiteOnly:
    """Adds the policy to each answer (ASGI middleware)."""

    def __init__(self, app: Any):
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def send_with_policy(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                headers = [*message["headers"], (b"content-security-policy", _POLICY)]
                message = {**message, "headers": headers}
            await send(message)

        await self._app(scope, receive, send_with_policy)
