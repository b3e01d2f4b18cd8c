"""What happens in the films that need memory: cues, and what they decide 10 s later."""

import numpy as np

from toy_ava.motion import BEND, DANCE, LISTEN, TALK

# A cue and the action that it decides. Those two decided actions are drawn alike.
DECIDES = {BEND: LISTEN, DANCE: TALK}
DELAY = 10  # seconds from a cue to what it decides
LONG_KEY_SECONDS = range(902, 932)
_FIRST_SECONDS = range(904, 912)  # each begins a chain of three seconds, DELAY apart
_CHAIN_SECONDS = {s + DELAY * i for s in _FIRST_SECONDS for i in range(3)}
# Seconds at which no film has a cue or something decided.
UNSCRIPTED_SECONDS = [s for s in LONG_KEY_SECONDS if s not in _CHAIN_SECONDS]


def write_script(rng: np.random.Generator, swap_cues: bool) -> dict[int, int]:
    """Choose the seconds of a film at which everybody in it does a given action.

    A film has as many of one cue as of the other, in random order, so what a decided action is can
    only be told from the second DELAY before it.

    Args:
        rng: source of everything random; equal states give equal seconds.
        swap_cues: Write the other cue, and what it decides, wherever one of them is.

    Returns:
        dict from second to action id, one of the keys and values of DECIDES.
    """
    one, other = reversed(DECIDES) if swap_cues else DECIDES
    cues = rng.permutation(np.array([0, 1] * (len(_FIRST_SECONDS) // 2)))
    delays = DELAY * rng.integers(0, 2, len(_FIRST_SECONDS))
    script = {}
    for second, cue in zip(np.add(_FIRST_SECONDS, delays).tolist(), cues):
        script[second] = other if cue else one
        script[second + DELAY] = DECIDES[script[second]]
    return script
