//! What a module's parameters are called in the weight files.

use std::collections::HashMap;

use burn::module::ParamId;

/// The names of a module's parameters.
#[derive(Clone, Debug)]
pub struct Names(Source);

#[derive(Clone, Debug)]
enum Source {
    Paths,
    Given(HashMap<ParamId, String>),
}

impl Names {
    /// The fields' names on the way to the parameter, joined by dots.
    pub fn paths() -> Self {
        Self(Source::Paths)
    }

    /// Names by parameter; one that the program needs and that is not named here is refused.
    pub fn given(names: impl IntoIterator<Item = (ParamId, String)>) -> Self {
        Self(Source::Given(names.into_iter().collect()))
    }

    /// The name of a parameter at `path`.
    pub(crate) fn of(&self, id: ParamId, path: &str) -> Option<String> {
        match &self.0 {
            Source::Paths => Some(path.to_owned()),
            Source::Given(names) => names.get(&id).cloned(),
        }
    }
}
