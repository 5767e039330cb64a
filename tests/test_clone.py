"""What a newcomer does first: clone, type one command, read an answer."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs the repository")
def test_a_fresh_clone_answers_after_one_command(tmp_path: Path):
    clone = tmp_path / "penstock"
    subprocess.run(["git", "clone", "--quiet", f"file://{ROOT}", str(clone)], check=True)
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PENSTOCK_", "VIRTUAL_ENV"))}
    printed = ""
    with subprocess.Popen(
        ["make", "up", f"PYTHON={sys.executable}"],
        cwd=clone, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True,
    ) as started:  # fmt: skip
        assert started.stdout
        for line in started.stdout:
            printed += line
            if "Ctrl-C" in line:
                break
        os.killpg(started.pid, signal.SIGINT)
        started.stdout.read()

    assert re.search(r"use it by its name, or use `previous`\. \[1\]", " ".join(printed.split()))
    assert re.search(r"\[1\] guides/versions\.md · .* · characters \d+-\d+", printed)
    assert "Not in your documents." in printed
    assert re.search(r"Penstock is up: http://127\.0\.0\.1:\d+", printed)
    assert "curl http://127.0.0.1" in printed
    assert "from openai import OpenAI" in printed
