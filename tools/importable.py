"""Every module of the installed package is imported in an environment that has the package and nothing else.

    python -m tools.importable

What is missing must be an extra that the package names; anything else is a dependency that nobody declared.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import pkgutil
import re
import sys

import penstock

CALLED = {  # what is imported under another name than it is installed by
    "scikit-learn": "sklearn", "faiss-cpu": "faiss", "presidio-analyzer": "presidio_analyzer", "llm-guard": "llm_guard",
    "opentelemetry-proto": "opentelemetry",
}  # fmt: skip


def extras() -> set[str]:
    """The modules that come with an extra."""
    wanted = importlib.metadata.requires("penstock") or []
    names = (re.split(r"[\s<>=!~;\[(]", line)[0] for line in wanted if "extra ==" in line)
    return {CALLED.get(name, name.replace("-", "_")) for name in names}


def main() -> int:
    optional, wrong, left_out = extras(), [], {}
    modules = [
        name for _, name, _ in pkgutil.walk_packages(penstock.__path__, "penstock.") if name != "penstock.__main__"
    ]
    for name in modules:
        try:
            importlib.import_module(name)
        except ImportError as error:
            missing = (error.name or "").partition(".")[0]
            if missing in optional:
                left_out[name] = missing
            else:
                wrong.append(f"{name}: {error}")
        except Exception as error:  # whatever it is, a user would meet it
            wrong.append(f"{name}: {type(error).__name__}: {error}")
    print(
        f"{len(modules) - len(left_out) - len(wrong)} modules import; {len(left_out)} wait for an extra; {len(wrong)} do not"
    )
    for line in wrong:
        print(line, file=sys.stderr)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
