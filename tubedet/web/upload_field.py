"""The field for uploads."""

from __future__ import annotations

import gradio as gr
from gradio.data_classes import FileData, ListFiles


def upload_field(**options) -> gr.File:
    """Make gradio's field for files, for uploads, and for nothing else.

    gradio's own also takes an address and fetches it, of any size, and leaves an empty file behind
    for each upload. (No subclass: gradio writes a file beside the module that defines one.)

    Args:
        **options: of :class:`gradio.File`.
    """
    field = gr.File(file_count="multiple", **options)
    move_to_cache = field.async_move_resource_to_block_cache

    async def move_upload(url_or_file_path: str | None) -> str | None:
        if url_or_file_path is not None and "://" in url_or_file_path:
            raise gr.Error("Addresses are not fetched; upload the file.", print_exception=False)
        return await move_to_cache(url_or_file_path)

    def paths_of(payload: FileData | ListFiles | None) -> list[str]:
        return [file.path for file in payload.root] if isinstance(payload, ListFiles) else []

    field.async_move_resource_to_block_cache = move_upload
    field.preprocess = paths_of
    return field
