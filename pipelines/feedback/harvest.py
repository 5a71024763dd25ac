"""What goes to the review queue by itself: kept answers that were unsure, ungrounded, held back or none at all, questions asked again and
again, and a few that look well. Run as often as one likes: each kept answer is looked at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from pipelines.config import DomainConfig, Settings
from pipelines.errors import NotFound
from pipelines.evaluation.groundedness import groundedness
from pipelines.feedback import inbound, opening, retention, sampling, texts
from pipelines.feedback.fingerprint import Alike, fingerprint
from pipelines.feedback.inbound import Words
from pipelines.feedback.opening import Found
from pipelines.governance import audit
from pipelines.state.database import reading, transaction
from pipelines.state.models import FeedbackRow, MonitorMark, ReviewItem
from pipelines.traffic import samples
from pipelines.traffic.samples import Sample

MARK = "harvest"
OVERLAP = timedelta(minutes=10)
"""Kept answers are written after they went out, by several processes: so far back is looked again for what was not there yet."""
CONVERSATION = timedelta(hours=1)
"""So far back a conversation's earlier questions are counted."""
UNGROUNDED = ("not_in_passage", "bad_citation", "other_year")
WITHHELD = ("answer_withheld", "passages_withheld")
SOURCES = ("withheld", "ungrounded", "low_confidence", "repeated", "abstained", "sampled")
POOL = 200
"""Answers that look well of which the sampled ones are picked: some two seconds of embedding."""
_LOOKED_AT = 2_000
"""Open items that a new question is compared with by meaning, newest first; one of the same words is found among all."""
_HELD = 20
"""Candidates kept in memory for each item that may be opened."""
_ASKED = 20
"""Questions of one conversation that are compared."""
_SEEN = 20_000


@dataclass(slots=True)
class _Gathered:
    """What one look found, by fingerprint, and what it was found in."""

    candidates: dict[str, Found] = field(default_factory=dict)
    pool: sampling.Pool[Found] = field(default_factory=lambda: sampling.Pool(POOL, ""))
    conversations: dict[str, list[tuple[Sample, bool]]] = field(default_factory=dict)
    seen: list[str] = field(default_factory=list)
    looked_at: int = 0


def harvest(settings: Settings, domain: DomainConfig, now: datetime) -> dict[str, int]:
    """Look at what was answered since the last time. A rerun, also for an earlier `now`, adds nothing; killed, it begins anew.

    Returns counts: looked_at, opened, extended, known (settled before), left_out (beyond the day's limit), late (complaints that came
    before their answer was on disk), expired, and one for each source that items were opened for.
    """
    counts: Counter[str] = Counter(looked_at=0, opened=0, extended=0, known=0, left_out=0, late=0)
    counts["expired"] = retention.expire(settings, domain, now)
    with reading(settings) as session:
        mark = session.get(MonitorMark, (domain.domain, MARK))
        before = dict(mark.state) if mark is not None else {}
    since = datetime.fromisoformat(before["until"]) if before else now - timedelta(days=domain.feedback.keep_days)
    late = _late(settings, domain, now)
    gathered = _gather(settings, domain, since, now, set(before.get("seen", ())))
    counts["looked_at"] = gathered.looked_at
    chosen, counts["left_out"] = _chosen(settings, domain, gathered, now)
    with transaction(settings) as session:
        mark = session.get(MonitorMark, (domain.domain, MARK), with_for_update=True)
        if (dict(mark.state) if mark is not None else {}) != before:
            return {**counts, "left_out": 0}  # another harvest has looked at the same meanwhile
        for row_id, sample, words in late:
            row = session.get_one(FeedbackRow, row_id)
            if row.state == "received" and row.item_id is None:
                inbound.tie(session, settings, domain, row, sample, words, now)
                counts["late"] += 1
        for found in chosen:
            item, opened = opening.enter(session, settings, domain, found, now)
            counts["opened" if opened else "extended" if item.state in opening.UNSETTLED else "known"] += 1
            if opened:
                counts[found.source] += 1
        if mark is None:
            mark = MonitorMark(domain=domain.domain, name=MARK, state=before)
            session.add(mark)
        if since < now:
            mark.state = {"until": now.isoformat(), "seen": gathered.seen[-_SEEN:]}
        if counts["opened"] or counts["expired"] or counts["late"]:
            told = {name: count for name, count in counts.items() if count}
            audit.record(session, actor="ratchet", action="feedback.harvested", subject=domain.domain, detail=told)
    return dict(counts)


def signs(domain: DomainConfig, sample: Sample) -> tuple[str | None, dict[str, Any]]:
    """(which source a kept answer is harvested for, or None; the figures that say why)."""
    rule = domain.feedback.harvest
    told: dict[str, Any] = {"request_ids": [sample.request_id], "confidence": sample.confidence, "abstained": sample.abstained}
    if sample.reason is not None:
        told["reason"] = sample.reason
    if sample.reason in WITHHELD:
        return ("withheld" if rule.withheld else None), told
    if sample.reason in UNGROUNDED:
        return "ungrounded", told
    if sample.abstained:
        return ("abstained" if rule.abstained else None), told
    # What the cache gives again was looked at when it was made.
    if sample.passages and sample.cache is None:
        rests = groundedness(sample.span or sample.answer, [one.text for one in sample.passages])
        told["groundedness"] = round(rests, 4)
        if rests < rule.below_groundedness:
            return "ungrounded", told
    if sample.confidence is not None and sample.confidence < rule.below_confidence:
        return "low_confidence", told
    return None, told


def _gather(settings: Settings, domain: DomainConfig, since: datetime, now: datetime, seen: set[str]) -> _Gathered:
    gathered = _Gathered()
    gathered.pool = sampling.Pool(POOL, f"{domain.domain} {now.date().isoformat()}")
    most = max(1, domain.feedback.harvest.per_day) * _HELD
    for sample in samples.read(settings, domain.domain, since - CONVERSATION, now) if since < now else ():
        fresh = sample.at >= since - OVERLAP and sample.request_id not in seen
        if sample.conversation is not None:
            asked = gathered.conversations.setdefault(sample.conversation, [])
            asked.append((sample, fresh))
            del asked[:-_ASKED]
        if sample.at >= now - OVERLAP:
            gathered.seen.append(sample.request_id)
        if not fresh:
            continue
        gathered.looked_at += 1
        source, told = signs(domain, sample)
        if source is not None:
            _hold(gathered.candidates, _found(domain, sample, source, told))
            if len(gathered.candidates) > 2 * most:
                gathered.candidates = {one.fingerprint: one for one in _by_priority(gathered.candidates.values())[:most]}
        elif not sample.abstained and sample.cache is None and domain.feedback.harvest.sampled_per_day:
            gathered.pool.offer(sample.request_id, sampling.uncertainty(sample.confidence), _found(domain, sample, "sampled", told))
    return gathered


def _chosen(settings: Settings, domain: DomainConfig, gathered: _Gathered, now: datetime) -> tuple[list[Found], int]:
    """What is to be entered, the most urgent first, and how many had to be left out."""
    rule = domain.feedback.harvest
    alike = Alike(domain.retrieval.embedder, rule.similarity)
    candidates = dict(gathered.candidates)
    for found in _repeated(domain, alike, gathered.conversations):
        _hold(candidates, found)
    opened, sampled = _opened_today(settings, domain, now)
    known = _fingerprints(settings, domain)
    room = max(0, rule.per_day - opened)
    # Most urgent first: of two that are alike, the first is opened and the other counted with it.
    wanted = _by_priority(candidates.values())
    pool = [found for found in gathered.pool.drawn() if found.fingerprint not in candidates and found.fingerprint not in known]
    if not wanted and not pool:
        return [], 0
    names = _open_questions(settings, domain, alike)
    share = min(max(0, rule.sampled_per_day - sampled), room) if pool else 0
    chosen, left_out, fresh = [], 0, 0
    vectors = alike.vectors([one.text.question for one in wanted]) if wanted else []
    for found, vector in zip(wanted, vectors, strict=True):
        same = found.fingerprint if found.fingerprint in known or found.fingerprint in names else None
        if same is None and (place := alike.place(found.text.question, vector)) is not None:
            same = names[place]
        if same is not None:
            chosen.append(replace(found, fingerprint=same))
        elif fresh < room - share:
            fresh += 1
            chosen.append(found)
            alike.add([found.text.question])
            names.append(found.fingerprint)
        else:
            left_out += 1
    return chosen + _sampled(alike, pool, min(share, room - fresh)), left_out


def _sampled(alike: Alike, pool: list[Found], count: int) -> list[Found]:
    unique = list({found.fingerprint: found for found in pool}.values())
    if not unique or count <= 0:
        return []
    unsure = [sampling.uncertainty(found.signals.get("confidence")) for found in unique]
    return [unique[place] for place in sampling.pick(alike.vectors([one.text.question for one in unique]), unsure, count, alike.known)]


def _repeated(domain: DomainConfig, alike: Alike, conversations: dict[str, list[tuple[Sample, bool]]]) -> Iterable[Found]:
    """Of each conversation that asked nearly the same often enough, and did so since the last look: its last such question."""
    times = domain.feedback.harvest.repeated
    for asked in conversations.values():
        if len(asked) < times or not asked[-1][1]:
            continue
        count, last = alike.most_repeated([sample.question for sample, _ in asked])
        if count >= times and asked[last][1]:
            _, told = signs(domain, asked[last][0])
            yield _found(domain, asked[last][0], "repeated", {**told, "repeated": count})


def _late(settings: Settings, domain: DomainConfig, now: datetime) -> list[tuple[str, Sample, Words]]:
    """Complaints that came before their answer was on disk."""
    query = select(FeedbackRow).where(
        FeedbackRow.domain == domain.domain,
        FeedbackRow.state == "received",
        FeedbackRow.item_id.is_(None),
        or_(FeedbackRow.rating < 0, FeedbackRow.sealed.is_not(None)),
        FeedbackRow.at > now - timedelta(days=1),
    )
    with reading(settings) as session:
        rows = list(session.scalars(query))
    kept = samples.find(settings, domain.domain, [row.request_id for row in rows]) if rows else {}
    found = []
    for row in rows:
        try:
            words = Words.model_validate(texts.unseal(settings, domain.domain, row.sealed)) if row.sealed else Words()
        except NotFound:
            continue
        if row.request_id in kept and inbound.is_complaint(row.rating, words.correction):
            found.append((row.id, kept[row.request_id], words))
    return found


def _found(domain: DomainConfig, sample: Sample, source: str, told: dict[str, Any]) -> Found:
    return Found(fingerprint(sample.question), source, texts.of_sample(domain, sample), sample.at, sample.release, told)


def _hold(candidates: dict[str, Found], found: Found) -> None:
    """Keep the more urgent of two that ask the same, and count both."""
    other = candidates.get(found.fingerprint)
    if other is None:
        candidates[found.fingerprint] = found
        return
    first, second = _by_priority([other, found])
    ids = list(dict.fromkeys([*first.signals["request_ids"], *second.signals["request_ids"]]))
    seen = len(ids) if len(ids) < opening.REQUESTS else first.signals.get("seen", 1) + second.signals.get("seen", 1)
    signals = {**second.signals, **first.signals, "request_ids": ids[: opening.REQUESTS], "seen": seen}
    candidates[found.fingerprint] = replace(first, signals=signals)


def _by_priority(found: Iterable[Found]) -> list[Found]:
    return sorted(found, key=lambda one: (-opening.priority(one.source, one.signals), one.fingerprint))


def _opened_today(settings: Settings, domain: DomainConfig, now: datetime) -> tuple[int, int]:
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    query = select(ReviewItem.source, func.count()).where(
        ReviewItem.domain == domain.domain, ReviewItem.source.in_(SOURCES), ReviewItem.opened_at >= midnight
    )
    with reading(settings) as session:
        by_source = {source: count for source, count in session.execute(query.group_by(ReviewItem.source))}
    return sum(by_source.values()), by_source.get("sampled", 0)


def _fingerprints(settings: Settings, domain: DomainConfig) -> set[str]:
    """Of every question that was ever in the queue, but for those that may be asked anew."""
    with reading(settings) as session:
        query = select(ReviewItem.fingerprint).where(ReviewItem.domain == domain.domain, ReviewItem.state != "expired")
        return set(session.scalars(query))


def _open_questions(settings: Settings, domain: DomainConfig, alike: Alike) -> list[str]:
    """Put the questions of unsettled items among those compared with; their fingerprints, in that order."""
    with reading(settings) as session:
        rows = _newest_unsettled(session, domain.domain)
    questions, names = [], []
    for name, stored in rows:
        try:
            questions.append(texts.read(settings, domain.domain, stored).question)
        except NotFound:
            continue
        names.append(name)
    alike.add(questions)
    return names


def _newest_unsettled(session: Session, domain: str) -> list[tuple[str, bytes]]:
    query = select(ReviewItem.fingerprint, ReviewItem.sealed).where(ReviewItem.domain == domain, ReviewItem.state.in_(opening.UNSETTLED))
    return [(name, stored) for name, stored in session.execute(query.order_by(ReviewItem.opened_at.desc()).limit(_LOOKED_AT))]
