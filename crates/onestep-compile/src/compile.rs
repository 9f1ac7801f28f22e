//! The whole way from a module to a program.

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
    /// What the names of the parameters begin with; the program's name if `None`. Programs of one component share their weights.
    pub component: Option<String>,
    /// How matrices and kernels are stored.
    pub storage: Storage,
    /// Which rewrites run.
    pub passes: Passes,
}

/// Captures `forward` and rewrites it into the program `name`.
///
/// `forward` gets the module on a device that records operations instead of computing them; it declares inputs with [`Ports::float`] and
/// [`Ports::ids`], runs the module and declares outputs with [`Ports::output`]. In the program, parameters are called
/// `{component}.{name}` and what was computed from them alone `{program}.constant.{number}`. The same module gives the same bytes.
///
/// # Errors
/// An operation without counterpart in programs, by burn's name; a parameter without a name or beyond the range of its storage; a
/// program beyond the limits.
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
