import pytest
import torch
from detectron2.utils import comm
from detectron2.utils.events import EventStorage
from torch import nn

from tubedet.engine.step_trainer import StepTrainer, exchanging_gradients


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
        model = exchanging_gradients(_Linear())
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
