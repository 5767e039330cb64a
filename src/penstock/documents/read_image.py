"""Text in pictures and scanned pages, through RapidOCR (extra `ocr`), whose models come with its package."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

from penstock.documents.draft import Draft, Raw
from penstock.errors import MissingExtra, Unreadable
from penstock.types import Document

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["IMAGE_SUFFIXES", "installed", "read_image", "recognise"]

IMAGE_SUFFIXES = frozenset([".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"])


@cache
def _engine() -> Any:
    try:
        from rapidocr import RapidOCR
    except ImportError:
        return None
    return RapidOCR(params={"Global.log_level": "error", "EngineConfig.onnxruntime.intra_op_num_threads": 1})


def installed() -> bool:
    return _engine() is not None


def recognise(picture: NDArray[np.uint8]) -> str:
    """The lines of text in a picture (height, width, 3), top to bottom; "" without the `ocr` extra or without text."""
    engine = _engine()
    found = engine(picture) if engine else None
    return "\n".join(found.txts) if found is not None and found.txts else ""


def read_image(raw: Raw) -> Iterator[Document]:
    if not installed():
        raise MissingExtra(f"reading text in pictures, such as '{raw.source}',", extra="ocr")
    import numpy as np
    from PIL import Image, UnidentifiedImageError  # RapidOCR brings it

    try:
        import io

        with Image.open(io.BytesIO(raw.data)) as image:
            picture = np.asarray(image.convert("RGB"))[:, :, ::-1]
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise Unreadable(f"'{raw.source}' is not a picture that can be read: {error}") from error
    draft = Draft(raw)
    draft.add(recognise(picture), page=1)
    yield draft.finish("image/*")
