//! Counts a program's operations by name.

use std::{collections::BTreeMap, fmt};

use onestep_program::{Op, Program};

/// The number of operations by name, sorted by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram(pub BTreeMap<&'static str, usize>);

impl Histogram {
    /// The number of operations with this name.
    pub fn count(&self, name: &str) -> usize {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// The number of all operations.
    pub fn total(&self) -> usize {
        self.0.values().sum()
    }

    pub(crate) fn of<'a>(operations: impl IntoIterator<Item = &'a Op>) -> Self {
        let mut counts = BTreeMap::new();
        for op in operations {
            *counts.entry(op.name()).or_insert(0) += 1;
        }
        Self(counts)
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

/// Counts a program's operations.
pub fn histogram(program: &Program) -> Histogram {
    Histogram::of(program.nodes.iter().map(|node| &node.op))
}
