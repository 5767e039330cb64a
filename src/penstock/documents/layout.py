"""Which segment files a version reads: few, in order, and each passage merged rarely."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from penstock.documents.search import EXACT_UP_TO
from penstock.documents.segment import Mask, Segment, SegmentFolder, merge

__all__ = ["lay_out"]

Part = tuple[Segment, Mask]  # a segment, and which of its passages are live

MOST_SEGMENTS = 8


def lay_out(
    folder: SegmentFolder, segments: Sequence[Segment], members: Sequence[int], standing: Sequence[int]
) -> tuple[list[str], int]:
    """Merge what is small or mostly dead, give the rest as it is. Returns the files and how many passages they serve.

    members: the version's documents. standing: passages that stand for others in it, whatever document they are from.
    """
    parts = []
    for segment in segments:
        live = np.isin(segment.document, members) | np.isin(segment.passage, standing)
        if live.any():
            parts.append((segment, live))
    files = []
    for group in _groups(parts):
        whole = len(group) == 1 and group[0][1].mean() > 0.5
        files.append(group[0][0].path.name if whole else merge(group, folder.path))
    passages = sum(int(live.sum()) for _, live in parts)
    if passages > EXACT_UP_TO:
        folder.add_graphs(files)
    return files, passages


def _groups(parts: list[Part]) -> list[list[Part]]:
    """Which segments to merge: neighbours of like size, as long as there are many, so that each passage is merged rarely."""
    groups = [[part] for part in parts]

    def size(n: int) -> int:
        return sum(int(live.sum()) for _, live in groups[n])

    while len(groups) > 1:
        alike = [n for n in range(len(groups) - 1) if size(n) <= 2 * size(n + 1)]
        if len(groups) > MOST_SEGMENTS:
            at = min(range(len(groups) - 1), key=lambda n: size(n) + size(n + 1))
        elif alike:
            at = alike[-1]
        else:
            break
        groups[at : at + 2] = [groups[at] + groups[at + 1]]
    return groups
