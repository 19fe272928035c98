"""Components of the page and their layout."""

from typing import Any

import gradio as gr

from udl_tf.web import words
from udl_tf.web.studio import Studio
from udl_tf.web.views import LEVEL

_LARGEST_SCALE = 8
_LIMIT, _WIDEST = 30, 150  # grey levels: first position of the slider of widths, and its end
_BUTTONS: list[Any] = ["fullscreen"]


class Layout:
    """Components of the page; create it inside gradio's Blocks.

    Args:
        studio: whose models are offered.
    """

    def __init__(self, studio: Studio):
        self.upload, self.outcome, self.view = gr.State(), gr.State(), gr.State()
        gr.HTML(f"<h1>{words.TITLE}</h1><p>{words.INTRODUCTION}</p>", elem_id="introduction")
        with gr.Row():
            with gr.Column(scale=1, min_width=300):
                self._add_choices(studio)
            with gr.Column(scale=2, min_width=340):
                self._add_result()

    def _add_choices(self, studio: Studio) -> None:
        default = studio.models[0]
        choices = [(words.model_words(name, studio.scales[name]), name) for name in studio.models]
        self.file = gr.File(label="Your image", height=140, elem_id="file")
        self.example = gr.Button("Try an example", size="sm", elem_id="example")
        self.facts = gr.HTML(words.ACCEPTED, elem_id="facts")
        self.shown = gr.Image(
            show_label=False, visible=False, buttons=[], height=150, elem_id="upload"
        )
        self.model = gr.Dropdown(choices, value=default, label="Model", elem_id="model")
        self.size = gr.Slider(
            1,
            _LARGEST_SCALE,
            studio.scales[default],
            step=0.5,
            label="Scale",
            info="Times the width and height; other sizes than the model's are resampled.",
            elem_id="size",
        )
        with gr.Row():
            self.start = gr.Button("Upscale", variant="primary", interactive=False, elem_id="start")
            self.cancel = gr.Button("Cancel", visible=False, variant="stop", elem_id="cancel")
        self.status = gr.HTML(elem_id="status")
        with gr.Accordion("When the result is not reliable", open=False):
            gr.HTML(words.LIMITS)

    def _add_result(self) -> None:
        with gr.Column(visible=False, elem_id="result") as self.result:
            self.summary = gr.HTML(elem_id="summary")
            with gr.Row():
                self.downloads = [
                    gr.DownloadButton(label, size="md", min_width=150, elem_id=name)
                    for name, label in (
                        ("download_image", "Download image"),
                        ("download_map", "Map of θ (PNG)"),
                        ("download_theta", "θ as numbers (TIFF)"),
                    )
                ]
            with gr.Tabs():
                with gr.Tab("Compare"):
                    self.slider = gr.ImageSlider(
                        show_label=False,
                        interactive=False,
                        max_height=640,
                        buttons=_BUTTONS,
                        elem_id="slider",
                    )
                    gr.HTML(
                        words.paragraph(
                            "Left: bicubic interpolation. Right: the result. Drag the line.", "note"
                        )
                    )
                with gr.Tab("Uncertainty"):
                    self.opacity = gr.Slider(
                        0, 100, 100, step=5, label="Opacity of the map, %", elem_id="opacity"
                    )
                    self.map = self._add_image("map")
                    self.scale = gr.HTML(elem_id="scale")
                with gr.Tab("Reliability"):
                    self.limit = gr.Slider(
                        0,
                        _WIDEST,
                        _LIMIT,
                        step=1,
                        label=f"Show where the {100 * LEVEL:.0f} % interval is wider than … grey"
                        " levels",
                        elem_id="limit",
                    )
                    self.reliable = self._add_image("reliable")
                    self.greyed = gr.HTML(elem_id="greyed")
            self.part = gr.HTML(elem_id="part")
            self._add_inspector()

    def _add_image(self, name: str) -> gr.Image:
        return gr.Image(show_label=False, interactive=False, buttons=_BUTTONS, elem_id=name)

    def _add_inspector(self) -> None:
        with gr.Column(elem_id="inspector"):
            gr.HTML(
                words.paragraph(
                    "One pixel: click into the map or the greyed image, or type its position."
                )
            )
            with gr.Row():
                self.x = gr.Number(0, label="Column", precision=0, minimum=0, elem_id="column")
                self.y = gr.Number(0, label="Row", precision=0, minimum=0, elem_id="row")
            self.pixel = gr.HTML(elem_id="pixel")
            with gr.Row():
                self.detail = gr.Button("Show the detail around it", size="md", elem_id="detail")
                self.whole = gr.Button("Show the whole image", size="md", elem_id="whole")
