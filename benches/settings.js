// What cargo xtask bench says, by environment variables.
import { createRequire } from "node:module";
import { cpus } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const required = (name) => {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set; cargo xtask bench sets it`);
  return value;
};

export const BENCHES = dirname(fileURLToPath(import.meta.url));
/** The networks as folders: model/, bundle/, *.onnx, tensors.safetensors. */
export const WORK = required("ONESTEP_BENCH_WORK");
/** The folder with node_modules. */
const PACKAGES = required("ONESTEP_BENCH_PACKAGES");
/** The program `onestep`, the built page, Chromium, and a Python with onnxruntime. */
export const PROGRAM = required("ONESTEP_PROGRAM");
export const PAGE = required("ONESTEP_PAGE");
export const CHROMIUM = required("ONESTEP_CHROMIUM");
export const PYTHON = required("ONESTEP_BENCH_PYTHON");
/** The networks on burn, where they were built. */
export const BURN = process.env.ONESTEP_BENCH_BURN || undefined;
/** Whether there is a GPU, which the browser is then to use. */
export const GPU = Boolean(process.env.ONESTEP_BENCH_GPU);

export const NETWORKS = (
  process.env.ONESTEP_BENCH_NETWORKS || (GPU ? "emoji,medium,sd15" : "emoji,medium")
).split(",");
export const ROUNDS = Number(process.env.ONESTEP_BENCH_ROUNDS || 7);
/** Minutes that one cell of the table may take. */
export const MINUTES = Number(process.env.ONESTEP_BENCH_MINUTES || 2);
/** Whether first images in fresh browsers are timed too. */
export const COLD = process.env.ONESTEP_BENCH_COLD !== "no";
/** A pattern of the sides to run, all others being left out. */
export const ONLY = process.env.ONESTEP_BENCH_ONLY ? new RegExp(process.env.ONESTEP_BENCH_ONLY) : undefined;
export const CORES = cpus().length;

const require = createRequire(join(PACKAGES, "package.json"));
export const ONNXRUNTIME_WEB = dirname(require.resolve("onnxruntime-web"));
export const { chromium } = require("playwright-core");
/** The prompt of every side. */
export const PROMPT = "red heart";
export const SEED = 1;
