"""The decoder of STMixer: adaptive sampling and mixing.

Wu et al., "STMixer: A One-Stage Sparse Action Detector", CVPR 2023
(https://arxiv.org/abs/2303.15879); parameter names of MCG-NJU/STMixer.
"""

from .decoder import STMixerDecoder
from .mixing import AdaptiveMixing
from .stage import StageOutput, STMixerStage

__all__ = ["AdaptiveMixing", "STMixerDecoder", "STMixerStage", "StageOutput"]
