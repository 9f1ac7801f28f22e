//! A configuration value that is given once for all blocks or block by block.

use serde::{Deserialize, Serialize};

/// One value for every block, or a list with one value for each, as diffusers allows for several keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PerBlock<T> {
    /// The same value for every block.
    One(T),
    /// One value for each block, from the highest resolution to the lowest.
    Each(Vec<T>),
}

impl<T: Copy> PerBlock<T> {
    /// The value of block `index`, if the list reaches that far.
    pub fn get(&self, index: usize) -> Option<T> {
        match self {
            Self::One(value) => Some(*value),
            Self::Each(values) => values.get(index).copied(),
        }
    }

    /// All values for `blocks` blocks, or `None` when a list has another length.
    pub fn expand(&self, blocks: usize) -> Option<Vec<T>> {
        match self {
            Self::One(value) => Some(vec![*value; blocks]),
            Self::Each(values) => (values.len() == blocks).then(|| values.clone()),
        }
    }
}

impl<T> From<T> for PerBlock<T> {
    fn from(value: T) -> Self {
        Self::One(value)
    }
}
