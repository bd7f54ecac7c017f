"""The page, in Gradio: its parts, and which handler answers which event."""

import functools
import pathlib
from collections.abc import Callable
from typing import Any

import gradio as gr

from tf_learnprop.app.backends import Backend
from tf_learnprop.app.handlers import Handlers

CSS = """
footer { display: none !important; }
.part b { display: block; font-size: 1.6rem; font-variant-numeric: tabular-nums; }
#compared .caption-label { white-space: normal; }
"""
#: Fonts that every system has, so that none is loaded.
THEME = gr.themes.Default(font=("system-ui", "sans-serif"), font_mono=("ui-monospace", "monospace"))

#: Of each event: it is no interface for programs; and if it comes again while it is answered, as from a
#: slider that moves, the newest is answered next.
EVENT: dict[str, Any] = {"api_visibility": "private", "trigger_mode": "always_last"}


def build(backend: Backend, title: str, folder: pathlib.Path) -> gr.Blocks:
    """Makes the page.

    Args:
        backend: What answers for the model.
        title: Name of the model.
        folder: Folder for the files that can be downloaded.
    """
    handlers = Handlers(backend, folder)
    # Each place of a slider leaves a picture in Gradio's cache; old ones are deleted.
    with gr.Blocks(title=f"tf-learnprop: {title}", analytics_enabled=False, delete_cache=(600, 3600)) as page:
        gr.Markdown(f"## What does {title} look at?")
        asked, explained = gr.State(), gr.State()
        with gr.Row():
            with gr.Column():
                file = photo_input()
                top = gr.Radio(label="Top classes", choices=[], elem_id="top")
                other = gr.Dropdown(handlers.classes(), value=None, label="Another class", elem_id="other")
            with gr.Column():
                picture = gr.Image(label="Map", interactive=False, height=320, buttons=[], elem_id="map")
                opacity = gr.Slider(0, 100, 85, step=1, label="Opacity (%)", elem_id="opacity")
                method, question = method_inputs(backend)
            with gr.Column():
                share = gr.Slider(1, 99, 20, step=1, label="Keep or remove the top (%)", elem_id="share")
                with gr.Row():
                    with gr.Column(min_width=150):
                        kept = gr.Image(label="Kept", interactive=False, height=230, buttons=[])
                        kept_text = gr.HTML(elem_id="kept")
                    with gr.Column(min_width=150):
                        removed = gr.Image(label="Removed", interactive=False, height=230, buttons=[])
                        removed_text = gr.HTML(elem_id="removed")
                several = len(backend.compared) > 1
                compare = gr.Button("Compare the methods", size="md", visible=several, elem_id="compare")
                with gr.Row():
                    small: dict[str, Any] = {"interactive": False, "size": "md", "min_width": 150}
                    save_picture = gr.DownloadButton("Save picture", elem_id="png", **small)
                    save_map = gr.DownloadButton("Save map", elem_id="npy", **small)
        compared = gr.Gallery(
            label="Methods", visible=False, buttons=[], height="max-content", elem_id="compared"
        )

        file.change(told(handlers.open), file, [asked, top, file], **EVENT)
        top.input(handlers.choose, [asked, top], [asked, other], **EVENT)
        other.input(handlers.choose, [asked, other], [asked, top], **EVENT)
        # One listener for each result, whatever it follows from: so the newest question is answered last.
        on = functools.partial(gr.on, **EVENT)
        results = [explained, save_map, compared]
        on(
            [asked.change, method.input, question.input],
            told(handlers.explain),
            [asked, method, question],
            results,
            show_progress_on=picture,
        )
        live = functools.partial(on, show_progress="hidden")
        drawn, halves = [picture, save_picture], [kept_text, kept, removed_text, removed]
        live([explained.change, opacity.change], told(handlers.draw), [explained, opacity], drawn)
        live([explained.change, share.change], told(handlers.split), [explained, share], halves)
        compare.click(told(handlers.compare), [explained, share], compared, **EVENT)
    return page


def photo_input() -> gr.Image:
    """Where a photo is dropped; its value is the path of the file."""
    file = gr.Image(
        label="Photo", type="filepath", sources=["upload", "clipboard"], height=320, elem_id="photo"
    )
    # Gradio would open the file itself, and report one that can't be read with a traceback.
    file.preprocess = lambda payload: payload and payload.path  # type: ignore
    return file


def method_inputs(backend: Backend) -> tuple[gr.Radio, gr.Radio]:
    """The method, and the question that the main one is asked; see `Backend.asking`."""
    main, questions = backend.methods[0], list(backend.questions.items())
    question = gr.Radio(
        questions,
        value=main if questions else None,
        label="Question to the learned rules",
        visible=bool(questions),
        elem_id="question",
    )
    method = gr.Radio(
        list(backend.methods),
        value=main,
        label="Method",
        visible=len(backend.methods) > 1,
        elem_id="method",
    )
    method.input(lambda chosen: gr.Radio(interactive=chosen == main), method, question, **EVENT)
    return method, question


def told(handler: Callable) -> Callable:
    """The handler, whose errors are shown on the page in one line."""

    @functools.wraps(handler)
    def run(*values: Any) -> Any:
        try:
            return handler(*values)
        except (ValueError, RuntimeError) as error:
            raise gr.Error(str(error), print_exception=False) from error

    return run
