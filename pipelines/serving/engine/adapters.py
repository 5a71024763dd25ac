"""Adapters of a base: found on disk, checked, loaded beside the running batch, kept while there is room.

A LoRA over linear layers goes into the stacks and shares its batch with the others. What does not fit there (DoRA, a bias, a whole layer)
runs through peft: a module tree of its own and a batch of its own; merged into a copy of a tiny base, beside the shared weights of a large
one.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import re
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pipelines.serving.engine import base as bases
from pipelines.serving.engine.lora import NONE, LoraLinear, Stacks
from pipelines.serving.engine.work import Ask, Refused

ADAPTER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
KEY = re.compile(r"base_model\.model\.(.+)\.lora_([AB])\.weight")
PLAIN = {"peft_type", "task_type", "r", "lora_alpha", "target_modules", "use_rslora", "bias"}
"""What a configuration may say for the stacks. Anything else in it must be empty, or of no consequence once trained."""
HARMLESS = {
    "auto_mapping", "base_model_name_or_path", "revision", "inference_mode", "init_lora_weights", "lora_dropout", "peft_version",
    "qalora_group_size", "runtime_config", "ensure_weight_tying", "loftq_config", "eva_config", "corda_config", "lora_ga_config",
    "megatron_core", "megatron_config",
}  # fmt: skip


@dataclass
class Files:
    """An adapter's folder, read once: what was hashed is what is loaded."""

    sha256: str
    config: dict[str, Any]
    weights: bytes
    taught: str | None
    """The hash of the turns it was trained in; None for bare prompts."""


@dataclass
class Resident:
    """A loaded adapter: its number in the stacks, or a module tree of its own."""

    name: str
    sha256: str
    taught: str | None
    number: int = NONE
    model: Any = None
    users: int = 0


@dataclass
class _Loaded:
    files: Files
    pairs: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    model: Any = None


class Adapters:
    """The adapters under `root`, at most `keep` of them loaded: the one used longest ago makes room, never one in use.

    Every method but `close` belongs to the engine's thread; a thread of its own reads files. `ready` is called when one was read.
    """

    def __init__(self, base: Any, small: bool, root: Path, keep: int, ready: Callable[[], None] = lambda: None) -> None:
        self.base, self.small, self.root, self.keep = base, small, root.resolve(), keep
        self.stacks = Stacks(base)
        self.loaded: OrderedDict[str, Resident] = OrderedDict()
        self._ready = ready
        self._reading: dict[str, Future[_Loaded]] = {}
        self._pool = ThreadPoolExecutor(1, "adapters")
        self._shape = threading.Lock()

    def close(self) -> None:
        """Stop reading."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def take(self, ask: Ask) -> Resident | None:
        """The ask's adapter, counted as in use; None while it is read, or while all those loaded are in use. Refused when it cannot be
        used; asked again, it is tried again."""
        found = self.loaded.get(ask.adapter)
        if found is not None:
            self._require_same(ask, found)
            self.loaded.move_to_end(ask.adapter)
            found.users += 1
            return found
        reading = self._reading.get(ask.adapter)
        if reading is None:
            reading = self._reading[ask.adapter] = self._pool.submit(self._read, ask.adapter, ask.adapter_sha256)
            reading.add_done_callback(lambda _: self._ready())
        if not reading.done():
            return None
        if reading.exception() is None and not self._make_room():
            return None
        del self._reading[ask.adapter]
        read = reading.result()
        if ask.adapter_sha256 not in ("", read.files.sha256):
            raise altered(ask.adapter)
        found = Resident(ask.adapter, read.files.sha256, read.files.taught, model=read.model, users=1)
        if read.model is None:
            with self._shape:
                found.number = self.stacks.install(read.pairs)
        self.loaded[ask.adapter] = found
        return found

    def release(self, resident: Resident) -> None:
        """One user less."""
        resident.users -= 1

    def _require_same(self, ask: Ask, found: Resident) -> None:
        if ask.adapter_sha256 in ("", found.sha256):
            return
        if not found.users:
            # It was loaded when nobody said what it should be; the next ask reads its files anew.
            self._unload(found)
        raise altered(ask.adapter)

    def _make_room(self) -> bool:
        while len(self.loaded) >= self.keep:
            idle = next((each for each in self.loaded.values() if not each.users), None)
            if idle is None:
                return False
            self._unload(idle)
        return True

    def _unload(self, resident: Resident) -> None:
        del self.loaded[resident.name]
        if resident.number != NONE:
            self.stacks.remove(resident.number)

    # --- in the reading thread ----------------------------------------------------------------------------------------

    def _read(self, name: str, wanted: str) -> _Loaded:
        """Refused unless the folder lies directly under the root and holds a whole LoRA, as safetensors, for this base."""
        folder = self.root / name
        if not ADAPTER_NAME.fullmatch(name) or folder.resolve().parent != self.root:
            raise Refused("adapter: not a name of an adapter")
        if not (folder / WEIGHTS).is_file() or not (folder / CONFIG).is_file():
            raise Refused(f"adapter: {name} is not there, or holds no {WEIGHTS}")
        try:
            from safetensors.torch import load

            files = read(folder, wanted)
            if files.config.get("peft_type") != "LORA":
                raise Refused(f"adapter: {name} is not a LoRA adapter")
            weights = load(files.weights)
            if not all(bool(torch.isfinite(tensor).all()) for tensor in weights.values()):
                raise Refused(f"adapter: {name} holds values that are not finite")
            with self._shape:
                linear = {key for key, module in self.base.named_modules() if type(module) in (nn.Linear, LoraLinear)}
            if _fits(files.config, weights, linear):
                return _Loaded(files, pairs=self._pairs(name, files.config, weights))
            return _Loaded(files, model=self._own_tree(name, files, weights))
        except Refused:
            raise
        except Exception as error:
            raise Refused(f"adapter: {name} cannot be loaded ({type(error).__name__})") from error

    def _pairs(self, name: str, config: Mapping[str, Any], weights: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
        """layer -> (A, B times the scale): lora_alpha / r, or lora_alpha / sqrt(r) where `use_rslora` (Kalajdzievski, 2023,
        arXiv:2312.03732)."""
        halves: dict[str, dict[str, Any]] = {}
        for key, tensor in weights.items():
            layer, half = KEY.fullmatch(key).groups()  # type: ignore[union-attr]
            halves.setdefault(layer, {})[half] = tensor
        rank = int(config["r"])
        scale = float(config["lora_alpha"]) / (rank**0.5 if config.get("use_rslora") else rank)
        if set(halves) != _targets(self.base, config["target_modules"]) or any(set(half) != {"A", "B"} for half in halves.values()):
            raise Refused(f"adapter: the weights of {name} are not those of its configuration on this base")
        pairs = {}
        parameter = next(self.base.parameters())
        for layer, half in halves.items():
            linear = self.base.get_submodule(layer)
            if half["A"].shape != (rank, linear.in_features) or half["B"].shape != (linear.out_features, rank):
                raise Refused(f"adapter: {name} cannot be loaded (the shapes of {layer} are not this base's)")
            first, second = (half[each].to(device=parameter.device, dtype=torch.float32) for each in ("A", "B"))
            pairs[layer] = (first.to(parameter.dtype), (second * scale).to(parameter.dtype))
        return pairs

    def _own_tree(self, name: str, files: Files, weights: Mapping[str, Any]) -> Any:
        from peft import PeftModel, get_peft_model_state_dict

        merge = sum(parameter.nbytes for parameter in self.base.parameters()) < bases.SMALL_BASE
        # A failed load leaves the base as it was, and dropping the tree unloads the adapter.
        with self._shape:
            shared = {} if merge else {id(tensor): tensor for tensor in itertools.chain(self.base.parameters(), self.base.buffers())}
            stacks = [each for layer in self.stacks.layers.values() for each in (layer.stack_a, layer.stack_b, layer.chosen)]
            tree = copy.deepcopy(self.base, {**shared, **{id(each): None for each in stacks}})
        for module in tree.modules():
            if type(module) is LoraLinear:
                module.__class__ = nn.Linear
        # From the bytes that were hashed, not from files that may change meanwhile.
        with tempfile.TemporaryDirectory() as scratch:
            (Path(scratch) / WEIGHTS).write_bytes(files.weights)
            (Path(scratch) / CONFIG).write_text(json.dumps(files.config), encoding="utf-8")
            tuned = PeftModel.from_pretrained(tree, scratch)
        # peft only warns about weights that are missing or belong to another model.
        if set(get_peft_model_state_dict(tuned)) != set(weights):
            raise Refused(f"adapter: the weights of {name} are not those of its configuration on this base")
        model: Any = tuned.merge_and_unload() if merge else tuned.base_model.model
        return model.eval().requires_grad_(False)


def read(folder: Path, wanted: str = "") -> Files:
    """An adapter's files, and the hash of the folder as it is taken when an adapter is registered: SHA-256 of the JSON list of sorted
    (relative name, SHA-256 of the bytes). Refused, before anything is parsed, where another hash is wanted."""
    kept: dict[str, bytes] = {}
    rows = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if name in (WEIGHTS, CONFIG, "facts.json"):
            kept[name] = path.read_bytes()
            rows.append((name, hashlib.sha256(kept[name]).hexdigest()))
        else:
            with path.open("rb") as file:
                rows.append((name, hashlib.file_digest(file, "sha256").hexdigest()))
    said = json.dumps(rows, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    sha256 = hashlib.sha256(said.encode()).hexdigest()
    if wanted not in ("", sha256):
        raise altered(folder.name)
    taught = json.loads(kept["facts.json"]).get("chat_template") if "facts.json" in kept else None
    config = json.loads(kept[CONFIG])
    return Files(sha256, config, kept[WEIGHTS], None if taught is None else str(taught))


def altered(name: str) -> Refused:
    """What is said of files that are not those registered."""
    return Refused(f"adapter: the files of {name} are not those that were registered")


def _fits(config: Mapping[str, Any], weights: Mapping[str, Any], linear: set[str]) -> bool:
    """Whether the stacks can hold it."""
    targets = config.get("target_modules")
    if config.get("bias", "none") != "none" or not isinstance(targets, list | str) or targets == "all-linear":
        return False
    if any(value for key, value in config.items() if key not in PLAIN | HARMLESS):
        return False
    found = [KEY.fullmatch(key) for key in weights]
    return bool(found) and all(match is not None and match.group(1) in linear for match in found)


def _targets(base: Any, targets: list[str] | str) -> set[str]:
    """Names of the layers that a LoRA with these target modules sits on: peft takes a list as ends of names, a text as an expression."""
    names = [name for name, module in base.named_modules() if isinstance(module, nn.Linear)]
    if isinstance(targets, str):
        return {name for name in names if re.fullmatch(targets, name)}
    return {name for name in names if name in targets or any(name.endswith(f".{target}") for target in targets)}
