"""What languages are called, in the languages that phrases are in: `python -m recipes.language_names` writes language/names.json.

From Unicode CLDR (Unicode-3.0), through the package Babel: `pip install Babel` first.
"""

from __future__ import annotations

import json
from pathlib import Path

from babel import Locale

from penstock.language.phrases import languages

OUT = Path(__file__).parent.parent / "src/penstock/language/names.json"
NAMED = (
    "af am ar az be bg bn bo bs ca ckb cs cy da de el en eo es et eu fa fi fr ga gl gu ha he hi hr hu hy id is it ja ka kk km kn "
    "ko ky lb lo lt lv mk ml mn mr ms my ne nl no or pa pl ps pt ro ru si sk sl sq sr sv sw ta te tg th tl tr tt ug uk ur uz vi yo "
    "zh zu"
).split()


def main() -> None:
    found = {}
    for language in languages():
        names = Locale.parse(language).languages
        found[language] = {code: names[code] for code in NAMED if code in names}
    OUT.write_text(json.dumps(found, ensure_ascii=False, separators=(",", ":"), sort_keys=True) + "\n", "utf-8")


if __name__ == "__main__":
    main()
