"""Scores that papers report, to be shown beside one's own where the setting is theirs.

Numbers are as printed: percent, but metres for depth. A table stands under the protocol of ours
that is made of its paper's settings. Left out are rows whose setting no protocol here has, which
includes what CACL quotes from FlowE, and those of data that cannot be had (FlowE's UrbanCity).
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from representation.readout.published_table import Published, Row, Table

FLOWE = "FlowE (Xiong et al., ICCV 2021)"
CACL = "CACL (Pang et al., AAAI 2022)"
VADER = "VADeR (Pinheiro et al., NeurIPS 2020)"
MULTISIAM = "MultiSiam (Chen et al., ICCV 2021)"
CRW = "CRW (Jabri et al., NeurIPS 2020), README of its code"

CITYSCAPES = {"train": 2975, "test": 500}
BDD_SEGMENTATION = {"train": 7000, "test": 1000}
BDD_DETECTION = {"test": 10_000}
VOC_AUG = {"train": 10_582, "test": 1449}
VOC_DETECTION = {"train": 16_551, "test": 4952}
NYU = {"train": 795, "test": 654}
COCO = {"test": 5000}
DAVIS_2017 = {"objects": 61}  # of 30 sequences

KINETICS, BOTH = "Kinetics-400", "ImageNet, Kinetics-400"

# Columns of FlowE's tables: mIoU and mAP with the standard header, then with the heavier one.
# Rows whose whole network is trained with labels are another setting and left out.
_FLOWE_BDD: Sequence[tuple[str, Row]] = (
    ("table 1", ("random", "nothing", 9.8, 0.0, 22.0, 5.5)),
    ("table 1", ("CRW", "BDD100K", 19.4, 1.7, 34.7, 22.9)),
    ("table 1", ("VINCE", "BDD100K", 23.2, 0.1, 39.5, 23.8)),
    ("table 1", ("FlowE", "BDD100K", 37.6, 5.8, 49.8, 24.9)),
    ("table 2", ("supervised", "ImageNet, labels", 34.0, 3.6, 52.4, 24.9)),
    ("table 2", ("SimCLR", "ImageNet", 28.1, 2.7, 51.0, 26.8)),
    ("table 2", ("BYOL", "ImageNet", 28.3, 2.8, 52.4, 26.0)),
    ("table 2", ("VINCE", "R2V2", 19.4, 1.4, 47.0, 24.2)),
    ("table 7", ("BYOL", "BDD100K", None, None, 21.9, 4.5)),
    ("table 7", ("BYOL (pre-crop)", "BDD100K", None, None, 18.2, 4.2)),
    ("table 7", ("BYOL (pre-crop) with video", "BDD100K", None, None, 10.7, 2.1)),
)
_FLOWE_CITYSCAPES: Sequence[tuple[str, Row]] = (
    ("table 4", ("supervised", "ImageNet, labels", 43.8, 6.1, 59.9, 25.3)),
    ("table 4", ("SimCLR", "ImageNet", 39.9, 5.0, 60.3, 28.9)),
    ("table 4", ("BYOL", "ImageNet", 38.2, 4.1, 59.8, 27.4)),
    ("table 4", ("VINCE", "R2V2", 26.7, 1.1, 57.5, 25.6)),
    ("table 4", ("FlowE", "BDD100K", 45.6, 5.7, 56.6, 25.3)),
    ("table 4", ("FlowE", "UrbanCity", 51.1, 7.4, 63.7, 28.1)),
)
_RAFT: Row = ("RAFT", "Chairs, Things, Sintel", 10.5, None, 32.4, None)


def _flowe() -> Iterator[Table]:
    """Yield FlowE's tables, which have four settings in their columns."""
    places = (
        (_FLOWE_BDD, "bdd100k", ("flowe", "flowe-heavy"), "detection", "AP", BDD_DETECTION),
        (
            _FLOWE_CITYSCAPES, "cityscapes", ("flowe-cityscapes", "flowe-heavy-cityscapes"),
            "instances", "mask_AP", {"test": 500},
        ),
    )  # fmt: skip
    for rows, data, protocols, objects, score, counts in places:
        images = CITYSCAPES if data == "cityscapes" else BDD_SEGMENTATION
        for source, row in rows:
            for heavy, (segmenting, finding) in enumerate(
                zip(protocols, ("flowe", "flowe-heavy"), strict=True)
            ):
                miou, precision = row[2 + 2 * heavy : 4 + 2 * heavy]
                where = f"{FLOWE}, {source}"
                yield Table(
                    where, "segmentation", segmenting, data, images, ("miou",),
                    [(*row[:2], miou)],
                )  # fmt: skip
                yield Table(
                    where, objects, finding, data, counts, (score,), [(*row[:2], precision)]
                )
    for protocol, miou in (("flowe-cityscapes", _RAFT[2]), ("flowe-heavy-cityscapes", _RAFT[4])):
        yield Table(
            f"{FLOWE}, table 4", "segmentation", protocol, "cityscapes", CITYSCAPES, ("miou",),
            [(*_RAFT[:2], miou)], network="raft",
        )  # fmt: skip


_ACCURACY = ("mean_accuracy", "miou")
# Of rows with one number it is the mIoU; those that equal FlowE's table 4 are quoted from there.
_CACL = (
    Table(
        f"{CACL}, table 2", "segmentation", "cacl", "cityscapes", CITYSCAPES, _ACCURACY,
        (
            ("MoCo-v2", "ImageNet", None, 44.5),
            ("DenseCL", BOTH, 51.6, 45.3),
            ("PixPro", BOTH, 51.8, 45.4),
            ("SetSim", BOTH, 52.6, 46.3),
            ("MoCo-v2", BOTH, 50.7, 44.6),
            ("CACL, two heads", BOTH, 53.7, 46.1),
            ("CACL", BOTH, 57.4, 49.1),
        ),
    ),
    Table(
        f"{CACL}, table 2", "segmentation", "cacl", "cityscapes", CITYSCAPES, _ACCURACY,
        (
            ("MoCo-v2", KINETICS, 40.0, 33.2),
            ("CACL, two heads", KINETICS, 42.6, 35.9),
            ("CACL", KINETICS, 45.7, 38.2),
        ),
        network="resnet18",
    ),
    Table(
        f"{CACL}, table 3", "segmentation", "cacl", "voc", VOC_AUG, _ACCURACY,
        (
            ("SimCLR", "ImageNet", 57.1, 46.3),
            ("MoCo-v2", "ImageNet", 59.4, 48.2),
            ("InfoMin", "ImageNet", 58.8, 48.0),
            ("supervised", "ImageNet, labels", 64.8, 50.3),
            ("MoCo-v2", BOTH, 59.4, 48.1),
            ("CACL", BOTH, 64.8, 52.6),
        ),
    ),
    *(
        Table(
            f"{CACL}, table 4", "segmentation", "cacl-finetune", "cityscapes", {"test": 500},
            ("miou",),
            (
                ("MoCo-v2", KINETICS, moco),
                ("CACL, two heads", KINETICS, heads),
                ("CACL", KINETICS, cacl),
            ),
            network="resnet18",
            settings={"parts.label_share": share},
        )
        for share, moco, heads, cacl in (
            (1.0, 24.8, 31.4, 34.3),
            (5.0, 35.0, 37.5, 43.1),
            (10.0, 42.0, 45.6, 47.8),
            (100.0, 62.6, 63.3, 64.5),
        )
    ),
)  # fmt: skip

_VADER_FEATURES: Sequence[Row] = (  # VOC, Cityscapes, NYU-Depth v2
    ("random", "nothing", 4.9, 10.6, 1.261),
    ("supervised", "ImageNet, labels", 54.4, 47.1, 0.994),
    ("MoCo", "ImageNet", 43.0, 32.3, 1.136),
    ("VADeR", "ImageNet", 56.7, 44.3, 0.964),
)
# J at 320 and 480, F at 320 and 480; of other networks, quoted from their papers, then its own.
_VADER_QUOTED: Sequence[Row] = (
    ("SIFT Flow", "nothing", 33.0, None, 35.0, None),
    ("Video Colorization", "not said", 34.6, None, 32.7, None),
    ("TimeCycle", "not said", 41.9, 46.4, 39.4, 50.0),
    ("CorrFlow", "not said", None, 47.7, None, 51.3),
    ("UVC", "not said", 52.0, 56.8, 52.6, 59.5),
)
_VADER_MASKS: Sequence[Row] = (
    ("supervised", "ImageNet, labels", 50.3, 53.2, 49.2, 56.2),
    ("MoCo", "ImageNet", 42.3, 51.4, 40.5, 54.7),
    ("VADeR", "ImageNet", 52.4, 54.7, 55.1, 58.4),
)
_VADER_COCO: Sequence[Row] = (  # boxes, masks, keypoints
    ("random", "nothing", 31.0, 49.5, 33.2, 28.5, 46.8, 30.4, 65.4, 85.8, 70.8),
    ("supervised", "ImageNet, labels", 39.0, 59.8, 42.5, 35.4, 56.6, 37.8, 65.3, 87.0, 71.0),
    ("MoCo", "ImageNet", 38.9, 59.4, 42.5, 35.4, 56.3, 37.8, 65.7, 86.8, 71.7),
    ("VADeR", "ImageNet", 39.2, 59.7, 42.7, 35.6, 56.7, 38.2, 66.1, 87.3, 72.1),
)
_THREE = ("AP", "AP50", "AP75")
_VADER = (
    *(
        Table(
            f"{VADER}, table 1", "segmentation", "vader", data, counts, ("miou",),
            [(*row[:2], row[place]) for row in _VADER_FEATURES],
        )
        for place, data, counts in ((2, "voc", VOC_AUG), (3, "cityscapes", CITYSCAPES))
    ),
    Table(
        f"{VADER}, table 1, which does not say how RMSE is averaged", "depth", "vader", "nyu", NYU,
        ("rmse_image", "rmse_pixel"), [(*row[:2], row[4], row[4]) for row in _VADER_FEATURES],
    ),
    *(
        Table(
            f"{VADER}, table 2", "propagation", "vader", "davis2017", DAVIS_2017, ("J", "F"),
            [(*row[:2], row[place], row[place + 2]) for row in rows], network=network,
            settings={"side": side},
        )
        for place, side in ((2, 320), (3, 480))
        for rows, network in ((_VADER_QUOTED, "not said"), (_VADER_MASKS, "resnet50"))
    ),
    Table(
        f"{VADER}, table 4", "instances", "vader", "coco", COCO,
        (*(f"box_{name}" for name in _THREE), *(f"mask_{name}" for name in _THREE)),
        [row[:8] for row in _VADER_COCO], settings={"find": "masks"},
    ),
    Table(
        f"{VADER}, table 4", "instances", "vader", "coco", COCO,
        [f"keypoint_{name}" for name in _THREE],
        [(*row[:2], *row[8:]) for row in _VADER_COCO], settings={"find": "keypoints"},
    ),
)  # fmt: skip

# Cityscapes: mask AP, AP50, mIoU; BDD100K: the same. Its instance segmentation on BDD100K has no
# protocol here.
_MULTISIAM_DRIVING: Sequence[Row] = (
    ("random", "nothing", 25.4, 51.1, 65.3, 50.7),
    ("supervised", "ImageNet, labels", 32.9, 59.6, 74.6, 58.8),
    ("InstDist", "ImageNet", 33.0, 60.1, 73.3, 57.2),
    ("SwAV", "ImageNet", 33.9, 62.4, 73.0, 57.1),
    ("BYOL", "ImageNet", 33.8, 62.9, 75.1, 59.1),
    ("MoCo", "ImageNet", 32.3, 59.3, 75.3, 59.7),
    ("MoCo-v2", "ImageNet", 33.9, 60.8, 75.7, 60.0),
    ("BYOL", "Waymo", 28.8, 55.7, 69.4, 53.7),
    ("MoCo", "Waymo", 30.5, 57.1, 73.9, 57.0),
    ("MoCo-v2", "Waymo", 31.4, 59.4, 73.6, 56.6),
    ("MultiSiam", "Waymo", 31.8, 59.6, 74.1, 57.6),
    ("MultiSiam (MoCo)", "Waymo", 32.2, 59.9, 75.5, 56.9),
    ("MultiSiam", "SODA5M", 34.1, 61.7, 75.8, 60.3),
)
_MULTISIAM_MORE: Sequence[Row] = (  # table 5, where it adds to table 1
    ("DetCo", "ImageNet", 34.7, 63.2, 76.5, 60.9),
    ("DenseCL", "ImageNet", 34.3, 62.5, 75.7, 59.3),
    ("MultiSiam", "ImageNet", 34.9, 63.8, 77.2, 61.7),
)
_MULTISIAM_VOC: Sequence[Row] = (
    ("random", "nothing", 33.8, 60.2, 33.1),
    ("supervised", "ImageNet, labels", 53.5, 81.3, 58.8),
    ("InstDist", "ImageNet", 55.2, 80.9, 61.2),
    ("SwAV", "ImageNet", 56.1, 82.6, 62.7),
    ("MoCo", "ImageNet", 55.9, 81.5, 62.6),
    ("MoCo-v2", "ImageNet", 57.0, 82.4, 63.6),
    ("DetCo", "ImageNet", 57.8, 82.6, 64.2),
    ("DenseCL", "ImageNet", 58.7, 82.8, 65.2),
    ("MultiSiam", "ImageNet", 57.8, 83.0, 65.0),
)
_MULTISIAM_RETINANET: Sequence[Row] = (
    ("random", "nothing", 24.5, 39.0, 25.7),
    ("supervised", "ImageNet, labels", 37.4, 56.5, 39.7),
    ("MoCo", "ImageNet", 36.3, 55.0, 39.0),
    ("MoCo-v2", "ImageNet", 37.2, 56.2, 39.6),
    ("DetCo", "ImageNet", 38.0, 57.4, 40.7),
    ("MultiSiam", "ImageNet", 38.4, 57.9, 41.2),
)
_MULTISIAM = (
    *(
        Table(
            f"{MULTISIAM}, {source}", task, "multisiam", data, counts, columns,
            [(*row[:2], *row[part]) for row in rows],
        )
        for source, rows in (("table 1", _MULTISIAM_DRIVING), ("table 5", _MULTISIAM_MORE))
        for task, data, counts, columns, part in (
            ("instances", "cityscapes", {"test": 500}, ("mask_AP", "mask_AP50"), slice(2, 4)),
            ("segmentation", "cityscapes", CITYSCAPES, ("miou",), slice(4, 5)),
            ("segmentation", "bdd100k", BDD_SEGMENTATION, ("miou",), slice(5, 6)),
        )
    ),
    Table(
        f"{MULTISIAM}, table 5", "detection", "multisiam", "voc", VOC_DETECTION, _THREE,
        _MULTISIAM_VOC,
    ),
    Table(
        f"{MULTISIAM}, table 6", "detection", "retinanet", "coco", COCO, _THREE,
        _MULTISIAM_RETINANET,
    ),
)  # fmt: skip

_CRW = Table(
    CRW, "propagation", "crw", "davis2017", DAVIS_2017, ("J&F", "J", "F"),
    (("CRW", KINETICS, 67.6, 64.6, 70.6),), network="resnet18",
)  # fmt: skip

PUBLISHED: tuple[Published, ...] = tuple(
    one for table in (*_flowe(), *_CACL, *_VADER, *_MULTISIAM, _CRW) for one in table.published()
)


def published(
    task: str,
    protocol: str,
    data: str,
    counts: Mapping[str, Any],
    settings: Mapping[str, Any],
    changed: Collection[str],
) -> list[Published]:
    """Return the rows of papers whose setting is that of a result.

    Args:
        task: of the result.
        protocol: of the result.
        data: the data set's name.
        counts: what the result says of the data; all of a row's have to be there.
        settings: of the result, by dotted key.
        changed: those that decide a score and are not the protocol's. All of them have to be among
            a row's own, whose values have to be the result's.
    """
    return [
        one
        for one in PUBLISHED
        if (one.task, one.protocol, one.data) == (task, protocol, data)
        and all(counts.get(name) == count for name, count in one.counts.items())
        and all(settings.get(name) == value for name, value in one.settings.items())
        and set(changed) <= one.settings.keys()
    ]
