#!/usr/bin/env python3
"""Random changes of sound bundles and pipeline folders: the commands agree about each, and none crashes, hangs or takes too much memory."""

import json
import random
import shutil

from formats import rehash
from harness import SHIPPED_BUNDLE, Program, Report, Work, in_parallel, link_tree, options, remove, replace
from samples import PROMPT, Samples

SHIPPED_PROMPT = "red heart"


def random_value(source):
    """A JSON value that is likely to hurt."""
    return source.choice(
        [
            None, True, False, 0, 1, -1, 2, 7, 16, 255, 1000, 2**31, 2**32, 2**53, 2**63 - 1, 2**64 - 1, 10**30, 0.5, -0.0, 1e300, 1e-300,
            "", "x", "..", "../x", "/etc/hostname", "a\0b", "\x1b[31m", "\u202e", "n" * 1000,
            [], {}, [[]], [0], [1, 2, 3], {"type": "x"}, {"a": {"b": []}},
        ]
    )  # fmt: skip


def value_paths(value, found=None, path=()):
    """The paths of all values of a JSON document."""
    found = [] if found is None else found
    if path:
        found.append(path)
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        # Documents with a thousand tokens: the first ones are as good as all.
        if len(found) < 20_000:
            value_paths(inner, found, (*path, key))
    return found


def change_json(content, source):
    """Another value, one left out, doubled, exchanged or nested."""
    document = json.loads(content)
    found = value_paths(document)
    if not found:
        return content, "nothing"
    path = source.choice(found)
    holder = document
    for key in path[:-1]:
        holder = holder[key]
    key = path[-1]
    kind = source.choice(["value", "value", "number", "left out", "doubled", "exchanged", "nested", "key", "key twice"])
    if kind == "value":
        holder[key] = random_value(source)
    elif kind == "number":
        value = holder[key]
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            holder[key] = source.choice([value + 1, value - 1, -value, value * 2, value * 10**6, value / 2, str(value)])
        else:
            holder[key] = source.randrange(-3, 70)
    elif kind == "left out":
        del holder[key]
    elif kind == "doubled":
        if isinstance(holder, list):
            holder.insert(key, holder[key])
        else:
            holder[f"{key}2"] = holder[key]
    elif kind == "exchanged":
        other = source.choice(found)
        container = document
        for step in other[:-1]:
            container = container[step]
        # One may lie within the other.
        holder[key] = json.loads(json.dumps(container[other[-1]]))
    elif kind == "nested":
        for _ in range(source.choice([1, 5, 12, 13, 16, 40, 120])):
            holder[key] = [holder[key]]
    elif kind == "key" and isinstance(holder, dict):
        holder[source.choice(["", "x", str(key).upper(), f"{key} ", "__metadata__"])] = holder.pop(key)
    elif kind == "key twice" and isinstance(holder, dict):
        text = json.dumps(document)
        name = json.dumps(str(key)) + ":"
        return text.replace(name, f"{name} {json.dumps(random_value(source))}, {name}", 1).encode(), f"{kind} {path}"
    return json.dumps(document).encode(), f"{kind} {path}"


def change_header(content, source):
    """The header of a safetensors file changed as JSON, its length made to fit."""
    length = int.from_bytes(content[:8], "little")
    header, kind = change_json(content[8 : 8 + length], source)
    return len(header).to_bytes(8, "little") + header + content[8 + length :], f"header: {kind}"


def change_bytes(content, source):
    """Bits, cuts, repeats, exchanges; brackets in JSON."""
    size = len(content)
    if size == 0:
        return b"x", "one byte"
    at, length = source.randrange(size), source.choice([1, 2, 8, 64, 1000])
    kind = source.choice(["bit", "bit", "bits", "byte", "cut", "cut out", "repeat", "exchange", "zeros", "ones", "brackets", "empty", "appended"])
    # Headers and settings stand at the beginning.
    if source.random() < 0.5:
        at = min(at, source.randrange(min(size, 4000)))
    end = min(size, at + length)
    if kind == "bit":
        return content[:at] + bytes([content[at] ^ 1 << source.randrange(8)]) + content[at + 1 :], f"bit at {at}"
    if kind == "bits":
        changed = bytearray(content)
        for _ in range(16):
            changed[source.randrange(size)] ^= 1 << source.randrange(8)
        return bytes(changed), "16 bits"
    if kind == "byte":
        return content[:at] + bytes([source.randrange(256)]) + content[at + 1 :], f"byte at {at}"
    if kind == "cut":
        return content[:at], f"cut at {at}"
    if kind == "cut out":
        return content[:at] + content[end:], f"{end - at} bytes cut out at {at}"
    if kind == "repeat":
        return content[:at] + content[at:end] * source.choice([2, 3, 100]) + content[end:], f"{end - at} bytes repeated at {at}"
    if kind == "exchange":
        other = source.randrange(size)
        first, second = sorted([at, other])
        width = min(length, size - second, second - first)
        parts = (
            content[:first],
            content[second : second + width],
            content[first + width : second],
            content[first : first + width],
            content[second + width :],
        )
        return b"".join(parts), f"{width} bytes exchanged at {first} and {second}"
    if kind in ("zeros", "ones"):
        return content[:at] + (b"\0" if kind == "zeros" else b"\xff") * (end - at) + content[end:], f"{kind} at {at}"
    if kind == "brackets":
        return content[:at] + source.choice([b"[", b"{", b'{"a":']) * source.choice([10, 100, 30_000]) + content[at:], f"brackets at {at}"
    if kind == "empty":
        return b"", "empty"
    return content + bytes(source.randrange(256) for _ in range(length)), f"{length} bytes appended"


def change_path(folder, name, source):
    """A link or a folder instead of a file, another file's bytes, or nothing."""
    path = folder / name
    others = [other for other in names(folder) if other != name]
    kind = source.choice(["missing", "folder", "link to nowhere", "link to itself", "link to another", "another's bytes"])
    content = (folder / source.choice(others)).read_bytes()
    if kind == "another's bytes":
        replace(path, content)
        return kind
    remove(path)
    if kind == "folder":
        path.mkdir()
    elif kind == "link to nowhere":
        path.symlink_to("nowhere")
    elif kind == "link to itself":
        path.symlink_to(path.name)
    elif kind == "link to another":
        path.symlink_to(folder / source.choice(others))
    return kind


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def mutate(folder, source, usual):
    """Changes one file of a folder, two at times. `usual` are names that are chosen more often."""
    said = []
    for _ in range(source.choice([1, 1, 1, 2])):
        name = source.choice([*names(folder), *usual])
        path = folder / name
        if not path.is_file() or path.is_symlink():
            continue
        roll = source.random()
        if roll < 0.05:
            said.append(f"{name}: {change_path(folder, name, source)}")
            continue
        content = path.read_bytes()
        change = change_bytes
        try:
            if name.endswith(".json") and roll < 0.7:
                json.loads(content)
                change = change_json
            elif name.endswith(".safetensors") and roll < 0.5:
                json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
                change = change_header
        except ValueError:
            pass
        content, kind = change(content, source)
        replace(path, content)
        said.append(f"{name}: {kind}")
    return "; ".join(said)


def bundle_problems(inspected, generated):
    """What is wrong with two answers about one bundle: both accept it, or both refuse it as the input at fault."""
    problems = [f"inspect {fault}" for fault in inspected.faults()] + [f"generate {fault}" for fault in generated.faults()]
    if inspected.code != generated.code:
        problems.append(
            f"inspect {inspected.code}, generate {generated.code}: {(generated.stderr if generated.code else inspected.stderr).strip()[-300:]}"
        )
    elif inspected.code not in (0, 3):
        problems.append(f"both exit {inspected.code}: {inspected.stderr.strip()[-300:]}")
    return problems


def main():
    given = options(
        __doc__,
        seed=(int, 1, "names all random choices"),
        count=(int, 2000, "mutants in all"),
        first=(int, 0, "the first mutant: with --count 1 to look at one again"),
        keep=(bool, False, "keep the folders of failing mutants in the work folder"),
    )
    program = Program(given.program)
    with Work(given.work, "mutants") as work:
        samples = Samples(program, work)
        report = Report("mutants")
        accepted = {"bundle": 0, "shipped": 0, "pipeline": 0}

        def one(number):
            # A separate source: a mutant does not depend on earlier ones.
            source = random.Random(f"{given.seed} {number}")
            kind = source.choices(["bundle", "shipped", "pipeline"], [60, 10, 30])[0]
            folder = work.scratch / f"{number:05}"
            if kind == "pipeline":
                link_tree(samples.model, folder)
                said = mutate(folder, source, ["model_index.json", "tokenizer/tokenizer.json", "scheduler/scheduler_config.json"])
                problems, calls = pipeline_answers(program, folder)
            else:
                # Never links to the repository's own files.
                shutil.copytree(SHIPPED_BUNDLE, folder) if kind == "shipped" else link_tree(samples.bundle, folder)
                said = mutate(folder, source, ["weights-00001.safetensors", "tokenizer.json", "decoder.json"])
                if source.random() < 0.5:
                    said += "; hashed again" if hashed(folder) else ""
                prompt = SHIPPED_PROMPT if kind == "shipped" else PROMPT
                calls = bundle_answers(program, folder, folder.with_suffix(".png"), prompt)
                problems = bundle_problems(*calls)
            accepted[kind] += calls[0].code == 0
            report.add(kind, f"{number}", [f"{problem} [{said}]" for problem in problems], calls, change=said)
            if not (problems and given.keep and work.kept):
                for path in [folder, folder.with_suffix(".out"), folder.with_suffix(".png")]:
                    if path.exists():
                        remove(path)

        in_parallel(given.jobs, one, range(given.first, given.first + given.count))
        print(f"\naccepted: {accepted}")
        return report.finish(given, {"seed": given.seed, "accepted": accepted})


def bundle_answers(program, bundle, image, prompt):
    inspected = program.run("inspect", bundle)
    return inspected, program.run("generate", prompt, "--seed", 1, "--bundle", bundle, "--device", "cpu", "--out", image)


def pipeline_answers(program, model):
    """`export` refuses the folder, or makes a bundle that opens and generates."""
    out = model.with_suffix(".out")
    exported = program.run("export", "--model", model, "--out", out)
    problems = [f"export {fault}" for fault in exported.faults()]
    if exported.code == 0:
        calls = bundle_answers(program, out, model.with_suffix(".png"), PROMPT)
        for call in calls:
            if call.code != 0 and not call.faults():
                problems.append(f"export 0, {call.arguments[1]} {call.code}: {call.stderr.strip()[-300:]}")
            problems += [f"{call.arguments[1]} of what export made {fault}" for fault in call.faults()]
        return problems, [exported, *calls]
    if exported.code != 3 and exported.code >= 0:
        problems.append(f"export {exported.code}: {exported.stderr.strip()[-300:]}")
    if out.exists():
        problems.append("export was refused and left its folder")
    return problems, [exported]


def hashed(bundle):
    try:
        rehash(bundle)
        return True
    except (ValueError, KeyError, TypeError, OSError):
        # The manifest is what was changed.
        return False


if __name__ == "__main__":
    raise SystemExit(main())
