"""Models from the Hugging Face hub, or from its cache on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from penstock.errors import BadSetting, UpstreamError

__all__ = ["from_hub"]


def from_hub(repository: str, patterns: Sequence[str], *, setting: str) -> Path:
    """The folder of a repository's files, downloaded or found in the hub's own cache. patterns: which files; setting: who asks.

    A network call that the user asked for by naming a repository. Raises BadSetting, UpstreamError.
    """
    try:
        import httpx2
        import huggingface_hub
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError as error:
        raise BadSetting(
            f"{setting} is 'hub:{repository}', and huggingface_hub is not installed",
            hint="pip install huggingface_hub, or download the model and name its folder",
        ) from error
    wanted = list(patterns)
    try:
        with suppress(LocalEntryNotFoundError):  # what was fetched once is not asked for again
            return Path(huggingface_hub.snapshot_download(repository, allow_patterns=wanted, local_files_only=True))
        return Path(huggingface_hub.snapshot_download(repository, allow_patterns=wanted))
    except (HfHubHTTPError, httpx2.HTTPError, OSError) as error:
        raise UpstreamError(
            f"the hub did not give '{repository}': {error}", hint="download it elsewhere and name its folder"
        ) from error
    except ValueError as error:
        raise BadSetting(f"'{repository}' is no repository on the hub: {error}") from error
