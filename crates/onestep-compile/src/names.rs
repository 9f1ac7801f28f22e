//! The names of a module's parameters in the weight files.

use std::collections::HashMap;

use burn::module::ParamId;

/// The names of a module's parameters.
#[derive(Clone, Debug)]
pub struct Names(Source);

#[derive(Clone, Debug)]
enum Source {
    Paths,
    Explicit(HashMap<ParamId, String>),
}

impl Names {
    /// Names each parameter by its path in the module: field names, joined by dots.
    pub fn paths() -> Self {
        Self(Source::Paths)
    }

    /// Names each parameter by its id. [`compile`](crate::compile) refuses a parameter without a name.
    pub fn explicit(names: impl IntoIterator<Item = (ParamId, String)>) -> Self {
        Self(Source::Explicit(names.into_iter().collect()))
    }

    /// The name of a parameter at `path`.
    pub(crate) fn of(&self, id: ParamId, path: &str) -> Option<String> {
        match &self.0 {
            Source::Paths => Some(path.to_owned()),
            Source::Explicit(names) => names.get(&id).cloned(),
        }
    }
}
