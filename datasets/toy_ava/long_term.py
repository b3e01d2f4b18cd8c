"""What happens in the films that need memory: cues, and what they decide 10 s later."""

import numpy as np

from toy_ava.motion import BEND, DANCE, LISTEN, TALK

# A cue and the action that it decides. Both decided actions are drawn alike.
DECIDES = {BEND: LISTEN, DANCE: TALK}
DELAY = 10  # seconds from a cue to what it decides
LONG_KEY_SECONDS = range(902, 932)
# Each begins a chain of three seconds, DELAY apart. Either the first is a cue and the second is
# decided by it, or the second is a cue and the third is decided.
_FIRST_SECONDS = range(904, 912)
# Seconds at which no film has a cue or something decided.
UNSCRIPTED_SECONDS = [
    second
    for second in LONG_KEY_SECONDS
    if all(second - DELAY * i not in _FIRST_SECONDS for i in range(3))
]
_STREAM = 1  # keeps the random numbers of scripts apart from those of drawings


def write_script(seed: int, split: int, index: int) -> dict[int, int]:
    """Choose the seconds of a film at which everybody in it does a given action.

    Every film has as many of one cue as of the other, in random order. Films come in pairs that
    have the same seconds and opposite cues. So neither the film nor the second tells a decided
    action: only the cue DELAY before it does.

    Args:
        seed: source of everything random.
        split: number of the split.
        index: number of the film in its split; those of a pair are 2 k and 2 k + 1.

    Returns:
        dict from second to action id, a key or a value of DECIDES.
    """
    rng = np.random.default_rng([seed, split, index // 2, _STREAM])
    is_second_cue = rng.permutation(len(_FIRST_SECONDS)) % 2 != index % 2
    delays = DELAY * rng.integers(0, 2, len(_FIRST_SECONDS))
    script = {}
    for second, which in zip((delays + _FIRST_SECONDS).tolist(), is_second_cue.astype(int)):
        script[second] = list(DECIDES)[which]
        script[second + DELAY] = DECIDES[script[second]]
    return script
