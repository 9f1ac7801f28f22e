// The proof that a run has ended: the last dispatch of every submission copies the run's number and its plan's hash.
// A result without them is of another run, or of none: a lost device reports success for work that it never did.
//
// proof: u32 [2]. Grid: one workgroup, one invocation.

struct Params {
  // The run's number.
  generation: u32,
  // What was to run.
  plan: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> proof: array<u32>;

@compute @workgroup_size(1)
fn main() {
  proof[0] = p.generation;
  proof[1] = p.plan;
}
