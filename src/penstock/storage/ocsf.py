"""Audit records in the Open Cybersecurity Schema Framework, which security monitoring reads."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from penstock.storage.audit import Kind, Recorded

__all__ = ["VERSION", "event"]

VERSION: Final = "1.3.0"
ACCOUNT_CHANGE, AUTHENTICATION, ENTITY_MANAGEMENT, API_ACTIVITY = 3001, 3002, 3004, 6003
CLASSES: Final = {
    ACCOUNT_CHANGE: ("Account Change", 3, "Identity & Access Management"),
    AUTHENTICATION: ("Authentication", 3, "Identity & Access Management"),
    ENTITY_MANAGEMENT: ("Entity Management", 3, "Identity & Access Management"),
    API_ACTIVITY: ("API Activity", 6, "Application Activity"),
}
SEVERITIES: Final = {1: "Informational", 2: "Low", 3: "Medium"}
OPENID: Final = 4


class _Shape(NamedTuple):
    """What a kind of record is there."""

    class_uid: int
    activity_id: int
    activity: str
    severity: int = 1
    entity: str = ""  # what sort of thing its target is


SHAPES: Final[dict[Kind, _Shape]] = {
    "key.created": _Shape(ACCOUNT_CHANGE, 1, "Create"),
    "key.rotated": _Shape(ACCOUNT_CHANGE, 3, "Password Change"),
    "key.revoked": _Shape(ACCOUNT_CHANGE, 5, "Disable"),
    "key.removed": _Shape(ACCOUNT_CHANGE, 6, "Delete"),
    "login.succeeded": _Shape(AUTHENTICATION, 1, "Logon"),
    "login.failed": _Shape(AUTHENTICATION, 1, "Logon", 2),
    "login.ended": _Shape(AUTHENTICATION, 2, "Logoff"),
    "document.added": _Shape(ENTITY_MANAGEMENT, 1, "Create", 1, "document"),
    "document.changed": _Shape(ENTITY_MANAGEMENT, 3, "Update", 1, "document"),
    "document.removed": _Shape(ENTITY_MANAGEMENT, 4, "Delete", 1, "document"),
    "version.published": _Shape(ENTITY_MANAGEMENT, 3, "Update", 1, "collection"),
    "version.rolled_back": _Shape(ENTITY_MANAGEMENT, 3, "Update", 2, "collection"),
    "collection.created": _Shape(ENTITY_MANAGEMENT, 1, "Create", 1, "collection"),
    "collection.removed": _Shape(ENTITY_MANAGEMENT, 4, "Delete", 2, "collection"),
    "golden.changed": _Shape(ENTITY_MANAGEMENT, 3, "Update", 1, "golden questions"),
    "model.pulled": _Shape(ENTITY_MANAGEMENT, 1, "Create", 1, "model"),
    "model.tried": _Shape(API_ACTIVITY, 99, "Call"),
    "model.added": _Shape(ENTITY_MANAGEMENT, 1, "Create", 2, "model"),
    "model.removed": _Shape(ENTITY_MANAGEMENT, 4, "Delete", 1, "model"),
    "policy.changed": _Shape(ENTITY_MANAGEMENT, 3, "Update", 2, "policy"),
    "retention.applied": _Shape(ENTITY_MANAGEMENT, 4, "Delete", 2, "home folder"),
    "audit.pruned": _Shape(ENTITY_MANAGEMENT, 4, "Delete", 2, "audit trail"),
    "subject.erased": _Shape(ENTITY_MANAGEMENT, 4, "Delete", 2, "subject"),
    "home.restored": _Shape(ENTITY_MANAGEMENT, 3, "Update", 2, "home folder"),
    "review.judged": _Shape(ENTITY_MANAGEMENT, 3, "Update", 1, "review item"),
    "review.undone": _Shape(ENTITY_MANAGEMENT, 3, "Update", 1, "review item"),
    "review.acted": _Shape(ENTITY_MANAGEMENT, 3, "Update", 1, "review item"),
    "reply.decided": _Shape(ENTITY_MANAGEMENT, 3, "Update", 1, "reply"),
    "reply.given": _Shape(ENTITY_MANAGEMENT, 3, "Update", 1, "reply"),
    "experiment.started": _Shape(ENTITY_MANAGEMENT, 1, "Create", 1, "experiment"),
    "experiment.moved": _Shape(ENTITY_MANAGEMENT, 3, "Update", 1, "experiment"),
    "experiment.ended": _Shape(ENTITY_MANAGEMENT, 3, "Update", 2, "experiment"),
    "evaluation.started": _Shape(ENTITY_MANAGEMENT, 1, "Create", 1, "evaluation"),
    "evaluation.cancelled": _Shape(ENTITY_MANAGEMENT, 3, "Update", 1, "evaluation"),
    "evaluation.removed": _Shape(ENTITY_MANAGEMENT, 4, "Delete", 1, "evaluation"),
    "conversation.shared": _Shape(ENTITY_MANAGEMENT, 3, "Update", 1, "conversation"),
    "conversation.unshared": _Shape(ENTITY_MANAGEMENT, 3, "Update", 1, "conversation"),
    "tool.accepted": _Shape(ENTITY_MANAGEMENT, 3, "Update", 2, "tool"),
    "action.confirmed": _Shape(ENTITY_MANAGEMENT, 3, "Update", 2, "request for an action"),
    "review.exported": _Shape(API_ACTIVITY, 2, "Read"),
    "request.blocked": _Shape(API_ACTIVITY, 99, "Block", 3),
    "vault.read": _Shape(API_ACTIVITY, 2, "Read", 2),
    "log.read": _Shape(API_ACTIVITY, 2, "Read", 2),
    "journal.read": _Shape(API_ACTIVITY, 2, "Read", 2),
    "audit.exported": _Shape(API_ACTIVITY, 2, "Read"),
}


def event(record: Recorded, *, product_version: str = "") -> dict[str, Any]:
    """One record as an event of OCSF. What OCSF has no field for stands under `unmapped`. Raises KeyError for no kind of ours."""
    shape = SHAPES[record.kind]  # type: ignore[index]  # as it is read from the chain, any text
    name, category_uid, category = CLASSES[shape.class_uid]
    failed = record.kind in ("login.failed", "request.blocked")
    actor = _named(record.actor, record.actor_id)
    target = _named(record.target, record.target_id)
    found: dict[str, Any] = {
        "class_uid": shape.class_uid,
        "class_name": name,
        "category_uid": category_uid,
        "category_name": category,
        "activity_id": shape.activity_id,
        "activity_name": shape.activity,
        "type_uid": shape.class_uid * 100 + shape.activity_id,
        "type_name": f"{name}: {shape.activity}",
        "time": record.at,
        "severity_id": shape.severity,
        "severity": SEVERITIES[shape.severity],
        "status_id": 2 if failed else 1,
        "status": "Failure" if failed else "Success",
        "actor": {"user": actor},
        "metadata": {
            "version": VERSION,
            "product": {"name": "Penstock", "vendor_name": "Penstock", "version": product_version},
            "log_name": "audit",
            "sequence": record.number,
            "uid": record.hash,
        },
        "unmapped": {"kind": record.kind, **record.facts},
    }
    match shape.class_uid:
        case 3001:
            found["user"] = target | {"type_id": 99, "type": "API key"}
        case 3002:
            found["user"] = target | {"type_id": 1, "type": "User"}
            found |= {"service": {"name": "Penstock"}, "auth_protocol_id": OPENID, "auth_protocol": "OpenID"}
        case 3004:
            found["entity"] = target | {"type": shape.entity}
        case _:
            found["api"] = {"operation": record.kind, "service": {"name": "Penstock"}}
            found["src_endpoint"] = {"svc_name": "Penstock"}
            found["resources"] = [target]
    return found


def _named(name: str, uid: str) -> dict[str, Any]:
    """A name that was erased has its id left."""
    return {"name": name, "uid": uid} if name else {"uid": uid}
