"""`penstock train …`: the shipped models, trained anew by their recipes."""

from __future__ import annotations

import sys
from importlib import import_module

import click

from penstock.errors import MissingExtra

__all__ = ["train"]

RECIPES = {
    "bilingual": "what words of other languages may be in English",
    "checker": "whether what is claimed is in the evidence",
    "injection": "orders to a model, in prompts and in documents, and harmful requests",
    "languages": "which language a text is in",
    "moderation": "hate, harassment, violence, sexual content, self-harm, illegal acts, toxicity",
    "satisfaction": "turns of conversations that people find unsatisfying",
    "tagger": "names, addresses, organisations and dates of birth, in sixteen languages",
}


@click.group()
def train() -> None:
    """Train the shipped models anew. It needs the extra `train`, and the data that a recipe's --help names.

    Each recipe is one file of `penstock.train`. With --check it is tried on little or nothing.
    """


def _recipe(name: str, about: str) -> None:
    @train.command(
        name,
        help=f"Train what tells {about}. Without arguments, or with --help, the recipe says what it takes.",
        short_help=f"What tells {about}.",
        context_settings={"ignore_unknown_options": True, "help_option_names": []},
    )
    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    def run(arguments: tuple[str, ...]) -> None:
        try:
            recipe = import_module(f"penstock.train.{name}")
        except ModuleNotFoundError as error:
            raise MissingExtra(f"what the recipe needs ({error.name})", extra="train") from error
        sys.argv = [f"penstock train {name}", *(arguments or ("--help",))]
        recipe.main()


for _name, _about in RECIPES.items():
    _recipe(_name, _about)
