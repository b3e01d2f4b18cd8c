"""The page: a video in, the annotated video, a timeline and files out."""

from __future__ import annotations

import functools
import html
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import gradio as gr

from tubedet.errors import UserError
from tubedet.files.full_disks import NO_SPACE
from tubedet.inference import VideoActionDetector
from tubedet.inference.device_faults import BrokenDeviceError

from .job_request import RATES, SMOOTHINGS, THRESHOLDS
from .running_jobs import RunningJobs, time_left
from .upload_checks import VIDEO_SUFFIXES
from .upload_field import upload_field
from .video_analysis import AnalyzedVideo, VideoAnalysis

logger = logging.getLogger(__name__)

_TITLE = "Who does what, when"
_SILENCE = '<div role="status" aria-live="polite"></div>'
_EMPTY_TIMELINE = '<p class="hint">Actions of each person over time appear here.</p>'
CSS = """
.gradio-container { max-width: 1240px !important; margin: 0 auto !important; }
/* Long names do not make the page wider than a phone. */
#status p, #intro { overflow-wrap: anywhere; }
#intro h1 { font-size: 1.7rem; font-weight: 600; margin: 0.4rem 0 0.2rem; }
#intro p, .hint { opacity: 0.75; margin: 0; }
#model summary { cursor: pointer; overflow-wrap: anywhere; }
#model ul { columns: 11rem; margin: 0.4rem 0 0; padding-left: 1.2rem; }
#timeline [data-start]:focus-visible { stroke: currentColor; stroke-width: 2; outline: none; }
#status { min-height: 1.6rem; }
#status .error, #status .done { padding: 0.6rem 0.9rem; border-radius: 8px; margin: 0; }
#status .error { background: #fdecea; color: #8c1d18; border: 1px solid #f2b8b5; }
#status .done { background: #e8f4ec; color: #14532d; border: 1px solid #b6dfc3; }
.dark #status .error { background: #4a1512; color: #ffd9d6; border-color: #8c1d18; }
.dark #status .done { background: #12331f; color: #c9efd6; border-color: #2c6b43; }
#timeline-box { padding: 0.8rem 1rem; border: 1px solid var(--block-border-color);
  border-radius: var(--block-radius); background: var(--block-background-fill);
  overflow-x: auto; contain: inline-size; }  /* a phone scrolls the timeline, not the page */
#timeline-box svg { min-width: 640px; }
#timeline-box h2 { font-size: 1rem; font-weight: 600; margin: 0 0 0.4rem; }
#timeline-box h2 .hint { font-weight: 400; font-size: 0.85rem; margin-left: 0.6rem; }
#status .html-container, #timeline .html-container { padding: 0; }
"""


def make_page(
    detector: VideoActionDetector,
    action_names: Sequence[str],
    work_folder: Path,
    *,
    max_megabytes: float,
    max_seconds: float,
    keep_seconds: float,
    model_name: str = "",
    max_minutes: float = 60.0,
    free_bytes: Callable[[], float] | None = None,
    on_broken: Callable[[BrokenDeviceError], object] = lambda error: None,
) -> gr.Blocks:
    """Lay the page out.

    Args:
        detector: the model.
        action_names: A names; name k is that of the model's action k.
        work_folder: where results are made.
        max_megabytes: largest file that is accepted, in units of 2^20 bytes.
        max_seconds: longest video that is accepted.
        keep_seconds: age at which uploads and results are deleted, which the page says.
        model_name: what the page calls the model.
        max_minutes: longest time that a video may take.
        free_bytes: asked before each job how much room there is for its results; None: that of
            the disk.
        on_broken: called when the device works no more, after the visitor was told.

    Returns:
        gr.Blocks: to be started by :func:`tubedet.web.server.serve`.
    """
    analysis = VideoAnalysis(
        detector,
        action_names,
        work_folder=work_folder,
        max_megabytes=max_megabytes,
        max_seconds=max_seconds,
        max_minutes=max_minutes,
        free_bytes=free_bytes,
        keep_seconds=keep_seconds,
        video_selector="#annotated video",
    )
    with gr.Blocks(title=f"tubedet: {_TITLE}", analytics_enabled=False) as page:
        gr.HTML(_introduction(analysis, keep_seconds), elem_id="intro")
        gr.HTML(_model_box(model_name, action_names), elem_id="model")
        with gr.Row(equal_height=False):
            with gr.Column(scale=4, min_width=300):
                upload = upload_field(
                    label="Video",
                    file_types=list(VIDEO_SUFFIXES),
                    elem_id="upload",
                    height=150,
                )
                threshold = gr.Slider(
                    *THRESHOLDS,
                    value=0.5,
                    step=0.05,
                    label="Action threshold",
                    info="Lowest score of an action that is shown.",
                    elem_id="threshold",
                )
                rate = gr.Slider(
                    *RATES,
                    value=1.0,
                    step=0.5,
                    label="Key frames per second",
                    info="How often to look; twice as many take twice as long.",
                    elem_id="rate",
                )
                smoothing = gr.Slider(
                    *SMOOTHINGS,
                    value=1.0,
                    step=0.1,
                    label="Smoothing, seconds",
                    info="Over how long the scores of a person are averaged.",
                    elem_id="smoothing",
                )
                detect = gr.Button("Detect actions", variant="primary", elem_id="detect")
                stop = gr.Button("Stop", interactive=False, elem_id="stop")
                status = gr.HTML(_SILENCE, elem_id="status")
            with gr.Column(scale=7, min_width=300):
                video = gr.Video(
                    label="Annotated video",
                    interactive=False,
                    elem_id="annotated",
                    height=420,
                    buttons=["download"],
                )
                files = gr.File(
                    label="Results (AVA csv, json lines)",
                    interactive=False,
                    file_count="multiple",
                    elem_id="files",
                    visible=False,
                )
        timeline = gr.HTML(_timeline_box(_EMPTY_TIMELINE), elem_id="timeline")

        outputs = [status, video, timeline, files, stop]
        inputs = [upload, threshold, rate, smoothing]
        jobs = RunningJobs()

        def run(path, threshold, rate, smoothing, request: gr.Request, progress=gr.Progress()):  # noqa: B008
            # gradio finds the session and the progress by these defaults and types.
            def told(fraction: float) -> None:
                progress(fraction, desc=f"Looking at the video{time_left(fraction, begun)}")

            begun = time.monotonic()
            options = {"threshold": threshold, "every": 1 / rate, "smoothing": smoothing}
            # Copied before they are handed out: gradio itself would print a trace of a full disk.
            copied = video.move_resource_to_block_cache
            with jobs.running(request.session_hash) as is_stopped:
                job = functools.partial(
                    analysis.run, path, **options, progress=told, stop=is_stopped
                )
                for shown in _run(job, path, on_broken, copied):
                    yield *shown, gr.update(interactive=shown[0] == _SILENCE)

        def redraw(path, threshold, rate, smoothing, request: gr.Request, progress=gr.Progress()):  # noqa: B008
            """Draw again what is known; the button alone asks the model."""
            if path is None or not analysis.is_known(path, every=1 / rate):
                yield tuple(gr.skip() for _ in outputs)
                return
            yield from run(path, threshold, rate, smoothing, request, progress)

        def stop_running(request: gr.Request):
            jobs.stop(request.session_hash)

        # In this order they have the numbers of job_request.py.
        model = {"concurrency_limit": 1, "concurrency_id": "model", "api_visibility": "private"}
        detect.click(run, inputs, outputs, show_progress_on=video, **model)
        moved = [threshold.release, smoothing.release]
        gr.on(moved, redraw, inputs, outputs, show_progress_on=video, **model)
        stop.click(
            stop_running,
            [],
            [],
            concurrency_limit=None,
            api_visibility="private",
            show_progress="hidden",
        )
    return page


def _run(
    job: Callable[[], AbstractContextManager[AnalyzedVideo]],
    path: str | None,
    on_broken: Callable[[BrokenDeviceError], object],
    copied: Callable[[Path], str | None],
) -> Iterator[tuple]:
    hidden = gr.update(visible=False)
    nothing = (None, _timeline_box(_EMPTY_TIMELINE), hidden)
    if path is None:
        yield (_message("error", "Choose a video first."), *nothing)
        return
    yield (_SILENCE, *nothing)
    try:
        with job() as result:
            shown, *rows = [copied(file) for file in (result.video, *result.files)]
            yield (
                _message("done", result.summary),
                shown,
                _timeline_box(result.timeline),
                gr.update(value=rows, visible=True),
            )
    except UserError as error:
        yield (_message("error", str(error)), *nothing)
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        logger.warning(f"{path}: {error}")
        said = "The disk of this page is full. Try again in some minutes."
        yield (_message("error", said), *nothing)
    except BrokenDeviceError as error:
        said = "The GPU of this page stopped working. Try again when the page is back."
        yield (_message("error", said), *nothing)
        on_broken(error)


def _message(kind: str, text: str) -> str:
    said = f'<p class="{kind}">{html.escape(text)}</p>'
    return f'<div role="status" aria-live="polite">{said}</div>'


def _timeline_box(content: str) -> str:
    hint = ""
    if "<svg" in content:
        hint = (
            '<span class="hint">Click on a bar to see that moment; strong colours are sure.</span>'
        )
    return f'<div id="timeline-box"><h2>Timeline{hint}</h2>{content}</div>'


def _model_box(name: str, action_names: Sequence[str]) -> str:
    names = "".join(f"<li>{html.escape(action)}</li>" for action in action_names)
    model = f"Model {html.escape(name)}: " if name else "The model knows "
    return (
        f"<details><summary>{model}{len(action_names)} actions</summary><ul>{names}</ul></details>"
    )


def _introduction(analysis: VideoAnalysis, keep_seconds: float) -> str:
    return (
        f"<h1>{_TITLE}</h1><p>Drop a video with people in it and press the button. You get the "
        "video with everybody's actions written on it, a timeline of them, and the detections as "
        f"files. Up to {analysis.max_megabytes:g} MB and {analysis.max_seconds:g} seconds; nobody "
        "else sees your files, which are deleted after "
        f"{keep_seconds / 60:g} minutes.</p>"
    )
