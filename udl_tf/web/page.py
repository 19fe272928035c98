"""Event handlers of the page."""

import asyncio
import time
import traceback
from collections.abc import AsyncIterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from udl_tf.errors import UserError
from udl_tf.web import words
from udl_tf.web.desk import Task
from udl_tf.web.folders import LIFETIME, save_view
from udl_tf.web.layout import Layout
from udl_tf.web.studio import Studio
from udl_tf.web.uploads import EXAMPLE, Upload, open_upload
from udl_tf.web.upscaling import Outcome
from udl_tf.web.views import View, blend, gray_out

_INTERVAL = 0.3  # s between two reports of the progress
_QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
_LIVE: dict[str, Any] = {**_QUIET, "trigger_mode": "always_last"}  # the last position counts

Updates = dict[Any, Any]
"""New values and properties of components."""


class Page:
    """The page.

    Args:
        studio: what its visitors share.

    Attributes:
        blocks: as gradio serves it.
    """

    def __init__(self, studio: Studio):
        self._studio = studio
        lifetime = (60, int(LIFETIME))  # of uploads; the period of the search, and their age, s
        with gr.Blocks(title="udl_tf", analytics_enabled=False, delete_cache=lifetime) as blocks:
            self._on = Layout(studio)
            self._connect_choices()
            self._connect_views()
            blocks.unload(self._stop)
        blocks.queue(default_concurrency_limit=8)
        self.blocks = blocks

    def _connect_choices(self) -> None:
        on = self._on
        facts = [on.upload, on.size, on.model]
        opened = [on.upload, on.shown, on.facts, on.status, on.start, on.model]
        on.file.upload(self._open, [on.file, on.size], opened, **_QUIET)
        on.example.click(self._try_example, on.size, [*opened, on.file], **_QUIET)
        on.file.clear(self._clear, None, opened, **_QUIET)
        on.model.input(lambda name: self._studio.scales[name], on.model, on.size, **_QUIET)
        gr.on([on.size.change, on.model.change], self._describe, facts, on.facts, **_LIVE)
        running = [on.status, on.start, on.cancel]
        shown = [on.outcome, on.result, on.summary, on.scale]
        shown += [on.x, on.y, on.pixel, on.detail, on.whole, on.opacity, on.limit, *on.downloads]
        on.start.click(
            self._upscale,
            [on.upload, on.model, on.size, on.opacity, on.limit],
            [*running, *shown, *self._drawn],
            concurrency_limit=None,
            **_QUIET,
        )
        on.cancel.click(self._stop, None, None, **_QUIET)

    def _connect_views(self) -> None:
        on = self._on
        sliders = [on.outcome, on.view, on.opacity, on.limit]
        on.opacity.input(self._draw_map, sliders[:3], on.map, **_LIVE)
        on.limit.input(
            self._draw_reliable, [*sliders[:2], on.limit], [on.reliable, on.greyed], **_LIVE
        )
        place = [on.outcome, on.x, on.y]
        for image in (on.map, on.reliable):
            image.select(self._select, sliders[:2], [on.x, on.y, on.pixel], **_LIVE)
        # One event for both numbers: the answer to an earlier one can't overwrite the last.
        gr.on([on.x.input, on.y.input], self._inspect, place, on.pixel, **_LIVE)
        on.detail.click(self._show_detail, [*place, on.opacity, on.limit], self._drawn, **_QUIET)
        on.whole.click(self._show_whole, [on.outcome, on.opacity, on.limit], self._drawn, **_QUIET)

    @property
    def _drawn(self) -> list[Any]:
        """Components that change with the view."""
        on = self._on
        return [on.view, on.part, on.slider, on.map, on.reliable, on.greyed]

    def _open(self, path: str, size: float) -> Updates:
        """Reads an upload, shows it and chooses a model for it; or shows why it cannot be read."""
        on = self._on
        try:
            upload = open_upload(Path(path))
        except UserError as error:
            return {**self._clear(), on.status: words.failure(error)}
        model = self._studio.model_for(upload, size)
        return {
            on.upload: upload,
            on.model: model,
            on.shown: gr.update(value=upload.shown, visible=True),
            on.facts: self._describe(upload, size, model),
            on.status: "",
            on.start: gr.update(interactive=True),
        }

    def _try_example(self, size: float) -> Updates:
        return {**self._open(str(EXAMPLE), size), self._on.file: str(EXAMPLE)}

    def _clear(self) -> Updates:
        on = self._on
        return {
            on.upload: None,
            on.shown: gr.update(value=None, visible=False),
            on.facts: words.ACCEPTED,
            on.status: "",
            on.start: gr.update(interactive=False),
        }

    def _describe(self, upload: Upload | None, size: float, model: str) -> str:
        if upload is None:
            return words.ACCEPTED
        return words.upload_words(upload, size, model, self._studio.knows_compression(model))

    async def _upscale(
        self,
        upload: Upload,
        model: str,
        size: float,
        opacity: float,
        limit: float,
        request: gr.Request,
    ) -> AsyncIterator[Updates]:
        """Upscales the upload; yields its place in the queue, its progress and the result."""
        on, begin = self._on, time.monotonic()
        try:
            task = self._studio.start(str(request.session_hash), upload, model, size)
        except UserError as error:
            yield {on.status: words.failure(error)}
            return
        try:
            yield {on.start: gr.update(interactive=False), on.cancel: gr.update(visible=True)}
            while not task.future.done():
                yield {on.status: words.task_words(task, self._studio.before(task))}
                await asyncio.sleep(_INTERVAL)
            ended = await asyncio.to_thread(self._ended, task, begin, opacity, limit)
            yield {
                on.start: gr.update(interactive=True),
                on.cancel: gr.update(visible=False),
                **ended,
            }
        finally:
            task.stop()  # if the visitor has left

    def _ended(self, task: Task[Outcome], begin: float, opacity: float, limit: float) -> Updates:
        """Returns the result of a task that has ended, or why there is none."""
        on = self._on
        try:
            outcome = task.future.result()
        except CancelledError:
            return {on.status: words.paragraph("Cancelled.")}
        except UserError as error:
            return {on.status: words.failure(error)}
        except Exception as error:
            traceback.print_exc()
            return {on.status: words.failure(error)}
        return {
            on.status: "",
            on.outcome: outcome,
            on.result: gr.update(visible=True),
            on.summary: words.outcome_words(outcome, time.monotonic() - begin),
            **self._theta(outcome),
            **self._center(outcome),
            **self._draw(outcome, outcome.whole, opacity, limit),
        }

    def _theta(self, outcome: Outcome) -> Updates:
        """Returns the downloads, and what is shown of theta; all of it is hidden without theta."""
        on, theta = self._on, outcome.theta
        files = outcome.image, theta and theta.map, theta and theta.values
        return {
            on.opacity: gr.update(visible=theta is not None),
            on.limit: gr.update(visible=outcome.comparison.width is not None),
            on.scale: words.scale_words(theta),
            **{
                button: gr.update(value=file and str(file), visible=file is not None)
                for button, file in zip(on.downloads, files, strict=True)
            },
        }

    def _center(self, outcome: Outcome) -> Updates:
        """Returns the pixel in the middle."""
        on = self._on
        width, height = outcome.comparison.size
        x, y = width // 2, height // 2
        is_large = outcome.whole.step > 1
        return {
            on.x: gr.update(value=x, maximum=width - 1),
            on.y: gr.update(value=y, maximum=height - 1),
            on.pixel: words.pixel_words(outcome, x, y),
            on.detail: gr.update(visible=is_large),
            on.whole: gr.update(visible=is_large),
        }

    def _draw(self, outcome: Outcome, view: View, opacity: float, limit: float) -> Updates:
        """Returns all images of a view."""
        on = self._on
        before, after = (self._saved(outcome, image) for image in (view.before, view.after))
        reliable, greyed = self._draw_reliable(outcome, view, limit)
        return {
            on.view: view,
            on.part: words.view_words(outcome, view),
            on.slider: (before, after),
            on.map: self._draw_map(outcome, view, opacity),
            on.reliable: reliable,
            on.greyed: greyed,
        }

    def _draw_map(self, outcome: Outcome, view: View, opacity: float) -> str | None:
        """Returns the map of theta, laid over the result with an opacity in per cent."""
        if outcome.theta is None:
            return None
        return self._saved(outcome, blend(view, opacity / 100))

    def _draw_reliable(self, outcome: Outcome, view: View, limit: float) -> tuple[str | None, str]:
        """Returns the result, greyed out where intervals are wider than `limit`, and how much."""
        if outcome.theta is None or view.width is None:
            return None, words.NO_INTERVALS
        return self._saved(outcome, gray_out(view, limit)), words.limit_words(outcome.theta, limit)

    def _saved(self, outcome: Outcome, image: np.ndarray) -> str:
        """Returns the file of an image to show."""
        try:
            return str(save_view(outcome.image.parent, image))
        except FileNotFoundError:
            minutes = f"{LIFETIME / 60:.0f} minutes"
            raise gr.Error(
                f"This result was deleted after {minutes}: upscale the image again.",
                print_exception=False,
            ) from None

    def _show_detail(
        self, outcome: Outcome, x: int | None, y: int | None, opacity: float, limit: float
    ) -> Updates:
        view = outcome.comparison.detail(*_inside(outcome, x, y))
        return self._draw(outcome, view, opacity, limit)

    def _show_whole(self, outcome: Outcome, opacity: float, limit: float) -> Updates:
        return self._draw(outcome, outcome.whole, opacity, limit)

    def _select(self, outcome: Outcome, view: View, event: gr.SelectData) -> tuple[int, int, str]:
        """Returns the pixel that was clicked, and what is known of it."""
        x, y = _inside(outcome, *view.pixel_at(*event.index))
        return x, y, words.pixel_words(outcome, x, y)

    def _inspect(self, outcome: Outcome, x: int | None, y: int | None) -> str:
        return words.pixel_words(outcome, *_inside(outcome, x, y))

    def _stop(self, request: gr.Request) -> None:
        self._studio.stop(str(request.session_hash))


def _inside(outcome: Outcome, x: int | None, y: int | None) -> tuple[int, int]:
    """Returns a position moved into the result; an empty field is 0."""
    width, height = outcome.comparison.size
    return min(max(0, x or 0), width - 1), min(max(0, y or 0), height - 1)
