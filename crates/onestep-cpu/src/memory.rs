//! A pool of buffers that is reused between values and between runs. Allocating new pages each time would take a quarter of a run.

use std::{
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, PoisonError},
};

/// Buffers of fewer elements come from the allocator.
const SMALL: usize = 1 << 12;
/// A reused buffer may be this many times as large as requested.
const SLACK: usize = 4;

/// The pool. It never holds more than was in use at once.
#[derive(Clone, Default)]
pub(crate) struct Memory(Arc<Mutex<Pool>>);

#[derive(Default)]
struct Pool {
    idle: Vec<Vec<f32>>,
    /// Number of elements in `idle`, in use, and most in use at any time.
    idle_elements: usize,
    used: usize,
    most: usize,
}

impl Memory {
    /// Bytes that are idle or in use.
    pub(crate) fn bytes(&self) -> usize {
        let pool = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (pool.idle_elements + pool.used) * size_of::<f32>()
    }

    /// A buffer of `length` elements with arbitrary content.
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

    /// An empty buffer with room for `capacity` elements.
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
        let mut pool = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fitting = pool.idle.iter().enumerate().filter(|(_, idle)| (length..=length.saturating_mul(SLACK)).contains(&idle.capacity()));
        let found = fitting.min_by_key(|(_, idle)| idle.capacity()).map(|(index, _)| index);
        let elements = found.map(|index| pool.idle.swap_remove(index));
        pool.idle_elements -= elements.as_ref().map_or(0, Vec::capacity);
        // Pages that the system zeroes cost nothing before they are touched.
        let elements = elements.unwrap_or_else(|| vec![0.0; length]);
        pool.used += elements.capacity();
        pool.most = pool.most.max(pool.used);
        Buffer { elements, home: Some(self.clone()) }
    }

    fn give(&self, elements: Vec<f32>) {
        let mut pool = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pool.used = pool.used.saturating_sub(elements.capacity());
        if pool.idle_elements + elements.capacity() <= pool.most {
            pool.idle_elements += elements.capacity();
            pool.idle.push(elements);
        }
    }
}

/// Elements in memory that returns to its pool when dropped.
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
        let address = first.as_ptr();
        drop(first);
        let again = memory.zeros(SMALL);
        assert_eq!(again.as_ptr(), address);
        // Another of the size while the first is in use, then one that neither fits.
        let other = memory.stale(SMALL);
        assert_ne!(other.as_ptr(), address);
        drop((again, other));
        let large = memory.stale(SMALL * 2 * SLACK);
        assert_eq!(memory.0.lock().unwrap().idle_elements, 2 * SMALL);
        drop(large);
        let pool = memory.0.lock().unwrap();
        assert!(pool.used == 0 && pool.idle_elements <= pool.most, "{} of {}", pool.idle_elements, pool.most);
        assert_eq!(pool.idle_elements, pool.idle.iter().map(Vec::capacity).sum::<usize>());
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
