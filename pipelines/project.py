"""Where the checkout is: the folder of `configs/`, `models/` and `dags/`."""

from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
