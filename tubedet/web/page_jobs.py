"""What happens when a visitor presses a button, moves a slider, or loads the page again."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from tubedet.errors import UserError
from tubedet.files.full_disks import NO_SPACE
from tubedet.inference.device_faults import BrokenDeviceError

from .job_request import MAX_VIDEOS
from .kept_results import Batch, KeptResults, ShownVideo
from .page_parts import SILENCE, message, timeline_box
from .running_jobs import RunningJobs, time_left
from .video_analysis import VideoAnalysis

logger = logging.getLogger(__name__)

Outputs = tuple[Any, ...]


class PageJobs:
    """The functions of the page. Their outputs are status, choice, video, timeline, files and Stop.

    Args:
        analysis: works on one video.
        results: of all tabs.
        copied: moves a file to where it can be asked for, and returns its path there.
        on_broken: called when the device works no more, after the visitor was told.
        example: clip that visitors may take for an upload.
    """

    num_outputs = 6

    def __init__(
        self,
        analysis: VideoAnalysis,
        results: KeptResults,
        *,
        copied: Callable[[Path], str | None],
        on_broken: Callable[[BrokenDeviceError], object],
        example: Path | None = None,
    ):
        self._analysis = analysis
        self._results = results
        self._copied = copied
        self._on_broken = on_broken
        self._example = example
        self._jobs = RunningJobs()

    def run(
        self,
        paths: list[str],
        threshold: float,
        rate: float,
        smoothing: float,
        tab: str,
        request: gr.Request,
        progress=gr.Progress(),  # noqa: B008 (gradio finds it by this default)
    ) -> Iterator[Outputs]:
        """Detect in videos, one after another.

        Args:
            paths: uploads.
            threshold, rate, smoothing: of the sliders.
            tab: secret of the tab.
            request: names the session.
            progress: shows how much is done.

        Yields:
            new outputs.
        """
        if not paths:
            yield _nothing(message("error", "Choose a video first."))
        elif len(paths) > MAX_VIDEOS:
            said = f"{len(paths)} videos are chosen, and at most {MAX_VIDEOS} are taken at once."
            yield _nothing(message("error", said))
        else:
            batch = Batch(paths, threshold, rate, smoothing)
            yield from self._work(batch, tab, request.session_hash, progress)

    def redraw(
        self,
        paths: list[str],
        threshold: float,
        rate: float,
        smoothing: float,
        tab: str,
        request: gr.Request,
        progress=gr.Progress(),  # noqa: B008
    ) -> Iterator[Outputs]:
        """Draw again what is known; the button alone asks the model. See :meth:`run`."""
        before = self._results.of(tab)
        failed: set[str] = set()
        if before is not None:
            pairs = zip(before.uploads, before.videos, strict=False)
            failed = {path for path, shown in pairs if shown.is_failed}
        known = [self._analysis.is_known(path, every=1 / rate) for path in paths]
        if not any(known) or not all(
            is_known or path in failed for path, is_known in zip(paths, known, strict=True)
        ):
            yield tuple(gr.skip() for _ in range(self.num_outputs))
            return
        batch = Batch(paths, threshold, rate, smoothing)
        if before is not None and list(before.uploads) == paths:
            batch.shown = before.shown
        yield from self._work(batch, tab, request.session_hash, progress)

    def stop(self, request: gr.Request) -> None:
        """Stop what the session has under way.

        Args:
            request: names the session.
        """
        self._jobs.stop(request.session_hash)

    def restore(self, tab: str) -> Outputs:
        """Show again what the tab showed before it was loaded anew.

        Args:
            tab: secret of the tab.

        Returns:
            outputs, then those of the fields: uploads and sliders.
        """
        batch = self._results.of(tab)
        if batch is None:
            return tuple(gr.skip() for _ in range(self.num_outputs + 4))
        uploads = list(batch.uploads) if all(Path(p).is_file() for p in batch.uploads) else None
        return (*_view(batch), uploads, batch.threshold, batch.rate, batch.smoothing)

    def show(self, number: int, tab: str) -> Outputs:
        """Show another video of the batch.

        Args:
            number: of the video, from 0 on.
            tab: secret of the tab.

        Returns:
            outputs.
        """
        batch = self._results.of(tab)
        if batch is None or number >= len(batch.videos):
            said = "These results are deleted by now. Press the button again."
            return _nothing(message("error", said))
        batch.shown = number
        # A run may be under way: it alone knows the choice and Stop.
        status, _, *shown, _ = _view(batch)
        return status, gr.skip(), *shown, gr.skip()

    def take_example(self) -> tuple[Any, str]:
        """Take the example clip for an upload.

        Returns:
            value of the upload field, and the status.
        """
        try:
            if self._example is not None:
                return [self._copied(self._example)], SILENCE
        except OSError as error:
            logger.warning(f"{self._example}: {error}")
        return gr.skip(), message("error", "The example clip cannot be had. Try again later.")

    def _work(
        self, batch: Batch, tab: str, session: str | None, progress: Callable[..., object]
    ) -> Iterator[Outputs]:
        yield _nothing(SILENCE, is_running=True)
        begun, num_videos = time.monotonic(), len(batch.uploads)
        with self._jobs.running(session) as is_stopped:
            for number, path in enumerate(batch.uploads):

                def told(fraction: float, number: int = number) -> None:
                    done = (number + fraction) / num_videos
                    of = f"Video {number + 1} of {num_videos}"
                    doing = "Looking at the video" if num_videos == 1 else of
                    progress(done, desc=doing + time_left(done, begun))

                try:
                    shown = self._shown(path, batch, told, is_stopped)
                except BrokenDeviceError as error:
                    said = "The GPU of this page stopped working. Try again when the page is back."
                    yield _nothing(message("error", said))
                    self._on_broken(error)
                    return
                _add(batch, shown)
                # Before it is shown: a visitor who left the page finds it when he is back.
                self._results.keep(tab, batch)
                is_last = number == num_videos - 1 or is_stopped()
                yield _news(batch, is_running=not is_last)
                if is_last:
                    return

    def _shown(
        self,
        path: str,
        batch: Batch,
        told: Callable[[float], None],
        is_stopped: Callable[[], bool],
    ) -> ShownVideo:
        """Work on one video; what is wrong with it is its result."""
        name = Path(path).name
        try:
            with self._analysis.run(
                path,
                threshold=batch.threshold,
                every=1 / batch.rate,
                smoothing=batch.smoothing,
                progress=told,
                stop=is_stopped,
            ) as result:
                # Copied here: gradio itself would print a trace of a full disk.
                video, *files = (self._copied(file) for file in (result.video, *result.files))
                said = result.summary if len(batch.uploads) == 1 else f"{name}: {result.summary}"
                timeline = timeline_box(result.timeline)
                paths = [file for file in files if file]
                return ShownVideo(name, message("done", said), timeline, video, paths)
        except UserError as error:
            said = str(error)
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise
            logger.warning(f"{path}: {error}")
            said = "The disk of this page is full. Try again in some minutes."
        return ShownVideo(name, message("error", said), timeline_box(), is_failed=True)


def _add(batch: Batch, shown: ShownVideo) -> None:
    """Add a result; the first one that is no error is shown, unless there is a choice already."""
    batch.videos.append(shown)
    looked_at = batch.videos[batch.shown] if batch.shown < len(batch.videos) else None
    if looked_at is not None and looked_at.is_failed and not shown.is_failed:
        batch.shown = len(batch.videos) - 1


def _view(batch: Batch, *, is_running: bool = False) -> Outputs:
    """Return the outputs for the results so far."""
    number = batch.sent = min(batch.shown, len(batch.videos) - 1)
    shown = batch.videos[number]
    labels = [
        (f"{index + 1}. {video.name}" + (" (failed)" if video.is_failed else ""), index)
        for index, video in enumerate(batch.videos)
    ]
    choice = gr.update(choices=labels, value=number, visible=len(batch.uploads) > 1)
    files = gr.update(value=list(shown.files), visible=bool(shown.files))
    stop = gr.update(interactive=is_running)
    return shown.status, choice, shown.video, shown.timeline, files, stop


def _news(batch: Batch, *, is_running: bool) -> Outputs:
    """Return the outputs after a further result, without the video that plays already."""
    sent = batch.sent
    status, choice, *shown, stop = _view(batch, is_running=is_running)
    if batch.sent == sent:
        shown = [gr.skip() for _ in shown]
    return status, choice, *shown, stop


def _nothing(status: str, *, is_running: bool = False) -> Outputs:
    """Return the outputs where nothing is known."""
    hidden = gr.update(visible=False)
    choice = gr.update(choices=[], value=None, visible=False)
    return status, choice, None, timeline_box(), hidden, gr.update(interactive=is_running)
