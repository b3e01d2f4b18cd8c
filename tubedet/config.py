"""Config keys that tubedet adds to detectron2's defaults."""

import torch
from detectron2.config import CfgNode as CN

from tubedet.architecture_config import (
    add_architecture_keys,
    add_slowfast_keys,
    add_vit_keys,
)


def add_tubedet_config(cfg: CN) -> None:
    """Add every tubedet key, with the values of the published TubeR CSN-50 on AVA, to a config.

    Keys of earlier versions are refused by an error that names what took their place. Existing
    detectron2 keys are kept; those whose default does not suit video (pixel statistics,
    sizes, optimiser) get the values of TubeR (https://arxiv.org/abs/2104.00969).

    Args:
        cfg: a config made by :func:`detectron2.config.get_cfg`; changed in place.
    """
    _add_input_keys(cfg)
    _add_model_keys(cfg)
    _add_proposal_keys(cfg)
    _add_run_keys(cfg)
    _register_old_keys(cfg)


def _add_input_keys(cfg: CN) -> None:
    # Short side of the clip before cropping (training) and at test time; no limit on the long one.
    # MIN_SIZE_TRAIN_SAMPLING: "choice" takes one of MIN_SIZE_TRAIN, "range" any length between two.
    cfg.INPUT.MIN_SIZE_TRAIN = (288,)
    cfg.INPUT.MAX_SIZE_TRAIN = 100000
    cfg.INPUT.MIN_SIZE_TEST = 256
    cfg.INPUT.MAX_SIZE_TEST = 100000
    # "horizontal": half of the training clips are mirrored; "none" where left and right make
    # different actions.
    cfg.INPUT.RANDOM_FLIP = "horizontal"

    cfg.INPUT.CLIP = CN()
    # Frames of a clip (T). The key frame is frame T // 2.
    cfg.INPUT.CLIP.NUM_FRAMES = 32
    # Distance of two frames of the clip, counted in frames at the rate below.
    cfg.INPUT.CLIP.FRAME_STRIDE = 2
    # Frames per second in which FRAME_STRIDE counts, whatever the rate of the stored video. In data
    # sets annotated frame by frame (JHMDB, UCF101-24) it counts stored frames instead.
    cfg.INPUT.CLIP.FPS = 30.0
    # Frames, counted as above, by which the clip is late. Released video ViTs were trained without
    # the key frame: VideoMAE-Action-Detection has 1 at stride 4 and 25 fps, UMT 3 at stride 8.
    cfg.INPUT.CLIP.FRAME_SHIFT = 0
    # NUM_FRAMES frames at equal distances in so many, such as UMT's 8 in 300, instead of
    # FRAME_STRIDE. 0: FRAME_STRIDE counts.
    cfg.INPUT.CLIP.SPAN = 0
    # Round the long side of a resized clip to the nearest pixel (STMixer) instead of down.
    cfg.INPUT.CLIP.ROUND_LONG_SIDE = False
    # Short side of the random training crop. 0: no crop.
    cfg.INPUT.CLIP.CROP_SHORT_SIDE = 256
    # Shape of that crop: "frame" keeps the aspect ratio; "square" as video ViTs were trained.
    cfg.INPUT.CLIP.CROP_SHAPE = "frame"
    # Largest change of hue, saturation and value, in OpenCV's 8-bit HSV units; drawn once a clip.
    cfg.INPUT.CLIP.HSV_JITTER = (10, 26, 26)
    # Flip, crop and colours of training clips on MODEL.DEVICE instead of in the loader's workers,
    # with the same random numbers. For GPUs whose workers cannot keep up.
    cfg.INPUT.CLIP.AUGMENT_ON_DEVICE = False
    # Boxes of at most this area (square pixels) after the training augmentation are dropped.
    cfg.INPUT.CLIP.MIN_BOX_AREA = 30.0
    # Boxes of which the training crop leaves a smaller share of their area are dropped. 0: none.
    cfg.INPUT.CLIP.MIN_BOX_SHARE = 0.0


def _add_model_keys(cfg: CN) -> None:
    cfg.MODEL.DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
    cfg.MODEL.META_ARCHITECTURE = "TubeR"
    # ImageNet statistics, RGB, 0..255.
    cfg.MODEL.PIXEL_MEAN = [123.675, 116.28, 103.53]
    cfg.MODEL.PIXEL_STD = [58.395, 57.12, 57.375]
    # Action classes A; column k of every action array is the action with id k + 1.
    cfg.MODEL.NUM_ACTIONS = 80
    # Train and evaluate a person detector: "person" is the only class, whatever NUM_ACTIONS and the
    # annotations say. Its weights start an action detector, see configs/pretrain.
    cfg.MODEL.PERSON_ONLY = False
    # Every person does exactly one action (JHMDB, UCF101-24): softmax over the actions and "no
    # object" instead of independent sigmoids.
    cfg.MODEL.EXCLUSIVE_ACTIONS = False

    # Detection on NVIDIA GPUs: record what a pass launches once for each size of clips, and replay
    # it.
    cfg.MODEL.CUDA_GRAPHS = True
    # On NVIDIA GPUs, run the deformable attention of D2, D3, D4, SeqFormer and class queries by
    # Triton kernels. Off, because they were tried in Triton's interpreter alone.
    cfg.MODEL.DEFORMABLE_TRITON = False

    # Patterns of the names of parameters that do not train, such as ["backbone.*"].
    cfg.MODEL.FREEZE = []
    cfg.MODEL.BACKBONE.NAME = "build_csn_backbone"
    # 0: train everything. CSN: 1 freezes the stem, n also res2 .. resn. ViT: 1 freezes the patch
    # embedding, n also the first n - 1 blocks.
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
    # Norm: "BN" (statistics of the local batch), "SyncBN", "FrozenBN" or "GN".
    cfg.MODEL.CSN.NORM = "BN"
    # How it trains, with the same result: "modules" (one by one, the plain way), "fused" (less time
    # and memory on CPUs in full precision, elsewhere like "modules") or "checkpointed" (keep
    # inputs and outputs of the blocks and compute the rest again: least memory, on any device).
    cfg.MODEL.CSN.EXECUTION = "fused"
    # On NVIDIA GPUs, run it by Triton kernels, in training ("fused", "checkpointed") and detection.
    cfg.MODEL.CSN.TRITON = True

    add_vit_keys(cfg)
    add_slowfast_keys(cfg)
    _add_memory_keys(cfg)
    add_architecture_keys(cfg)

    cfg.MODEL.INIT = CN()
    # Path, URL or released name of weights for the backbone alone (CSN, or ViT and its pyramid),
    # loaded before MODEL.WEIGHTS at the start of a run.
    cfg.MODEL.INIT.BACKBONE = ""
    # Likewise for everything but the backbone, such as a DETR or a person detector trained here.
    cfg.MODEL.INIT.TRANSFORMER = ""
    # Loading stops when a source fills a smaller share of the model, or of the part it is for.
    cfg.MODEL.INIT.MIN_MATCHED = 0.9


def _add_memory_keys(cfg: CN) -> None:
    cfg.MODEL.MEMORY = CN()
    # Persons read what was seen around the clip. All but the layers that read is frozen: train a
    # model, write what it sees with `tubedet build-memory`, then train these layers.
    cfg.MODEL.MEMORY.ENABLED = False
    # Folder written by `tubedet build-memory`, for trainings and evaluations on data sets. Videos
    # that are detected in need none.
    cfg.MODEL.MEMORY.STORE = ""
    # Seconds before and after the key frame.
    cfg.MODEL.MEMORY.WINDOW = 30
    # Read only what was before the key frame, as live video needs it.
    cfg.MODEL.MEMORY.PAST_ONLY = False
    # Most persons of a second that are remembered, the surest ones.
    cfg.MODEL.MEMORY.PERSONS_PER_SECOND = 5
    # Their least probability.
    cfg.MODEL.MEMORY.PERSON_THRESH = 0.5
    # Learned queries of the two steps that compress what was read.
    cfg.MODEL.MEMORY.NUM_QUERIES = [16, 32]
    # Channels of the layers that read.
    cfg.MODEL.MEMORY.HIDDEN_DIM = 256
    # Their attention heads.
    cfg.MODEL.MEMORY.NUM_HEADS = 8
    # Hidden channels of their feed-forward layers.
    cfg.MODEL.MEMORY.FEEDFORWARD_DIM = 1024
    # Of attention weights, feed-forward layers and residuals.
    cfg.MODEL.MEMORY.DROPOUT = 0.1


def _add_proposal_keys(cfg: CN) -> None:
    # Person boxes for models that need them: with MODEL.LOAD_PROPOSALS, PROPOSAL_FILES_TRAIN and
    # _TEST name a file of any known format for each data set, see docs/person_boxes.md. At most
    # PRECOMPUTED_PROPOSAL_TOPK_TRAIN or _TEST boxes of a key frame count, the best ones.
    # Format of the files; "": found by the content.
    cfg.DATASETS.PROPOSAL_FORMAT = ""
    # Json with the images of each file of COCO results in PROPOSAL_FILES_TRAIN, "" for a file of
    # another kind; empty: none.
    cfg.DATASETS.PROPOSAL_IMAGES_TRAIN = ()
    # Likewise for PROPOSAL_FILES_TEST.
    cfg.DATASETS.PROPOSAL_IMAGES_TEST = ()
    # mmaction2's rule (there 0.9): boxes from this score on count, or else the best one of the key
    # frame, and the whole frame where the file does not have the key frame. It takes the place of
    # MODEL.ROI_ACTION.BOX_SCORE_THRESH, which must be 0 then. 0: not this rule.
    cfg.DATASETS.PROPOSAL_KEEP_BEST_BELOW = 0.0


def _add_run_keys(cfg: CN) -> None:
    # "wandb", "mlflow" or "clearml": the figures of a training go there, too; the extra of that
    # name has its package. "": nowhere.
    cfg.TRACKER = ""
    # "auto" is the next free numbered folder in output/, such as output/001; with --resume the
    # latest that has a checkpoint.
    cfg.OUTPUT_DIR = "./output"
    # Unreadable key frames that each training worker may skip before it stops. 0: none.
    cfg.DATALOADER.MAX_BROKEN_KEYFRAMES = 0
    # Clips whose sides round up to the same multiples of this share a training batch: give the 16
    # or 32 to which a ViT pads, which has no mask for padding. Up to 4 batches of clips wait for
    # others in each process; beyond that the nearest sizes go together. 0: ASPECT_RATIO_GROUPING
    # counts.
    cfg.DATALOADER.SIZE_GROUPING = 0

    # AdamW with these factors on BASE_LR: pairs of [pattern of parameter names, factor], such as
    # ["backbone.*", 0.1]; the last one that fits counts.
    cfg.SOLVER.LR_FACTORS = []
    # In a ViT, the share of the learning rate that a layer has of that of the next one; the last
    # norm has all of it. Multiplies with LR_FACTORS, such as 0.75 for ViT-B. 1: all layers alike.
    cfg.SOLVER.LAYER_DECAY = 1.0
    # Weight decay of a ViT's norms, biases, LayerScale and position table, before
    # WEIGHT_DECAY_NORM and WEIGHT_DECAY_BIAS. None: as outside of the ViT.
    cfg.SOLVER.WEIGHT_DECAY_VIT_VECTORS = 0.0
    # LR_SCHEDULER_NAME also takes "FullWarmupCosineLR", the schedule of VideoMAE and UMT: the last
    # of WARMUP_ITERS has the full rate, and a cosine falls from there to BASE_LR_END.
    # CLIP_GRADIENTS.CLIP_TYPE also takes "full_model": the L2 norm over all parameters.
    cfg.SOLVER.CLIP_GRADIENTS.CLIP_TYPE = "full_model"
    # Clips of a process that go through the model at a time; the gradients of an iteration add up
    # until its IMS_PER_BATCH are through. 0: all at once. Batch norms and the losses' counts of
    # persons see one pass, not the batch.
    cfg.SOLVER.CLIPS_PER_PASS = 0
    cfg.SOLVER.EMA = CN()
    # Keep an exponential moving average of the weights. Evaluation uses the average, and
    # checkpoints hold it beside the weights. --resume goes on with both; everything else loads
    # the average.
    cfg.SOLVER.EMA.ENABLED = False
    # Share of the average that an iteration keeps; it spans about 1 / (1 - DECAY) iterations.
    cfg.SOLVER.EMA.DECAY = 0.999
    # Training on NVIDIA GPUs: record both passes of a model up to its losses, as MODEL.CUDA_GRAPHS
    # does for detection. Off, because it was not measured at full size.
    cfg.SOLVER.CUDA_GRAPHS = False

    # Type of the automatic mixed precision switched on by AMP.ENABLED: "float16" or "bfloat16".
    cfg.SOLVER.AMP.DTYPE = "float16"

    # Evaluations during a training (EVAL_PERIOD) take at most so many key frames of each data set,
    # evenly over it. The one at the end, and --eval-only, take all. 0: all, always.
    cfg.TEST.MAX_KEY_FRAMES = 0
    # Figure by which evaluations are compared, as metrics.json names it: "frame_ap/mAP@0.5IOU" on
    # AVA, "validation/total_loss" (less is better of a loss), "DATA_SET/frame_ap/..." with several
    # data sets. The weights of the best one so far are kept as model_best.pth. "": none are.
    cfg.TEST.BEST_METRIC = ""
    # The training ends after so many evaluations in a row (EVAL_PERIOD) without a better
    # BEST_METRIC. 0: it makes all of its iterations.
    cfg.TEST.PATIENCE = 0
    # Compute the losses on the annotated key frames of DATASETS.TEST, too, at every evaluation in a
    # training: validation/total_loss and its parts. Takes about as long as the evaluation again.
    cfg.TEST.VALIDATION_LOSS = False
    # Key frames of each data set, evenly over it, whose detections are drawn beside the annotations
    # for TensorBoard at every evaluation in a training; at most 64.
    cfg.TEST.PICTURES = 0
    # Clips in one pass of the model at evaluation. Clips of other sizes do not share a pass.
    cfg.TEST.BATCH_SIZE = 1
    # Automatic mixed precision of evaluation: "float16", "bfloat16" or "" (none).
    cfg.TEST.AMP = ""
    # Evaluate RoIActionDetector on the annotated boxes, score 1, of key frames without boxes from a
    # file: then it is classification alone that is measured.
    cfg.TEST.GROUND_TRUTH_BOXES = False
    # Evaluator behaviour: "official" (2019, the numbers of papers), "official_2018" or
    # "official_2020".
    cfg.TEST.AVA_PROTOCOL = "official"
    # Rules of frame-mAP and video-mAP on data sets of action tubes: "act" or "voc".
    cfg.TEST.TUBE_PROTOCOL = "act"
    # What tubes are linked from for video-mAP: "all" classes of a box, or its "best" one. As
    # published, the class-query detector on UCF101-24 links the best class of boxes from 0.7 on;
    # everything else links all.
    cfg.TEST.TUBE_CLASSES = "all"
    # Boxes of a smaller person probability make no tubes. frame-mAP counts all boxes.
    cfg.TEST.TUBE_PERSON_THRESH = 0.0


def _register_old_keys(cfg: CN) -> None:
    """Let the keys of earlier versions raise an error, in a yaml as on the command line."""
    for node in ("TUBER", "SEQFORMER", "SPARSE_RCNN"):
        for key in cfg.MODEL.CRITERION:
            if node == "TUBER" or key != "PERSON_LOSS_WEIGHT":
                cfg.register_renamed_key(
                    f"MODEL.{node}.{key}",
                    f"MODEL.CRITERION.{key}",
                    "MODEL.CRITERION holds the values of MODEL.META_ARCHITECTURE; delete the loss "
                    "keys of other architectures.",
                )
    cfg.register_renamed_key(
        "MODEL.TUBER.REPEAT_EQUAL_WORK",
        "the argument repeat_equal_work of TubeR and DeformableTubeR",
        "it only serves comparisons; delete the key.",
    )
