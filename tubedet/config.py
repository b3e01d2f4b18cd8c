"""Config keys that tubedet adds to detectron2's defaults."""

import torch
from detectron2.config import CfgNode as CN


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
    _add_run_keys(cfg)
    _register_old_keys(cfg)


def _add_input_keys(cfg: CN) -> None:
    # Short side of the clip before cropping (training) and at test time; no limit on the long one.
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
    # Short side of the random training crop, which keeps the aspect ratio. 0: no crop.
    cfg.INPUT.CLIP.CROP_SHORT_SIDE = 256
    # Largest change of hue, saturation and value, in OpenCV's 8-bit HSV units; drawn once a clip.
    cfg.INPUT.CLIP.HSV_JITTER = (10, 26, 26)
    # Flip, crop and colours of training clips on MODEL.DEVICE instead of in the loader's workers,
    # with the same random numbers. For GPUs whose workers cannot keep up.
    cfg.INPUT.CLIP.AUGMENT_ON_DEVICE = False
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
    # Train and evaluate a person detector: "person" is the only class, whatever NUM_ACTIONS and the
    # annotations say. Its weights start an action detector, see configs/pretrain.
    cfg.MODEL.PERSON_ONLY = False
    # Every person does exactly one action (JHMDB, UCF101-24): softmax over the actions and "no
    # object" instead of independent sigmoids.
    cfg.MODEL.EXCLUSIVE_ACTIONS = False

    # Detection on NVIDIA GPUs: record the launches of a pass once for each size of clips and replay
    # them. Off until make gpu-tests has passed with it on a GPU.
    cfg.MODEL.CUDA_GRAPHS = False

    # Patterns of the names of parameters that do not train, such as ["backbone.*"].
    cfg.MODEL.FREEZE = []
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
    # Norm: "BN" (statistics of the local batch), "SyncBN", "FrozenBN" or "GN".
    cfg.MODEL.CSN.NORM = "BN"
    # How it trains, with the same result: "modules" (one by one, the plain way), "fused" (less time
    # and memory on CPUs in full precision, elsewhere like "modules") or "checkpointed" (keep
    # inputs and outputs of the blocks and compute the rest again: least memory, on any device).
    cfg.MODEL.CSN.EXECUTION = "fused"
    # On NVIDIA GPUs, run it by Triton kernels, in training ("fused", "checkpointed") and detection.
    # Off until the kernels have passed their tests on a GPU (make gpu-tests).
    cfg.MODEL.CSN.TRITON = False

    _add_tuber_keys(cfg)
    _add_deformable_tuber_keys(cfg)
    _add_seqformer_keys(cfg)
    _add_sparse_rcnn_keys(cfg)
    _add_criterion_keys(cfg)

    cfg.MODEL.INIT = CN()
    # Path, URL or released name of weights for the CSN alone, loaded before MODEL.WEIGHTS at the
    # start of a run.
    cfg.MODEL.INIT.BACKBONE = ""
    # Likewise for everything but the CSN, such as a DETR or a person detector trained here.
    cfg.MODEL.INIT.TRANSFORMER = ""
    # Loading stops when a source fills a smaller share of the model, or of the part it is for.
    cfg.MODEL.INIT.MIN_MATCHED = 0.9


def _add_tuber_keys(cfg: CN) -> None:
    cfg.MODEL.TUBER = CN()
    # "key_frame": NUM_QUERIES queries for the key frame (AVA).
    # "tubelet": NUM_QUERIES queries for every frame (JHMDB, with EXCLUSIVE_ACTIONS).
    cfg.MODEL.TUBER.QUERY_TYPE = "key_frame"
    # How the time steps of the backbone become the detector's memory:
    # "decode" (learned), "avg", "max", "center" (one step) or "none" (all steps).
    cfg.MODEL.TUBER.TEMPORAL_POOLING = "decode"
    _add_transformer_keys(cfg.MODEL.TUBER, num_queries=15, feedforward_dim=2048)
    _add_context_keys(cfg.MODEL.TUBER)
    # Initial probability of every independent action, set by the classifier's bias. Published: 0.5;
    # a small value saves the first iterations of a training from scratch.
    cfg.MODEL.TUBER.ACTION_PRIOR = 0.5
    # Action scores of a query are zero unless its person probability is above this.
    cfg.MODEL.TUBER.PERSON_THRESH = 0.8


def _add_deformable_tuber_keys(cfg: CN) -> None:
    cfg.MODEL.DEFORMABLE_TUBER = CN()
    # D3: a DETR on the last backbone stage finds the positions of the queries.
    cfg.MODEL.DEFORMABLE_TUBER.DETR_FIRST = False
    # D4: TubeR's context branch classifies instead of a linear layer.
    cfg.MODEL.DEFORMABLE_TUBER.CONTEXT_ACTIONS = False
    # The context branch sees one collapsed time step, as published, instead of all steps.
    cfg.MODEL.DEFORMABLE_TUBER.COLLAPSE_CONTEXT = True
    # Norm after each temporal convolution: "BN", "SyncBN", "FrozenBN" or "GN".
    cfg.MODEL.DEFORMABLE_TUBER.COLLAPSE_NORM = "BN"
    # Queries start from the encoder's best cells instead of learned positions.
    cfg.MODEL.DEFORMABLE_TUBER.TWO_STAGE = False
    _add_transformer_keys(cfg.MODEL.DEFORMABLE_TUBER, num_queries=15, feedforward_dim=2048)
    _add_deformable_keys(cfg.MODEL.DEFORMABLE_TUBER)
    _add_context_keys(cfg.MODEL.DEFORMABLE_TUBER)
    # Initial probability of every independent action, set by the classifier's bias.
    cfg.MODEL.DEFORMABLE_TUBER.ACTION_PRIOR = 0.5
    # Action scores of a query are zero unless its person probability is above this.
    cfg.MODEL.DEFORMABLE_TUBER.PERSON_THRESH = 0.8


def _add_seqformer_keys(cfg: CN) -> None:
    cfg.MODEL.SEQFORMER = CN()
    # Time steps in which boxes are predicted; the backbone's maps are pooled to as many.
    cfg.MODEL.SEQFORMER.NUM_STEPS = 4
    _add_transformer_keys(cfg.MODEL.SEQFORMER, num_queries=20, feedforward_dim=1024)
    _add_deformable_keys(cfg.MODEL.SEQFORMER)
    # Initial probability of every independent action, set by the classifier's bias.
    cfg.MODEL.SEQFORMER.ACTION_PRIOR = 0.01
    # Action scores of a query are zero unless its most probable action is above this.
    cfg.MODEL.SEQFORMER.PERSON_THRESH = 0.0


def _add_transformer_keys(node: CN, *, num_queries: int, feedforward_dim: int) -> None:
    # Queries: the most persons that a clip can have.
    node.NUM_QUERIES = num_queries
    # Channels of the transformer's tokens.
    node.HIDDEN_DIM = 256
    # Heads of every attention; a divisor of HIDDEN_DIM.
    node.NUM_HEADS = 8
    # Hidden channels of the feed-forward layers.
    node.FEEDFORWARD_DIM = feedforward_dim
    # Layers of the encoder.
    node.ENC_LAYERS = 6
    # Layers of the decoder.
    node.DEC_LAYERS = 6
    # Dropout of all attention and feed-forward layers.
    node.DROPOUT = 0.1


def _add_context_keys(node: CN) -> None:
    # Dropout before the action classifier of the context branch.
    node.ACTION_DROPOUT = 0.5
    # Hide padded cells from the context branch too. The published model does not.
    node.MASK_CONTEXT = False


def _add_deformable_keys(node: CN) -> None:
    # Resolutions of the features; those beyond the backbone's maps come from strided convolutions.
    node.NUM_LEVELS = 4
    # Points that each head samples on each level in the encoder.
    node.ENC_POINTS = 4
    # Points that each head samples on each level in the decoder.
    node.DEC_POINTS = 4
    # Every decoder layer refines the boxes of the one before.
    node.BOX_REFINE = True


def _add_sparse_rcnn_keys(cfg: CN) -> None:
    # Channels are MODEL.FPN.OUT_CHANNELS, pooling is MODEL.ROI_BOX_HEAD.POOLER_*.
    cfg.MODEL.SPARSE_RCNN = CN()
    # Learned proposals: the most persons that a clip can have.
    cfg.MODEL.SPARSE_RCNN.NUM_PROPOSALS = 100
    # Heads in a row, each refining the boxes of the one before.
    cfg.MODEL.SPARSE_RCNN.NUM_STAGES = 6
    # Heads of the attention among the proposals.
    cfg.MODEL.SPARSE_RCNN.NUM_HEADS = 8
    # Hidden channels of the feed-forward layers.
    cfg.MODEL.SPARSE_RCNN.FEEDFORWARD_DIM = 2048
    # Inner channels of the dynamic convolutions.
    cfg.MODEL.SPARSE_RCNN.DYNAMIC_DIM = 64
    # Hidden layers before the action classifier.
    cfg.MODEL.SPARSE_RCNN.NUM_CLS = 1
    # Hidden layers before the box regressor.
    cfg.MODEL.SPARSE_RCNN.NUM_REG = 3
    # Dropout of all attention and feed-forward layers.
    cfg.MODEL.SPARSE_RCNN.DROPOUT = 0.0
    # Side in pixels of a box that is pooled from the map of stride 16; smaller boxes come from
    # finer maps. About half the short side of a clip: with the 224 that detectron2 uses for images
    # of 800 pixels, no box of a clip would ever see the coarsest map.
    cfg.MODEL.SPARSE_RCNN.CANONICAL_BOX_SIZE = 128
    # How the time steps of every backbone stage become one: "avg", "max", "center" (one step) or
    # "decode" (learned).
    cfg.MODEL.SPARSE_RCNN.TEMPORAL_POOLING = "max"
    # Initial probability of every independent action, set by the classifier's bias.
    cfg.MODEL.SPARSE_RCNN.ACTION_PRIOR = 0.01
    # Action scores of a proposal are zero unless its most probable action is above this.
    cfg.MODEL.SPARSE_RCNN.PERSON_THRESH = 0.0


def _add_criterion_keys(cfg: CN) -> None:
    # Matching and losses of every architecture. These are TubeR's values; those of the others are
    # in configs/Base-*.yaml.
    cfg.MODEL.CRITERION = CN()
    # Weight of the class, person or action, in the matching cost.
    cfg.MODEL.CRITERION.COST_CLASS = 12.0
    # Weight of the boxes' L1 distance in the matching cost.
    cfg.MODEL.CRITERION.COST_BBOX = 5.0
    # Weight of the boxes' GIoU in the matching cost.
    cfg.MODEL.CRITERION.COST_GIOU = 2.0
    # Coordinates of the L1 distance, in the cost and the loss: "cxcywh" or "xyxy".
    cfg.MODEL.CRITERION.L1_FORMAT = "cxcywh"
    # Losses on every decoder layer (stage) instead of the last one only.
    cfg.MODEL.CRITERION.AUX_LOSS = True
    # Loss of independent actions: "bce" (mean over everything) or "focal" (per box).
    cfg.MODEL.CRITERION.ACTION_LOSS = "bce"
    # Weight of loss_ce, the actions.
    cfg.MODEL.CRITERION.ACTION_LOSS_WEIGHT = 12.0
    # Weight of loss_bbox, the L1 distance of the boxes.
    cfg.MODEL.CRITERION.BBOX_LOSS_WEIGHT = 5.0
    # Weight of loss_giou of the boxes.
    cfg.MODEL.CRITERION.GIOU_LOSS_WEIGHT = 2.0
    # Weight of loss_ce_b, the person (or visibility) decision of TubeR and DeformableTubeR.
    cfg.MODEL.CRITERION.PERSON_LOSS_WEIGHT = 1.0
    # Factor on the action loss of matched queries ("bce" only).
    cfg.MODEL.CRITERION.MATCHED_ACTION_WEIGHT = 10.0
    # Share of the positive class in the focal loss and in the focal matching cost.
    cfg.MODEL.CRITERION.FOCAL_ALPHA = 0.25
    # Exponent of the focal loss and of the focal matching cost.
    cfg.MODEL.CRITERION.FOCAL_GAMMA = 2.0
    # Weight of "no object" in the softmax losses.
    cfg.MODEL.CRITERION.NO_OBJECT_WEIGHT = 0.1


def _add_run_keys(cfg: CN) -> None:
    # Unreadable key frames that each training worker may skip before it stops. 0: none.
    cfg.DATALOADER.MAX_BROKEN_KEYFRAMES = 0

    # AdamW with these factors on BASE_LR: pairs of [pattern of parameter names, factor], such as
    # ["backbone.*", 0.1]; the last one that fits counts.
    cfg.SOLVER.LR_FACTORS = []
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
    # Type of the automatic mixed precision switched on by AMP.ENABLED: "float16" or "bfloat16".
    cfg.SOLVER.AMP.DTYPE = "float16"

    # Evaluations during a training (EVAL_PERIOD) take at most so many key frames of each data set,
    # evenly over it. The one at the end, and --eval-only, take all. 0: all, always.
    cfg.TEST.MAX_KEY_FRAMES = 0
    # Clips in one pass of the model at evaluation. Clips of other sizes do not share a pass.
    cfg.TEST.BATCH_SIZE = 1
    # Automatic mixed precision of evaluation: "float16", "bfloat16" or "" (none).
    cfg.TEST.AMP = ""
    # Evaluator behaviour: "official" (2019, the numbers of papers), "official_2018" or
    # "official_2020".
    cfg.TEST.AVA_PROTOCOL = "official"
    # Rules of frame-mAP and video-mAP on data sets of action tubes: "act" or "voc".
    cfg.TEST.TUBE_PROTOCOL = "act"


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
