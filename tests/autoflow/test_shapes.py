import cv2
import numpy as np
import pytest
import torch

from autoflow.draws import Draws
from autoflow.hyperparameters import Layers, Shapes
from autoflow.shapes import Outlines, _edges, boxes, distance_maps, draw_outlines
from selfflow.random import key

NODES = 96
MARGIN = 0.02  # frame sides


def drawn(count: int = 16, **changes: float) -> Outlines:
    plain = {"ellipse": 0.0, "curved": 0.0, "composite": 0.0, "hole": 0.0, "thin": 0.0}
    draws = Draws(key(5, torch.arange(count))).child("layer", 1)
    return draw_outlines(draws, Shapes(**(plain | changes)), Layers())


def maps(outlines: Outlines) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distances (B, n, n), and the positions of the nodes' columns and rows (B, n)."""
    margin = torch.full(outlines.rims.shape, MARGIN, dtype=torch.float64)
    centre, extent = boxes(outlines)
    distance = distance_maps(outlines, centre, extent, margin, NODES)[:, 0].numpy()
    steps = torch.linspace(-1, 1, NODES, dtype=torch.float64)
    places = centre[:, 0, :, None] + (extent + MARGIN)[:, 0, :, None] * steps
    return distance, places[:, 0].numpy(), places[:, 1].numpy()


def distance_to_polygon(outlines: Outlines, sample: int, part: int, x: float, y: float) -> float:
    """OpenCV's distance to the part's edge, positive inside."""
    edge = _edges(outlines)[sample, 0, part].numpy().astype(np.float32)
    return cv2.pointPolygonTest(edge[:, None], (float(x), float(y)), True)


@pytest.mark.parametrize("changes", [{}, {"ellipse": 1.0}, {"curved": 1.0}, {"spikiness": 0.8}])
def test_distance_has_opencvs_sign_and_near_the_edge_its_value(changes):
    outlines = drawn(**changes)
    distance, xs, ys = maps(outlines)
    generator = np.random.default_rng(0)
    close = []
    for sample in range(len(distance)):
        for row, column in generator.integers(0, NODES, (60, 2)):
            expected = distance_to_polygon(outlines, sample, 0, xs[sample, column], ys[sample, row])
            found = distance[sample, row, column]
            if abs(expected) > 2e-4:
                assert (found > 0) == (expected > 0)
            if abs(expected) < 0.01:
                close.append((found, expected))
    found, expected = np.array(close).T
    assert len(close) > 50
    # Approximate near corners, good on most of the edge.
    assert np.quantile(np.abs(found - expected), 0.8) < 0.2 * 0.01


def test_polygons_have_straight_edges_and_corners():
    edge = _edges(drawn())[:, 0, 0]
    first, second = edge - edge.roll(1, -2), edge.roll(-1, -2) - edge
    cross = first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]
    sine = cross / (first.norm(dim=-1) * second.norm(dim=-1))
    bends = (sine.abs() > 0.01).sum(-1)
    assert (bends >= 3).all()
    assert (bends <= 2 * 11).all()  # two entries at most see each of at most 11 corners


def test_composites_add_and_holes_remove():
    distance, xs, ys = maps(outlines := drawn(composite=1.0, hole=1.0))
    assert outlines.present[..., 1].all()
    assert outlines.present[..., 3].all()
    covered = distance > 0
    for sample in range(4):
        for row in range(0, NODES, 7):
            for column in range(0, NODES, 7):
                place = xs[sample, column], ys[sample, row]
                inside = [
                    distance_to_polygon(outlines, sample, part, *place)
                    for part in range(4)
                    if outlines.present[sample, 0, part]
                ]
                expected = max(inside[:-1]) > 0 and inside[-1] < 0
                if min(map(abs, inside)) > 1e-3:
                    assert covered[sample, row, column] == expected


def test_nothing_reaches_the_border_of_the_box():
    outlines = drawn(64, ellipse=0.3, composite=0.5, thin=0.3, curved=0.3)
    distance, _, _ = maps(outlines)
    border = np.concatenate(
        [distance[:, 0], distance[:, -1], distance[:, :, 0], distance[:, :, -1]], 1
    )
    assert border.max() <= -0.99 * MARGIN
    assert ((distance > 0).mean((1, 2)) > 0.001).all()


def test_thin_layers_are_thin():
    outlines = drawn(64, thin=1.0, thinness=0.01)
    distance, _, _ = maps(outlines)
    assert distance.max() < 0.02
    assert (distance.max((1, 2)) > 0.001).all()
    assert (outlines.rims > 0).any()  # bare outlines
    assert (outlines.rims == 0).any()  # needles


def test_spikiness_moves_corners_inwards():
    area = {}
    for spikiness in (0.0, 0.8):
        edge = _edges(drawn(64, spikiness=spikiness))[:, 0, 0].numpy().astype(np.float32)
        area[spikiness] = np.mean([cv2.contourArea(one[:, None]) for one in edge])
    assert area[0.8] < 0.6 * area[0.0]
