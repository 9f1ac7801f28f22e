//! The WGSL kernels and what the planner and the executor need to know about them.
//!
//! The build script composes and validates every variant and reflects its bindings, workgroup size, uniform layout and constants with naga,
//! so that no number of a shader is repeated in Rust. The sources are `kernels/*.wgsl`, each with its contract on top, and the snippets of
//! `shared/`; the table `variants` lists what is compiled. `README.md` describes the preprocessor and how to add a kernel.

mod compose;
mod flags;

pub use flags::Flags;

/// A compiled variant of a kernel.
#[derive(Debug)]
pub struct Kernel {
    /// The variant's name: that of the family, then one suffix per flag.
    pub name: &'static str,
    /// The variants of a family differ in their flags alone.
    pub family: &'static str,
    /// The flags of this variant.
    pub flags: Flags,
    /// The file in `kernels/`, without its extension.
    pub file: &'static str,
    /// The preprocessor definitions, flags included.
    pub defines: &'static [&'static str],
    /// Entry points: one for compute, or the vertex and then the fragment function of a render pipeline.
    pub entry_points: &'static [&'static str],
    /// Invocations of a workgroup along x, y, z; zeros for a render pipeline. For native kernels: with 32 invocations per subgroup.
    pub workgroup_size: [u32; 3],
    /// Workgroup memory in bytes.
    pub workgroup_bytes: u32,
    /// The buffers, by index; all are in bind group 0.
    pub bindings: &'static [Binding],
    /// The fields of the uniform.
    pub params: &'static [Field],
    /// Bytes of the uniform.
    pub params_size: u32,
    /// The constants of type u32: tile sizes, and the numbers of functions and flags.
    pub constants: &'static [(&'static str, u32)],
    /// True if the kernel uses wgpu's WGSL extensions and so runs natively only. Its override WORKGROUP must be set to four subgroups.
    pub native: bool,
}

impl Kernel {
    /// The WGSL text, as the build script validated it.
    pub fn wgsl(&self) -> String {
        let source = SOURCES.iter().find(|(name, _)| *name == self.file).map_or("", |(_, text)| text);
        // It cannot fail: the build script composed the same text.
        compose::compose(source, self.defines, &SNIPPETS).unwrap_or_default()
    }

    /// The value of a u32 constant of the shader; none if the shader does not declare it.
    pub fn constant(&self, name: &str) -> Option<u32> {
        self.constants.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }

    /// The variant of the same family that has these flags too; none if the table does not list it.
    pub fn with(&self, flags: Flags) -> Option<&'static Kernel> {
        find(self.family, self.flags | flags)
    }
}

/// The variant of a family with exactly these flags; none if the table does not list it or, in a build for browsers, if it is native.
pub fn find(family: &str, flags: Flags) -> Option<&'static Kernel> {
    KERNELS.into_iter().find(|kernel| kernel.flags == flags && kernel.family == family)
}

/// A buffer that a kernel uses.
#[derive(Debug)]
pub struct Binding {
    /// The index in group 0.
    pub index: u32,
    /// The name in the shader.
    pub name: &'static str,
    /// How the kernel uses it.
    pub access: Access,
    /// The smallest size that may be bound, in bytes.
    pub smallest: u32,
}

/// How a kernel uses a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// A uniform buffer.
    Uniform,
    /// A read-only storage buffer.
    Read,
    /// A storage buffer that is written and may be read.
    ReadWrite,
}

/// A field of a kernel's uniform.
#[derive(Debug)]
pub struct Field {
    /// The name in the shader.
    pub name: &'static str,
    /// Bytes from the start of the uniform.
    pub offset: u32,
    /// The type of its numbers.
    pub kind: FieldKind,
    /// How many numbers it holds, contiguously.
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
