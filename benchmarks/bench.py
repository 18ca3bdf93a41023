"""All measurements that two cores can make, as JSON: `make bench`.

Each stands beside a named rival in the same run: a plain OpenCV loop, RAFT of torchvision,
a self-supervised step made of six calls of the latter, triplets fitted one by one; FlowE's step is
measured for the flow network's share of it. What a part has measured is printed when it is done, an
object for each.
"""

import json

from benchmarks import flowe, multiframe, raft, renderer, selfsupervision

PARTS = {
    "renderer": renderer.measure,
    "raft": raft.measure,
    "self-supervised step": selfsupervision.measure,
    "multi-frame labels": multiframe.measure,
    "FlowE's step": flowe.measure,
}


def main() -> None:
    """Measure and print."""
    for name, measure in PARTS.items():
        print(json.dumps({name: measure()}, indent=2), flush=True)


if __name__ == "__main__":
    main()
