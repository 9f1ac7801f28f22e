#!/usr/bin/env python3
"""Malformed files of every kind that the program reads: each is refused with exit code 3 and a sentence that names the culprit."""

import re
import shutil

import rows_bundle
import rows_data
import rows_metric
import rows_models
import rows_tensors
from harness import Program, Report, Work, in_parallel, link_tree, options, printable
from rows_common import COMMANDS
from samples import Samples

LONGEST_S = 5.0
ROWS = [row for module in [rows_tensors, rows_models, rows_metric, rows_bundle, rows_data] for row in module.rows()]


def sound_folder(folder, samples):
    """Every input that a command reads, sound: it must be accepted, or a refusal of its malformed form proves nothing."""
    folder.mkdir()
    link_tree(samples.model, folder / "model")
    link_tree(samples.bundle, folder / "bundle")
    link_tree(samples.metric, folder / "metric")
    link_tree(samples.images, folder / "images")
    link_tree(samples.pairs, folder / "pairs")
    shutil.copy(samples.published, folder / "sd15_metric.pth")


def sound_inputs(command, samples):
    for part, path in [
        ("unet", samples.unet_inputs),
        ("text_encoder", samples.text_inputs),
        ("vae_decoder", samples.vae_inputs),
        ("distance", samples.two_latents),
    ]:
        if part in command:
            return path


def check_sound(program, samples, folder):
    """Runs every command on its sound input. Gives the pairs of (kind of row, command) that cannot be tested."""
    for command, arguments in COMMANDS.items():
        if command == "distance, published safetensors":
            continue
        target = folder / command.replace(" ", "-")
        sound_folder(target, samples)
        if "inputs" in command:
            shutil.copy(sound_inputs(command, samples), target / "inputs.safetensors")
        outcome = program.run(*arguments(target, samples))
        if outcome.code != 0:
            raise SystemExit(f"the sound input is refused, so nothing can be tested: {outcome.command()}: {outcome.stderr}")
        shutil.rmtree(target)
    unjudged = set()
    target = folder / "shards"
    sound_folder(target, samples)
    rows_models.sharded(target / "model")
    for command in ["run vae_decoder", "export", "train teacher"]:
        if program.run(*COMMANDS[command](target, samples)).code != 0:
            unjudged.add(("weights-shards", command))
            print(f"note: {command} does not read weights in several files; its rows of weights-shards are left out")
    shutil.rmtree(target)
    return unjudged


def problems_of(row, command, outcome, folder):
    """What is wrong with an answer."""
    problems = outcome.faults()
    if outcome.code != 3 and not (outcome.code < 0 or outcome.timed_out):
        problems.append(f"exit {outcome.code}")
    if outcome.code not in (0, 3):
        problems.append(f"says: {outcome.stderr.strip()[-200:]}")
    if outcome.seconds > LONGEST_S:
        problems.append(f"{outcome.seconds:.1f} s")
    # Names in the path of the row's folder are not the program's doing.
    text = outcome.text.replace(str(folder), "")
    if outcome.code == 3:
        missing = [words for words in row.words if not re.search(words, text, re.IGNORECASE | re.DOTALL)]
        if missing:
            problems.append(f"does not say {' nor '.join(missing)}: {outcome.stderr.strip().replace(str(folder), '')[-300:]}")
    if "canary" in text:
        problems.append("shows a file that lies outside")
    return [f"{command}: {problem}" for problem in problems]


def main():
    given = options(
        __doc__,
        only=(str, "", "rows whose kind/name matches this regular expression"),
        show=(bool, False, "print every answer, to be read by eye"),
    )
    program = Program(given.program)
    chosen = [row for row in ROWS if re.search(given.only, f"{row.kind}/{row.name}")]
    with Work(given.work, "malformed") as work:
        samples = Samples(program, work)
        unjudged = check_sound(program, samples, work.scratch)
        report = Report("malformed")

        def one(item):
            number, row = item
            # A number: the name of the folder must not supply words.
            folder = work.scratch / f"{number:04}"
            problems, calls = [], []
            for command in row.commands:
                if (row.kind, command) in unjudged:
                    continue
                if folder.exists():
                    shutil.rmtree(folder)
                folder.mkdir()
                row.make(folder, samples)
                outcome = program.run(*COMMANDS[command](folder, samples))
                if outcome.seconds > LONGEST_S and not outcome.timed_out:
                    # Another process may have had the machine.
                    shutil.rmtree(folder)
                    folder.mkdir()
                    row.make(folder, samples)
                    outcome = min(outcome, program.run(*COMMANDS[command](folder, samples)), key=lambda outcome: outcome.seconds)
                calls.append(outcome)
                problems += problems_of(row, command, outcome, folder)
                if given.show:
                    answer = outcome.stderr.strip().replace(str(folder), "") or outcome.stdout.strip()[:200]
                    measured = f"exit {outcome.code}, {outcome.seconds:.2f} s, {outcome.megabytes:.0f} MB"
                    print(f"{row.kind}/{row.name}, {command}: {measured}\n    {printable(answer[-600:])}")
            shutil.rmtree(folder)
            report.add(row.kind, row.name, problems, calls)

        in_parallel(given.jobs, one, enumerate(chosen))
        return report.finish(given, {"left_out": sorted(map(list, unjudged))})


if __name__ == "__main__":
    raise SystemExit(main())
