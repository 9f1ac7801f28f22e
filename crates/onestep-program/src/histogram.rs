//! Counts a program's operations by name.

use std::{collections::BTreeMap, fmt};

use crate::program::Program;

/// Counts of operations by their name ([`Op::name`](crate::Op::name)), sorted by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram(pub BTreeMap<&'static str, usize>);

impl Histogram {
    /// The number of operations of this name; 0 if there are none.
    pub fn count(&self, name: &str) -> usize {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// The number of all operations.
    pub fn total(&self) -> usize {
        self.0.values().sum()
    }
}

impl fmt::Display for Histogram {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} operations:", self.total())?;
        for (name, count) in &self.0 {
            write!(formatter, " {name} {count}")?;
        }
        Ok(())
    }
}

impl Program {
    /// Counts the program's operations by name.
    pub fn histogram(&self) -> Histogram {
        let mut counts = BTreeMap::new();
        for node in &self.nodes {
            *counts.entry(node.op.name()).or_insert(0) += 1;
        }
        Histogram(counts)
    }
}
