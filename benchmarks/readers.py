"""Reading a file with its structure and offsets takes no more CPU time than the libraries people usually take for text alone.

    python -m benchmarks.readers --peers PEERS_PYTHON

The files are those of the mixed folder, 40 of each kind. Penstock gives headings, pages, rows and offsets as well.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.measure import Stopwatch, System, in_turn, medians, report, show, versions, write

FILES = 40
KINDS = (".pdf", ".html", ".docx", ".pptx", ".xlsx", ".md", ".txt", ".csv", ".json", ".eml")
Reader = Callable[[Path], str]


def penstock() -> dict[str, tuple[str, Reader]]:
    from penstock.documents.reading import Raw, read
    from penstock.types import Document

    def text(path: Path) -> str:
        return "".join(d.text for d in read(Raw(path.name, path.read_bytes())) if isinstance(d, Document))

    return dict.fromkeys(KINDS, ("penstock", text))


def usual() -> dict[str, tuple[str, Reader]]:
    import docx
    import openpyxl
    import pptx
    from bs4 import BeautifulSoup
    from pypdf import PdfReader

    def spreadsheet(path: Path) -> str:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        rows = (row for sheet in book for row in sheet.iter_rows(values_only=True))
        return "\n".join(" ".join("" if cell is None else str(cell) for cell in row) for row in rows)

    def slides(path: Path) -> str:
        shapes = (shape for slide in pptx.Presentation(str(path)).slides for shape in slide.shapes)
        return "\n".join(shape.text_frame.text for shape in shapes if shape.has_text_frame)

    return {
        ".pdf": ("pypdf", lambda p: "".join(page.extract_text() for page in PdfReader(p).pages)),
        ".html": ("beautifulsoup4", lambda p: BeautifulSoup(p.read_bytes(), "html.parser").get_text(" ")),
        ".docx": ("python-docx", lambda p: "\n".join(x.text for x in docx.Document(str(p)).paragraphs)),
        ".pptx": ("python-pptx", slides),
        ".xlsx": ("openpyxl", spreadsheet),
    }


def measured(readers: dict[str, tuple[str, Reader]], folder: Path) -> dict[str, float]:
    """Files per CPU-second of each kind; the first file is read before the clock starts."""
    figures = {}
    for kind, (_, reader) in readers.items():
        files = sorted(folder.rglob(f"*{kind}"))
        reader(files[0])
        watch = Stopwatch()
        watch.lap()
        characters = sum(len(reader(path)) for path in files)
        figures[kind] = round(len(files) / max(watch.lap(), 1e-6), 1)
        assert characters > 100 * len(files), f"{kind}: hardly any text"
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--peers", help="the python of the peers' environment")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--measure", nargs=2, metavar=("SYSTEM", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        name, folder = options.measure
        report(measured(penstock() if name == "penstock" else usual(), Path(folder)))
        return
    from benchmarks.mixed_folder import write_folder

    with tempfile.TemporaryDirectory() as temporary:
        write_folder(Path(temporary), of_kinds=[kind for kind in KINDS for _ in range(FILES)])
        arguments = ("benchmarks.readers", "--measure")
        systems = [System("penstock", sys.executable, (*arguments, "penstock", temporary))]
        if options.peers:
            systems.append(System("the usual libraries", options.peers, (*arguments, "usual", temporary)))
        rows = in_turn(systems, options.rounds)
    found = medians(rows)
    show("files per CPU-second", {kind: kind for kind in KINDS}, found)
    packages = versions(("penstock", "pypdfium2", "selectolax", "python-calamine", "charset-normalizer"))
    if options.peers:
        write("readers", claim=__doc__, command="python -m benchmarks.readers --peers PEERS_PYTHON",
              figures={"versions": packages, "median": found, "rounds": rows})  # fmt: skip


if __name__ == "__main__":
    main()
