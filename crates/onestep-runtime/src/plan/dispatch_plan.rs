//! A plan: buffers, dispatches, and where inputs, weights and outputs are.

use onestep_program::DType;
use onestep_shaders::Kernel;

use super::weights::WeightSlot;

/// A buffer of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BufferId {
    /// The uniforms of all dispatches.
    Params,
    /// All inputs.
    Inputs,
    /// One of [`Plan::weight_buffers`], by index.
    Weights(usize),
    /// One of [`Plan::arenas`], by index.
    Arena(usize),
}

/// A part of a buffer, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slice {
    /// The buffer.
    pub buffer: BufferId,
    /// Bytes before the part.
    pub offset: u64,
    /// Bytes of the part.
    pub size: u64,
}

/// One dispatch of a kernel.
#[derive(Clone, Debug)]
pub struct Dispatch {
    /// The kernel.
    pub kernel: &'static Kernel,
    /// Workgroups along x, y, z.
    pub grid: [u32; 3],
    /// What is bound, in the order of the kernel's bindings.
    pub bindings: Vec<Slice>,
    /// The index of the program's operation that the dispatch belongs to.
    pub operation: usize,
    /// That operation's name.
    pub name: &'static str,
    /// Floating-point operations; all those of an operation are counted at its last dispatch.
    pub flops: u64,
}

/// An input or output of the plan.
#[derive(Clone, Debug)]
pub struct PortSlot {
    /// The name of the input or output.
    pub name: String,
    /// The shape.
    pub shape: Vec<usize>,
    /// The element type: f32, or i32 for ids.
    pub dtype: DType,
    /// Where it is, without padding.
    pub slice: Slice,
}

impl PortSlot {
    /// The number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// Options of planning. The default is for production; `reuse` and `guard` are for tests that inspect memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanOptions {
    /// Reuse memory after the last read of its tensor. Default: true.
    pub reuse: bool,
    /// Unused bytes after every activation, where a test finds stray writes; a multiple of 16. Default: 0.
    pub guard: u64,
    /// The largest score matrix of an attention head that is stored, in bytes. Scores of wide heads beyond it are recomputed for every tile of
    /// features. Default: 64 MiB.
    pub stored_scores: u64,
    /// Store activations as f16: half the memory, about three significant digits. Default: false.
    pub f16_activations: bool,
    /// Names of inputs that often keep their values from run to run. What depends on these alone is computed by the plan's prologue, only after
    /// one of them was written, and stays in persistent buffers. Default: none.
    pub persistent_inputs: &'static [&'static str],
}

impl Default for PlanOptions {
    fn default() -> Self {
        Self { reuse: true, guard: 0, stored_scores: 64 << 20, f16_activations: false, persistent_inputs: &[] }
    }
}

/// The dispatches of one run of a program, and its buffers.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The program's name.
    pub name: String,
    /// The dispatches, in order.
    pub dispatches: Vec<Dispatch>,
    /// How many of the first dispatches depend on persistent inputs alone. Their results stay in memory between runs.
    pub prologue: usize,
    /// Indices into [`inputs`](Self::inputs) of the persistent inputs.
    pub persistent_inputs: Vec<usize>,
    /// The contents of [`BufferId::Params`].
    pub params: Vec<u8>,
    /// Bytes of [`BufferId::Inputs`].
    pub inputs_size: u64,
    /// Bytes of each [`BufferId::Weights`]. The first begins with zeros, which are bound where an optional tensor is absent.
    pub weight_buffers: Vec<u64>,
    /// Bytes of each [`BufferId::Arena`].
    pub arenas: Vec<u64>,
    /// The largest sum of activations that are live at once, in bytes: a lower bound for the arenas.
    pub live_bytes: u64,
    /// Where each activation is during its live range, without padding.
    pub activations: Vec<Slice>,
    /// The weights, which are uploaded once.
    pub weights: Vec<WeightSlot>,
    /// The inputs.
    pub inputs: Vec<PortSlot>,
    /// The outputs.
    pub outputs: Vec<PortSlot>,
    /// The number of operations of the program.
    pub operations: usize,
}

impl Plan {
    /// Floating-point operations of one run.
    pub fn flops(&self) -> u64 {
        self.dispatches.iter().map(|dispatch| dispatch.flops).fold(0, u64::saturating_add)
    }

    /// Bytes of all arenas.
    pub fn arena_bytes(&self) -> u64 {
        self.arenas.iter().sum()
    }

    /// The sum of all storage bindings of all dispatches, in bytes: the memory traffic of a run if each is read or written once.
    pub fn bytes_moved(&self) -> u64 {
        let bound = self.dispatches.iter().flat_map(|dispatch| &dispatch.bindings).filter(|slice| slice.buffer != BufferId::Params);
        bound.map(|slice| slice.size).fold(0, u64::saturating_add)
    }

    /// Bytes of all weights on the GPU.
    pub fn weight_bytes(&self) -> u64 {
        self.weight_buffers.iter().sum()
    }

    /// The names of the kernels, sorted, with the number of dispatches of each.
    pub fn kernels(&self) -> Vec<(&'static str, usize)> {
        let mut counts: Vec<(&'static str, usize)> = Vec::new();
        for dispatch in &self.dispatches {
            match counts.iter_mut().find(|(name, _)| *name == dispatch.kernel.name) {
                Some((_, count)) => *count += 1,
                None => counts.push((dispatch.kernel.name, 1)),
            }
        }
        counts.sort_unstable();
        counts
    }

    /// A hash of everything that a run does: plans that differ have different hashes, but for collisions.
    pub fn hash(&self) -> u32 {
        // FNV-1a.
        let mut hash = 0x811c_9dc5_u32;
        let mut add = |bytes: &[u8]| bytes.iter().for_each(|&byte| hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        for dispatch in &self.dispatches {
            add(dispatch.kernel.name.as_bytes());
            dispatch.grid.iter().for_each(|length| add(&length.to_le_bytes()));
            for slice in &dispatch.bindings {
                let (kind, number) = match slice.buffer {
                    BufferId::Params => (0, 0),
                    BufferId::Inputs => (1, 0),
                    BufferId::Weights(number) => (2, number),
                    BufferId::Arena(number) => (3, number),
                };
                [kind, number as u64, slice.offset, slice.size].iter().for_each(|word| add(&word.to_le_bytes()));
            }
        }
        add(&self.params);
        hash
    }

    /// Bytes of a buffer; 0 for one that the plan does not have.
    pub fn buffer_size(&self, buffer: BufferId) -> u64 {
        match buffer {
            BufferId::Params => self.params.len() as u64,
            BufferId::Inputs => self.inputs_size,
            BufferId::Weights(number) => self.weight_buffers.get(number).copied().unwrap_or(0),
            BufferId::Arena(number) => self.arenas.get(number).copied().unwrap_or(0),
        }
    }
}
