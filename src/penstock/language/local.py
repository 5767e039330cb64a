"""Translation models on this machine through CTranslate2, from a folder or the hub: OPUS-MT (a pair each), NLLB (200 languages).

A folder has what CTranslate2's converters write (model.bin and vocabularies) and the SentencePiece models that came with the
weights: source.spm and target.spm for OPUS-MT, one *.model for NLLB.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from penstock.config import TranslatorSettings
from penstock.errors import BadSetting, MissingExtra, NotOffered, StorageError
from penstock.storage.hub import from_hub

__all__ = ["Local"]

HUB_FILES = ("*.bin", "*.json", "*.txt", "*.spm", "*.model")
BEAM = 4
NLLB = {  # ISO 639-1 -> the language's name there
    "ar": "arb_Arab", "bg": "bul_Cyrl", "bn": "ben_Beng", "ca": "cat_Latn", "cs": "ces_Latn", "da": "dan_Latn", "de": "deu_Latn",
    "el": "ell_Grek", "en": "eng_Latn", "es": "spa_Latn", "et": "est_Latn", "fa": "pes_Arab", "fi": "fin_Latn", "fr": "fra_Latn",
    "gl": "glg_Latn", "he": "heb_Hebr", "hi": "hin_Deva", "hr": "hrv_Latn", "hu": "hun_Latn", "id": "ind_Latn", "it": "ita_Latn",
    "ja": "jpn_Jpan", "ko": "kor_Hang", "lt": "lit_Latn", "lv": "lvs_Latn", "nl": "nld_Latn", "no": "nob_Latn", "pl": "pol_Latn",
    "pt": "por_Latn", "ro": "ron_Latn", "ru": "rus_Cyrl", "sk": "slk_Latn", "sl": "slv_Latn", "sr": "srp_Cyrl", "sv": "swe_Latn",
    "th": "tha_Thai", "tr": "tur_Latn", "uk": "ukr_Cyrl", "ur": "urd_Arab", "vi": "vie_Latn", "zh": "zho_Hans",
}  # fmt: skip


class Local:
    """A model in a folder. It is loaded when it is first asked. Satisfies `Translator`."""

    def __init__(self, name: str, settings: TranslatorSettings, folder: Path) -> None:
        self.name, self._settings, self._around = name, settings, folder
        self._lock = threading.Lock()

    async def translate(self, texts: Sequence[str], *, source: str, target: str) -> list[str]:
        return await asyncio.to_thread(
            self._translated, list(texts), source.partition("-")[0], target.partition("-")[0]
        )

    def _translated(self, texts: list[str], source: str, target: str) -> list[str]:
        with self._lock:
            loaded = self._loaded
        pieces, prefix = loaded.read(texts, source, target)
        found = loaded.engine.translate_batch(
            pieces, target_prefix=prefix, beam_size=BEAM, max_batch_size=1024, batch_type="tokens"
        )
        return [loaded.said(result.hypotheses[0], prefixed=prefix is not None) for result in found]

    @cached_property
    def _loaded(self) -> _Loaded:
        try:
            import ctranslate2
            import sentencepiece
        except ImportError as error:
            raise MissingExtra("local translation models", extra="translate") from error
        folder = self._folder()
        threads = self._settings.threads or max(1, (os.cpu_count() or 2) - 1)
        try:
            engine = ctranslate2.Translator(str(folder), device="cpu", inter_threads=1, intra_threads=threads)
        except (RuntimeError, ValueError) as error:
            raise StorageError(
                f"translators.{self.name}: {folder} has no model of CTranslate2's: {error}",
                hint="ct2-transformers-converter --model Helsinki-NLP/opus-mt-de-en --output_dir FOLDER "
                "--copy_files source.spm target.spm",
            ) from error
        two = [folder / "source.spm", folder / "target.spm"]
        one = next(iter(sorted(folder.glob("*.model"))), None)
        files = two if all(file.is_file() for file in two) else [one, one] if one else []
        if not files:
            raise StorageError(f"{folder} has neither source.spm and target.spm nor a *.model of SentencePiece")
        source, target = (sentencepiece.SentencePieceProcessor(model_file=str(file)) for file in files)
        return _Loaded(engine, source, target, self._settings, pair=files == two, name=self.name)

    def _folder(self) -> Path:
        named = self._settings.model
        if not named:
            raise BadSetting(f"translators.{self.name}.model is empty", hint="a folder, or hub:owner/name")
        if named.startswith("hub:"):
            return from_hub(named.removeprefix("hub:"), HUB_FILES, setting=f"translators.{self.name}.model")
        folder = self._around / Path(named).expanduser()
        if not folder.is_dir():
            raise BadSetting(f"translators.{self.name}.model is '{named}', which is no folder")
        return folder


class _Loaded:
    """A model and its two tokenisers."""

    def __init__(
        self, engine: Any, source: Any, target: Any, settings: TranslatorSettings, *, pair: bool, name: str
    ) -> None:
        self.engine, self._source, self._target, self._settings, self._pair = engine, source, target, settings, pair
        self._name = name

    def read(self, texts: list[str], source: str, target: str) -> tuple[list[list[str]], list[list[str]] | None]:
        """The texts as pieces, and what each translation begins with. Raises NotOffered."""
        if self._pair:
            if (source, target) != (self._settings.source, self._settings.target):
                raise NotOffered(
                    f"{self._name} translates from '{self._settings.source}' to '{self._settings.target}', "
                    f"not from '{source}' to '{target}'"
                )
            return [[*self._source.encode(text, out_type=str), "</s>"] for text in texts], None
        if source not in NLLB or target not in NLLB:
            raise NotOffered(f"{self._name} does not translate from '{source}' to '{target}'")
        pieces = [[NLLB[source], *self._source.encode(text, out_type=str), "</s>"] for text in texts]
        return pieces, [[NLLB[target]]] * len(texts)

    def said(self, pieces: list[str], *, prefixed: bool) -> str:
        text: str = self._target.decode(pieces[1:] if prefixed else pieces)
        return text
