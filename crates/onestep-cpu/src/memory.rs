//! Memory that values leave behind, for the values that come: pages that are new to the system each time take a quarter of a run.

use std::{
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, PoisonError},
};

/// Elements below which the allocator has memory at hand.
const SMALL: usize = 1 << 12;
/// How many times as large as asked for memory may be.
const SLACK: usize = 4;

/// What is kept between values and between runs: never more than has been in use at once.
#[derive(Clone, Default)]
pub(crate) struct Memory(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    idle: Vec<Vec<f32>>,
    /// Elements of `idle`, of what is in use, and the most that ever was.
    idle_elements: usize,
    used: usize,
    most: usize,
}

impl Memory {
    /// Bytes of all that is idle or in use.
    pub(crate) fn bytes(&self) -> usize {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (kept.idle_elements + kept.used) * size_of::<f32>()
    }

    /// So many elements to be written: what they hold is left from earlier values.
    pub(crate) fn stale(&self, length: usize) -> Buffer {
        let mut buffer = self.take(length);
        buffer.resize(length, 0.0);
        buffer
    }

    pub(crate) fn zeros(&self, length: usize) -> Buffer {
        let mut buffer = self.take(length);
        buffer.clear();
        buffer.resize(length, 0.0);
        buffer
    }

    /// No elements, and memory for so many.
    pub(crate) fn empty(&self, capacity: usize) -> Buffer {
        let mut buffer = self.take(capacity);
        buffer.clear();
        buffer
    }

    pub(crate) fn copy_of(&self, elements: &[f32]) -> Buffer {
        let mut buffer = self.empty(elements.len());
        buffer.extend_from_slice(elements);
        buffer
    }

    fn take(&self, length: usize) -> Buffer {
        if length < SMALL {
            return Buffer { elements: Vec::with_capacity(length), home: None };
        }
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fitting = kept.idle.iter().enumerate().filter(|(_, idle)| (length..=length.saturating_mul(SLACK)).contains(&idle.capacity()));
        let found = fitting.min_by_key(|(_, idle)| idle.capacity()).map(|(index, _)| index);
        let elements = found.map(|index| kept.idle.swap_remove(index));
        kept.idle_elements -= elements.as_ref().map_or(0, Vec::capacity);
        // The system's zeros cost nothing before they are touched.
        let elements = elements.unwrap_or_else(|| vec![0.0; length]);
        kept.used += elements.capacity();
        kept.most = kept.most.max(kept.used);
        Buffer { elements, home: Some(self.clone()) }
    }

    fn give(&self, elements: Vec<f32>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.used = kept.used.saturating_sub(elements.capacity());
        if kept.idle_elements + elements.capacity() <= kept.most {
            kept.idle_elements += elements.capacity();
            kept.idle.push(elements);
        }
    }
}

/// Elements that go back to where their memory came from.
pub(crate) struct Buffer {
    elements: Vec<f32>,
    home: Option<Memory>,
}

impl From<Vec<f32>> for Buffer {
    fn from(elements: Vec<f32>) -> Self {
        Self { elements, home: None }
    }
}

impl Deref for Buffer {
    type Target = Vec<f32>;
    fn deref(&self) -> &Vec<f32> {
        &self.elements
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut Vec<f32> {
        &mut self.elements
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(home) = &self.home {
            home.give(std::mem::take(&mut self.elements));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_comes_back_and_is_bounded_by_what_was_in_use() {
        let memory = Memory::default();
        let first = memory.stale(SMALL);
        let place = first.as_ptr();
        drop(first);
        let again = memory.zeros(SMALL);
        assert_eq!(again.as_ptr(), place);
        // Another of the size while the first is in use, then one that neither fits.
        let other = memory.stale(SMALL);
        assert_ne!(other.as_ptr(), place);
        drop((again, other));
        let large = memory.stale(SMALL * 2 * SLACK);
        assert_eq!(memory.0.lock().unwrap().idle_elements, 2 * SMALL);
        drop(large);
        let kept = memory.0.lock().unwrap();
        assert!(kept.used == 0 && kept.idle_elements <= kept.most, "{} of {}", kept.idle_elements, kept.most);
        assert_eq!(kept.idle_elements, kept.idle.iter().map(Vec::capacity).sum::<usize>());
    }

    #[test]
    fn zeros_are_zeros_whatever_was_left() {
        let memory = Memory::default();
        memory.stale(SMALL).fill(7.0);
        assert!(memory.zeros(SMALL).iter().all(|&element| element == 0.0));
        memory.stale(SMALL).fill(7.0);
        assert_eq!(memory.empty(SMALL).len(), 0);
        assert_eq!(memory.copy_of(&[1.0; SMALL + 1])[..], [1.0; SMALL + 1]);
    }
}
