"""Compute profiles: one file in configs/compute/ says where a heavy step runs, told apart by `kind`. `docs/cluster.md` explains them.

No secret stands here, and none goes to a cluster with a job: a node has its own, in the environment file or the Secret that is named.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from pipelines.strict import Strict

GPU_POOL = "gpu"
"""The Airflow pool that admits what holds GPUs; `ratchet up` sizes it."""

StepName = Literal["examples", "training-set", "train", "index", "assemble"]
"""Steps that may run elsewhere. `gate` may not: it asks the Triton of this site."""

Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:+/@=-]{0,199}$", description="no blanks, nothing a shell would read")]
Label = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", description="a Kubernetes name (RFC 1123 label)")]
NodePath = Annotated[str, Field(pattern=r"^/[^\x00-\x1f]*$", description="an absolute path")]


class Priced(Strict):
    """What every profile has."""

    price_per_gpu_hour: float | None = Field(
        None, ge=0, allow_inf_nan=False, description="in the site's currency; without it a GPU's cost is unknown, not zero"
    )
    price_per_cpu_hour: float | None = Field(None, ge=0, allow_inf_nan=False, description="of one core, for what runs without GPUs")
    poll_seconds: float = Field(5.0, gt=0, le=300, description="between two looks at a job")
    stop_seconds: float = Field(60.0, gt=0, description="that a job which is told to end may take to save and do so")
    kill_seconds: float = Field(60.0, gt=0, description="that it may take when it is then ended by force: Slurm's KillWait, and more")

    @property
    def ending_seconds(self) -> float:
        """The longest that stopping a job takes; `on_kill_timeout` in airflow.cfg must be longer."""
        return self.stop_seconds + self.kill_seconds

    @property
    def gpus(self) -> int:
        """GPUs that one job holds."""
        return 0

    @property
    def slots(self) -> int:
        """GPUs that jobs of this profile may hold together: what it adds to the Airflow pool `gpu`."""
        return 0


class Local(Priced):
    """A detached process on this host."""

    kind: Literal["local"] = "local"
    poll_seconds: float = Field(0.5, gt=0, le=300)
    stop_seconds: float = Field(30.0, gt=0)
    kill_seconds: float = Field(5.0, gt=0)
    gpus_here: int = Field(0, ge=0, description="GPUs of this host that a step takes")

    @property
    def gpus(self) -> int:
        return self.gpus_here

    @property
    def slots(self) -> int:
        return self.gpus_here


class OnNodes(Priced):
    """What Slurm and Kubernetes have in common: one job on several nodes that see one file system."""

    nodes: int = Field(1, ge=1, le=1024, description="torchrun meets on the first; steps other than `train` use only that one")
    gpus_per_node: int = Field(0, ge=0, le=64)
    cpus_per_node: int = Field(4, ge=1)
    memory_gb_per_node: float | None = Field(None, gt=0, description="unset: what the partition or the namespace gives")
    time_limit_minutes: int = Field(24 * 60, ge=2)
    rendezvous_port: int = Field(29400, ge=1024, le=65535, description="of torchrun on the first node; free there, reachable by the others")
    network_interface: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.,:^=-]{1,60}$")] | None = Field(
        None, description="that NCCL and gloo use between the nodes; unset: they choose"
    )
    python: NodePath | None = Field(None, description="the interpreter on the nodes; unset: the path of this one")
    project: NodePath | None = Field(None, description="the checkout on the nodes; unset: the path of this one")
    jobs_at_once: int = Field(1, ge=1, description="how many jobs of this profile Airflow admits when they hold GPUs")
    result_grace_seconds: float = Field(60.0, ge=0, description="a network file system may show a result late (NFS: up to 60 s)")

    @property
    def gpus(self) -> int:
        return self.nodes * self.gpus_per_node

    @property
    def slots(self) -> int:
        return self.gpus * self.jobs_at_once


class Slurm(OnNodes):
    """A batch job."""

    kind: Literal["slurm"]
    partition: Word | None = None
    account: Word | None = None
    qos: Word | None = None
    constraint: Annotated[str, Field(pattern=r"^[A-Za-z0-9_&|*\[\](),.-]{1,200}$")] | None = None
    gpu_type: Word | None = Field(None, description="as in --gres=gpu:TYPE:N")
    environment_file: NodePath | None = Field(None, description="sourced on the node: RATCHET_DATABASE_URL and other secrets")
    accounting: bool = Field(False, description="the site has slurmdbd: ask sacct for what squeue no longer knows")
    signal_seconds: int = Field(120, ge=1, le=3600, description="before the time limit a step is told to save and end")

    @model_validator(mode="after")
    def _signalled_within_its_time(self) -> Slurm:
        if self.signal_seconds >= 60 * self.time_limit_minutes:
            raise ValueError(
                f"signal_seconds ({self.signal_seconds}) leaves nothing of time_limit_minutes ({self.time_limit_minutes}):"
                " every job would be told to end as soon as it starts"
            )
        return self


class Kubernetes(OnNodes):
    """An indexed Job."""

    kind: Literal["kubernetes"]
    project: NodePath | None = Field("/opt/ratchet", description="the checkout in the image")
    python: NodePath | None = Field("/opt/venv/bin/python", description="the interpreter in the image")
    namespace: Label = "ratchet"
    context: Word | None = Field(None, description="of the kubeconfig; unset: the current one, or the service account of this pod")
    image: str = Field(description="the trainer image, by digest")
    claim: Label = Field(description="PersistentVolumeClaim, ReadWriteMany, that holds `var`, mounted where it is here")
    secret: Label | None = Field(None, description="Secret whose keys become environment variables: RATCHET_DATABASE_URL ...")
    gpu_resource: Word = Field("nvidia.com/gpu", description="the device plugin's name for a GPU")
    shm_gb: float = Field(8.0, gt=0, description="shared memory, which NCCL and data loaders use; it counts as memory")
    user: int = Field(10001, ge=1, description="uid and gid in the pod, which must own what it writes to the claim; never root")
    queue: Label | None = Field(None, description="Kueue's LocalQueue, where the cluster has one")
    node_selector: dict[str, str] = Field({})
    keep_seconds: int = Field(24 * 3600, ge=600, description="how long a finished Job stays to be read (ttlSecondsAfterFinished)")

    @field_validator("image")
    @classmethod
    def _by_digest(cls, value: str) -> str:
        if not re.fullmatch(r"[a-z0-9][a-z0-9._:/-]*@sha256:[0-9a-f]{64}", value):
            raise ValueError("name the image by digest (registry/name@sha256:...): a tag may become another image between two tries")
        return value


Profile = Local | Slurm | Kubernetes
KINDS: dict[str, type[Local] | type[Slurm] | type[Kubernetes]] = {"local": Local, "slurm": Slurm, "kubernetes": Kubernetes}
