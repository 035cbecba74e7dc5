"""`deeplesion`: one command for everything, each subcommand the same code as its script in jobs/."""

from __future__ import annotations

import importlib

import click

from etl.report.console.words import Group

# Each subcommand by its name: module of this room, the command in it, and what it does.
COMMANDS = {
    "phantom": ("make_phantom", "main", "Write a small synthetic release."),
    "config": ("config", "main", "Print a config to start from, or the JSON schema of all keys."),
    "plan": ("build_store", "plan", "Print what a build would do."),
    "build": ("build_store", "main", "Convert the release and publish a version of a store."),
    "verify": ("verify_store", "main", "Read a version whole and list every fault."),
    "versions": ("store_versions", "main", "List, show, compare, roll back and prune versions."),
    "report": ("report", "main", "Write the report of a version: counts, charts, checks, key slices."),
    "serve": ("serve_store", "main", "Show volumes and lesions in a browser."),
    "export": ("export", "main", "Write NIfTI, COCO, CSV, images and more for other tools."),
    "add": ("add_annotations", "main", "Add annotations by others as tables of a store."),
    "match": ("match_lesions", "main", "Find the same lesion over time."),
    "patient": ("show_patient", "main", "Show a patient's lesions over all studies on a page."),
    "similar": ("find_similar", "main", "Find the lesions that are most like a lesion."),
    "calibrate-matching": ("calibrate_matching", "main", "Learn or score the matching on known pairs."),
    "train-regressor": ("train_regressor", "main", "Train a body-part regressor on a store."),
    "score": ("score_slices", "main", "Score where in the body each slice of a store lies."),
    "evaluate-regressor": ("evaluate_regressor", "main", "Score a regressor on a folder of slices."),
    "train-embedding": ("train_embedding", "main", "Train an embedding of lesions on a store."),
    "embed": ("embed_lesions", "main", "Embed the lesions of a store with a model, for searches."),
    "evaluate-retrieval": ("evaluate_retrieval", "main", "Score the search for lesions like a lesion."),
}


# Commands of one kind are a group, too: `deeplesion train regressor` is train-regressor.
GROUPS = {
    "train": "Train a model on a store.",
    "evaluate": "Score a method where the answers are known.",
}


class _Commands(Group):
    """Subcommands that are imported when they are asked for.

    Attributes:
        kind: name of the group that this is; empty for all commands.
    """

    kind = ""

    def _listed(self) -> dict[str, str]:
        """Return what each word does that may follow."""
        if self.kind:
            prefix = f"{self.kind}-"
            named = {name: text for name, (_, _, text) in COMMANDS.items() if name.startswith(prefix)}
            return {name.removeprefix(prefix): text for name, text in named.items()}
        alone = {
            name: text for name, (_, _, text) in COMMANDS.items() if name.partition("-")[0] not in GROUPS
        }
        return alone | GROUPS

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._listed())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if not self.kind and cmd_name in GROUPS:
            made = _Commands(cmd_name, help=f"{GROUPS[cmd_name]}")
            made.kind = cmd_name
            return made
        name = f"{self.kind}-{cmd_name}" if self.kind else cmd_name
        if name not in COMMANDS:
            return None
        module, function, _ = COMMANDS[name]
        command: click.Command = getattr(importlib.import_module(f"etl.commands.{module}"), function)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(self._listed().items()))


@click.command(cls=_Commands, context_settings={"max_content_width": 100})
@click.version_option(package_name="deeplesion-store")
def main() -> None:
    """Turn the NIH DeepLesion release into a store of OME-Zarr volumes and Parquet tables, and use it.

    From an empty folder to a picture of a lesion in the browser:

    \b
      deeplesion phantom build/phantom     a small synthetic release
      deeplesion build demo                a store of it, in build/store
      deeplesion serve build/store         look at its volumes and lesions

    For the release itself: deeplesion config mine > mine.yaml, change its paths, deeplesion plan mine.yaml.

    To run a subcommand on a cluster: dask-submit --cluster NAME deeplesion verify STORE, or `cluster:` in the
    config of a build. Completion of words by the shell, for bash (zsh and fish alike):

    \b
      eval "$(_DEEPLESION_COMPLETE=bash_source deeplesion)"
    """
