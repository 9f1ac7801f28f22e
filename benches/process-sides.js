// Sides that are separate programs. Each says what it is in its first line, and then answers a line with
// a line.
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { BENCHES, BURN, CORES, GPU, PROGRAM, PYTHON } from "./settings.js";

class ProcessSide {
  #child;
  #waiting = [];
  #said = "";
  #ended;

  constructor(name, about, command, environment = {}) {
    Object.assign(this, { name, about });
    this.command = command;
    this.environment = environment;
  }

  async open() {
    const [program, ...options] = this.command;
    if (!program || !existsSync(program)) throw new Error("not built");
    this.#child = spawn(program, options, {
      env: { ...process.env, ...this.environment },
      stdio: ["pipe", "pipe", "pipe"],
    });
    this.#child.stderr.on("data", (bytes) => (this.#said = (this.#said + bytes).slice(-2000)));
    this.#child.stdin.on("error", () => {});
    const end = (why) => {
      this.#ended = new Error(`${why}: ${this.#said.trim().split("\n").at(-1)}`);
      for (const { reject } of this.#waiting.splice(0)) reject(this.#ended);
    };
    this.#child.on("error", (error) => end(error.message));
    this.#child.on("close", (code) => end(`ended with ${code}`));
    createInterface({ input: this.#child.stdout }).on("line", (line) =>
      this.#waiting.shift()?.resolve(JSON.parse(line)),
    );
    return this.#line();
  }

  async run(cell) {
    const answer = this.#line();
    this.#child.stdin.write(`${cell}\n`);
    return (await answer).ms;
  }

  async close() {
    this.#child?.kill();
  }

  #line() {
    if (this.#ended) return Promise.reject(this.#ended);
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }
}

const all = `${CORES} threads`;
/** On software adapters tuning takes minutes, and what it finds is slower. */
const tuning = GPU ? "fusion and autotune" : "without fusion and autotune";

export function processSides({ folder, bundle, model, tensors }) {
  const ours = (device) => [
    PROGRAM,
    "bench",
    bundle,
    "--device",
    device,
    "--against",
    tensors,
    "--on-request",
  ];
  const onnx = (threads) => [PYTHON, join(BENCHES, "onnxruntime_cpu.py"), folder, tensors, String(threads)];
  const burn = (device) => [BURN, model, tensors, device];
  const rayon = (threads) => ({ RAYON_NUM_THREADS: String(threads) });
  const sides = [
    new ProcessSide(
      "native · ours, WebGPU (wgpu)",
      { where: "native", what: "our kernels through wgpu" },
      ours("webgpu"),
    ),
    new ProcessSide(
      "native · burn, vulkan",
      { where: "native", what: `burn's GPU backend, SPIR-V, ${tuning}` },
      burn("vulkan"),
    ),
    new ProcessSide(
      "native · burn, wgpu",
      { where: "native", what: `burn's GPU backend, WGSL, ${tuning}` },
      burn("wgpu"),
    ),
    new ProcessSide("native · ours, CPU, 1 thread", { where: "native" }, ours("cpu"), rayon(1)),
    new ProcessSide("native · onnxruntime, CPU, 1 thread", { where: "native" }, onnx(1)),
    new ProcessSide(
      "native · burn, flex, 1 thread",
      { where: "native", what: "the modules on burn's flex" },
      burn("cpu"),
      rayon(1),
    ),
  ];
  if (CORES > 1) {
    sides.push(
      new ProcessSide(`native · ours, CPU, ${all}`, { where: "native" }, ours("cpu"), rayon(CORES)),
      new ProcessSide(`native · onnxruntime, CPU, ${all}`, { where: "native" }, onnx(CORES)),
    );
  }
  if (GPU) {
    const torch = (mode) => [PYTHON, join(BENCHES, "pytorch.py"), model, tensors, mode];
    // In f16, which the generator's last division amplifies.
    for (const mode of ["eager", "compiled"])
      sides.push(
        new ProcessSide(
          `native · PyTorch, ${mode}`,
          { where: "native", what: "f16 on the GPU", furthest: 0.1 },
          torch(mode),
        ),
      );
  }
  return sides;
}
