#!/usr/bin/env python3
"""Two commands at once on one destination: one makes it whole, the other is refused in a sentence that names it, and no scratch is left."""

import random
import shutil
import time

from harness import Program, Report, Work, hidden, options, remove, tree
from samples import PROMPT, Samples

KINDS = ["export", "export over an old bundle", "pairs", "generate", "data emoji", "data emoji over an old folder"]


def prepare(kind, samples, program, directory, number):
    """Gives the two command lines, the destination, and a function that finds what is wrong with it afterwards."""
    if kind.startswith("export"):
        out = directory / "bundle"
        if "over" in kind:
            shutil.copytree(samples.bundle, out)
        lines = [
            ["export", "--model", model, "--out", out, "--title", title]
            for model, title in [(samples.teacher, "One"), (samples.other_teacher, "Two")]
        ]
        return lines, out, lambda: bundle_problems(program, out)
    if kind == "pairs":
        out = directory / "pairs"
        return [samples.pairs_command(out)] * 2, out, lambda: same(tree(samples.pairs), tree(out), ignore=["index.json"])
    if kind == "generate":
        out = directory / "image.png"
        lines = [
            ["generate", PROMPT, "--seed", seed, "--no-metadata", "--bundle", samples.bundle, "--device", "cpu", "--out", out]
            for seed in (number, number + 1)
        ]
        wanted = []
        for line in lines:
            program.succeed(*line[:-1], directory / "reference.png")
            wanted.append((directory / "reference.png").read_bytes())
            remove(directory / "reference.png")
        return lines, out, lambda: [] if out.is_file() and out.read_bytes() in wanted else ["the image is neither of the two"]
    out = directory / "emoji"
    if "over" in kind:
        program.succeed(*samples.emoji_command(out, size=16))
    lines = [samples.emoji_command(out, size) for size in (16, 24)]
    return lines, out, lambda: emoji_problems(program, out)


def bundle_problems(program, bundle):
    answers = (
        program.run("inspect", bundle),
        program.run("generate", PROMPT, "--bundle", bundle, "--device", "cpu", "--out", bundle.parent / "check.png"),
    )
    if (bundle.parent / "check.png").exists():
        remove(bundle.parent / "check.png")
    return [f"{answer.arguments[1]} of the bundle: {answer.code}: {answer.stderr.strip()[-200:]}" for answer in answers if answer.code != 0]


def emoji_problems(program, folder):
    answer = program.run("data", "check", folder)
    if answer.code != 0:
        return [f"data check of the folder: {answer.code}: {answer.stderr.strip()[-200:]}"]
    sizes = [line for line in answer.stdout.splitlines() if line.startswith("size ")]
    return [] if len(sizes) == 1 else [f"images of {len(sizes)} sizes: the two are mixed"]


def same(wanted, found, ignore=()):
    # A lock that stays is not part of the result.
    names = {name for name in wanted.keys() | found.keys() if name not in ignore and not name.endswith(".lock")}
    different = sorted(name for name in names if wanted.get(name) != found.get(name))
    return [f"differs from what one alone makes: {', '.join(different[:5])}"] if different else []


def one(kind, number, source, program, samples, directory):
    lines, out, check = prepare(kind, samples, program, directory, number)
    # The small model's image takes 20 ms in all: what starts later comes after its end.
    offset = source.uniform(0, 0.003 if kind == "generate" else 0.030)
    first = program.start(*lines[0])
    time.sleep(offset)
    # So that its end is known if it came before the second one's start.
    first.poll()
    second = program.start(*lines[1])
    outcomes = first.wait(), second.wait()
    problems = [fault for outcome in outcomes for fault in outcome.faults()]
    codes = [outcome.code for outcome in outcomes]
    done = codes.count(0)
    is_sequential = outcomes[1].started > outcomes[0].ended
    if done == 2 and not is_sequential:
        problems.append("both exit 0")
    if done == 0:
        problems.append("none succeeds")
    for outcome in outcomes:
        if outcome.code == 0:
            continue
        if outcome.code not in (2, 3):
            problems.append(f"exit {outcome.code}: {outcome.stderr.strip()[-300:]}")
        elif out.name not in outcome.stderr:
            problems.append(f"the refusal does not name the destination: {outcome.stderr.strip()[-300:]}")
        elif not any(
            word in outcome.stderr.lower()
            for word in ["another", "being written", "process", "in use", "at the same time", "lock", "busy", "already"]
        ):
            problems.append(f"the refusal does not say that another process is at it: {outcome.stderr.strip().replace(str(directory), '')[-300:]}")
    problems += check()
    left = hidden(directory)
    left += [path.name for path in directory.iterdir() if path != out and not path.name.startswith(".")]
    if left:
        problems.append(f"left behind: {', '.join(left)}")
    return problems, outcomes, round(offset * 1000, 1)


def main():
    given = options(
        __doc__,
        seed=(int, 1, "names the offsets"),
        pairs_of_each=(int, 10, "pairs of commands of each kind"),
        only=(str, "", "kinds that contain this"),
    )
    program = Program(given.program)
    source = random.Random(given.seed)
    with Work(given.work, "simultaneous") as work:
        samples = Samples(program, work)
        report = Report("simultaneous")
        # One pair at a time: it has the machine's cores.
        for kind in KINDS:
            for number in range(given.pairs_of_each):
                if given.only not in kind:
                    continue
                directory = work.scratch / f"{KINDS.index(kind)}-{number:02}"
                directory.mkdir()
                problems, outcomes, offset = one(kind, number, source, program, samples, directory)
                report.add(kind, f"{number}", problems, outcomes, offset_ms=offset, codes=[outcome.code for outcome in outcomes])
                shutil.rmtree(directory)
        return report.finish(given, {"seed": given.seed})


if __name__ == "__main__":
    raise SystemExit(main())
