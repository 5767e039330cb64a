"""The room with all that is in it, over one database: what the settings say goes in, and the parts come out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from penstock.config import ReviewSettings
from penstock.review.failures import Failures
from penstock.review.feedback import Feedback
from penstock.review.queue import Queue
from penstock.review.replies import Approvals, HandOvers
from penstock.review.requests import Past, Requests
from penstock.review.store import Store
from penstock.storage.audit import Audit

__all__ = ["Review"]


@dataclass
class Review:
    """Each part is made when it is first asked for.

    folder: that the file of cases is relative to. keeps: whether an app keeps people's words. read: what the journal kept of a
    request's, as its column `said` has it. tenant_of: of a key, by its name.
    past: the journal's requests.
    """

    store: Store
    audit: Audit
    settings: ReviewSettings
    folder: Path
    keeps: Callable[[str], bool]
    read: Callable[[str], Mapping[str, Any]]
    tenant_of: Callable[[str], str]
    past: Past

    @cached_property
    def feedback(self) -> Feedback:
        return Feedback(self.store, keeps=self.keeps)

    @cached_property
    def queue(self) -> Queue:
        s = self.settings
        return Queue(self.store, self.audit, labels=s.labels, failures=s.failures, unscored=s.unscored, lease_s=s.lease)

    @cached_property
    def requests(self) -> Requests:
        return Requests(self.store, self.queue, self.feedback, self.past, read=self.read, tenant_of=self.tenant_of)

    @cached_property
    def failures(self) -> Failures:
        return Failures(self.store, self.queue, self.audit, cases=self.folder / Path(self.settings.cases).expanduser())

    @cached_property
    def approvals(self) -> Approvals:
        s = self.settings
        return Approvals(self.store, self.audit, keeps=self.keeps, lease_s=s.lease, expires_s=s.approve_within)

    @cached_property
    def hand_overs(self) -> HandOvers:
        s = self.settings
        return HandOvers(self.store, self.audit, keeps=self.keeps, lease_s=s.lease, expires_s=s.reply_within)
