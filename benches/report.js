// Numbers into tables.

const CELLS = { text_encoder: "text encoder", generator: "generator", decoder: "decoder", image: "image" };
/** Medians of fewer runs than this are marked. */
const ENOUGH = 5;

const sorted = (values) => [...values].sort((a, b) => a - b);
export function median(values) {
  const all = sorted(values);
  const middle = all.length >> 1;
  return all.length % 2 ? all[middle] : (all[middle - 1] + all[middle]) / 2;
}

const digits = (ms) => (ms >= 100 ? ms.toFixed(0) : ms.toPrecision(3));
function time(values) {
  if (!values?.length) return "";
  const all = sorted(values);
  const count = all.length < ENOUGH ? `, n=${all.length}` : "";
  return `**${digits(median(all))}** (${digits(all[0])}–${digits(all.at(-1))}${count})`;
}
const mebibytes = (bytes) => `${(bytes / 2 ** 20).toFixed(2)} MiB`;
const row = (cells) => `| ${cells.join(" | ")} |`;
const rows = (head, body) => [row(head), row(head.map(() => "---")), ...body.map(row)].join("\n");

/** The fastest of the sides with matching names, by `measure` of its times: that number, or nothing. */
function best(network, pattern, name, measure) {
  const fitting = Object.entries(network.sides).filter(
    ([side, { times }]) => pattern.test(side) && times[name]?.length,
  );
  return fitting.length ? Math.min(...fitting.map(([, { times }]) => measure(times[name]))) : undefined;
}

/** What the comparison is for: ratios with their targets. */
const LINES = [
  {
    what: "browser, WebGPU: ours ÷ onnxruntime-web",
    target: 0.2,
    ours: /^browser · ours, WebGPU$/,
    theirs: /^browser · onnxruntime-web, WebGPU$/,
    cells: ["generator", "decoder", "image"],
  },
  {
    what: "browser, best path, at most 1 thread: ours ÷ onnxruntime-web",
    target: 1,
    ours: /^browser · ours/,
    theirs: /^browser · onnxruntime-web, (WebGPU|WASM, 1 thread)$/,
    cells: ["image"],
  },
  {
    what: "browser, best path, any threads: ours ÷ onnxruntime-web",
    ours: /^browser · ours/,
    theirs: /^browser · onnxruntime-web/,
    cells: ["image"],
  },
  {
    what: "browser, WASM, 1 thread: ours ÷ onnxruntime-web",
    ours: /^browser · ours, WASM/,
    theirs: /^browser · onnxruntime-web, WASM, 1 thread$/,
    cells: ["generator", "decoder", "image"],
  },
  {
    what: "native GPU interface: ours ÷ burn's faster one",
    target: 0.4,
    ours: /^native · ours, WebGPU/,
    theirs: /^native · burn, (wgpu|vulkan)$/,
    cells: ["generator", "decoder", "image"],
  },
  {
    what: "native CPU, 1 thread: ours ÷ onnxruntime",
    target: 1.5,
    ours: /^native · ours, CPU, 1 thread$/,
    theirs: /^native · onnxruntime, CPU, 1 thread$/,
    cells: ["generator", "decoder", "image"],
  },
  {
    what: "native CPU, all threads: ours ÷ onnxruntime",
    target: 1.5,
    ours: /^native · ours, CPU, \d+ threads$/,
    theirs: /^native · onnxruntime, CPU, \d+ threads$/,
    cells: ["generator", "decoder", "image"],
  },
  {
    what: "GPU, f16: ours (native) ÷ PyTorch, compiled",
    ours: /^native · ours, WebGPU/,
    theirs: /^native · PyTorch, compiled/,
    cells: ["generator", "decoder"],
  },
];

export function ratios(results) {
  return LINES.flatMap(({ what, target, ours, theirs, cells }) =>
    Object.entries(results.networks).flatMap(([network, found]) =>
      cells.map((name) => {
        const between = (measure) => {
          const [our, their] = [best(found, ours, name, measure), best(found, theirs, name, measure)];
          return our === undefined || their === undefined ? undefined : our / their;
        };
        const ratio = between(median);
        const least = between((times) => Math.min(...times));
        return {
          what,
          network,
          cell: name,
          target,
          ratio,
          least,
          met: target === undefined || ratio === undefined ? undefined : ratio <= target,
        };
      }),
    ),
  );
}

const short = (ratio) => ratio?.toFixed(ratio < 1 ? 3 : 2) ?? "–";
const verdict = ({ ratio, met }) =>
  ratio === undefined ? "not measured" : met === undefined ? "" : met ? "met" : "**not met**";

function ratioTable(results) {
  const measured = ratios(results).filter(({ target, ratio }) => target !== undefined || ratio !== undefined);
  const body = measured.map((line) => [
    line.what,
    line.network,
    CELLS[line.cell],
    short(line.ratio),
    short(line.least),
    line.target === undefined ? "" : `≤ ${line.target}`,
    verdict(line),
  ]);
  return rows(["what", "network", "of", "medians", "least times", "target", ""], body);
}

function agreement({ agreement }) {
  if (!agreement) return "";
  if (agreement.image_db !== undefined)
    return agreement.image_db === 999 ? "equal" : `${agreement.image_db.toFixed(1)} dB`;
  return Math.max(...Object.values(agreement)).toExponential(1);
}

export function table(results) {
  const { machine, downloads, rounds, date } = results;
  const parts = [
    "# Times compared with other systems",
    "Written by `cargo xtask bench`; [README.md](README.md) says how. Every ratio is between two medians of this one run; times from other machines or runs cannot be compared with them.",
    `${date.slice(0, 10)} · ${machine.cpu}, ${machine.cores} cores · Chromium ${downloads.version} · ${rounds} rounds · ` +
      `load of the machine ${machine.load.toFixed(1)} before and ${machine.load_after?.toFixed(1)} after (${machine.cores} would be the comparison alone, on all cores).`,
    "## Ratios\n\nBelow 1 we are faster. Targets are for medians; on a machine that did other work meanwhile the least times say more.",
    ratioTable(results),
  ];
  for (const [name, network] of Object.entries(results.networks)) {
    parts.push(`## ${name}`);
    const cost = Object.entries(network.cost.components).map(([component, facts]) => [
      CELLS[component] ?? component,
      (facts.flops / 1e9).toFixed(3),
      (facts.parameters / 1e6).toFixed(2),
      facts.dispatches,
      facts.pipelines,
      mebibytes(facts.weight_bytes),
      mebibytes(facts.arena_bytes),
    ]);
    parts.push(`Bundle: ${mebibytes(network.cost.bundle_bytes)}.`);
    parts.push(
      rows(
        ["component", "GFLOP", "million parameters", "dispatches", "pipelines", "weights", "arenas"],
        cost,
      ),
    );
    parts.push(
      "Milliseconds, warm: **median** (least–most). Agreement: the largest relative L2 of a component's result, or the image's PSNR, compared with our CPU path.",
    );
    const shown = Object.entries(network.sides).filter(
      ([, side]) => !side.failure || Object.keys(side.times).length > 0,
    );
    parts.push(
      rows(
        ["side", ...Object.values(CELLS), "agreement"],
        shown.map(([side, found]) => [
          side,
          ...Object.keys(CELLS).map((key) => time(found.times[key])),
          agreement(found),
        ]),
      ),
    );
    const failed = Object.entries(network.sides).filter(([, side]) => side.failure);
    if (failed.length)
      parts.push(
        `Left out, or broken off:\n\n${failed.map(([side, { failure }]) => `- ${side}: ${failure}`).join("\n")}`,
      );
    const cold = Object.entries(network.cold).map(([side, { times, failure }]) => [
      side,
      times ? time(times) : failure,
    ]);
    if (cold.length)
      parts.push(
        "The first image in a browser that has just been started, from an empty page, everything fetched from this machine:",
        rows(["side", "milliseconds"], cold),
      );
  }
  parts.push("## Settings");
  parts.push(
    rows(
      ["code that a page fetches", "bytes", "gzipped"],
      Object.entries(downloads.code).map(([name, { bytes, gzip }]) => [
        name,
        mebibytes(bytes),
        mebibytes(gzip),
      ]),
    ),
  );
  const settings = Object.entries(Object.values(results.networks)[0]?.sides ?? {})
    .filter(([, side]) => !side.failure)
    .map(([name, { device, adapter, version, settings, threads, what }]) => {
      return [
        name,
        [
          device ?? adapter,
          version && `version ${version}`,
          what,
          settings && `\`${JSON.stringify(settings)}\``,
          threads && `${threads} threads`,
        ]
          .filter(Boolean)
          .join(", "),
      ];
    });
  parts.push(rows(["side", "what it runs on"], settings));
  parts.push(`Chromium's flags: \`${downloads.flags.join(" ")}\``);
  return `${parts.join("\n\n")}\n`;
}

/** For the terminal: the lines with a target. */
export function summary(results) {
  return ratios(results)
    .filter(({ target }) => target !== undefined)
    .map(
      (line) =>
        `${verdict(line).replaceAll("*", "").padEnd(12)} ${short(line.ratio)} ≤ ${line.target}  ${line.what}, ${line.network}, ${CELLS[line.cell]}`,
    )
    .join("\n");
}
