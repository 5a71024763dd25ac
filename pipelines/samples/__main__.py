"""`python -m pipelines.samples OUT [--seed 7]`."""

from __future__ import annotations

import argparse
from pathlib import Path

from pipelines.samples.write import SEED, write


def main() -> None:
    """Write the samples into the folder that is named."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.samples", description=__doc__)
    parser.add_argument("out", type=Path, help="folder to write into; made where it does not exist")
    parser.add_argument("--seed", type=int, default=SEED)
    given = parser.parse_args()
    write(given.out, given.seed)


if __name__ == "__main__":
    main()
