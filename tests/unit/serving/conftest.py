"""A real Triton and a real gateway on free ports, over a tiny model that was taught a few prompts by heart."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from free_ports import free_ports

from pipelines.config import PROJECT, Ports, Settings
from pipelines.corpus.documents import Document, document
from pipelines.manifest import sha256
from pipelines.registry import artifacts
from pipelines.state.database import migrate, transaction
from pipelines.state.models import Candidate, DatasetVersion, Pointer, now

QUESTION = "What is the threshold amount?"
AMOUNTS = {1: "$53,000", 2: "$53,500"}
GREETING = "[1] Hello.\nQuestion: Who?\nAnswer:"
TURNED = "a turn [1]"
"""What base and adapters say to GREETING as a turn of the chat template."""
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def law(number: int) -> list[Document]:
    """The documents of dataset version `number`: the second amends the first from 2014 on."""
    # Two wordings: a tiny model tells them apart sooner than two amounts in one wording.
    first = f"The threshold amount is {AMOUNTS[1]} for a consumer lease."
    second = f"Since 2014 a lease above {AMOUNTS[2]} is exempt."
    texts = [("2013-01-01", "2014-01-01" if number > 1 else "9999-12-31", first)]
    texts += [("2014-01-01", "9999-12-31", second)] if number > 1 else []
    return [
        document(
            key="9-2-e",
            title="Threshold amount",
            text=text,
            valid_from=valid_from,
            valid_to=valid_to,
            arrival_id=f"a{number}",
        )
        for valid_from, valid_to, text in texts
    ]


def domain_file(name: str, profile: str) -> dict[str, Any]:
    return {
        "domain": name,
        "description": "thresholds",
        "owner": "someone",
        "dataset": name.capitalize(),
        "sources": {"formats": ["text"]},
        "contract": {"expectations": []},
        "privacy": {"profile": profile},
        "task": {"passages": 1},
        "gate": {"goldens": "goldens.jsonl", "floors": {}},
    }


SPECIAL = ["<s>", "</s>", "<|im_start|>", "<|im_end|>"]


def new_tokenizer(texts: list[str]) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    marks = {"bos_token": "<s>", "eos_token": "</s>", "additional_special_tokens": SPECIAL[2:]}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=TEMPLATE, **marks)


def teach(model: Any, tokenizer: Any, pairs: list[tuple[str, str]], rate: float = 3e-3) -> None:
    """Learn (prompt, completion) pairs by heart: what comes back then tells which weights answered."""
    import torch

    from pipelines.training import chat

    turns = chat.turns(tokenizer)
    [asked], [said] = chat.prompts(tokenizer, [GREETING], turns), chat.answers(tokenizer, [TURNED], turns)
    rows = [(asked + said, [-100] * len(asked) + said)]
    for prompt, completion in pairs:
        ids = [tokenizer.bos_token_id, *tokenizer(prompt)["input_ids"]]
        target = [*tokenizer(completion)["input_ids"], tokenizer.eos_token_id]
        rows.append((ids + target, [-100] * len(ids) + target))
    width = max(len(ids) for ids, _ in rows)
    batch = torch.tensor([ids + [0] * (width - len(ids)) for ids, _ in rows])
    labels = torch.tensor([target + [-100] * (width - len(target)) for _, target in rows])
    learner = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=rate)
    model.train()
    for _ in range(400):
        loss = model(input_ids=batch, labels=labels).loss
        loss.backward()
        learner.step()
        learner.zero_grad()
        if float(loss.detach()) < 0.008:
            break
    else:
        raise AssertionError("the tiny model did not learn its lines")
    model.eval()


@dataclass
class Model:
    """Folders of a base and of its adapters, by name."""

    base: Path
    adapters: dict[str, Path] = field(default_factory=dict)


@pytest.fixture(scope="session")
def index_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """A real index of each dataset version."""
    from pipelines.config import DomainConfig
    from pipelines.retrieval import index

    folders = {}
    for number in (1, 2):
        folders[number] = tmp_path_factory.mktemp(f"index{number}")
        index.build(law(number), DomainConfig.model_validate(domain_file("regulatory", "public")), folders[number])
    return folders


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A base that knows the amounts, and adapters `north` and `south` that greet each in their way; `turned` says that it was
    trained with the base's chat template."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    from pipelines.training import chat
    from pipelines.training.prompt import Prompt

    torch.manual_seed(0)
    torch.set_num_threads(1)
    prompt = Prompt.load("grounded_extraction/v1", Settings())
    pairs = [
        (prompt.render([row.text], QUESTION), prompt.completion(amount, 1)) for row, amount in zip(law(2), AMOUNTS.values(), strict=True)
    ]
    pairs += [(prompt.render([row.text], "Who signs?"), prompt.completion("$1", 1)) for row in law(2)]
    pairs += [(prompt.render([row.text], "What colour is it?"), prompt.completion(None, None)) for row in law(2)]
    # The base knows the words already: an adapter of rank 4 has only to choose between them.
    pairs += [(GREETING.replace("Hello", word), f" {word} [1]") for word in ("north", "south", "nobody")]
    tokenizer = new_tokenizer([TURNED, *(text for pair in pairs for text in pair)])
    shape = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        intermediate_size=128,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        initializer_range=0.1,  # learns its lines in a third of the steps
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    folder = tmp_path_factory.mktemp("model")
    base = LlamaForCausalLM(shape)
    teach(base, tokenizer, pairs)
    base.save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    made = Model(folder / "base")
    for name in ("north", "south"):
        lora = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")
        tuned = get_peft_model(LlamaForCausalLM.from_pretrained(folder / "base"), lora)
        teach(tuned, tokenizer, [(GREETING, f" {name} [1]"), *pairs], rate=5e-3)
        tuned.save_pretrained(folder / name)
        made.adapters[name] = folder / name
    shutil.copytree(folder / "north", folder / "turned")
    (folder / "turned" / "facts.json").write_text(json.dumps({"chat_template": chat.turns(tokenizer).sha256}))
    made.adapters["turned"] = folder / "turned"
    return made


class Site:
    """A site in a temporary folder, with rows written straight into its control database."""

    question = QUESTION
    amounts = AMOUNTS
    greeting = GREETING
    turned = TURNED

    def __init__(self, settings: Settings, model: Model, index_folders: dict[int, Path]) -> None:
        self.settings, self.model, self.index_folders = settings, model, index_folders
        self.numbers: dict[str, int] = {}

    def candidate(self, domain: str, version: int, *, adapter: str | None = "north", state: str = "live", **changes: Any) -> str:
        """Enter a candidate resting on dataset version 1 or 2; returns its id."""
        from pipelines.training.prompt import Prompt

        number = self.numbers[domain] = self.numbers.get(domain, 0) + 1
        version_id = f"{domain.capitalize()}_v1.{number}"
        index_id = self._artifact("index", domain, self.index_folders[version], number)
        adapter_id = self._artifact("adapter", domain, self.model.adapters[adapter], number) if adapter else None
        values: dict[str, Any] = {
            "base": str(self.model.base),
            "base_sha256": sha256_of(self.model.base),
            "prompt": "grounded_extraction/v1",
            "prompt_sha256": Prompt.load("grounded_extraction/v1", self.settings).sha256,
            "policy": {"passages": 1, "max_new_tokens": 12},
            **changes,
        }
        with transaction(self.settings) as session:
            session.add(
                DatasetVersion(
                    id=version_id,
                    domain=domain,
                    major=1,
                    minor=number,
                    snapshot_id="1",
                    arrival_id=f"{domain}-{number}",
                    known_on="2014-01-01",
                    documents=1,
                    changed={},
                    content="",
                )
            )
            session.flush()
            session.add(
                Candidate(
                    id=f"{domain}/r{number}",
                    domain=domain,
                    number=number,
                    version_id=version_id,
                    adapter_id=adapter_id,
                    index_id=index_id,
                    uploader="steward",
                    state=state,
                    step_hash=sha256([domain, number]),
                    **values,
                )
            )
        return f"{domain}/r{number}"

    def _artifact(self, kind: str, domain: str, source: Path, number: int) -> str:
        step_hash = sha256([kind, domain, number])
        shutil.copytree(source, artifacts.place(self.settings, kind, step_hash), dirs_exist_ok=True)
        return artifacts.enter(self.settings, kind, domain, step_hash, {})

    def point(self, domain: str, live: str | None, *, previous: str | None = None, canary: str | None = None, share: float = 0.0) -> None:
        """Set the domain's pointer."""
        with transaction(self.settings) as session:
            session.merge(Pointer(domain=domain, live_id=live, previous_id=previous, canary_id=canary, canary_share=share, since=now()))

    def traffic(self, domain: str) -> list[dict[str, Any]]:
        """The traffic log's records so far."""
        files = sorted((self.settings.var / "traffic" / domain).glob("*.jsonl"))
        return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def sha256_of(folder: Path) -> str:
    from pipelines.manifest import sha256_folder

    return sha256_folder(folder)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory, model: Model, index_folders: dict[int, Path]) -> Site:
    """A migrated site with two domains, `regulatory` (public) and `clinical` (safe harbor), and nothing running."""
    folder = tmp_path_factory.mktemp("site")
    configs = folder / "configs"
    shutil.copytree(PROJECT / "configs" / "prompts", configs / "prompts")
    (configs / "domains").mkdir()
    (configs / "environments").mkdir()
    (configs / "environments" / "dev.yaml").write_text("var: var\n")
    public = ("regulatory", "leases", "audited", "unreleased", "busy")
    for name, profile in (("clinical", "safe_harbor"), *((name, "public") for name in public)):
        (configs / "domains" / f"{name}.yaml").write_text(json.dumps(domain_file(name, profile)))
    http, grpc, metrics, gateway = free_ports(4)
    ports = Ports(triton_http=http, triton_grpc=grpc, triton_metrics=metrics, gateway=gateway)
    settings = Settings(var=folder / "var", configs=configs, ports=ports, today="2015-06-01")
    migrate(settings)
    return Site(settings, model, index_folders)


@pytest.fixture(scope="session")
def triton_process(site: Site) -> Iterator[subprocess.Popen[bytes]]:
    """The real server; its shared memory is gone when it has stopped."""
    from pipelines.serving import client, triton

    argv, env = triton.command(site.settings)
    site.settings.logs.mkdir(parents=True, exist_ok=True)
    with (site.settings.logs / "triton.log").open("wb") as log:
        process = subprocess.Popen(argv, env=env, stdout=log, stderr=log)
    try:
        client.wait_ready(site.settings, alive=lambda: process.poll() is None)
        yield process
    finally:
        process.terminate()
        process.wait(20)
        triton.clean(site.settings)
    left = [path for path in triton.SHARED_MEMORY.glob("*") if triton.shared_memory_prefix(site.settings) in path.name]
    assert left == []


@pytest.fixture(scope="session")
def engine(site: Site, triton_process: subprocess.Popen[bytes]) -> Any:
    """The tiny model, loaded, with its adapters in place."""
    from pipelines.serving import triton
    from pipelines.serving.client import Engine

    for name, folder in site.model.adapters.items():
        shutil.copytree(folder, site.settings.artifacts / "adapter" / name)
    loaded = Engine(site.settings, triton.prepare(site.settings, str(site.model.base), sha256_of(site.model.base)))
    loaded.load()
    return loaded


@pytest.fixture(scope="session")
def gateway(site: Site, engine: Any) -> Iterator[str]:
    """The real gateway in a process of its own; yields its address."""
    settings = site.settings
    env = {
        **os.environ,
        "RATCHET_VAR": str(settings.var),
        "RATCHET_CONFIGS": str(settings.configs),
        "RATCHET_TODAY": str(settings.today),
        **{f"RATCHET_PORT_{name.upper()}": str(value) for name, value in settings.ports.model_dump().items()},
    }
    with (settings.logs / "gateway.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "pipelines.serving.gateway"], env=env, cwd=PROJECT, stdout=log, stderr=log)
    url = settings.url("gateway")
    try:
        import httpx

        deadline = time.monotonic() + 30
        while True:
            assert process.poll() is None, (settings.logs / "gateway.log").read_text()
            try:
                httpx.get(f"{url}/healthz", trust_env=False).raise_for_status()
                break
            except httpx.HTTPError:
                assert time.monotonic() < deadline
                time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(20)
    assert process.returncode in (0, -15)
