#!/usr/bin/env python3
"""SIGKILL at random moments: what stood at the destination or what was to stand there is there, whole, and the next run leaves no scratch."""

import json
import os
import random
import shutil
import time

from harness import Program, Report, Work, hidden, options, remove, tree
from samples import PROMPT, Samples

KINDS = ["export", "data emoji", "pairs", "gallery"]
AIMS = ["writing", "any", "replacing"]


class Case:
    """A command that replaces an old result: `line` is the command, `reset` puts the old result at the destination."""

    def __init__(self, kind, samples, program, directory):
        self.kind, self.samples, self.program, self.directory = kind, samples, program, directory
        directory.mkdir()
        self.out = directory / {"export": "bundle", "data emoji": "emoji", "pairs": "pairs", "gallery": "bundle"}[kind]
        references = directory.parent / f"{directory.name}-references"
        references.mkdir()
        if kind == "export":
            self.line = ["export", "--model", samples.other_teacher, "--title", "New", "--out", self.out]
            old = ["export", "--model", samples.teacher, "--title", "Old", "--out", self.out]
        elif kind == "data emoji":
            self.line, old = samples.emoji_command(self.out, 24), samples.emoji_command(self.out, 16)
        elif kind == "pairs":
            # Enough shards for kills between them.
            self.line, old = samples.pairs_command(self.out, count=24, shard=2), None
        else:
            shutil.copytree(samples.bundle, self.out)
            gallery = lambda prompt: ["export", "gallery", "--bundle", self.out, "--teacher", samples.teacher, "--prompt", prompt, "--seed", 3, "--steps", 4]
            self.line, old = gallery(PROMPT), gallery("blue square")
        # What is replaced in one step: the folder, or a file in it.
        self.replaced = self.out / {"pairs": "index.json", "gallery": "gallery.json"}.get(kind, "")
        self.old = references / "old"
        if old:
            program.succeed(*old)
            shutil.copytree(self.out, self.old)
        begun = time.monotonic()
        program.succeed(*self.line)
        self.seconds = time.monotonic() - begun
        self.new = references / "new"
        shutil.copytree(self.out, self.new)
        self.trees = [tree(self.old) if old else None, tree(self.new)]

    def reset(self):
        for path in self.directory.iterdir():
            remove(path)
        if self.trees[0] is not None:
            shutil.copytree(self.old, self.out)

    def problems(self, finished):
        """What is wrong with the destination after a kill, or once the command has succeeded."""
        if self.kind == "pairs":
            return self.pairs_problems(finished)
        if not self.out.exists():
            return ["the destination is gone"]
        found = tree(self.out)
        if self.kind == "gallery":
            return self.gallery_problems(found, finished)
        # What is hidden within is scratch, and looked for elsewhere.
        found = {name: content for name, content in found.items() if not any(part.startswith(".") for part in name.split("/"))}
        wanted = self.trees[1:] if finished else self.trees
        if found in wanted:
            return []
        different = min((sorted(name for name in one.keys() | found.keys() if one.get(name) != found.get(name)) for one in wanted), key=len)
        return [f"the destination is neither the old nor the new result: {', '.join(different[:5])}"]

    def pairs_problems(self, finished):
        found = tree(self.out) if self.out.exists() else {}
        whole = self.trees[1]
        problems = [f"{name} is not whole" for name, content in found.items() if name.startswith("pairs-") and content != whole.get(name)]
        if "index.json" in found:
            try:
                json.loads(found["index.json"])
            except ValueError:
                problems.append("index.json is not whole")
        if finished:
            problems += [f"{name} is missing or differs" for name in whole if found.get(name) != whole[name] and not name.endswith(".lock")]
        return problems

    def gallery_problems(self, found, finished):
        problems = [f"{name} of the bundle changed" for name in self.trees[0] if name != "gallery.json" and found.get(name) != self.trees[0][name]]
        content = found.get("gallery.json")
        if content is None:
            return [*problems, "gallery.json is gone"]
        if content == self.trees[0]["gallery.json"] and not finished:
            return problems
        try:
            # Times differ from run to run; the images do not.
            images = lambda content: [
                [image["prompt"], image["seed"], image["student"]["png"], image["teacher"]["png"]] for image in json.loads(content)["images"]
            ]
            if images(content) != images(self.trees[1]["gallery.json"]):
                problems.append("gallery.json is neither the old nor the new one")
        except (ValueError, KeyError, TypeError) as error:
            problems.append(f"gallery.json is not whole: {error}")
        return problems

    def listing(self):
        """Names in and below the directory; they change when the command begins to write."""
        return [(root, names, files) for root, names, files in os.walk(self.directory)]

    def left(self):
        found = hidden(self.directory)
        return found + [path.name for path in self.directory.iterdir() if path != self.out and not path.name.startswith(".")]


def identity(path):
    """Which file or folder stands there: another one once it has been replaced."""
    try:
        return os.stat(path).st_ino
    except OSError:
        return None


def killed(case, source, aim, resumed):
    """Starts the command and kills it. Gives what is said of the moment, or None where it had ended by then."""
    before, stood = case.listing(), identity(case.replaced)
    line = [*case.line, "--resume"] if resumed else case.line
    call = case.program.start(*line)
    if aim == "writing":
        # From its first file on every moment counts.
        while case.listing() == before and not call.poll():
            pass
        moment = source.uniform(0, 0.4) * source.random() * case.seconds
        time.sleep(moment)
        said = f"{moment * 1000:.0f} ms after its first file"
    elif aim == "replacing":
        # At the moment when the new result replaces the old one.
        while not call.poll():
            if any(identity(case.replaced) != stood for _ in range(200)):
                break
        said = "when the destination changed"
    else:
        moment = source.uniform(0, case.seconds)
        while time.monotonic() - call.started < moment and not call.poll():
            time.sleep(0.0005)
        said = f"after {moment * 1000:.0f} ms"
    landed = not call.poll()
    call.kill()
    return call.wait(), said if landed else None


def main():
    given = options(
        __doc__,
        seed=(int, 1, "names the moments"),
        kills_of_each=(int, 15, "kills that land, of each kind"),
        only=(str, "", "kinds that contain this"),
    )
    program = Program(given.program)
    source = random.Random(given.seed)
    with Work(given.work, "kills") as work:
        samples = Samples(program, work)
        report = Report("kills")
        for kind in KINDS:
            if given.only not in kind:
                continue
            case = Case(kind, samples, program, work.scratch / kind.replace(" ", "-"))
            landed = 0
            for number in range(given.kills_of_each * 6):
                if landed == given.kills_of_each:
                    break
                case.reset()
                outcome, said = killed(case, source, AIMS[number % 3], resumed=False)
                if said is None:
                    continue
                begun = landed
                landed += 1
                if kind == "pairs" and landed < given.kills_of_each and source.random() < 0.4:
                    # Resumed, and killed again.
                    outcome, second = killed(case, source, "any", resumed=True)
                    landed += second is not None
                    said += f", resumed and killed {second}" if second else ""
                problems = [f"after the kill, {problem}" for problem in case.problems(finished=False)]
                resumed = kind == "pairs"
                again = program.run(*case.line, *(["--resume"] if resumed else []))
                if again.code != 0:
                    problems.append(f"the next run exits {again.code}: {again.stderr.strip()[-300:]}")
                else:
                    problems += [f"after the next run, {problem}" for problem in case.problems(finished=True)]
                    left = case.left()
                    if left:
                        problems.append(f"the next run leaves {', '.join(left[:5])}")
                report.add(kind, f"{number}", [f"{problem} [killed {said}]" for problem in problems], [outcome, again], moment=said, kills=landed - begun)
            if landed < given.kills_of_each:
                print(f"note: only {landed} kills of {kind} landed")
        kills = sum(row["kills"] for row in report.rows)
        print(f"\n{kills} kills in {len(report.rows)} rounds")
        return report.finish(given, {"seed": given.seed, "kills": kills})


if __name__ == "__main__":
    raise SystemExit(main())
