"""All measurements that two cores can make, as JSON: `make bench`.

Each stands beside a named rival in the same run: a plain OpenCV loop, RAFT of torchvision,
a self-supervised step made of six calls of the latter, triplets fitted one by one.
"""

import json

from benchmarks import multiframe, raft, renderer, selfsupervision


def main() -> None:
    """Measure and print."""
    figures = {
        "renderer": renderer.measure(),
        "raft": raft.measure(),
        "self-supervised step": selfsupervision.measure(),
        "multi-frame labels": multiframe.measure(),
    }
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
