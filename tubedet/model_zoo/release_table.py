"""The weights that are known by name: where they are, and under which terms."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ReleasedModel:
    """A published file of weights.

    Attributes:
        name: of the file without its ending; ``MODEL.WEIGHTS`` and ``MODEL.INIT`` take it.
        url: of the file; if ``by_hand``, of a page that leads a person to it.
        part: "model" for a whole detector; "backbone" or "transformer" for weights that a training
            starts from, see ``MODEL.INIT``.
        data: what it was trained on.
        licence: what the publishing repository says; "unstated" where it says nothing.
        source: address of that repository.
        config: of a detector, a name for :func:`tubedet.model_zoo.get_config_file`; None: there is
            none that fits as it stands.
        used_with: of other weights, a config that they start or fit after the changes of ``opts``.
        opts: keys and values that ``used_with`` needs besides the name of the weights.
        published: figure that its authors report.
        num_bytes: size of the file, if known.
        stated_mib: size that its authors state, rounded to MiB.
        by_hand: the file is behind a page that only a browser gets through.
    """

    name: str
    url: str
    part: str
    data: str
    licence: str
    source: str
    config: str | None = None
    published: str | None = None
    num_bytes: int | None = None
    by_hand: bool = False
    used_with: str | None = None
    opts: tuple[str | int, ...] = ()
    stated_mib: int | None = None


_TUBER = "https://github.com/amazon-science/tubelet-transformer"
_TUBER_FILES = "https://yzaws-data-log.s3.amazonaws.com/shared/TubeR_cvpr22/"


def _tuber(name: str, folder: str, published: str) -> ReleasedModel:
    return ReleasedModel(
        name=name,
        url=f"{_TUBER_FILES}{name}.pth",
        part="model",
        data={"AVA21": "AVA v2.1", "AVA22": "AVA v2.2", "JHMDB": "JHMDB-21"}[name.split("_")[-1]],
        licence="Apache-2.0",
        source=_TUBER,
        config=f"{folder}/{name}.yaml",
        published=published,
    )


def _csn(name: str, depth: int) -> ReleasedModel:
    return ReleasedModel(
        name=name,
        url=f"{_TUBER_FILES}{name}.mat",
        part="backbone",
        data="IG-65M, then Kinetics-400",
        licence="Apache-2.0",
        source="https://github.com/facebookresearch/VMZ",
        used_with=f"AVA/TubeR_CSN{depth}_AVA21.yaml",
    )


_VIDEOMAE = "https://github.com/MCG-NJU/VideoMAE"
_DETECTION = "https://github.com/MCG-NJU/VideoMAE-Action-Detection"
_VIDEOMAE_V2 = "https://github.com/OpenGVLab/VideoMAEv2"
_UMT = "https://github.com/OpenGVLab/unmasked_teacher"
_STMIXER = "https://github.com/MCG-NJU/STMixer"
_CLASS_QUERY = "https://github.com/naver-ai/class-query-vad"
_DEFORMABLE = "https://github.com/fundamentalvision/Deformable-DETR"
_K710 = "Kinetics-710"
_VIT = "AVA/TubeR_ViTB_AVA22.yaml"
_GIVEN_BOXES = "AVA/RoI_ViTB_AVA22.yaml"
# UMT has tubelets of one frame, and its detectors saw 8 frames that miss the key frame.
_UMT_OPTS = ("MODEL.VIT.TUBELET", 1)
_UMT_CLIP = ("INPUT.CLIP.NUM_FRAMES", 8, "INPUT.CLIP.FRAME_STRIDE", 8, "INPUT.CLIP.FRAME_SHIFT", 3)


def _on_drive(file_id: str) -> str:
    return f"https://drive.google.com/file/d/{file_id}/view"


def _vit_size(letter: str) -> tuple[str, ...]:
    """Return what the configs of a ViT-B need for another size."""
    return () if letter == "B" else ("MODEL.VIT.SIZE", letter)


def _videomae(name: str, file_id: str, published: str | None = None) -> ReleasedModel:
    return ReleasedModel(
        name=name,
        url=_on_drive(file_id),
        part="backbone",
        data="Kinetics-400" if published else "Kinetics-400, self-supervised",
        licence="CC-BY-NC-4.0",
        source=_VIDEOMAE,
        published=published,
        by_hand=True,
        used_with=_VIT,
        opts=_vit_size(name.split("_")[1][-1]),
    )


def _videomae_on_ava(
    name: str, file_id: str, published: str, config: str | None = None
) -> ReleasedModel:
    return ReleasedModel(
        name=name,
        url=_on_drive(file_id),
        part="model",
        data="Kinetics-400, then AVA v2.2",
        licence="CC-BY-NC-4.0",
        source=_DETECTION,
        config=config,
        published=f"frame-mAP@0.5 {published} of given boxes",
        by_hand=True,
        used_with=None if config else _GIVEN_BOXES,
        opts=() if config else _vit_size(name.split("_")[1][-1]),
    )


def _distilled(size: str, published: str) -> ReleasedModel:
    name = f"vit_{size}_k710_dl_from_giant"
    return ReleasedModel(
        name=name,
        url=f"https://huggingface.co/OpenGVLab/VideoMAE2/resolve/main/distill/{name}.pth",
        part="backbone",
        data=f"{_K710}, distilled",
        licence="MIT",
        source=_VIDEOMAE_V2,
        published=published,
        used_with=_VIT,
        opts=_vit_size(size.upper()),
    )


def _umt(name: str, published: str, *, part: str = "backbone") -> ReleasedModel:
    folder = "https://pjlab-gvm-data.oss-cn-shanghai.aliyuncs.com/umt/single_modality/"
    return ReleasedModel(
        name=name,
        url=f"{folder}{name}.pth",
        part=part,
        data=_K710 if part == "backbone" else f"{_K710}, then AVA v2.2",
        licence="MIT",
        source=_UMT,
        published=published,
        used_with=_VIT if part == "backbone" else _GIVEN_BOXES,
        opts=(*_UMT_OPTS, *_vit_size(name[0].upper()), *(_UMT_CLIP if part == "model" else ())),
    )


def _stmixer(name: str, file_id: str) -> ReleasedModel:
    return ReleasedModel(
        name=name,
        url=_on_drive(file_id),
        part="model",
        data="AVA v2.2",
        licence="unstated",
        source=_STMIXER,
        config="AVA/STMixer_ViTB_AVA22.yaml",
        by_hand=True,
    )


def _class_query(name: str, file_id: str, config: str, published: str) -> ReleasedModel:
    data = {"AVA22": "AVA v2.2", "JHMDB": "JHMDB-21", "UCF24": "UCF101-24"}
    return ReleasedModel(
        name=name,
        url=_on_drive(file_id),
        part="model",
        data=data[config.rpartition("_")[2]],
        licence="CC-BY-NC-4.0",
        source=_CLASS_QUERY,
        config=f"{config}.yaml",
        published=published,
        by_hand=True,
    )


def _class_query_start(name: str, file_id: str, data: str, config: str) -> ReleasedModel:
    return ReleasedModel(
        name=name,
        url=_on_drive(file_id),
        part="transformer",
        data=data,
        licence="CC-BY-NC-4.0",
        source=_CLASS_QUERY,
        by_hand=True,
        used_with=f"{config}.yaml",
    )


def _deformable_detr(
    name: str, file_id: str, published: str, opts: tuple[str | int, ...] = ()
) -> ReleasedModel:
    return ReleasedModel(
        name=name,
        url=_on_drive(file_id),
        part="transformer",
        data="COCO",
        licence="Apache-2.0",
        source=_DEFORMABLE,
        published=f"box AP {published}",
        by_hand=True,
        used_with="AVA/D2_TubeR_CSN50_AVA21.yaml",
        opts=opts,
    )


RELEASES = (
    _tuber("TubeR_CSN50_AVA21", "AVA", "frame-mAP@0.5 27.2"),
    _tuber("TubeR_CSN152_AVA21", "AVA", "frame-mAP@0.5 29.7"),
    _tuber("TubeR_CSN152_AVA22", "AVA", "frame-mAP@0.5 31.1"),
    _tuber("TubeR_CSN152_JHMDB", "JHMDB", "video-mAP@0.2 87.4, video-mAP@0.5 82.3"),
    _csn("irCSN_50_ft_kinetics_from_ig65m_f233743920", 50),
    _csn("irCSN_152_ft_kinetics_from_ig65m_f126851907", 152),
    ReleasedModel(
        name="detr-r50-e632da11",
        url="https://dl.fbaipublicfiles.com/detr/detr-r50-e632da11.pth",
        part="transformer",
        data="COCO",
        licence="Apache-2.0",
        source="https://github.com/facebookresearch/detr",
        published="box AP 42.0",
        used_with="AVA/TubeR_CSN50_AVA21.yaml",
        stated_mib=159,
    ),
    _deformable_detr(
        "deformable_detr_r50",
        "1nDWZWHuRwtwGden77NLM9JoWe-YisJnA",
        "44.5",
        ("MODEL.DEFORMABLE_TUBER.BOX_REFINE", False),
    ),
    _deformable_detr("deformable_detr_r50_refine", "1JYKyRYzUH7uo9eVfDaVCiaIGZb5YTCuI", "46.2"),
    _distilled("s", "Kinetics-400 top-1 83.7"),
    _distilled("b", "Kinetics-400 top-1 86.6"),
    _umt("b16_ptk710_ftk710_f8_res224", "Kinetics-710 top-1 81.9"),
    _umt("l16_ptk710_ftk710_f8_res224", "Kinetics-710 top-1 86.0"),
    _umt("b16_ptk710_ftk710_ftava_f8_res224", "frame-mAP@0.5 33.5 of given boxes", part="model"),
    _umt("l16_ptk710_ftk710_ftava_f8_res224", "frame-mAP@0.5 39.8 of given boxes", part="model"),
    _videomae("VideoMAE_ViTS_pretrain", "1nU-H1u3eJ-VuyCveU7v-WIOcAVxs5Hww"),
    _videomae("VideoMAE_ViTB_pretrain", "1tEhLyskjb755TJ65ptsrafUG2llSwQE1"),
    _videomae("VideoMAE_ViTL_pretrain", "1qLOXWb_MGEvaI7tvuAe94CV7S2HXRwT3"),
    _videomae("VideoMAE_ViTH_pretrain", "1AJQR1Rsi2N1pDn9tLyJ8DQrUREiBA1bO"),
    _videomae("VideoMAE_ViTS_K400", "1ygjLRm1kvs9mwGsP3lLxUExhRo6TWnrx", "top-1 79.0"),
    _videomae("VideoMAE_ViTB_K400", "1MzwteHH-1yuMnFb8vRBQDvngV1Zl-d3z", "top-1 81.5"),
    _videomae("VideoMAE_ViTL_K400", "1jX1CiqxSkCfc94y8FRW1YGHy-GNvHCuD", "top-1 85.2"),
    _videomae("VideoMAE_ViTH_K400", "104ouJZxSVPSAm0LwJXd6IzjdA_RGLqZi", "top-1 86.6"),
    _videomae_on_ava("VideoMAE_ViTS_AVA22", "1b9Lp64IF8vjhh19mjDdyoSSiZk6cFfKb", "28.4"),
    _videomae_on_ava(
        "VideoMAE_ViTB_AVA22",
        "1-YgaSSM9xWc4V_HjVG-FH0LMA6KV-Qdh",
        "31.8",
        "AVA/RoI_ViTB_AVA22.yaml",
    ),
    _stmixer("STMixer_ViTB_AVA22", "1hVni60LLWHZBaaNkccrrEAo1xFEM2ZPV"),
    _stmixer("STMixer_ViTB_v2_AVA22", "1S5_mePN9lmkIyW_kRcTESfeitKomqW-y"),
    _class_query(
        "ClassQuery_CSN152_AVA22",
        "1wSudYUPZqYoyRaXhXmZCIKB3A-OoKjb1",
        "AVA/ClassQuery_CSN152_AVA22",
        "frame-mAP@0.5 33.5",
    ),
    _class_query(
        "ClassQuery_ViTB_AVA22",
        "1CHh3raut--38qZ7lvBiqAQD3YPMGQFBX",
        "AVA/ClassQuery_ViTB_AVA22",
        "frame-mAP@0.5 32.9",
    ),
    _class_query(
        "ClassQuery_ViTB_v2_AVA22",
        "1aRuiCigddeU7F08TQ9-dmKUa81UygmCs",
        "AVA/ClassQuery_ViTB_AVA22",
        "frame-mAP@0.5 38.4",
    ),
    _class_query(
        "ClassQuery_ViTB_JHMDB",
        "1JNEIgikJd8qE0jHI9fQPTxWNtHE5eXOq",
        "JHMDB/ClassQuery_ViTB_JHMDB",
        "frame-mAP@0.5 88.1, video-mAP@0.5 90.6",
    ),
    _class_query(
        "ClassQuery_ViTB_UCF24",
        "1qXtmqJHKjEVA7g5BAkg3B6dYh7CXVMC9",
        "UCF101-24/ClassQuery_ViTB_UCF24",
        "frame-mAP@0.5 85.9, video-mAP@0.5 61.7",
    ),
    _class_query_start(
        "ClassQuery_start_AVA22",
        "1whAFMjl1EMe05iXzsYLrW5QBuijsNLc-",
        "AVA v2.2, with a CSN-50",
        "AVA/ClassQuery_CSN152_AVA22",
    ),
    _class_query_start(
        "ClassQuery_start_UCF24",
        "1n45GStSoGMpBPZjJdGUlN1sfyZvEMbfb",
        "UCF101-24",
        "UCF101-24/ClassQuery_ViTB_UCF24",
    ),
    _class_query_start(
        "ClassQuery_start_JHMDB",
        "1SILHgfZdh81YRm3g5BsIvHgAmy5H3api",
        "JHMDB-21",
        "JHMDB/ClassQuery_ViTB_JHMDB",
    ),
)
