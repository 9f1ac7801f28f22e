//! Compiles a module to a program.

use burn::module::Module;

use crate::{
    capture::{Ports, capture},
    error::CompileError,
    lower::lower,
    names::Names,
    passes::Passes,
    program::{Compiled, Storage},
};

/// How a module is compiled.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The prefix of parameter names; default: the program's name. Programs of one component use the same weights.
    pub component: Option<String>,
    /// The type in which matrices and kernels are stored; default: f32.
    pub storage: Storage,
    /// The passes that run; default: all.
    pub passes: Passes,
}

/// Compiles the forward pass `forward` of `module` to the program `name`.
///
/// `forward` gets the module on a device that records operations instead of computing them; it declares inputs with [`Ports::float`] and
/// [`Ports::ids`], runs the module and declares outputs with [`Ports::output`]. In the program, parameters are called
/// `{component}.{name}` and derived weights `{program}.constant.{number}`. The same module gives the same bytes.
///
/// # Errors
/// An operation that programs do not support, by burn's name; a parameter without a name or with an element beyond the range of its type; a
/// program above the limits.
pub fn compile<M: Module>(
    name: &str,
    module: &M,
    names: &Names,
    options: &Options,
    forward: impl FnOnce(&M, &mut Ports),
) -> Result<Compiled, CompileError> {
    let mut graph = lower(capture(module, names, forward)?)?;
    options.passes.run(&mut graph)?;
    Compiled::from_graph(&graph, name, options.component.as_deref().unwrap_or(name), options.storage)
}
