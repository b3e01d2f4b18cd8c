import json

import pytest
import torch
from reference_cases import FIXTURES
from torch import nn

from tubedet.engine import load_config
from tubedet.engine.lr_schedule import FullWarmupCosine, build_lr_scheduler
from tubedet.errors import UserError

RULES = FIXTURES.parent / "video_vit" / "optim_rules.json"
NAME = ["SOLVER.LR_SCHEDULER_NAME"]


def _rates(opts, *, lr=None):
    """The learning rate of every iteration, as the trainer's hook steps through them."""
    cfg = load_config("", opts)
    group = {"params": [nn.Parameter(torch.zeros(1))], "lr": lr or cfg.SOLVER.BASE_LR}
    optimizer = torch.optim.SGD([group])
    scheduler = build_lr_scheduler(cfg, optimizer)
    rates = []
    for _ in range(cfg.SOLVER.MAX_ITER):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def _full_warmup(*, base, end, warmup, steps):
    opts = [*NAME, "FullWarmupCosineLR", "SOLVER.BASE_LR", base, "SOLVER.BASE_LR_END", end]
    opts += ["SOLVER.WARMUP_FACTOR", 0.0, "SOLVER.WARMUP_ITERS", warmup]
    return [*opts, "SOLVER.MAX_ITER", steps]


def test_the_last_iteration_of_the_warmup_has_the_full_rate_and_the_next_one_too():
    rates = _rates(_full_warmup(base=0.4, end=0.2, warmup=3, steps=7))
    # 0.2 + 0.1 * (1 + cos(pi * i / 4)) for i = 0 .. 3
    expected = [0.0, 0.2, 0.4, 0.4, 0.3 + 0.05 * 2**0.5, 0.3, 0.3 - 0.05 * 2**0.5]
    assert rates == pytest.approx(expected, rel=1e-12)


def test_the_least_rate_is_a_share_of_that_of_the_layer():
    opts = _full_warmup(base=0.4, end=0.2, warmup=0, steps=4)
    assert _rates(opts, lr=0.1) == pytest.approx([rate / 4 for rate in _rates(opts)], rel=1e-12)


def test_one_iteration_of_warmup_has_the_first_rate():
    assert [
        FullWarmupCosine(num_steps=2, num_warmup=1, first=0.25, last=0)(i / 2) for i in (0, 1)
    ] == [0.25, 1.0]


def test_a_training_may_be_all_warmup():
    schedule = FullWarmupCosine(num_steps=3, num_warmup=5, first=0.2, last=0.0)
    assert [schedule(i / 3) for i in range(4)] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert FullWarmupCosine(num_steps=3, num_warmup=3, first=0.0, last=0.5)(1.0) == 0.5


@pytest.mark.parametrize(
    "opts, message",
    [
        (["SOLVER.BASE_LR_END", 1.0], "WARMUP_FACTOR is 0.001 and BASE_LR_END / BASE_LR 10"),
        (["SOLVER.WARMUP_ITERS", -1], "WARMUP_ITERS -1; give at least 1 and 0"),
        (["SOLVER.BASE_LR", 0.0], "SOLVER.BASE_LR is 0; a cosine needs"),
        ([*NAME, "WarmupCosineLR", "SOLVER.BASE_LR_END", 1.0], "BASE_LR_END is 1.0; give 0 to"),
        ([*NAME, "CosineLR"], "Unknown LR scheduler: CosineLR"),
    ],
)
def test_values_out_of_range_are_named(opts, message):
    opts = [
        *NAME,
        "FullWarmupCosineLR",
        "SOLVER.BASE_LR",
        0.1,
        "SOLVER.WARMUP_FACTOR",
        0.001,
        *opts,
    ]
    with pytest.raises(UserError, match=message):
        _rates(opts)


def test_schedules_are_those_of_the_published_code():
    """VideoMAE-Action-Detection's cosine, and STMixer's steps, which detectron2 has."""
    rules = json.loads(RULES.read_text())
    cosine, steps = rules["cosine"], rules["warmup_multistep"]
    found = _rates(
        _full_warmup(
            base=cosine["base"],
            end=cosine["final"],
            warmup=cosine["warmup_epochs"] * cosine["iters_per_epoch"],
            steps=cosine["epochs"] * cosine["iters_per_epoch"],
        )
    )
    assert len(found) == 35 and found == pytest.approx(cosine["lr"], rel=1e-9)

    per_epoch = steps["iters_per_epoch"]
    milestones = tuple(epoch * per_epoch for epoch in steps["milestone_epochs"])
    opts = [*NAME, "WarmupMultiStepLR", "SOLVER.STEPS", milestones, "SOLVER.GAMMA", steps["gamma"]]
    opts += ["SOLVER.BASE_LR", steps["base"], "SOLVER.WARMUP_FACTOR", steps["warmup_factor"]]
    opts += ["SOLVER.WARMUP_ITERS", steps["warmup_epochs"] * per_epoch]
    found = _rates([*opts, "SOLVER.MAX_ITER", len(steps["lr"])])
    assert len(found) == 84 and found == pytest.approx(steps["lr"], rel=1e-9)
