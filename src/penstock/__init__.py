"""Penstock stands between a team's applications and its models: it answers from your documents, with citations.

The names here load on first use, so that `import penstock` stays light.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penstock.api import Penstock
    from penstock.types import Answer, Caller, Citation, Hit, Message, Passage

__version__ = "0.1.0"
__all__ = ["Answer", "Caller", "Citation", "Hit", "Message", "Passage", "Penstock", "__version__"]

_HOMES = {"Penstock": "penstock.api"} | dict.fromkeys(__all__[:-2], "penstock.types")


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'penstock' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
