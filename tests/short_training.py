"""A training on few clips, and what it must lead to."""

import torch
from detectron2.utils.events import EventStorage
from torchvision.ops import box_iou

from tubedet.engine.step_trainer import StepTrainer


def train_on(model, inputs, *, num_steps, learning_rate, last_factor=1.0):
    """Trains on the same clips in every step; returns the total loss of each step.

    The learning rate goes linearly to ``last_factor`` of its first value.
    """
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, last_factor, num_steps)
    totals = []
    for _ in range(num_steps):
        total = sum(model(inputs).values())
        optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        totals.append(total.item())
    return totals


def assert_all_persons_are_found(model, inputs, *, min_score, min_overlap):
    """The highest score of each person's action is above the bound, and its box on the person.

    Returns the detections (list of Instances).
    """
    with torch.no_grad():
        results = [result["instances"] for result in model.eval()(inputs)]
    for clip_input, found in zip(inputs, results):
        truth = clip_input["instances"]
        overlap = box_iou(found.pred_boxes.tensor, truth.gt_boxes.tensor)
        for n, label in enumerate(truth.gt_actions.argmax(1)):
            best = found.action_scores[:, label].argmax()
            assert found.action_scores[best, label] > min_score
            assert overlap[best, n] > min_overlap
    return results


def assert_trains_in_bfloat16(model, inputs):
    """Under autocast, the loss is a finite float32 and has a backward pass."""
    with torch.autocast("cpu", torch.bfloat16):
        total = sum(model.train()(inputs).values())
    total.backward()
    assert torch.isfinite(total) and total.dtype == torch.float32


def run_steps(model, batches, optimizer, *, grad_scaler=None, **options):
    """Steps of a ``StepTrainer`` on these batches, outside of a training; returns the trainer.

    Args:
        model, optimizer: of the training.
        batches: one for each step.
        grad_scaler: in place of the trainer's.
        options: of the trainer; the device is that of the model.
    """
    device_type = next(model.parameters()).device.type
    trainer = StepTrainer(model, batches, optimizer, device_type=device_type, **options)
    trainer.grad_scaler = grad_scaler or trainer.grad_scaler
    with EventStorage(0) as storage:
        for trainer.iter in range(len(batches)):
            storage.iter = trainer.iter
            trainer.run_step()
    return trainer
