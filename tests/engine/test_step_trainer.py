import copy
from types import SimpleNamespace

import pytest
import torch
from detectron2.solver.build import maybe_add_gradient_clipping
from detectron2.utils import comm
from detectron2.utils.events import EventStorage
from torch import nn

from tubedet.checkpoint import CheckpointError
from tubedet.engine import load_config, step_trainer
from tubedet.engine.step_trainer import StepTrainer, distributed_model


class _Quadratic(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Parameter(torch.tensor([3.0]))
        self.b = nn.Parameter(torch.tensor([4.0]))
        self.seen_dtype = None

    def forward(self, data):
        self.seen_dtype = (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
        (data,) = data
        return {"loss_a": data * self.a.square().sum() / 2, "loss_b": data * self.b.sum() * 4}


def _step(**arguments):
    model = _Quadratic()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    trainer = StepTrainer(model, [[1.0]] * 3, optimizer, device_type="cpu", **arguments)
    trainer.iter = 0
    with EventStorage():
        trainer.run_step()
    return model, trainer


def test_without_limit_the_gradient_is_the_plain_one():
    model, _ = _step()
    assert model.a.item() == pytest.approx(0.0) and model.b.item() == pytest.approx(0.0)


def test_clipping_takes_the_norm_over_all_parameters():
    model, _ = _step(max_grad_norm=0.5)  # gradient (3, 4), norm 5
    assert model.a.item() == pytest.approx(3 - 0.3, rel=1e-4)
    assert model.b.item() == pytest.approx(4 - 0.4, rel=1e-4)


@pytest.mark.parametrize("device_type, limit", [("cpu", None), ("cpu", 0.5), ("cuda", 0.5)])
def test_the_norm_of_the_gradients_is_noted_before_they_are_clipped(device_type, limit):
    """On a GPU once in 20 iterations: to read it is to wait for the GPU."""
    model = _Quadratic()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    trainer = StepTrainer(
        model, [[1.0]] * 40, optimizer, device_type=device_type, max_grad_norm=limit
    )
    with EventStorage() as storage:
        for trainer.iter in range(40):
            storage.iter = trainer.iter
            trainer.run_step()
    values = storage.history("grad_norm").values()
    assert [iteration for _, iteration in values] == (
        list(range(40)) if device_type == "cpu" else [19, 39]
    )
    assert [value for value, _ in values] == pytest.approx([5.0] * len(values))  # of (3, 4)


@pytest.mark.parametrize("clip_type", ["value", "norm", "full_model"])
@pytest.mark.parametrize("is_fused", [False, True])
def test_what_is_clipped_is_not_scaled(clip_type, is_fused):
    """As on a GPU in float16, whose loss is scaled; the scaler works on CPUs, too."""
    model = _Quadratic()
    if is_fused:
        optimizer = torch.optim.AdamW(model.parameters(), lr=1.0, fused=True)
        average, share = "exp_avg", 0.1
    else:
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0, momentum=0.9)
        average, share = "momentum_buffer", 1.0
    if clip_type != "full_model":
        clipping = ["ENABLED", True, "CLIP_TYPE", clip_type, "CLIP_VALUE", 3.5]
        opts = [f"SOLVER.CLIP_GRADIENTS.{x}" if i % 2 == 0 else x for i, x in enumerate(clipping)]
        optimizer = maybe_add_gradient_clipping(load_config("", opts), optimizer)
    max_norm = 2.5 if clip_type == "full_model" else None
    trainer = StepTrainer(model, [[1.0]], optimizer, device_type="cpu", max_grad_norm=max_norm)
    trainer.grad_scaler = torch.amp.GradScaler("cpu", init_scale=1024)
    trainer.iter = 0
    with EventStorage():
        trainer.run_step()
    used = [optimizer.state[p][average].item() / share for p in (model.a, model.b)]
    expected = [1.5, 2.0] if clip_type == "full_model" else [3.0, 3.5]  # of (3, 4)
    assert used == pytest.approx(expected, rel=1e-5)


def test_autocast_on_the_cpu():
    model, trainer = _step(amp_dtype=torch.bfloat16)
    assert model.seen_dtype == torch.bfloat16
    assert model.a.item() == pytest.approx(0.0, abs=0.05)
    assert not trainer.grad_scaler.is_enabled()
    assert _step()[0].seen_dtype == torch.float32


def test_float16_on_the_cpu_is_refused():
    with pytest.raises(ValueError, match="bfloat16"):
        _step(amp_dtype=torch.float16)


def test_state_round_trip():
    _, trainer = _step()
    _, other = _step(amp_dtype=torch.bfloat16)
    other.load_state_dict(trainer.state_dict())
    assert other.iter == trainer.iter


def test_the_state_of_another_shape_is_refused():
    """A fused optimiser would read beyond its end."""
    state = _step(max_grad_norm=1.0)[1].state_dict()
    state = copy.deepcopy(state)
    state["optimizer"]["state"] = {1: {"exp_avg": torch.zeros(1, 3)}}
    with pytest.raises(CheckpointError, match=r"parameter 1 has the shape \[1, 3\].* \[1\]"):
        _step()[1].load_state_dict(state)


class _Linear(nn.Module):
    """Means over the clips of a pass, like losses."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0]))
        self.passes = []

    def forward(self, clips):
        self.passes.append(len(clips))
        return {"loss": (self.weight * torch.tensor(clips)).mean()}


@pytest.mark.parametrize("clips_per_pass, passes", [(0, [5]), (2, [2, 2, 1]), (5, [5]), (9, [5])])
def test_every_clip_weighs_the_same_however_many_go_together(clips_per_pass, passes):
    model = _Linear()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    batch = [1.0, 2.0, 4.0, 8.0, 16.0]
    trainer = StepTrainer(
        model, [batch], optimizer, device_type="cpu", clips_per_pass=clips_per_pass
    )
    trainer.iter = 0
    with EventStorage() as storage:
        trainer.run_step()
    assert model.passes == passes
    assert model.weight.item() == pytest.approx(1 - 31 / 5)
    assert storage.latest()["total_loss"][0] == pytest.approx(31 / 5)


def test_processes_exchange_gradients_once(tmp_path, monkeypatch):
    monkeypatch.setattr(comm, "get_world_size", lambda: 2)  # one does not exchange anything
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'group'}", rank=0, world_size=1
    )
    try:
        model = distributed_model(_Linear())
        exchanged, addresses = [], set()

        def count(state, bucket):
            exchanged.append(bucket.buffer().tolist())
            addresses.add(bucket.buffer().data_ptr())
            future = torch.futures.Future()
            future.set_result(bucket.buffer())
            return future

        model.register_comm_hook(None, count)
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        trainer = StepTrainer(
            model, [[1.0, 2.0, 6.0]], optimizer, device_type="cpu", clips_per_pass=1
        )
        trainer.iter = 0
        with EventStorage():
            trainer.run_step()
    finally:
        torch.distributed.destroy_process_group()
    assert exchanged == [[pytest.approx(3.0)]]
    assert addresses == {model.module.weight.grad.data_ptr()}  # not a second copy
    assert model.module.weight.item() == pytest.approx(1 - 3)


def test_a_negative_number_of_clips_is_refused():
    with pytest.raises(ValueError, match="SOLVER.CLIPS_PER_PASS is -1"):
        _step(clips_per_pass=-1)


@pytest.mark.parametrize("device, ids", [("cuda:0", [0]), ("cuda:3", [3]), ("cpu", None)])
def test_gradients_are_exchanged_on_the_device_of_the_model(device, ids, monkeypatch):
    """Whatever the number of the process: Slurm may show each one GPU, which is number 0."""
    given = {}
    monkeypatch.setattr(
        step_trainer, "create_ddp_model", lambda _, **options: given.update(options)
    )
    monkeypatch.setattr(comm, "get_local_rank", lambda: 3)
    model = SimpleNamespace(parameters=lambda: iter([SimpleNamespace(device=torch.device(device))]))
    distributed_model(model)
    assert given["device_ids"] == ids
