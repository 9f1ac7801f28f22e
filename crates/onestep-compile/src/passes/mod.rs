//! The rewrites. Each preserves the result of a program up to rounding.

mod at_each;
mod attention;
mod attention_scale;
mod bias;
mod broadcast;
mod duplicates;
mod fold;
mod fuse_activation;
mod fuse_affine;
mod fuse_residual;
mod gated;
mod group_norm;
mod joint_linear;
mod layer_norm_affine;
mod linear;
mod movement;
mod padding;
mod phases;
mod pointwise;
mod scalars;
mod sigmoid;

use crate::{error::CompileError, graph::Graph};

/// The name of a pass and its function.
type Pass = (&'static str, fn(&mut Graph) -> Result<(), CompileError>);

/// All passes in execution order. Some run again after others have enabled them.
const PASSES: &[Pass] = &[
    ("broadcast", broadcast::run),
    ("fold", fold::run),
    ("group_norm", group_norm::run),
    ("attention", attention::run),
    ("movement", movement::run),
    ("scalars", scalars::run),
    ("duplicates", duplicates::run),
    ("sigmoid", sigmoid::run),
    ("linear", linear::run),
    ("padding", padding::run),
    ("bias", bias::run),
    ("movement", movement::run),
    ("gated", gated::run),
    ("fuse_affine", fuse_affine::run),
    ("fuse_activation", fuse_activation::run),
    ("pointwise", pointwise::run),
    ("fuse_residual", fuse_residual::run),
    ("duplicates", duplicates::run),
    // The last passes derive new weights from those of the module.
    ("layer_norm_affine", layer_norm_affine::run),
    ("attention_scale", attention_scale::run),
    ("joint_linear", joint_linear::run),
    ("phases", phases::run),
    ("duplicates", duplicates::run),
];

/// The passes that run; a selection helps to find a faulty one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passes {
    enabled: Vec<bool>,
}

impl Default for Passes {
    fn default() -> Self {
        Self::all()
    }
}

impl Passes {
    /// All passes.
    pub fn all() -> Self {
        Self { enabled: vec![true; PASSES.len()] }
    }

    /// No passes: the operations as captured.
    pub fn none() -> Self {
        Self { enabled: vec![false; PASSES.len()] }
    }

    /// These passes, in their usual order.
    ///
    /// # Errors
    /// An unknown name.
    pub fn only(names: &[&str]) -> Result<Self, CompileError> {
        names.iter().try_fold(Self::none(), |passes, name| passes.set(name, true))
    }

    /// These passes except one.
    ///
    /// # Errors
    /// An unknown name.
    pub fn without(self, name: &str) -> Result<Self, CompileError> {
        self.set(name, false)
    }

    /// The names of all passes.
    pub fn names() -> impl Iterator<Item = &'static str> {
        PASSES.iter().enumerate().filter(|(index, (name, _))| PASSES[..*index].iter().all(|(earlier, _)| earlier != name)).map(|(_, (name, _))| *name)
    }

    fn set(mut self, name: &str, enabled: bool) -> Result<Self, CompileError> {
        let mut known = false;
        for (flag, (pass, _)) in self.enabled.iter_mut().zip(PASSES) {
            if *pass == name {
                *flag = enabled;
                known = true;
            }
        }
        if known { Ok(self) } else { Err(CompileError::UnknownPass(name.to_owned())) }
    }

    /// Runs the passes and removes unused operations.
    ///
    /// # Errors
    /// Errors of constant folding.
    pub fn run(&self, graph: &mut Graph) -> Result<(), CompileError> {
        graph.remove_dead();
        for ((_, pass), enabled) in PASSES.iter().zip(&self.enabled) {
            if *enabled {
                pass(graph)?;
                graph.remove_dead();
            }
        }
        Ok(())
    }
}
