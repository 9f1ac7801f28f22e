// Marks a run as complete: the last dispatch of every run writes the run's number and its plan's hash.
// A result is accepted only with this marker, because a lost device reports success for work that it never did.
//
// marker: u32 [2]. Grid: one workgroup of one invocation.

struct Params {
  // The number of the run.
  run: u32,
  // The hash of the plan.
  plan_hash: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> marker: array<u32>;

@compute @workgroup_size(1)
fn main() {
  marker[0] = p.run;
  marker[1] = p.plan_hash;
}
