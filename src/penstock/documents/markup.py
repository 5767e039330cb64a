"""XML from strangers: parsed without entities, which are how a few bytes become gigabytes or somebody else's file."""

from __future__ import annotations

from typing import NoReturn
from xml.etree import ElementTree

__all__ = ["parse"]


class _Plain(ElementTree.TreeBuilder):
    """Refuses the one place where XML can declare entities, before any is read."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> NoReturn:
        raise ValueError("it has a document type declaration, which can declare entities and which none needs")


def parse(data: bytes) -> ElementTree.Element:
    """The root element. Raises ValueError for what is no XML, and for a document type declaration."""
    try:
        return ElementTree.fromstring(data, ElementTree.XMLParser(target=_Plain()))  # noqa: S314  entities are refused
    except ElementTree.ParseError as error:
        raise ValueError(str(error)) from error
