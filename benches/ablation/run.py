"""Trains one student per row and seed, compares all of them with the same images of their teacher, and writes the tables.

    python3 benches/ablation/run.py --program target/release/onestep --teacher runs/teacher --pairs runs/pairs --data emoji \\
        --features runs/classifier --latent-metric runs/metric/metric --pixel-metric runs/pixel-metric/metric --out runs/ablation

Needs Python 3.11 and nothing else. What is finished is kept, so that the same command continues where it stopped. README.md next to this
file says what is compared; rows.toml holds the rows.
"""

import argparse
import concurrent.futures
import json
import math
import pathlib
import statistics
import subprocess
import sys
import time
import tomllib

HERE = pathlib.Path(__file__).resolve().parent
LAST_DISTANCE = "e-latent-lpips"
# Key of a row of the evaluation's report, title, digits, whether more is better.
MEASURES = [
    ("fréchet", "Fréchet ↓", 3, lambda row: row["to_teacher"]["frechet_distance"]),
    ("kernel", "KID × 1000 ↓", 2, lambda row: 1000 * row["to_teacher"]["kernel_distance"]["mean"]),
    ("distance", "pair distance ↓", 4, lambda row: row["preservation"]["distance"]),
    ("downsampled pixels", "pair, 16×16 ↓", 4, lambda row: row["preservation"]["downsampled_pixels"]),
    ("psnr", "PSNR, dB ↑", 2, lambda row: row["preservation"]["psnr"] or math.inf),
    ("diversity", "diversity, % of the teacher's", 1, lambda row: 100 * (row["diversity_ratio"] or math.nan)),
    ("alignment", "alignment, % ↑", 1, lambda row: 100 * (row["alignment"] if row["alignment"] is not None else math.nan)),
]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("program", "teacher", "pairs", "data", "features", "latent-metric"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--pixel-metric", help="needed by the row pixel-lpips")
    parser.add_argument("--only", nargs="+", metavar="ROW", help="these rows alone, by their names in rows.toml")
    parser.add_argument("--out", required=True, help="where the runs go")
    parser.add_argument("--results", default=str(HERE), help="where the tables go (%(default)s)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--jobs", type=int, default=1, help="runs at the same time")
    parser.add_argument("--minutes", type=float, default=math.inf, help="what is not finished by then is left out (no limit)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=6e-4)
    parser.add_argument("--discriminator-rate", type=float, default=2e-4)
    parser.add_argument("--samples", type=int, default=512)
    parser.add_argument("--steps-of-teacher", type=int, default=50)
    parser.add_argument("--guidance", type=float, default=2.0)
    return parser.parse_args()


def chosen(options, rows):
    """The rows that are wanted; leaves with a sentence where one is unknown or lacks its metric."""
    tables = {table: [row for row in rows[table] if not options.only or row["name"] in options.only] for table in ("distances", "discriminator")}
    names = {row["name"] for of in tables.values() for row in of}
    if unknown := set(options.only or []) - names:
        sys.exit(f"rows.toml has no row {', '.join(sorted(unknown))}")
    if "pixel-lpips" in names and not options.pixel_metric:
        sys.exit("the row pixel-lpips needs --pixel-metric, or leave it out with --only")
    return {**rows, **tables}


def plan(options, rows):
    """Every run: row, seed, and the words of its command."""
    metrics = {"latent": options.latent_metric, "pixel": options.pixel_metric}
    shared = ["--teacher", options.teacher, "--pairs", options.pairs, "--device", options.device, "--steps", options.steps]
    shared += ["--batch", options.batch, "--learning-rate", options.learning_rate, "--warmup-steps", max(1, options.steps // 20)]
    shared += ["--decay-fraction", 0.3, "--ema-decay", 0.99, "--save-every", options.steps, "--sample-every", options.steps, "--keep-last", 1]
    runs = []
    for table in ("distances", "discriminator"):
        for row in rows[table]:
            words = ["--no-discriminator"] if table == "distances" else rows["common"]
            if table == "discriminator":
                words = [*words, "--distance", LAST_DISTANCE, "--discriminator-learning-rate", options.discriminator_rate]
            metric = row.get("metric", "latent" if table == "discriminator" else None)
            words = [*words, *row["options"], *(["--metric", metrics[metric]] if metric else [])]
            for seed in options.seeds:
                runs.append((row["name"], seed, [*shared, *words, "--seed", seed]))
    # A row's seeds are far apart in the order, so that an experiment that is cut short has every row once.
    return sorted(runs, key=lambda run: options.seeds.index(run[1]))


def folder(options, name, seed):
    return pathlib.Path(options.out) / f"{name}-seed-{seed}"


def train(options, run, until):
    name, seed, words = run
    out = folder(options, name, seed)
    begun = time.monotonic()
    if (out / "model").exists() or begun > until:
        return
    command = [options.program, "distil", *map(str, words), "--out", str(out)] + (["--resume"] if out.exists() else [])
    with open(out.with_suffix(".log"), "w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            code = process.wait(None if until == math.inf else until - begun)
        except subprocess.TimeoutExpired:
            process.terminate()
            code = process.wait()
    print(f"{name}, seed {seed}: {'done' if code == 0 else f'failed with {code}, see {out}.log'}, {time.monotonic() - begun:.0f} s", flush=True)


def evaluate(options, done):
    out = pathlib.Path(options.out) / "evaluation"
    command = [options.program, "eval", "--teacher", options.teacher, "--data", options.data, "--features", options.features]
    command += ["--samples", options.samples, "--steps", options.steps_of_teacher, "--teacher-steps", f"1,{options.steps_of_teacher}"]
    command += ["--guidance", options.guidance, "--device", options.device, "--out", out]
    for name, seed, _ in done:
        command += ["--student", folder(options, name, seed)]
    with open(out.with_suffix(".log"), "w") as log:
        subprocess.run([str(word) for word in command], stdout=log, stderr=log, check=True)
    return json.loads((out / "report.json").read_text())


def spread(values, digits):
    mean = statistics.fmean(values)
    return f"{mean:.{digits}f} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else f"{mean:.{digits}f}"


def table(title, rows, found):
    lines = [f"| {title} | seeds | {' | '.join(measure[1] for measure in MEASURES)} |", "| --- " * (len(MEASURES) + 2) + "|"]
    for row in rows:
        seeds = found.get(row["name"], [])
        if seeds:
            cells = [spread([measure[3](seed) for seed in seeds], measure[2]) for measure in MEASURES]
            lines.append(f"| {row['title']} | {len(seeds)} | {' | '.join(cells)} |")
        else:
            lines.append(f"| {row['title']} | 0 |{' – |' * len(MEASURES)}")
    return "\n".join(lines)


def plot(tables, found, report):
    """Fréchet distance of every run as a dot, a line at each row's mean, the teacher's own as a dashed line; rows from top to bottom."""
    left, width, step = 260, 400, 26
    value = MEASURES[0][3]
    teacher = [row for row in report["models"] if row["model"] == "teacher"][-1]
    most = max([value(seed) for seeds in found.values() for seed in seeds] + [value(teacher)]) * 1.08
    x = lambda amount: left + width * amount / most
    parts, y = [], 30
    for title, rows in tables:
        parts.append(f'<text x="8" y="{y}" font-weight="600">{title}</text>')
        for row in rows:
            y += step
            seeds = [value(seed) for seed in found.get(row["name"], [])]
            parts.append(f'<text x="{left - 12}" y="{y + 4}" text-anchor="end">{row["title"]}</text><path d="M{left} {y}H{left + width}" stroke="#8885"/>')
            if seeds:
                mean = statistics.fmean(seeds)
                parts.append(f'<path d="M{x(mean):.1f} {y - 8}v16" stroke="currentColor" stroke-width="2.5"/>')
                parts.append(f'<text x="{left + width + 8}" y="{y + 4}">{mean:.3f}</text>')
            parts += [f'<circle cx="{x(seed):.1f}" cy="{y}" r="4" fill="#c2410c" fill-opacity=".65"/>' for seed in seeds]
        y += step + 14
    own = x(value(teacher))
    parts.append(f'<path d="M{own:.1f} 14V{y - 26}" stroke="currentColor" stroke-dasharray="4 3"/>')
    parts.append(f'<text x="8" y="{y - 6}">Fréchet distance to the teacher\'s images; dashed: the teacher\'s own, other noises ({value(teacher):.3f})</text>')
    box = f"0 0 {left + width + 70} {y + 6}"
    style = "svg{color:#1b1b1f;background:#fff;font:13px system-ui,sans-serif}text{fill:currentColor}@media(prefers-color-scheme:dark){svg{color:#ececf1;background:#16161a}}"
    body = "\n".join(parts)
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}" role="img" aria-label="Fréchet distance of every run, by row">\n<style>{style}</style>\n{body}\n</svg>\n'


def main():
    options = arguments()
    rows = chosen(options, tomllib.loads((HERE / "rows.toml").read_text()))
    pathlib.Path(options.out).mkdir(parents=True, exist_ok=True)
    runs = plan(options, rows)
    print(f"{len(runs)} runs, {options.jobs} at a time", flush=True)
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        until = time.monotonic() + 60 * options.minutes
        list(pool.map(lambda run: train(options, run, until), runs))
    done = [run for run in runs if (folder(options, run[0], run[1]) / "model").exists()]
    if not done:
        sys.exit("no run was finished; see the logs in " + options.out)
    report = evaluate(options, done)

    found = {}
    for row in report["models"]:
        if row["model"] == "student":
            name = row["name"] or done[0][0] + "-seed-0"
            found.setdefault(name.rpartition("-seed-")[0], []).append(row)
    results = pathlib.Path(options.results)
    first = [row for row in rows["distances"] if row["name"] == LAST_DISTANCE]
    tables = [("Distances", rows["distances"]), *([("Discriminator", first + rows["discriminator"])] if rows["discriminator"] else [])]
    teacher = [row for row in report["models"] if row["model"] == "teacher"]
    settings = {key: getattr(options, key) for key in ("device", "seeds", "steps", "batch", "learning_rate", "discriminator_rate", "samples", "guidance")}
    lines = [
        "# Ablation",
        f"{len(done)} of {len(runs)} students, {options.steps} steps of batch {options.batch} each, device {options.device}. "
        f"Measured on {report['samples']} images of held-out phrasings, compared with the teacher at {options.steps_of_teacher} steps, guidance {options.guidance}; "
        f"features: {report['features']}. Mean ± standard deviation over seeds. How to read and repeat it: [README.md]({pathlib.Path('..' if results != HERE else '.') / 'README.md'}).",
        *(part for title, of in tables for part in (f"## {title}", table("row", of, found))),
        "## Baselines",
        "| teacher | Fréchet | KID × 1000 |\n| --- | --- | --- |\n"
        + "\n".join(f"| {row['steps']} step{'s' * (row['steps'] > 1)} | {MEASURES[0][3](row):.3f} | {MEASURES[1][3](row):.2f} |" for row in teacher),
        f"Two noises of one prompt, both the teacher's: pair distance {report['baseline_same_prompt']['distance']:.4f}, of 16×16 box-downsampled pixels "
        f"{report['baseline_same_prompt']['downsampled_pixels']:.4f}; different prompts: {report['baseline_different_prompts']['distance']:.4f} and {report['baseline_different_prompts']['downsampled_pixels']:.4f}.",
        "![Fréchet distance of every run](frechet.svg)",
    ]
    results.mkdir(parents=True, exist_ok=True)
    (results / "results.md").write_text("\n\n".join(lines) + "\n")
    (results / "frechet.svg").write_text(plot(tables, found, report))
    (results / "results.json").write_text(json.dumps({"settings": settings, "report": report}, ensure_ascii=False, indent=1) + "\n")
    print((results / "results.md").read_text())


if __name__ == "__main__":
    main()
