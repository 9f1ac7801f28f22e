// Runs every side of the comparison in turns and writes benches/results.{json,md}. `cargo xtask bench` sets
// it up and calls it.
import { execFileSync } from "node:child_process";
import { cpus, loadavg } from "node:os";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { browserSides, coldStarts, downloads } from "./browser/sides.js";
import { processSides } from "./process-sides.js";
import { summary, table } from "./report.js";
import { BENCHES, COLD, MINUTES, NETWORKS, ONLY, PROGRAM, ROUNDS, WORK } from "./settings.js";

const CELLS = ["text_encoder", "generator", "decoder", "image"];
/**
 * Sides that are further from the reference than this do other work, and are not timed: relative L2 of a
 * component, decibels of an image.
 */
const [FURTHEST, LEAST_DECIBELS] = [1e-2, 40];
/**
 * A side that took longer than this to open and agree has shown that it is slow, and warm: it is spared the
 * uncounted round.
 */
const SLOW = 60_000;
/** Milliseconds after which a side that is opened or run is given up. */
const PATIENCE = 15 * 60_000;
/**
 * Milliseconds that one cell of the table may take in all; one that is slower gets fewer than ROUNDS runs,
 * and the table says how many.
 */
const BUDGET = MINUTES * 60_000;

const say = (text) => console.log(`${new Date().toISOString().slice(11, 19)} ${text}`);
const sentence = (error) =>
  String(error?.message ?? error)
    .split("\n")[0]
    .replace(/^page\.evaluate: (Error: )?/, "")
    .slice(0, 300);

function within(milliseconds, promise) {
  let timer;
  const late = new Promise(
    (_, reject) =>
      (timer = setTimeout(
        () => reject(new Error(`gave no answer for ${milliseconds / 1000} s`)),
        milliseconds,
      )),
  );
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/**
 * What the reference gives: our CPU path, natively. Everyone is given its inputs and compared with its
 * outputs.
 */
function reference(network) {
  execFileSync(
    PROGRAM,
    ["bench", network.bundle, "--device", "cpu", "--repeats", "0", "--tensors", network.tensors, "--quiet"],
    { stdio: ["ignore", "ignore", "inherit"] },
  );
  const { components, bytes } = JSON.parse(
    execFileSync(PROGRAM, ["inspect", network.bundle, "--json"], { encoding: "utf8" }),
  );
  const cost = Object.entries(components).map(
    ([name, { flops, dispatches, arena_bytes, weight_bytes, parameters, kernels }]) => {
      return [
        name,
        { flops, dispatches, arena_bytes, weight_bytes, parameters, pipelines: Object.keys(kernels).length },
      ];
    },
  );
  return { bundle_bytes: bytes, components: Object.fromEntries(cost) };
}

function agrees(agreement, furthest = FURTHEST) {
  // Our own process on the CPU is the reference.
  if (agreement === undefined) return true;
  return Object.entries(agreement).every(([name, value]) =>
    name === "image_db" ? value >= LEAST_DECIBELS : value <= furthest,
  );
}

async function compare(network) {
  say(`${network.name}: the reference`);
  const cost = reference(network);
  const open = [];
  const results = {};
  const wanted = (await Promise.all([processSides(network), browserSides(network)]))
    .flat()
    .filter((side) => ONLY === undefined || ONLY.test(side.name));
  for (const side of wanted) {
    const result = (results[side.name] = { ...side.about, times: {} });
    const begun = Date.now();
    try {
      Object.assign(result, await within(PATIENCE, side.open()));
      if (!agrees(result.agreement, result.furthest))
        throw new Error(`does not compute what the reference does: ${JSON.stringify(result.agreement)}`);
      if (Date.now() - begun < SLOW)
        for (const cell of side.whole ? [CELLS.at(-1)] : CELLS) await within(PATIENCE, side.run(cell));
      open.push(side);
      say(`${network.name}: ${side.name} is ready`);
    } catch (error) {
      result.failure = sentence(error);
      await side.close().catch(() => {});
      say(`${network.name}: ${side.name} is left out: ${result.failure}`);
    }
  }
  // Turns: each round every side runs every cell once, and every other round in the opposite order.
  const spent = {};
  for (let round = 0; round < ROUNDS; round++) {
    for (const side of round % 2 ? [...open].reverse() : open) {
      const { times } = results[side.name];
      for (const cell of side.whole ? [CELLS.at(-1)] : CELLS) {
        const key = `${side.name} ${cell}`;
        const last = times[cell]?.at(-1) ?? 0;
        if (results[side.name].failure || (round > 0 && (spent[key] ?? 0) + last > BUDGET)) continue;
        try {
          const took = await within(PATIENCE, side.run(cell));
          for (const [name, ms] of Object.entries(typeof took === "number" ? { [cell]: took } : took))
            (times[name] ??= []).push(ms);
          spent[key] = (spent[key] ?? 0) + times[cell].at(-1);
        } catch (error) {
          results[side.name].failure = sentence(error);
        }
      }
    }
    say(`${network.name}: round ${round + 1} of ${ROUNDS}`);
  }
  await Promise.all(open.map((side) => side.close().catch(() => {})));
  // What there is so far, should somebody end this before it is done.
  write(network.name, { cost, cold: {}, sides: results });
  if (COLD) say(`${network.name}: first images in fresh browsers`);
  const cold = !COLD
    ? {}
    : await coldStarts(
        network,
        (name) => ONLY === undefined || ONLY.test(name),
        (promise) => within(PATIENCE, promise).catch((error) => ({ failure: sentence(error) })),
      );
  write(network.name, { cost, cold, sides: results });
}

function write(name, network) {
  results.networks[name] = network;
  results.machine.load_after = loadavg()[0];
  writeFileSync(join(BENCHES, "results.json"), `${JSON.stringify(results, undefined, 1)}\n`);
  writeFileSync(join(BENCHES, "results.md"), table(results));
}

const machine = { cpu: cpus()[0]?.model, cores: cpus().length, load: loadavg()[0] };
const results = {
  schema: 1,
  date: new Date().toISOString(),
  rounds: ROUNDS,
  machine,
  downloads: downloads(),
  networks: {},
};
for (const name of NETWORKS) {
  const folder = join(WORK, name);
  const network = {
    name,
    folder,
    model: join(folder, "model"),
    bundle: join(folder, "bundle"),
    tensors: join(folder, "tensors.safetensors"),
  };
  await compare(network);
}
console.log(`\n${table(results)}\n${summary(results)}`);
process.exit(0);
