import asyncio

import pytest

gradio = pytest.importorskip("gradio")

from gradio.data_classes import FileData, ListFiles  # noqa: E402

from tubedet.web.upload_field import upload_field  # noqa: E402


def test_uploads_alone_are_taken(film):
    field = upload_field(label="Video")
    with pytest.raises(gradio.Error, match="Addresses are not fetched"):
        asyncio.run(field.async_move_resource_to_block_cache("https://example.com/film.mp4"))
    assert asyncio.run(field.async_move_resource_to_block_cache(None)) is None
    file = FileData(path=str(film))
    assert field.preprocess(ListFiles([file, file])) == [str(film)] * 2
    assert field.preprocess(file) == [] and field.preprocess(None) == []
