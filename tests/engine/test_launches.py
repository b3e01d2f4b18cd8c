"""What one training step of every architecture costs a GPU besides arithmetic."""

import itertools

import pytest
import torch
from detectron2.utils.events import EventStorage
from simulated_gpu import DEVICE, SimulatedGPU
from simulated_graphs import SimulatedGraphs
from small_detectors import (
    ARCHITECTURES,
    ROI_VIT,
    VIT_ARCHITECTURES,
    WITHOUT_DROPOUT,
    small_detector,
)

from tubedet.engine.optimizer import build_optimizer
from tubedet.engine.step_trainer import StepTrainer

# Casts of the small architectures, outside of the CSN and the batch. Deformable attention reads in
# float32, which takes up to eight of them in each layer.
CASTS = {"D2": 90, "two_stage": 90, "D3": 90, "D4": 90, "SeqFormer": 90, "STMixer": 90}
# Their decoders attend five times a layer and resample every level.
CASTS |= {"ClassQuery": 110, "ClassQueryTubes": 110}
OTHER_CASTS = 60
# A CPU pools the steps of its maps in full precision only.
POOLS_STEPS = "SeqFormer_ViT"
# Of a video ViT and its pyramid, whose attention has no kernel of its own here.
VIT_CASTS = 60
# Beside recorded passes. Two stages have losses of the encoder, too; given boxes are not matched.
BESIDE_GRAPHS = {"two_stage": 440, "RoI": 70, "RoI_ViT": 72}
MOST_BESIDE_GRAPHS = 300
NAMES = [*ARCHITECTURES, *VIT_ARCHITECTURES, *ROI_VIT]
WITH_VIT = {**VIT_ARCHITECTURES, **ROI_VIT}


def _small(name, opts=()):
    """A detector with a CSN in short; ViTs are whole."""
    return small_detector(name, own_backbone=name in WITH_VIT, opts=opts)


def _batch(make_clip_input, cfg, first_seed=0):
    """Clips on the GPU, which are not counted, and their targets on the host."""
    seeds = range(first_seed, first_seed + 2)
    batch = [make_clip_input(8, 48, 64, cfg.MODEL.NUM_ACTIONS, seed=seed) for seed in seeds]
    for clip_input in batch:
        clip_input["clip"] = clip_input["clip"].to(DEVICE)
    return batch


def _trained(gpu, name, make_clip_input, *, num_steps=1, num_batches=1, amp_dtype=None, opts=()):
    """A trainer after some steps, and its total losses; counts are those of the last step."""
    cfg, model = _small(name, opts)
    model = gpu.move(model.train())
    if model._recorded_training is not None:
        model._recorded_training._graphs = SimulatedGraphs(gpu)
    batches = [_batch(make_clip_input, cfg, 2 * number) for number in range(num_batches)]
    trainer = StepTrainer(
        model,
        itertools.cycle(batches),
        build_optimizer(cfg, model),
        device_type="cuda",
        amp_dtype=amp_dtype,
        max_grad_norm=0.1,
    )
    totals = []
    with EventStorage() as storage:
        for step in range(num_steps):
            gpu.reset()
            trainer.iter = storage.iter = step
            trainer.run_step()
            totals.append(storage.latest()["total_loss"][0])
    return trainer, totals


@pytest.mark.parametrize("name", NAMES)
def test_the_host_waits_for_the_matching_costs_and_the_losses_alone(name, make_clip_input):
    with SimulatedGPU() as gpu:
        _trained(gpu, name, make_clip_input)
        places = {place.split(":")[0]: count for place, count in gpu.synchronisations.items()}
    matches = 0 if name.startswith("RoI") else 1  # where boxes are given, nothing is matched
    assert places.pop("modeling/matcher.py", 0) == matches
    assert places == {"layers/transfers.py": 1}
    assert gpu.copies["to the host"] == 1 + matches
    # The last one says which frames of a tube count.
    assert gpu.copies["to the GPU"] <= (4 if name == "ClassQueryTubes" else 3)


def test_float16_adds_no_wait(make_clip_input):
    """A fused optimiser looks itself whether gradients are finite."""
    with SimulatedGPU() as gpu:
        trainer, _ = _trained(gpu, "TubeR", make_clip_input, amp_dtype=torch.float16)
        assert sum(gpu.synchronisations.values()) == 2
    assert trainer.grad_scaler.is_enabled()


@pytest.mark.parametrize("name", [name for name in NAMES if name != POOLS_STEPS])
def test_casts_in_bfloat16(name, make_clip_input):
    with SimulatedGPU() as gpu:
        _trained(gpu, name, make_clip_input, amp_dtype=torch.bfloat16)
        casts = sum(n for place, n in gpu.casts.items() if "clip_batch" not in place)
    most = CASTS.get(name.removesuffix("_ViT"), OTHER_CASTS)
    assert casts <= most + (VIT_CASTS if name in WITH_VIT else 0)


@pytest.mark.parametrize("name", [name for name in CASTS if "STMixer" not in name])
def test_deformable_attention_by_kernels_casts_once_a_layer(name, make_clip_input):
    pytest.importorskip("triton")
    if torch.cuda.is_available():
        pytest.skip("kernels are compiled for the GPU, not interpreted")
    totals, casts, launches = [], [], []
    for by_kernels in (False, True):
        opts = ["MODEL.DEFORMABLE_TRITON", by_kernels]
        with SimulatedGPU() as gpu:
            gpu.interpret_deformable_attention()
            _, (total,) = _trained(gpu, name, make_clip_input, amp_dtype=torch.bfloat16, opts=opts)
            totals.append(total)
            casts.append(gpu.casts)
            launches.append(gpu.launches)
    layers = launches[1]["read_points"]
    assert launches[0]["read_points"] == 0 < layers == launches[1]["read_points_gradient"]
    own = sum(n for place, n in casts[1].items() if "cuda/deformable" in place)
    assert own == layers and casts[1].total() <= casts[0].total() - 6 * layers
    assert totals[1] == pytest.approx(totals[0], rel=1e-2)


@pytest.mark.parametrize("name", [name for name in NAMES if name != POOLS_STEPS])
def test_recorded_passes_leave_few_launches(name, make_clip_input):
    """A pass is one; losses, casts of the weights and the optimiser's step are the others."""
    totals = []
    for recorded in (False, True):
        opts = [*WITHOUT_DROPOUT, "SOLVER.CUDA_GRAPHS", recorded]
        with SimulatedGPU() as gpu:
            torch.manual_seed(0)
            steps = {"num_steps": 4, "num_batches": 4, "amp_dtype": torch.bfloat16}
            _, losses = _trained(gpu, name, make_clip_input, **steps, opts=opts)
            totals.append(losses)
    assert gpu.launches["graph"] == 2
    assert gpu.launches.total() <= BESIDE_GRAPHS.get(name, MOST_BESIDE_GRAPHS)
    assert gpu.synchronisations.total() <= 2 and gpu.casts.total() <= 8
    assert totals[1] == pytest.approx(totals[0], rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_a_detection_neither_waits_nor_copies(name, make_clip_input):
    """So that it can be recorded, from the clips on the GPU to the raw predictions."""
    with SimulatedGPU() as gpu:
        cfg, model = _small(name)
        model = gpu.move(model.eval())
        clips = model.batch(_batch(make_clip_input, cfg))
        compute = model.feature_maps if name.startswith("RoI") else model.predict
        for amp in (False, True)[: 1 if name == POOLS_STEPS else 2]:
            gpu.reset()
            with torch.autocast("cuda", torch.bfloat16, enabled=amp):
                assert compute(clips)
            assert gpu.launches and not gpu.synchronisations and not gpu.copies


def test_losses_are_those_of_the_cpu(make_clip_input):
    totals = []
    for on_gpu in (True, False):
        opts = ["MODEL.TUBER.DROPOUT", 0.0, "MODEL.TUBER.ACTION_DROPOUT", 0.0]
        cfg, model = small_detector("TubeR", own_backbone=False, opts=opts)
        model.train()
        with SimulatedGPU() as gpu:
            batch = _batch(make_clip_input, cfg)
            if on_gpu:
                totals.append(sum(gpu.move(model)(batch).values()).item())
        if not on_gpu:
            for clip_input in batch:
                clip_input["clip"] = clip_input["clip"].held
            totals.append(sum(model(batch).values()).item())
    assert totals[0] == pytest.approx(totals[1], rel=1e-5)


def test_two_stage_trains_in_float16(make_clip_input):
    """The scale falls in the first steps, whose updates are left out, and stays where it fits."""
    with SimulatedGPU() as gpu:
        trainer, totals = _trained(
            gpu, "two_stage", make_clip_input, num_steps=10, amp_dtype=torch.float16
        )
        gradients = [p.grad.held for p in trainer.model.parameters()]
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    assert 1 <= trainer.grad_scaler._scale.held.item() < 65536
    assert totals[-1] < 0.9 * totals[0]
