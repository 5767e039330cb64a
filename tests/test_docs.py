"""Every command and snippet of the README and the documentation is run, page by page, as a reader would."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx2
import pytest
from upstream import Upstream, upstream

from penstock.assemble import samples
from penstock.models.providers import PATHS, PROVIDERS

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted(p for p in (ROOT / "docs").rglob("*.md") if p.parent.name != "reference")]
HANDBOOK = Path(__file__).parent / "data" / "handbook"
MAKE = {"make up": "penstock up --demo", "make test": "true"}  # the one without installing, the other is what runs this
BLOCK = re.compile(
    r"(?P<not_run><!-- not run: (?P<why>.+?) -->\n)?^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.M | re.S
)
RUN = ("sh", "python", "toml")
SHOWN = ("text", "json", "yaml")


class Block(NamedTuple):
    language: str
    code: str
    why_not: str


def blocks(page: Path) -> list[Block]:
    found = BLOCK.finditer(page.read_text("utf-8"))
    return [Block(m["language"], m["code"], m["why"] or "") for m in found]


class Reader:
    """Somebody who types what a page says, in a folder with a handbook in it.

    Models answer from a stand-in on this machine, whatever address the page gives them. Where a page says `psk-…`, the
    reader types the key that was printed last.
    """

    def __init__(self, folder: Path, models: Upstream) -> None:
        self.folder, self.address, self.secret = folder, "", ""
        self.models = models
        self.server: subprocess.Popen[str] | None = None
        self.environment = os.environ | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            **{kind.variable: "a-key-for-the-examples" for kind in PROVIDERS.values() if kind.variable},
            "PENSTOCK_WEBSITE_KEY": "a-key-for-the-examples",
            "PENSTOCK_HANNA_KEY": "another-key-for-the-examples",
        }

    def run(self, block: Block) -> str:
        code = block.code.replace("http://127.0.0.1:8080", self.address or "http://127.0.0.1:8080")
        code = code.replace("psk-…", self.secret)
        for command, stand_in in MAKE.items():
            code = re.sub(rf"^{command}$", stand_in, code, flags=re.M)
        if block.language == "toml":
            return self._configured(code)
        if block.language == "python":
            return self._finished([sys.executable, "-c", code])
        if re.match(r"penstock up(?!.*--no-serve)", code):
            return self._serving(code.strip())
        printed = self._finished(["bash", "-euo", "pipefail", "-c", code])
        self.environment |= dict(re.findall(r"^export (\w+)=(\S+)", code, re.M))
        if made := re.findall(r"psk-[\w-]{20,}", printed):
            self.secret = made[-1]
        if "keys create" in code:
            self._wait_until_taken()
        return printed

    def _configured(self, toml: str) -> str:
        """The file as the page has it is checked; then its models move to the stand-in."""
        file = self.folder / "penstock.toml"
        file.write_text(toml)
        printed = self._finished(["penstock", "config", "check"])
        tables = re.split(r"^(?=\[)", toml, flags=re.M)
        file.write_text("".join(self._moved(table) if "[models." in table[:8] else table for table in tables))
        return printed

    def _moved(self, table: str) -> str:
        if 'provider = "local"' in table or not re.match(r"\[models\.[\w-]+\]", table):
            return table
        head, _, rest = table.partition("\n")
        return f'{head}\nbase_url = "{self.models.url}"\n' + re.sub(r"^base_url = .*\n", "", rest, flags=re.M)

    def _finished(self, command: list[str]) -> str:
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, f"{command[-1]}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def _serving(self, command: str) -> str:
        self.leave()  # whoever starts a server again has stopped the first one
        server = self.server = subprocess.Popen(
            [*command.split(), "--port", "0"], cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, text=True
        )
        assert server.stdout
        printed = ""
        for line in server.stdout:
            printed += line
            if found := re.search(r"Penstock is up: (http://\S+)", line):
                self.address = found[1]
            if "Ctrl-C" in line:
                return printed
        raise AssertionError(f"{command} ended:\n{printed}")

    def _wait_until_taken(self) -> None:
        """A running server takes a new key within two seconds, which it takes a person to type it."""
        headers = {"authorization": f"Bearer {self.secret}"}
        deadline = time.monotonic() + 10
        while self.server and httpx2.get(f"{self.address}/api/me", headers=headers).status_code == 401:
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def leave(self) -> None:
        if self.server:
            self.server.terminate()
            self.server.wait(30)
            assert self.server.stdout
            self.server.stdout.close()
            self.server = None


@pytest.fixture(scope="module")
def models() -> Iterator[Upstream]:
    with upstream() as running:
        yield running


@pytest.fixture
def reader(tmp_path: Path, models: Upstream) -> Iterator[Reader]:
    shutil.copytree(HANDBOOK, tmp_path / "reader" / "handbook")
    shutil.copy(HANDBOOK.with_name("questions.jsonl"), tmp_path / "reader" / "golden.jsonl")
    (tmp_path / "reader" / ".venv" / "bin").mkdir(parents=True)  # what `make up` would have made
    (tmp_path / "reader" / ".venv" / "bin" / "activate").touch()
    found = Reader(tmp_path / "reader", models)
    try:
        yield found
    finally:
        found.leave()


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", [p for p in PAGES if any(b.language in RUN for b in blocks(p))], ids=name)
def test_what_a_page_tells_to_type_works(page: Path, reader: Reader):
    for block in blocks(page):
        if block.language in RUN and not block.why_not:
            reader.run(block)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_block_is_of_a_kind_that_is_run_or_shown(page: Path):
    text = page.read_text("utf-8")

    assert text.count("```") == 2 * len(blocks(page))
    assert {block.language for block in blocks(page)} <= {*RUN, *SHOWN}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_somewhere(page: Path):
    for target in re.findall(r"\]\((?!https?:|mailto:)([^)]+)\)", page.read_text("utf-8")):
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text("utf-8"), re.M)
            assert anchor in {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}, target


def test_the_readme_shows_what_the_first_command_prints(reader: Reader):
    shown = next(block.code for block in blocks(ROOT / "README.md") if block.language == "text")
    printed = reader.run(Block("sh", "penstock up --demo\n", ""))

    def spoken(text: str) -> list[str]:
        """Without what differs from one day and change to the next: dates, offsets, counts, ports."""
        return [
            re.sub(r"\d+", "0", line.strip()) for line in text.splitlines() if line.strip() and "docs v" not in line
        ]

    for line in spoken(shown):
        assert line in spoken(printed), f"{line}\n\n{printed}"


def test_the_sample_questions_are_answered_from_the_right_page(reader: Reader):
    page = reader._finished(
        ["penstock", "ask", "How do I go back to an earlier version of the index?", "--in", str(samples())]
    )

    assert "versions.md" in page


def test_the_guide_lists_every_provider_as_it_is():
    table = [
        "| `provider` | address | its key is mostly kept in | speaks | and offers |",
        "|---|---|---|---|---|",
    ]
    writing = ("chat", "completions", "responses", "messages")
    for name, kind in PROVIDERS.items():
        speaks = ", ".join(dialect for dialect in writing if dialect in kind.dialects)
        offers = ", ".join(d for d in PATHS if d in kind.dialects and d not in (*writing, "count_tokens"))
        address = f"`{kind.base_url}`" if kind.base_url else "yours: `base_url`"
        variable = f"`{kind.variable}`" if kind.variable else "–"
        table.append(f"| `{name}` | {address} | {variable} | {speaks or '–'} | {offers or '–'} |")

    assert "\n".join(table) in (ROOT / "docs/guides/gateway.md").read_text("utf-8")
