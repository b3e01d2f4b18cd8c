"""Config keys of the architectures: ``MODEL.TUBER``, ``MODEL.SEQFORMER`` and so on."""

from detectron2.config import CfgNode as CN


def add_architecture_keys(cfg: CN) -> None:
    """Add a node for every architecture, and that of the losses that they share.

    Args:
        cfg: changed in place.
    """
    _add_tuber_keys(cfg)
    _add_deformable_tuber_keys(cfg)
    _add_seqformer_keys(cfg)
    _add_sparse_rcnn_keys(cfg)
    _add_roi_action_keys(cfg)
    _add_class_query_keys(cfg)
    _add_stmixer_keys(cfg)
    _add_criterion_keys(cfg)


def add_vit_keys(cfg: CN) -> None:
    """Add the node of the video ViTs.

    Args:
        cfg: changed in place.
    """
    # Of build_vit_backbone (one map), build_vit_pyramid_backbone (maps of several strides, of
    # MODEL.FPN.OUT_CHANNELS channels) and build_vit_pyramid_2d_backbone (the same without time).
    cfg.MODEL.VIT = CN()
    # "S", "B", "L", "H", "g", or "custom", for which the next four keys count.
    cfg.MODEL.VIT.SIZE = "B"
    # Channels of the tokens.
    cfg.MODEL.VIT.WIDTH = 768
    # Blocks.
    cfg.MODEL.VIT.DEPTH = 12
    # Heads of the attention; a divisor of WIDTH.
    cfg.MODEL.VIT.NUM_HEADS = 12
    # Hidden channels of the MLPs.
    cfg.MODEL.VIT.MLP_WIDTH = 3072
    # Side of the patches in pixels, a divisor of 224, for every size. 0: the published one, 14 for
    # "g" and 16 for all others.
    cfg.MODEL.VIT.PATCH_SIZE = 0
    # Frames of a patch: 2, or 1 for the weights of UMT.
    cfg.MODEL.VIT.TUBELET = 2
    # Initial scale of the branches of the blocks, learned per channel (LayerScale). 0: none.
    cfg.MODEL.VIT.INIT_VALUES = 0.0
    # Probability that a training clip skips a branch of the last block (stochastic depth). It rises
    # to this from 0 in the first block. Published for AVA: 0.2.
    cfg.MODEL.VIT.DROP_PATH = 0.0
    # Compute what is within the blocks again in the backward pass instead of keeping it: less
    # memory, more time, the same result.
    cfg.MODEL.VIT.CHECKPOINTING = False
    # Position codes: "sine" (fixed), or "learned" for weights with a pos_embed of their own.
    cfg.MODEL.VIT.POS_EMBED = "sine"
    # Sine codes of clips of any length: "extend" (count on) or "interpolate" (stretch 8 steps).
    cfg.MODEL.VIT.POS_EMBED_TIME = "extend"
    # Hide padding from all blocks, so that results do not depend on the other clips of a batch.
    # The published models do not.
    cfg.MODEL.VIT.MASK_PADDING = False
    # Maps of the pyramid: "p2", "p3", "p4", "p5" of 1/4, 1/2, 1 and 2 patches a cell.
    cfg.MODEL.VIT.OUT_FEATURES = ["p2", "p3", "p4", "p5"]


def add_slowfast_keys(cfg: CN) -> None:
    """Add the node of SlowFast.

    Args:
        cfg: changed in place.
    """
    # Of build_slowfast_backbone (maps of several strides) and build_slowfast_lateral_backbone (the
    # same, of MODEL.FPN.OUT_CHANNELS channels and MODEL.STMIXER.NUM_STEPS time steps).
    cfg.MODEL.SLOWFAST = CN()
    # "slowfast", or "slow" for the slow pathway alone (SlowOnly), over all frames.
    cfg.MODEL.SLOWFAST.PATHWAYS = "slowfast"
    # 50 or 101.
    cfg.MODEL.SLOWFAST.DEPTH = 50
    # Channels of the slow stem, a multiple of 8. Published: 64.
    cfg.MODEL.SLOWFAST.WIDTH = 64
    # Frames of a clip for one of the slow pathway beside a fast one.
    cfg.MODEL.SLOWFAST.RATIO = 4
    # Time steps that the fusion of the fast into the slow pathway sees: 7, or 5 in R101-NL.
    cfg.MODEL.SLOWFAST.FUSION_KERNEL = 7
    # Non-local layers in res4 of depth 101 (R101-NL).
    cfg.MODEL.SLOWFAST.NON_LOCAL = False
    # Maps that are returned.
    cfg.MODEL.SLOWFAST.OUT_FEATURES = ["res2", "res3", "res4", "res5"]
    # Norm after each convolution: "BN", "EvalBN" (statistics stay, weights train; published for
    # STMixer on SlowOnly), "FrozenBN" (statistics and weights stay), "SyncBN" or "GN".
    cfg.MODEL.SLOWFAST.NORM = "BN"


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


def _add_roi_action_keys(cfg: CN) -> None:
    # RoIActionDetector. Its loss is MODEL.CRITERION's ACTION_LOSS with ACTION_LOSS_WEIGHT. The
    # values are those of VideoMAE-Action-Detection and UMT.
    cfg.MODEL.ROI_ACTION = CN()
    # Maps of the backbone that boxes are aligned to, their channels joined. []: the last one.
    cfg.MODEL.ROI_ACTION.IN_FEATURES = []
    # How the time steps of a map become one: "avg" or "max".
    cfg.MODEL.ROI_ACTION.TEMPORAL_POOL = "avg"
    # Bins of a box along each side; the largest one of every channel counts.
    cfg.MODEL.ROI_ACTION.POOLER_RESOLUTION = 7
    # Samples of a bin along each axis. 0: as many as it has cells.
    cfg.MODEL.ROI_ACTION.POOLER_SAMPLING_RATIO = 0
    # Pixel centres meet (PySlowFast, mmaction2) instead of the first RoIAlign's corners.
    cfg.MODEL.ROI_ACTION.POOLER_ALIGNED = False
    # Dropout before the classifier (PySlowFast, mmaction2: 0.5).
    cfg.MODEL.ROI_ACTION.DROPOUT = 0.0
    # Columns of the classifier before that of the first action; 1 for weights of mmaction2, whose
    # column 0 stands for nothing.
    cfg.MODEL.ROI_ACTION.FIRST_COLUMN = 0
    # Initial probability of every independent action, set by the classifier's bias.
    cfg.MODEL.ROI_ACTION.ACTION_PRIOR = 0.5
    # Over boxes the loss is a "sum", or a "mean" (PySlowFast, mmaction2).
    cfg.MODEL.ROI_ACTION.LOSS_REDUCTION = "sum"
    # Multiply action scores by the score of the box. PySlowFast and mmaction2 do not.
    cfg.MODEL.ROI_ACTION.SCORE_TIMES_BOX = True
    # Given boxes with a smaller score are left out, in detection and in training.
    cfg.MODEL.ROI_ACTION.BOX_SCORE_THRESH = 0.8
    # A box ends with its last pixel, which makes it a pixel wider in all arithmetic, as published
    # by AlphAction and what follows it. False: it ends where the next pixel begins.
    cfg.MODEL.ROI_ACTION.INCLUSIVE_PIXELS = True
    # Shares of its width and height that a box gets in detection, for the head alone.
    cfg.MODEL.ROI_ACTION.BOX_EXTENSION = (0.1, 0.05)
    # In training the sides of a box move at random: outward by up to these shares of its width and
    # height, and
    cfg.MODEL.ROI_ACTION.JITTER_OUTWARD = (0.2, 0.1)
    # inward by up to these.
    cfg.MODEL.ROI_ACTION.JITTER_INWARD = (0.1, 0.05)
    # Boxes of a clip that train; a random choice of more. 0: all.
    cfg.MODEL.ROI_ACTION.MAX_BOXES = 100
    # Train on given boxes (DATASETS.PROPOSAL_FILES_TRAIN) beside the annotated ones.
    cfg.MODEL.ROI_ACTION.TRAIN_ON_PROPOSALS = False
    # A given box has the actions of the annotated box that it overlaps most, from this IoU on.
    cfg.MODEL.ROI_ACTION.PROPOSAL_IOU = 0.9
    # Train also on given boxes without an action: none of the independent ones happens there.
    cfg.MODEL.ROI_ACTION.KEEP_NEGATIVES = True


def _add_class_query_keys(cfg: CN) -> None:
    cfg.MODEL.CLASS_QUERY = CN()
    # "key": NUM_QUERIES queries for the key frame (AVA).
    # "all": NUM_QUERIES queries for every frame of the clip (JHMDB, UCF101-24).
    cfg.MODEL.CLASS_QUERY.FRAMES = "key"
    _add_transformer_keys(cfg.MODEL.CLASS_QUERY, num_queries=15, feedforward_dim=2048)
    # Levels of the pyramid. A backbone that returns so many maps of HIDDEN_DIM channels
    # is the pyramid; the maps of any other are projected, and strided convolutions add the rest.
    cfg.MODEL.CLASS_QUERY.NUM_LEVELS = 4
    # Points that each head of the encoder samples on each level.
    cfg.MODEL.CLASS_QUERY.ENC_POINTS = 8
    # Index of the level on whose height and width the decoder reads all of them. The third one has
    # stride 16; a finer one takes more time and memory.
    cfg.MODEL.CLASS_QUERY.GRID_LEVEL = 2
    # Dropout of the class vectors, whose means are the action logits. Without any, classes learn
    # only once other weights have moved.
    cfg.MODEL.CLASS_QUERY.ACTION_DROPOUT = 0.5
    # Initial probability of every independent action, set by the bias of the last norm of the class
    # vectors. Published: 0.5; a small value saves the first iterations of a training from scratch.
    cfg.MODEL.CLASS_QUERY.ACTION_PRIOR = 0.5
    # Spread around 1 of the initial weights of that norm. Published: 0, where classes learn slowly
    # at first; with 3 a training from scratch tells them apart in its first iterations.
    cfg.MODEL.CLASS_QUERY.ACTION_SPREAD = 0.0
    # The four keys that follow choose between what the released code computes, which its released
    # weights need ("published", False), and what was meant ("right", True).
    # What the encoder's offsets in (x, y, t) are divided by: (time, width, height) of the level as
    # published, or (width, height, time).
    cfg.MODEL.CLASS_QUERY.OFFSET_NORMALIZER = "published"
    # Where the decoder reads the levels: from border to border of the outer cells as published,
    # where the outermost samples get half, or from centre to centre of these.
    cfg.MODEL.CLASS_QUERY.GRID_POSITIONS = "published"
    # The time step whose position code frame j gets: j modulo the steps as published, or that of
    # its time. It matters in padded clips only.
    cfg.MODEL.CLASS_QUERY.TIME_CODE = "published"
    # Hide padded cells from the attention of the classes.
    cfg.MODEL.CLASS_QUERY.MASK_CLASSES = False
    # Action scores are person x action probability (JHMDB, UCF101-24) instead of the latter (AVA).
    cfg.MODEL.CLASS_QUERY.SCORE_TIMES_PERSON = False
    # Action scores of a query are zero unless its person probability is above this.
    cfg.MODEL.CLASS_QUERY.PERSON_THRESH = 0.0


def _add_stmixer_keys(cfg: CN) -> None:
    # Channels are MODEL.FPN.OUT_CHANNELS.
    cfg.MODEL.STMIXER = CN()
    # Queries: the most persons that a clip can have.
    cfg.MODEL.STMIXER.NUM_QUERIES = 100
    # Stages in a row, each refining the boxes of the one before.
    cfg.MODEL.STMIXER.NUM_STAGES = 6
    # Heads of the attention among the queries.
    cfg.MODEL.STMIXER.NUM_HEADS = 8
    # Hidden channels of the feed-forward layers.
    cfg.MODEL.STMIXER.FEEDFORWARD_DIM = 2048
    # Groups of channels, each of which samples points of its own.
    cfg.MODEL.STMIXER.NUM_GROUPS = 4
    # Points that a query samples in each group, in space and scale and at the same place in time.
    cfg.MODEL.STMIXER.NUM_POINTS = 32
    # Points, and time steps, that come out of a mixing for each that comes in.
    cfg.MODEL.STMIXER.OUT_MULTIPLIER = 4
    # Time steps to which the maps of build_csn_lateral_backbone are pooled. Those of a ViT keep
    # their own. The shapes of the mixing over time depend on it.
    cfg.MODEL.STMIXER.NUM_STEPS = 4
    # Initial probability of every independent action, set by the classifier's bias.
    cfg.MODEL.STMIXER.ACTION_PRIOR = 0.01
    # Action scores are person x action probability instead of the latter, as published.
    cfg.MODEL.STMIXER.SCORE_TIMES_PERSON = False
    # Action scores of a query are zero unless its person probability is above this.
    cfg.MODEL.STMIXER.PERSON_THRESH = 0.6
    # In a clip without any such query, so many of the most probable persons keep their scores.
    cfg.MODEL.STMIXER.FALLBACK_TOPK = 3


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
    # Loss of independent actions: "bce" (mean over everything), "matched_bce" (mean over
    # the queries with a box), "focal" (per box) or "query_focal" (focal, mean over the actions and
    # summed over the queries).
    cfg.MODEL.CRITERION.ACTION_LOSS = "bce"
    # Weight of loss_ce, the actions.
    cfg.MODEL.CRITERION.ACTION_LOSS_WEIGHT = 12.0
    # Weight of loss_bbox, the L1 distance of the boxes.
    cfg.MODEL.CRITERION.BBOX_LOSS_WEIGHT = 5.0
    # Weight of loss_giou of the boxes.
    cfg.MODEL.CRITERION.GIOU_LOSS_WEIGHT = 2.0
    # Weight of loss_ce_b, the person (or visibility) decision of an architecture that has one.
    cfg.MODEL.CRITERION.PERSON_LOSS_WEIGHT = 1.0
    # Factor on the action loss of matched queries ("bce" and "query_focal").
    cfg.MODEL.CRITERION.MATCHED_ACTION_WEIGHT = 10.0
    # Independent actions: s moves the targets 1 and 0 to 1 - s / 2 and s / 2.
    cfg.MODEL.CRITERION.LABEL_SMOOTHING = 0.0
    # Independent actions are learned through the scores, person x action probability, which trains
    # the person decision too (class-query detector on JHMDB and UCF101-24).
    cfg.MODEL.CRITERION.ACTION_LOSS_OF_SCORES = False
    # "query_focal" is the mean over the key frames of a batch (in tube mode over all frames)
    # instead of their sum.
    cfg.MODEL.CRITERION.ACTION_FRAME_MEAN = False
    # Share of the positive class in the focal loss and in the focal matching cost.
    cfg.MODEL.CRITERION.FOCAL_ALPHA = 0.25
    # Exponent of the focal loss and of the focal matching cost.
    cfg.MODEL.CRITERION.FOCAL_GAMMA = 2.0
    # Weight of "no object" in the softmax losses.
    cfg.MODEL.CRITERION.NO_OBJECT_WEIGHT = 0.1
