"""Five training steps against those of the published TubeR.

What the optimiser does is seen in the steps after the first: AdamW divides each gradient by its own
size, so the first updates are nearly the signs of the gradients. A gradient that is zero but for
rounding moves its weight by as much as any other, in a direction that the processor decides, and
two correct runs drift apart. The tolerances are about four times the drift between processors,
numbers of threads, orders of the same sums, and float64.
"""

import json

import numpy as np
import pytest
import torch
from detectron2.engine import HookBase
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from reference_cases import FIXTURES, ReferenceCase, waves
from torchvision.ops import box_convert

from tubedet.checkpoint import to_tubedet_names, to_tuber_names
from tubedet.engine import load_config
from tubedet.engine.optimizer import build_optimizer
from tubedet.engine.step_trainer import StepTrainer

CONFIG = "configs/AVA/TubeR_CSN50_AVA21.yaml"
NO_DROPOUT = ["MODEL.TUBER.DROPOUT", 0.0, "MODEL.TUBER.ACTION_DROPOUT", 0.0]
NUM_ACTIONS = 80


class Recorder(HookBase):
    """Notes losses, and norms of gradients before clipping."""

    def __init__(self):
        self.losses = []
        self.grad_norms = []

    def after_backward(self):
        norms = [p.grad.double().norm() for p in self.trainer.model.parameters()]
        self.grad_norms.append(torch.stack(norms).norm().item())

    def after_step(self):
        latest = self.trainer.storage.latest()
        self.losses.append({name: value for name, (value, _) in latest.items() if "loss" in name})


class PublishedSteps:
    """The stored steps, and the same steps of ours."""

    def __init__(self):
        self.stored = json.loads((FIXTURES / "training_steps.json").read_text())
        case = ReferenceCase(FIXTURES / self.stored["case"])
        self.loss_weights = case.meta["weight_dict"]
        cfg = load_config(CONFIG, ["MODEL.DEVICE", "cpu", *NO_DROPOUT])
        model = build_model(cfg)
        model.load_state_dict(to_tubedet_names(case.state_dict()).weights, strict=False)
        self.before = _state(model)
        assert cfg.SOLVER.CLIP_GRADIENTS.CLIP_TYPE == "full_model"
        trainer = StepTrainer(
            model,
            [self._batch(step) for step in range(len(self.stored["steps"]))],
            build_optimizer(cfg, model),
            device_type="cpu",
            max_grad_norm=cfg.SOLVER.CLIP_GRADIENTS.CLIP_VALUE,
        )
        self.recorder = Recorder()
        trainer.register_hooks([self.recorder])
        trainer.train(0, len(self.stored["steps"]))
        self.after = _state(model)

    def _batch(self, step):
        """Two clips with one to three persons each."""
        rng = np.random.RandomState(1000 + step)
        return [self._clip_input(step, b, rng) for b in range(self.stored["clips"]["per_step"])]

    def _clip_input(self, step, b, rng):
        height, width = (self.stored["clips"][side] for side in ("height", "width"))
        num_persons = 1 + (step + b) % 3
        centres = rng.uniform(0.3, 0.7, (num_persons, 2))
        sides = rng.uniform(0.2, 0.5, (num_persons, 2))
        actions = rng.rand(num_persons, NUM_ACTIONS) < 0.05
        actions[:, rng.randint(NUM_ACTIONS, size=num_persons)] = True
        boxes = box_convert(torch.from_numpy(np.hstack((centres, sides))), "cxcywh", "xyxy")
        instances = Instances((height, width))
        instances.gt_boxes = Boxes(boxes * torch.tensor([width, height, width, height]))
        instances.gt_actions = torch.from_numpy(actions).float()
        seed, num_frames = 5000 + 10 * step + b, self.stored["clips"]["num_frames"]
        return {"clip": waves(seed, num_frames, height, width), "instances": instances}


def _state(model):
    """Weights and statistics under the released names, in float64."""
    released = to_tuber_names(model.state_dict())
    return {key.removeprefix("module."): value.double() for key, value in released.items()}


@pytest.fixture(scope="module")
def steps():
    return PublishedSteps()


def _assert_close(found, stored, tolerance):
    for step, values in enumerate(zip(found, stored, tolerance, strict=True)):
        value, expected, rel = values
        assert value == pytest.approx(expected, rel=rel), f"step {step}"


def test_totals_and_gradient_norms(steps):
    stored, recorder = steps.stored["steps"], steps.recorder
    totals = [losses["total_loss"] for losses in recorder.losses]
    _assert_close(totals, [s["total"] for s in stored], (1e-5, 1e-3, 2e-2, 0.25, 0.25))
    norms = [s["grad_norm"] for s in stored]
    _assert_close(recorder.grad_norms, norms, (3e-3, 0.1, 0.3, 0.4, 0.7))


def test_each_loss_of_the_first_two_steps(steps):
    for step, tolerance in ((0, 2e-4), (1, 3e-2)):
        stored = steps.stored["steps"][step]
        names = [name for name in stored if name.startswith("loss_")]
        assert len(names) == 4 * 6
        for name in names:
            value = steps.recorder.losses[step][name] / steps.loss_weights[name.rstrip("_01234")]
            assert value == pytest.approx(stored[name], rel=tolerance, abs=tolerance), (step, name)


def test_weights_have_moved_as_far(steps):
    moved = steps.stored["moved_norm_after"]
    assert len(moved) > 30
    for key, expected in moved.items():
        distance = (steps.after[key] - steps.before[key]).norm().item()
        assert distance == pytest.approx(expected, rel=0.2), key


def test_batch_norm_statistics(steps):
    for key, (mean, largest) in steps.stored["batch_norm_after_mean_and_max"].items():
        assert steps.after[key].mean().item() == pytest.approx(mean, abs=1e-4), key
        assert steps.after[key].abs().max().item() == pytest.approx(largest, rel=5e-3), key
