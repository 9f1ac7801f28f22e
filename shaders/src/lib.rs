//! The WGSL kernels as constants: text, bindings, workgroup size and the layout of the uniform, all read from the shaders by naga
//! when this crate is built. Whoever runs them repeats none of it.
//!
//! The sources are `kernels/*.wgsl`, each with its contract on top, and the snippets of `shared/`; `variants` lists what is compiled.

mod compose;

/// A compiled variant of a kernel.
#[derive(Debug)]
pub struct Kernel {
    /// The variant's name.
    pub name: &'static str,
    /// The file in `kernels/`, without its extension.
    pub file: &'static str,
    /// The same for activations in 16 bits.
    pub narrow: Option<&'static Kernel>,
    /// The same that also leaves the statistics of what it stores for a group norm; its parameters begin with those of this one.
    pub statistics: Option<&'static Kernel>,
    /// What its file is composed with.
    pub defines: &'static [&'static str],
    /// Functions to start at: one for compute; vertex, then fragment for drawing.
    pub entry_points: &'static [&'static str],
    /// Invocations of a workgroup along x, y, z; zeros for drawing. Of native kernels, where subgroups have 32.
    pub workgroup_size: [u32; 3],
    /// Workgroup memory in bytes.
    pub workgroup_bytes: u32,
    /// What it reads and writes, by index; all in group 0.
    pub bindings: &'static [Binding],
    /// The fields of the uniform.
    pub params: &'static [Field],
    /// Bytes of the uniform.
    pub params_size: u32,
    /// The constants of type u32.
    pub constants: &'static [(&'static str, u32)],
    /// Whether it is in wgpu's dialect, for native adapters; then its override WORKGROUP is to be four times the adapter's subgroup.
    pub native: bool,
}

impl Kernel {
    /// The text for the GPU, as it was validated when this crate was built.
    pub fn wgsl(&self) -> String {
        let source = SOURCES.iter().find(|(name, _)| *name == self.file).map_or("", |(_, text)| text);
        // What the build has composed composes.
        compose::compose(source, self.defines, &SNIPPETS).unwrap_or_default()
    }

    /// The value of a constant of the shader.
    pub fn constant(&self, name: &str) -> Option<u32> {
        self.constants.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }
}

/// A buffer that a kernel uses.
#[derive(Debug)]
pub struct Binding {
    /// Its index in group 0.
    pub index: u32,
    /// Its name in the shader.
    pub name: &'static str,
    /// What is done with it.
    pub access: Access,
    /// The fewest bytes that may be bound.
    pub smallest: u32,
}

/// What a kernel does with a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reads parameters.
    Uniform,
    /// Reads.
    Read,
    /// Writes, and may read.
    ReadWrite,
}

/// A field of a kernel's uniform.
#[derive(Debug)]
pub struct Field {
    /// Its name in the shader.
    pub name: &'static str,
    /// Bytes from the start of the uniform.
    pub offset: u32,
    /// The type of its numbers.
    pub kind: FieldKind,
    /// How many numbers follow each other.
    pub count: u32,
}

/// The type of the numbers of a [`Field`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// `u32`
    U32,
    /// `i32`
    I32,
    /// `f32`
    F32,
}

include!(concat!(env!("OUT_DIR"), "/kernels.rs"));
