"""The toy data set whose actions are decided by a cue 10 s before."""

import csv
import sys
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tubedet.data import load_ava
from tubedet.data.datasets.builtin import ava_files

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "datasets"))

import make_toy_ava as generator
from toy_ava.film import Film
from toy_ava.long_term import LONG_KEY_SECONDS, UNSCRIPTED_SECONDS, write_script

BEND, DANCE, STAND, LISTEN, TALK = 1, 4, 12, 74, 79
DECIDES = {BEND: LISTEN, DANCE: TALK}


@pytest.fixture(scope="module")
def scripts():
    return [write_script(0, 0, index) for index in range(400)]


@pytest.fixture(scope="module")
def long_toy(tmp_path_factory):
    root = tmp_path_factory.mktemp("data sets")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DETECTRON2_DATASETS", str(root))
        options = ["--long-term", "--train-videos", "2", "--val-videos", "1", "--jobs", "1"]
        assert generator.main(options) == 0
    return root / "ava_toy_long"


@pytest.fixture(scope="module")
def pair():
    """The scripts and films of a pair that was given the same random numbers."""
    scripts = [write_script(0, 0, index) for index in (0, 1)]
    return [(s, Film(np.random.default_rng(5), None, LONG_KEY_SECONDS, s)) for s in scripts]


def test_every_decided_action_follows_its_cue_by_10_seconds(scripts):
    assert UNSCRIPTED_SECONDS == [902, 903, 912, 913, 922, 923]
    for script in scripts:
        assert Counter(script.values()) == {BEND: 4, DANCE: 4, LISTEN: 4, TALK: 4}
        assert set(script) <= set(LONG_KEY_SECONDS) - set(UNSCRIPTED_SECONDS)
        for second, action in script.items():
            if action in DECIDES:
                assert script[second + 10] == DECIDES[action]
    assert len({tuple(sorted(script.items())) for script in scripts}) > 380


def test_no_second_and_no_cue_at_another_time_tells_a_decided_action(scripts):
    for one, other in zip(scripts[::2], scripts[1::2]):
        assert set(one) == set(other)
        assert all(one[second] != other[second] for second in one)
    followed = defaultdict(list)
    for script in scripts:
        for second, action in script.items():
            for delay in range(-29, 30):
                cue = script.get(second - delay)
                if action in DECIDES.values() and cue in DECIDES:
                    followed[delay].append(action == DECIDES[cue])
    # With four of each cue, one of the other seven is the same with a chance of 3 in 7.
    assert np.mean(followed.pop(10)) == 1
    shares = {delay: np.mean(hits) for delay, hits in followed.items() if len(hits) > 300}
    assert len(shares) > 20 and min(shares.values()) > 0.33 and max(shares.values()) < 0.53


def test_the_drawing_does_not_tell_what_was_decided(pair):
    (script, film), (other_script, other_film) = pair
    differs = [not np.array_equal(*frames) for frames in zip(film.frames(), other_film.frames())]
    assert len(differs) == 33 * 15
    for second, action in script.items():
        key = (second - 900) * 15
        clip = differs[key - 8 : key + 7]
        assert other_script[second] != action
        assert all(clip[2:]) if action in DECIDES else not any(clip)


def test_everybody_does_what_the_script_says_and_boxes_do_not_tell(pair):
    (script, film), (_, other_film) = pair
    people, others = list(film.annotations()), list(other_film.annotations())
    assert len(people) == len(others) >= 30
    for (second, box, ids, _), (_, other_box, other_ids, _) in zip(people, others):
        action = script.get(second)
        if action in DECIDES:
            assert ids == [action] and sorted(ids + other_ids) == [BEND, DANCE]
        elif action is not None:
            assert ids == [STAND, action] and box == other_box
            assert sorted(ids + other_ids) == [STAND, STAND, LISTEN, TALK]
        else:
            assert not {BEND, DANCE, LISTEN, TALK}.intersection(ids)


def test_nothing_of_the_second_before_is_seen_where_an_action_was_decided(pair):
    script, film = pair[0]
    checked = 0
    for before, second in pairwise(sorted(script)):
        if second - before == 1 and script[second] in DECIDES.values():
            for role in film._shot_of_second[second].roles:
                performance = role.performances[second]
                pose = performance.pose(-8 / 15)
                assert role.capsules(second, -8) == role.figure.capsules(pose, performance.facing)
                checked += 1
    assert checked >= 3


def test_the_written_set_is_read_and_holds_the_cues(long_toy):
    for split, num_videos in (("train", 2), ("val", 1)):
        key_frames = load_ava(ava_files(str(long_toy), split=split, version="v2.1"))
        assert len(key_frames) == 30 * num_videos - 1  # one is excluded
        actions = defaultdict(set)
        for key_frame in key_frames:
            for person in key_frame["annotations"]:
                ids = {index + 1 for index in person["actions"]}
                actions[key_frame["video_id"], key_frame["timestamp"]] |= ids
        decided = {key: ids & {LISTEN, TALK} for key, ids in actions.items()}
        decided = {key: ids for key, ids in decided.items() if ids}
        assert Counter(min(ids) for ids in decided.values()) == {
            LISTEN: 4 * num_videos,
            TALK: 4 * num_videos,
        }
        for (video, second), ids in decided.items():
            (cue,) = actions[video, second - 10]
            assert ids == {DECIDES[cue]}
    with open(long_toy / "annotations/video_info.csv", newline="") as file:
        assert [row[1:] for row in csv.reader(file)][1] == ["96", "96", "15", "900", "495"]
    assert '"long_term_version": 1' in (long_toy / "README.txt").read_text()
