"""Rendering speed and memory, beside a plain OpenCV loop that draws scenes of the same kind.

Each is measured in a process of its own, with the default hyperparameters at 448x576 on two
threads: `python -m benchmarks.renderer` prints both.
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import cv2
import numpy as np
import torch

from autoflow import Hyperparameters, render
from autoflow.motion import poses
from autoflow.scene import Scenes, draw_scenes

SIZE = (448, 576)
PAIRS, BATCH, THREADS = 32, 8, 2


def measure() -> dict[str, float]:
    """Return pairs per second, processor time a pair and peak memory of both, and a ratio."""
    result = {}
    for name in WAYS:
        command = [sys.executable, "-m", "benchmarks.renderer", name]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        result |= {f"{name} {key}": value for key, value in json.loads(output).items()}
    busy = [result[f"{name} processor ms/pair"] for name in ("opencv", "autoflow")]
    return result | {"processor time, opencv to autoflow": round(busy[0] / busy[1], 2)}


def _measure_here(name: str) -> dict[str, float]:
    torch.set_num_threads(THREADS)
    cv2.setNumThreads(THREADS)
    batches = WAYS[name]()
    next(batches)  # makes the textures
    start, busy = time.perf_counter(), time.process_time()
    for _ in range(PAIRS // BATCH):
        next(batches)
    seconds, busy = time.perf_counter() - start, time.process_time() - busy
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kilobytes
    return {
        "pairs/s": round(PAIRS / seconds, 1),
        "processor ms/pair": round(1000 * busy / PAIRS, 1),
        "peak memory MB": round(memory / 1024),
    }


def _ours() -> Iterator[object]:
    for start in range(0, sys.maxsize, BATCH):
        yield render(Hyperparameters(), 0, range(start, start + BATCH), size=SIZE)


def _opencv() -> Iterator[object]:
    """Layers warped whole, one by one; without deformation and effects, which ours has."""
    for start in range(0, sys.maxsize, BATCH):
        scenes = draw_scenes(Hyperparameters(), 0, torch.arange(start, start + BATCH), SIZE, 2)
        yield [_draw(scenes, sample) for sample in range(BATCH)]


def _draw(scenes: Scenes, sample: int) -> tuple[np.ndarray, ...]:
    height, width = SIZE
    side, atlas = scenes.side, scenes.bank.atlas[0].permute(1, 2, 0).numpy()
    pixels = np.array(((side, 0, (width - 1) / 2), (0, side, (height - 1) / 2), (0, 0, 1)))
    outwards = poses(scenes.motions, torch.arange(2.0).expand(len(scenes.present), 2)).outwards
    to_frame = torch.cat((outwards[:, :1], outwards[:, :1] @ outwards[:, 1:]), 1)
    to_frame = to_frame.view(-1, 2, scenes.layers, 3, 3)[sample].double().numpy()
    frames, tops = (
        np.zeros((2, height, width, 3), np.float32),
        np.zeros((2, height, width), np.int32),
    )
    flows = np.zeros((2, height, width, 2), np.float32)
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).astype(np.float32)
    for layer in range(scenes.layers):
        if not scenes.present[sample, layer]:
            continue
        x, y, length = scenes.tiles[sample, layer].int().tolist()
        texture = atlas[y : y + length, x : x + length]
        texels = np.vstack((scenes.to_texels[sample, layer].double().numpy(), (0, 0, 1)))
        matrix, offset = np.split(scenes.colors[sample, layer].numpy(), (3,), 1)
        homographies = [pixels @ to_frame[frame, layer] for frame in range(2)]
        for frame, homography in enumerate(homographies):
            move = homography @ np.linalg.inv(texels)
            drawn = cv2.warpPerspective(
                texture,
                move,
                (width, height),
                flags=cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REFLECT,
            )
            drawn = cv2.transform(drawn, np.hstack((matrix, offset)))
            other = homographies[1 - frame] @ np.linalg.inv(homography)
            flow = cv2.perspectiveTransform(grid, other) - grid
            if layer == 0:
                frames[frame], flows[frame] = drawn, flow
                continue
            cells = scenes.map_cells
            shape = scenes.maps[0, sample, layer].view(cells, cells).numpy()
            reach = scenes.map_reach[sample, layer].double().numpy()
            cell = np.diag((*(reach * 2 / cells), 1.0))
            cell[:2, 2] = -reach
            distance = cv2.warpPerspective(
                shape, homography @ cell, (width, height), flags=cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_CONSTANT, borderValue=-1.0,
            )  # fmt: skip
            alpha = np.clip(distance * side + 0.5, 0, 1)[..., None]
            frames[frame] = frames[frame] * (1 - alpha) + drawn * alpha
            on_top = distance > 0
            tops[frame][on_top], flows[frame][on_top] = layer, flow[on_top]
    seen = []
    for frame in range(2):
        target = np.rint(grid + flows[frame]).astype(int)
        inside = ((target >= 0) & (target <= (width - 1, height - 1))).all(-1)
        column, row = np.clip(target, 0, (width - 1, height - 1)).transpose(2, 0, 1)
        seen.append(inside & (tops[1 - frame][row, column] == tops[frame]))
    return frames, flows, tops, np.stack(seen)


WAYS: dict[str, Callable[[], Iterator[object]]] = {"autoflow": _ours, "opencv": _opencv}


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(_measure_here(sys.argv[1])))
    else:
        print(json.dumps(measure(), indent=2))
