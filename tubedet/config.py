"""Config keys that tubedet adds to detectron2's defaults."""

import torch
from detectron2.config import CfgNode as CN


def add_tubedet_config(cfg: CN) -> None:
    """Add every tubedet key, with the values of the published TubeR CSN-50 on AVA, to a config.

    Existing detectron2 keys are kept; those whose default does not suit video (pixel statistics,
    sizes, optimiser) get the values of TubeR (https://arxiv.org/abs/2104.00969).

    Args:
        cfg: a config made by :func:`detectron2.config.get_cfg`; changed in place.
    """
    _add_input_keys(cfg)
    _add_model_keys(cfg)
    _add_run_keys(cfg)


def _add_input_keys(cfg: CN) -> None:
    # Short side of the clip before cropping (training) and at test time; no limit on the long one.
    cfg.INPUT.MIN_SIZE_TRAIN = (288,)
    cfg.INPUT.MAX_SIZE_TRAIN = 100000
    cfg.INPUT.MIN_SIZE_TEST = 256
    cfg.INPUT.MAX_SIZE_TEST = 100000
    cfg.INPUT.RANDOM_FLIP = "horizontal"

    cfg.INPUT.CLIP = CN()
    # Frames of a clip (T). The key frame is frame T // 2.
    cfg.INPUT.CLIP.NUM_FRAMES = 32
    # Distance of two frames of the clip, counted in frames at the rate below.
    cfg.INPUT.CLIP.FRAME_STRIDE = 2
    # Frames per second in which FRAME_STRIDE counts, whatever the rate of the stored video.
    cfg.INPUT.CLIP.FPS = 30.0
    # Short side of the random training crop, which keeps the aspect ratio. 0: no crop.
    cfg.INPUT.CLIP.CROP_SHORT_SIDE = 256
    # Largest change of hue, saturation and value, in OpenCV's 8-bit HSV units; drawn once a clip.
    cfg.INPUT.CLIP.HSV_JITTER = (10, 26, 26)
    # Boxes of at most this area (square pixels) after the training augmentation are dropped.
    cfg.INPUT.CLIP.MIN_BOX_AREA = 30.0


def _add_model_keys(cfg: CN) -> None:
    cfg.MODEL.DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
    cfg.MODEL.META_ARCHITECTURE = "TubeR"
    # ImageNet statistics, RGB, 0..255.
    cfg.MODEL.PIXEL_MEAN = [123.675, 116.28, 103.53]
    cfg.MODEL.PIXEL_STD = [58.395, 57.12, 57.375]
    # Action classes A; column k of every action array is the action with id k + 1.
    cfg.MODEL.NUM_ACTIONS = 80

    cfg.MODEL.BACKBONE.NAME = "build_csn_backbone"
    # 0: train everything; 1: freeze the stem; n: freeze also res2 .. resn.
    cfg.MODEL.BACKBONE.FREEZE_AT = 0

    cfg.MODEL.CSN = CN()
    # Layers: 26, 50, 101 or 152.
    cfg.MODEL.CSN.DEPTH = 50
    # Factor on all channel numbers; below 1 for small models.
    cfg.MODEL.CSN.WIDTH_MULTIPLIER = 1.0
    # Stages returned, any of res2 .. res5.
    cfg.MODEL.CSN.OUT_FEATURES = ["res5"]
    # Spatial strides of res2 .. res4; smaller ones keep small persons apart in small frames.
    cfg.MODEL.CSN.SPATIAL_STRIDES = (1, 2, 2)
    # Spatial stride 2 in res5 (published: total 32) instead of 1 (total 16).
    cfg.MODEL.CSN.LAST_STRIDE = False
    # Temporal strides of res2 .. res5.
    cfg.MODEL.CSN.TEMPORAL_STRIDES = (1, 2, 2, 2)
    # Batch norm: "BN" (statistics of the local batch), "FrozenBN" or "SyncBN".
    cfg.MODEL.CSN.NORM = "BN"

    cfg.MODEL.TUBER = CN()
    # "key_frame": NUM_QUERIES queries for the key frame, independent actions (AVA).
    # "tubelet": NUM_QUERIES queries for every frame, one action per person (JHMDB).
    cfg.MODEL.TUBER.QUERY_TYPE = "key_frame"
    cfg.MODEL.TUBER.NUM_QUERIES = 15
    # How the time steps of the backbone become the detector's memory:
    # "decode" (learned), "avg", "max", "center" (one step) or "none" (all steps).
    cfg.MODEL.TUBER.TEMPORAL_POOLING = "decode"
    cfg.MODEL.TUBER.HIDDEN_DIM = 256
    cfg.MODEL.TUBER.NUM_HEADS = 8
    cfg.MODEL.TUBER.FEEDFORWARD_DIM = 2048
    cfg.MODEL.TUBER.ENC_LAYERS = 6
    cfg.MODEL.TUBER.DEC_LAYERS = 6
    # Dropout of all attention and feed-forward layers, and the one before the action classifier.
    cfg.MODEL.TUBER.DROPOUT = 0.1
    cfg.MODEL.TUBER.ACTION_DROPOUT = 0.5
    # Initial probability of every action, set by the classifier's bias. Published: 0.5; a small
    # value saves the first iterations of a training from scratch.
    cfg.MODEL.TUBER.ACTION_PRIOR = 0.5
    # Hide padded cells from the action branch too. The published model does not.
    cfg.MODEL.TUBER.MASK_CONTEXT = False
    # Losses on every decoder layer instead of the last one only.
    cfg.MODEL.TUBER.AUX_LOSS = True
    # Action scores of a query are zero unless its person probability is above this.
    cfg.MODEL.TUBER.PERSON_THRESH = 0.8

    # Weights of the matching cost: class (person or action) probability, L1 and GIoU of the boxes.
    cfg.MODEL.TUBER.COST_CLASS = 12.0
    cfg.MODEL.TUBER.COST_BBOX = 5.0
    cfg.MODEL.TUBER.COST_GIOU = 2.0
    # Weights of loss_ce (actions), loss_ce_b (person or visibility), loss_bbox and loss_giou.
    cfg.MODEL.TUBER.ACTION_LOSS_WEIGHT = 12.0
    cfg.MODEL.TUBER.PERSON_LOSS_WEIGHT = 1.0
    cfg.MODEL.TUBER.BBOX_LOSS_WEIGHT = 5.0
    cfg.MODEL.TUBER.GIOU_LOSS_WEIGHT = 2.0
    # Weight of "no object" in the softmax losses.
    cfg.MODEL.TUBER.NO_OBJECT_WEIGHT = 0.1
    # Factor on the action loss of matched queries ("key_frame" only).
    cfg.MODEL.TUBER.MATCHED_ACTION_WEIGHT = 10.0

    cfg.MODEL.INIT = CN()
    # Loading MODEL.WEIGHTS stops when a smaller share of the model's weights was found.
    cfg.MODEL.INIT.MIN_MATCHED = 0.9


def _add_run_keys(cfg: CN) -> None:
    # Unreadable key frames that each training worker may skip before it stops. 0: none.
    cfg.DATALOADER.MAX_BROKEN_KEYFRAMES = 0

    # AdamW with these factors on BASE_LR: pairs of [parameter name prefix, factor].
    cfg.SOLVER.LR_FACTORS = []
    # CLIP_GRADIENTS.CLIP_TYPE also takes "full_model": the L2 norm over all parameters.
    cfg.SOLVER.CLIP_GRADIENTS.CLIP_TYPE = "full_model"
    # Type of the automatic mixed precision switched on by AMP.ENABLED: "float16" or "bfloat16".
    cfg.SOLVER.AMP.DTYPE = "float16"

    # Evaluator behaviour: "official" (2019, the numbers of papers), "official_2018" or
    # "official_2020".
    cfg.TEST.AVA_PROTOCOL = "official"
