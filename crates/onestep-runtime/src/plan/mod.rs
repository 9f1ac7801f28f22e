//! From a program to what the GPU is to do: a list of dispatches with every buffer placed. No GPU is called here.

mod axes;
mod capabilities;
mod display;
mod forms;
mod kept;
mod lower;
mod memory;
mod params;
mod weights;

use onestep_program::{DType, Program};
use onestep_shaders::{Access, Kernel};

pub use capabilities::Capabilities;
pub(crate) use capabilities::MAX_WORK;
pub use forms::{AttentionForm, Cooperative, Forms, MatrixForm, RowForm};
pub(crate) use memory::ALIGNMENT;
pub(crate) use params::Params;
pub use weights::{CARRIED_BYTES, Layout, WINDOW_BYTES, WeightSlot};

use crate::error::{ErrorKind, RunError};

/// A buffer of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BufferId {
    /// The parameters of all dispatches.
    Params,
    /// What the caller gives.
    Inputs,
    /// One of [`Plan::weight_buffers`].
    Weights(usize),
    /// One of [`Plan::arenas`].
    Arena(usize),
}

/// A part of a buffer, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slice {
    /// Which buffer.
    pub buffer: BufferId,
    /// From where.
    pub offset: u64,
    /// How much.
    pub size: u64,
}

/// One kernel over one grid.
#[derive(Clone, Debug)]
pub struct Dispatch {
    /// What runs.
    pub kernel: &'static Kernel,
    /// Workgroups.
    pub grid: [u32; 3],
    /// In the order of the kernel's bindings.
    pub bindings: Vec<Slice>,
    /// The operation of the program that it is part of.
    pub operation: usize,
    /// That operation's name.
    pub name: &'static str,
    /// Floating-point operations; those of an operation are counted at its last dispatch.
    pub flops: u64,
}

/// An input or output of the plan.
#[derive(Clone, Debug)]
pub struct PortSlot {
    /// The name by which callers give or take it.
    pub name: String,
    /// Lengths of the axes.
    pub shape: Vec<usize>,
    /// Storage of the elements: f32, or i32 for ids.
    pub dtype: DType,
    /// Where it lies; exactly its bytes.
    pub slice: Slice,
}

impl PortSlot {
    /// The number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// How a plan is made; the default is for running, the rest for looking into a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanOptions {
    /// Whether memory is used again when its tensor has been read for the last time.
    pub reuse: bool,
    /// Bytes left free behind every activation, where a test finds stray writes; a multiple of 16.
    pub guard: u64,
    /// Attention scores of wide heads are stored up to this many bytes a head, and computed as they are needed beyond.
    pub stored_scores: u64,
    /// Activations in 16 bits: half the memory, about three digits.
    pub narrow: bool,
    /// Inputs that often stay the same from run to run: what depends on them alone is computed again only after they were written.
    pub kept: &'static [&'static str],
}

impl Default for PlanOptions {
    fn default() -> Self {
        Self { reuse: true, guard: 0, stored_scores: 64 << 20, narrow: false, kept: &[] }
    }
}

/// What the GPU is to do for one run of a program.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The program's name.
    pub name: String,
    /// In this order.
    pub dispatches: Vec<Dispatch>,
    /// How many of the first dispatches depend on kept inputs alone; what the others read of them stays in memory.
    pub prologue: usize,
    /// The kept inputs, by their place in [`inputs`](Self::inputs).
    pub kept: Vec<usize>,
    /// The contents of [`BufferId::Params`].
    pub params: Vec<u8>,
    /// Bytes of [`BufferId::Inputs`].
    pub inputs_size: u64,
    /// Bytes of each [`BufferId::Weights`]; the first starts with zeros that stand for absent tensors.
    pub weight_buffers: Vec<u64>,
    /// Bytes of each [`BufferId::Arena`].
    pub arenas: Vec<u64>,
    /// The most bytes of activations that live at the same time: no placement needs less.
    pub live_bytes: u64,
    /// Where each activation lies while it lives; exactly its bytes.
    pub activations: Vec<Slice>,
    /// What is uploaded once.
    pub weights: Vec<WeightSlot>,
    /// What the caller gives.
    pub inputs: Vec<PortSlot>,
    /// What the caller gets.
    pub outputs: Vec<PortSlot>,
    /// Operations of the program.
    pub operations: usize,
}

impl Plan {
    /// Plans a program for an adapter: with activations in 32 bits, or in 16 where a tensor of the program would be larger than what the
    /// adapter's kernels see of a buffer.
    ///
    /// # Errors
    /// `Invalid` for a program that its own check refuses, `Unsupported` with the operation, the size and the limit where the adapter
    /// does not suffice.
    pub fn new(program: &Program, capabilities: &Capabilities) -> Result<Self, RunError> {
        Self::fitting(program, capabilities, PlanOptions::default())
    }

    /// As [`Plan::new`], with a say in how memory is used.
    ///
    /// In 32 bits such a tensor could be computed in bands as well. 16 bits come first all the same: adapters that see little of a buffer have
    /// little memory, of which 32 bits take twice as much, and most of such a network's time goes into moving those tensors. Three digits of
    /// an activation are more than an image in bytes shows; who wants more asks for it with [`Plan::with_options`]. Bands come in where 16
    /// bits are too large as well.
    ///
    /// # Errors
    /// Those of [`Plan::new`].
    pub fn fitting(program: &Program, capabilities: &Capabilities, options: PlanOptions) -> Result<Self, RunError> {
        if options.narrow {
            return Self::with_options(program, capabilities, options);
        }
        match lower::plan(program, capabilities, options, capabilities.max_storage_binding.min(capabilities.max_buffer)) {
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                // What no narrower activation mends is told as it was found first.
                Self::with_options(program, capabilities, PlanOptions { narrow: true, ..options }).map_err(|_| error)
            }
            result => result,
        }
    }

    /// Exactly as the options say: what is larger than the adapter's kernels see of a buffer is computed in bands.
    ///
    /// # Errors
    /// Those of [`Plan::new`].
    pub fn with_options(program: &Program, capabilities: &Capabilities, options: PlanOptions) -> Result<Self, RunError> {
        lower::plan(program, capabilities, options, capabilities.max_buffer)
    }

    /// Floating-point operations of one run.
    pub fn flops(&self) -> u64 {
        self.dispatches.iter().map(|dispatch| dispatch.flops).fold(0, u64::saturating_add)
    }

    /// Bytes of all arenas: what the activations need at the same time.
    pub fn arena_bytes(&self) -> u64 {
        self.arenas.iter().sum()
    }

    /// Bytes that the dispatches bind for reading and writing: what a run moves if each is read and written once.
    pub fn bytes_moved(&self) -> u64 {
        let bound = self.dispatches.iter().flat_map(|dispatch| &dispatch.bindings).filter(|slice| slice.buffer != BufferId::Params);
        bound.map(|slice| slice.size).fold(0, u64::saturating_add)
    }

    /// Bytes of all weights on the GPU.
    pub fn weight_bytes(&self) -> u64 {
        self.weight_buffers.iter().sum()
    }

    /// How often each kernel runs, by name.
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

    /// A number that two plans share only if they do the same.
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

    /// What every plan must keep, whatever the program: each kernel has its bindings, each within its buffer and limits,
    /// none bound for reading and for writing at once, nothing written twice.
    ///
    /// # Errors
    /// `Internal` with the dispatch at fault; `Unsupported` where a binding or a grid is beyond the adapter.
    pub fn verify(&self, capabilities: &Capabilities) -> Result<(), RunError> {
        if capabilities.alignment > memory::ALIGNMENT {
            return Err(RunError::unsupported(format!(
                "this adapter wants parts of buffers to start at multiples of {} bytes; plans keep to {}",
                capabilities.alignment,
                memory::ALIGNMENT
            )));
        }
        for (number, dispatch) in self.dispatches.iter().enumerate() {
            let place = || format!("dispatch {number} of {} (operation {}, {})", self.name, dispatch.operation, dispatch.name);
            if dispatch.bindings.len() != dispatch.kernel.bindings.len() {
                return Err(RunError::internal(format!("{}: {} bindings for the kernel {}", place(), dispatch.bindings.len(), dispatch.kernel.name)));
            }
            let storage = dispatch.kernel.bindings.iter().filter(|binding| binding.access != Access::Uniform).count();
            let invocations: u32 = dispatch.kernel.workgroup_size.iter().product();
            if storage > capabilities.max_storage_buffers as usize || invocations > capabilities.max_invocations {
                return Err(RunError::unsupported(format!(
                    "{}: the kernel {} uses {storage} storage buffers and workgroups of {invocations}; this adapter allows {} and {}",
                    place(),
                    dispatch.kernel.name,
                    capabilities.max_storage_buffers,
                    capabilities.max_invocations
                )));
            }
            if dispatch.grid.iter().any(|&length| length == 0 || length > capabilities.max_workgroups) {
                return Err(RunError::unsupported(format!(
                    "{}: a grid of {:?}, and this adapter takes {} along one dimension",
                    place(),
                    dispatch.grid,
                    capabilities.max_workgroups
                )));
            }
            for (binding, slice) in dispatch.kernel.bindings.iter().zip(&dispatch.bindings) {
                let buffer = self.buffer_size(slice.buffer);
                if slice.offset.checked_add(slice.size).is_none_or(|end| end > buffer)
                    || slice.offset % memory::ALIGNMENT != 0
                    || slice.size < u64::from(binding.smallest)
                {
                    return Err(RunError::internal(format!("{}: {} is bound to {slice:?} of {buffer} bytes", place(), binding.name)));
                }
                if slice.size > capabilities.max_storage_binding {
                    return Err(RunError::unsupported(format!(
                        "{}: {} has {} bytes, and this adapter's kernels see at most {} of a buffer",
                        place(),
                        binding.name,
                        slice.size,
                        capabilities.max_storage_binding
                    )));
                }
                let clash = dispatch.kernel.bindings.iter().zip(&dispatch.bindings).any(|(other, at)| {
                    let writes = [other, binding].map(|binding| binding.access == Access::ReadWrite);
                    let overlap = at.offset < slice.offset + slice.size && slice.offset < at.offset + at.size;
                    !std::ptr::eq(other, binding) && at.buffer == slice.buffer && (writes[0] != writes[1] || (writes[0] && overlap))
                });
                if clash {
                    return Err(RunError::internal(format!(
                        "{}: {:?} is bound for reading and for writing, or written twice",
                        place(),
                        slice.buffer
                    )));
                }
            }
        }
        Ok(())
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
