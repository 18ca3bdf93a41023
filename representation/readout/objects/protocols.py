"""Whose numbers are taken: what each paper's protocol changes of the settings.

[paper] is said by it; [detectron2] is the default of that code, which the papers used, or of MoCo's
configuration files for it, as far as they are known here; [ours] is a choice.

Everywhere images without objects are learned from too (detectron2 leaves them out), and a batch's
images are drawn without regard to their form (detectron2 puts wide and high ones apart).
"""

from collections.abc import Mapping
from typing import Any

Values = Mapping[str, Any]

# Sides and lengths of the reference implementation. [detectron2]
_COCO: Values = {
    "short_sides": (640, 672, 704, 736, 768, 800),
    "test_short_side": 800,
    "long_side": 1333,
    "detector.proposals": 1000,
    "batch_size": 16,
    "schedule.kind": "sgd",
    "schedule.learning_rate": 0.02,
    "schedule.momentum": 0.9,
    "schedule.weight_decay": 1e-4,
    "schedule.warmup": 1000,
    "detector.anchors": (32, 64, 128, 256, 512),
    "detector.pyramid": 256,
    "detector.width": 1024,
    "detector.box_samples": 512,
    "detector.anchor_samples": 256,
}
_CITYSCAPES: Values = {
    **_COCO,
    "short_sides": (800, 832, 864, 896, 928, 960, 992, 1024),
    "test_short_side": 1024,
    "long_side": 2048,
    "batch_size": 8,
    "schedule.learning_rate": 0.01,
    "schedule.drops": (0.75,),
    "loop.steps": 24000,
}
# Proposals of one map are kept by more. [detectron2]
_C4: Values = {
    "detector.kind": "c4",
    "detector.candidates": 12000,
    "detector.proposals": 2000,
    "detector.test_candidates": 6000,
}
# MoCo: normalisation synchronised everywhere, nothing frozen, statistics measured in the end.
_MOCO: Values = {
    "detector.frozen": False,
    "detector.norm": "synchronised",
    "detector.new_norm": True,
    "precise_norm": 200,
}
_HEAVY_HEAD: Values = {"detector.kind": "fpn", "detector.convolutions": 4}

# FlowE, section 4.3: the encoder is frozen; C4 with its fourth stage as box head, nothing new but
# RPN and two linear layers. 12 epochs, batch 16, 0.02, a tenth at 8 and 11; sizes as they are,
# 720 x 1280 [paper]. It says nothing of a warm-up: detectron2's thousand steps [ours].
_FLOWE_BDD: Values = {
    **_COCO,
    **_C4,
    "detector.frozen": True,
    "short_sides": (720,),
    "test_short_side": 720,
    "epochs": 12,
    "schedule.drops": (8 / 12, 11 / 12),
}
# Section 4.4: Cityscapes, 64 epochs, batch 8, 0.01, a tenth at 56; short sides 800 to 1024 [paper].
_FLOWE_CITYSCAPES: Values = {
    **_CITYSCAPES,
    **_C4,
    "detector.frozen": True,
    "epochs": 64,
    "schedule.drops": (56 / 64,),
}
_PYRAMID: Values = {
    "detector.kind": "fpn",
    "detector.candidates": 2000,
    "detector.proposals": 1000,
    "detector.test_candidates": 1000,
}

# What suits some tens to hundreds of small images and one machine. [ours]
DEFAULT: Values = {
    "detector.kind": "fpn",
    "detector.pyramid": 128,
    "detector.width": 256,
    "detector.mask_width": 128,
    "detector.keypoint_width": 128,
    "detector.anchors": (16, 32, 64, 128, 256),
    "detector.candidates": 500,
    "detector.proposals": 500,
    "detector.test_candidates": 300,
    "detector.test_proposals": 300,
    "detector.anchor_samples": 128,
    "detector.box_samples": 128,
    "schedule.kind": "adamw",
    "schedule.learning_rate": 3e-4,
    "schedule.weight_decay": 1e-2,
    "schedule.warmup": 50,
    "schedule.drops": (0.7, 0.9),
    "precise_norm": 20,
    "loop.steps": 1000,
    "loop.clip": 10.0,
}

DETECTION: Mapping[str, Values] = {
    "default": DEFAULT,
    "flowe": _FLOWE_BDD,
    "flowe-heavy": {**_FLOWE_BDD, **_PYRAMID},
    # VOC 07+12: R50-C4, 24k steps, 0.02, batch 16, a tenth at 18k and 22k, warm-up 100.
    "moco": {
        **_COCO,
        **_C4,
        **_MOCO,
        "short_sides": tuple(range(480, 801, 32)),
        "loop.steps": 24000,
        "schedule.warmup": 100,
        "schedule.drops": (0.75, 22 / 24),
    },
    # Table 5: the same on VOC, a Faster R-CNN C4 for 24k steps.
    "multisiam": {
        **_COCO,
        **_C4,
        **_MOCO,
        "short_sides": tuple(range(480, 801, 32)),
        "loop.steps": 24000,
        "schedule.warmup": 100,
        "schedule.drops": (0.75, 22 / 24),
    },
    # Section 4.3: COCO 1x, FPN; normalisation in the pyramid and trained. Box AP of its Mask R-CNN
    # is `instances --protocol vader`; this one has no masks.
    "vader": {
        **_COCO,
        **_PYRAMID,
        **_MOCO,
        "precise_norm": 0,
        "loop.steps": 90000,
        "schedule.drops": (60 / 90, 80 / 90),
    },
    # RetinaNet 1x on COCO, MultiSiam's table 6: half the rate [detectron2].
    "retinanet": {
        **_COCO,
        **_MOCO,
        "detector.kind": "retinanet",
        "detector.test_candidates": 1000,
        "schedule.learning_rate": 0.01,
        "loop.steps": 90000,
        "schedule.drops": (60 / 90, 80 / 90),
    },
}

INSTANCES: Mapping[str, Values] = {
    "default": DEFAULT,
    "flowe": _FLOWE_CITYSCAPES,
    "flowe-heavy": {**_FLOWE_CITYSCAPES, **_PYRAMID},
    # Cityscapes: Mask R-CNN R50-FPN, 24k steps, batch 8, 0.01.
    "moco": {**_CITYSCAPES, **_PYRAMID, **_MOCO, **_HEAVY_HEAD},
    "multisiam": {**_CITYSCAPES, **_PYRAMID, **_MOCO, **_HEAVY_HEAD},
    "vader": {
        **_COCO,
        **_PYRAMID,
        **_MOCO,
        "precise_norm": 0,
        "loop.steps": 90000,
        "schedule.drops": (60 / 90, 80 / 90),
    },
}

# A quarter of an hour on two cores or less, whatever the protocol: small images, a narrow pyramid,
# and the rule of `default`, because a batch of four is not what the papers' rates are for. [ours]
QUICK: Values = {
    **{key: value for key, value in DEFAULT.items() if key != "detector.kind"},
    "images": 200,
    "epochs": None,
    "batch_size": 4,
    "short_sides": (160, 176, 192),
    "test_short_side": 176,
    "long_side": 320,
    "detector.pyramid": 64,
    "detector.candidates": 300,
    "detector.proposals": 300,
    "detector.anchor_samples": 64,
    "detector.box_samples": 64,
    "schedule.warmup": 30,
    "loop.steps": 300,
    "loop.log_every": 10,
}
