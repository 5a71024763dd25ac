"""The tables of the control database: the only authority on arrivals, versions, candidates, approvals and releases.

Everything else (Iceberg, MLflow, Airflow's asset events, Triton) can be rebuilt or verified from the hashes kept here. A file per matter;
all tables are to be had from here.
"""

from __future__ import annotations

from pipelines.state.models.arrivals import Arrival as Arrival
from pipelines.state.models.arrivals import ArrivalItem as ArrivalItem
from pipelines.state.models.arrivals import ChainLink as ChainLink
from pipelines.state.models.arrivals import HeldDocument as HeldDocument
from pipelines.state.models.arrivals import ScreenCount as ScreenCount
from pipelines.state.models.arrivals import SignatureBand as SignatureBand
from pipelines.state.models.arrivals import TextSignature as TextSignature
from pipelines.state.models.arrivals import Upload as Upload
from pipelines.state.models.arrivals import Watermark as Watermark
from pipelines.state.models.base import Base as Base
from pipelines.state.models.base import UTCDateTime as UTCDateTime
from pipelines.state.models.base import now as now
from pipelines.state.models.feedback import FeedbackRow as FeedbackRow
from pipelines.state.models.feedback import Review as Review
from pipelines.state.models.feedback import ReviewItem as ReviewItem
from pipelines.state.models.learning import Artifact as Artifact
from pipelines.state.models.learning import Charge as Charge
from pipelines.state.models.learning import DatasetVersion as DatasetVersion
from pipelines.state.models.learning import Erasure as Erasure
from pipelines.state.models.learning import ManifestRow as ManifestRow
from pipelines.state.models.learning import Plan as Plan
from pipelines.state.models.records import AuditEvent as AuditEvent
from pipelines.state.models.records import OutboxMessage as OutboxMessage
from pipelines.state.models.releases import ApiKey as ApiKey
from pipelines.state.models.releases import Approval as Approval
from pipelines.state.models.releases import Candidate as Candidate
from pipelines.state.models.releases import GateReport as GateReport
from pipelines.state.models.releases import Pointer as Pointer
from pipelines.state.models.releases import RolloutRow as RolloutRow
from pipelines.state.models.releases import Tenure as Tenure
from pipelines.state.models.watching import AlertDelivery as AlertDelivery
from pipelines.state.models.watching import Incident as Incident
from pipelines.state.models.watching import MonitorMark as MonitorMark
from pipelines.state.models.watching import Observation as Observation
from pipelines.state.models.watching import Restraint as Restraint
from pipelines.state.models.watching import Silence as Silence
