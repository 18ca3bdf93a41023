"""All measurements that two cores can make, as JSON: `make bench`.

Each stands beside a named rival in the same run: a plain OpenCV loop, and RAFT of
torchvision.
"""

import json

from benchmarks import raft, renderer


def main() -> None:
    """Measure and print."""
    print(json.dumps({"renderer": renderer.measure(), "raft": raft.measure()}, indent=2))


if __name__ == "__main__":
    main()
