"""The page: videos in, the annotated videos, timelines and files out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import gradio as gr

from tubedet.inference import VideoActionDetector
from tubedet.inference.device_faults import BrokenDeviceError

from . import page_parts
from .job_request import RATES, SMOOTHINGS, THRESHOLDS
from .kept_results import KeptResults
from .page_jobs import PageJobs
from .upload_checks import VIDEO_SUFFIXES
from .upload_field import upload_field
from .video_analysis import VideoAnalysis

MODEL_QUEUE = "model"  # gradio's name for those who wait for the model


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
    example: Path | None = None,
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
        example: clip that visitors may take instead of an upload; None: there is none.

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
    with gr.Blocks(title=f"tubedet: {page_parts.TITLE}", analytics_enabled=False) as page:
        introduction = page_parts.introduction(max_megabytes, max_seconds, keep_seconds)
        gr.HTML(introduction, elem_id="intro")
        gr.HTML(page_parts.model_box(model_name, action_names), elem_id="model")
        with gr.Row(equal_height=False):
            with gr.Column(scale=4, min_width=300):
                upload = upload_field(
                    label="Videos", file_types=list(VIDEO_SUFFIXES), elem_id="upload", height=150
                )
                take_example = gr.Button(
                    "Use the example clip",
                    size="sm",
                    elem_id="example",
                    visible=example is not None,
                )
                preview = gr.HTML("", elem_id="preview")
                sliders = _sliders()
                with gr.Row():
                    detect = gr.Button(
                        "Detect actions", variant="primary", elem_id="detect", scale=3
                    )
                    stop = gr.Button("Stop", interactive=False, elem_id="stop", min_width=90)
                status = gr.HTML(page_parts.SILENCE, elem_id="status")
                told = gr.HTML("", elem_id="progress")  # results can be looked at meanwhile
            with gr.Column(scale=7, min_width=300):
                choice = gr.Radio(label="Show", elem_id="chosen", visible=False)
                # gradio fails at a number that a page of before a restart offers; jobs.show tells.
                choice.preprocess = lambda number: number
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
        timeline = gr.HTML(page_parts.timeline_box(), elem_id="timeline")
        tab = gr.Textbox(visible=False)  # the browser fills it in: see page_parts.py

        jobs = PageJobs(
            analysis,
            KeptResults(keep_seconds=keep_seconds),
            copied=video.move_resource_to_block_cache,
            on_broken=on_broken,
            example=example,
        )
        outputs = [status, choice, video, timeline, files, stop]
        inputs = [upload, *sliders, tab]
        model = {
            "concurrency_limit": 1,
            "concurrency_id": MODEL_QUEUE,
            "js": page_parts.RUN_JS,
            "show_progress_on": told,
            "api_visibility": "private",
        }
        quick = {"concurrency_limit": None, "api_visibility": "private", "show_progress": "hidden"}
        # In this order they have the numbers of job_request.py.
        detect.click(jobs.run, inputs, outputs, **model)
        threshold, _, smoothing = sliders
        moved = [threshold.release, smoothing.release]
        gr.on(moved, jobs.redraw, inputs, outputs, trigger_mode="always_last", **model)
        stop.click(jobs.stop, [], [], **quick)
        restored = [*outputs, upload, *sliders]
        page.load(jobs.restore, [tab], restored, js=page_parts.RESTORE_JS, **quick)
        choice.input(jobs.show, [choice, tab], outputs, js=page_parts.SHOW_JS, **quick)
        take_example.click(jobs.take_example, [], [upload, status], **quick)
        upload.change(None, [upload], [preview], js=page_parts.PREVIEW_JS)
    return page


def _sliders() -> tuple[gr.Slider, gr.Slider, gr.Slider]:
    """Add the sliders: threshold, rate and smoothing."""
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
    return threshold, rate, smoothing
