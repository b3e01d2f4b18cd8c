import json
import os

from tubedet.inference.writers import JsonLinesWriter


def test_one_object_per_key_frame(tmp_path, key_frames):
    path = tmp_path / "film.jsonl"
    with JsonLinesWriter(path, "film", ["stand", "walk", "sit"]) as writer:
        for result, persons in key_frames:
            writer.write(result, persons)
        assert not path.exists()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines == [
        {
            "video": "film",
            "time": 7.0,
            "width": 200,
            "height": 50,
            "persons": [
                {
                    "id": 0,
                    "box": [20.0, 5.0, 100.0, 50.0],
                    "score": 0.9,
                    "actions": [
                        {"name": "sit", "id": 3, "score": 0.5},
                        {"name": "stand", "id": 1, "score": 0.25},
                    ],
                },
                {
                    "id": 1,
                    "box": [150.0, 0.0, 190.12, 40.0],
                    "score": 0.75,
                    "actions": [
                        {"name": "walk", "id": 2, "score": 0.8},
                        {"name": "sit", "id": 3, "score": 0.05},
                    ],
                },
            ],
        },
        {"video": "film", "time": 7.3, "width": 200, "height": 50, "persons": []},
    ]


def test_a_reader_of_a_pipe_has_every_line_at_once(tmp_path, key_frames):
    path = tmp_path / "lines.jsonl"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with JsonLinesWriter(path, "film", ["stand", "walk", "sit"]) as writer:
            for number, (result, persons) in enumerate(key_frames):
                writer.write(result, persons)
                line = json.loads(os.read(reader, 1 << 16))
                assert line["time"] == [7.0, 7.3][number]
    finally:
        os.close(reader)
