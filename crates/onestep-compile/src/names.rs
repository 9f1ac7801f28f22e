//! The names of a module's parameters in the weight files.

use std::{collections::HashMap, fmt, sync::Arc};

use burn::module::ParamId;

use crate::error::CompileError;

/// The names of a module's parameters.
#[derive(Clone, Debug)]
pub struct Names(Source);

#[derive(Clone, Debug)]
enum Source {
    Paths,
    Explicit(HashMap<ParamId, (String, Option<ReadElements>)>),
}

/// Reads the elements of a parameter. Called several times; the elements are row-major in the module's layout.
#[derive(Clone)]
pub struct ReadElements(Arc<dyn Fn() -> Result<Vec<f32>, String> + Send + Sync>);

impl ReadElements {
    /// Elements that `read` gives; its error says what is wrong with them.
    pub fn new(read: impl Fn() -> Result<Vec<f32>, String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// The elements; `name` is the tensor's name in errors.
    pub(crate) fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, CompileError> {
        let refuse = |message: String| CompileError::Tensor { name: name.to_owned(), message };
        let data = (self.0)().map_err(refuse)?;
        let count: usize = shape.iter().product();
        if data.len() == count { Ok(data) } else { Err(refuse(format!("has {} elements, expected {count}", data.len()))) }
    }
}

impl fmt::Debug for ReadElements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReadElements")
    }
}

impl Names {
    /// Names each parameter by its path in the module: field names, joined by dots.
    pub fn paths() -> Self {
        Self(Source::Paths)
    }

    /// Names each parameter by its id. [`compile`](crate::compile) refuses a parameter without a name.
    pub fn explicit(names: impl IntoIterator<Item = (ParamId, String)>) -> Self {
        Self(Source::Explicit(names.into_iter().map(|(id, name)| (id, (name, None))).collect()))
    }

    /// Names each parameter by its id, and says where its elements are: the module itself holds none, so it need not be initialised. Of a module
    /// with batch normalisations, [`compile`](crate::compile) replaces the statistics, which burn's modules share with their clones.
    pub fn stored(parameters: impl IntoIterator<Item = (ParamId, String, ReadElements)>) -> Self {
        Self(Source::Explicit(parameters.into_iter().map(|(id, name, read)| (id, (name, Some(read)))).collect()))
    }

    /// True if no elements are in the module.
    pub(crate) fn are_stored(&self) -> bool {
        matches!(&self.0, Source::Explicit(names) if !names.is_empty() && names.values().all(|(_, elements)| elements.is_some()))
    }

    /// Where the elements of a parameter are, if not in the module.
    pub(crate) fn elements(&self, id: ParamId) -> Option<&ReadElements> {
        match &self.0 {
            Source::Paths => None,
            Source::Explicit(names) => names.get(&id)?.1.as_ref(),
        }
    }

    /// The name of a parameter at `path`.
    pub(crate) fn of(&self, id: ParamId, path: &str) -> Option<String> {
        match &self.0 {
            Source::Paths => Some(path.to_owned()),
            Source::Explicit(names) => names.get(&id).map(|(name, _)| name.clone()),
        }
    }
}
