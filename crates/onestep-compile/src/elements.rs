//! The elements of constants. Large ones are not held in memory: they are read, or computed again, whenever they are needed.

use std::{
    borrow::Cow,
    fmt,
    sync::{Arc, Mutex, OnceLock},
};

use crate::error::CompileError;

/// Constants of up to this many elements are held in memory.
pub(crate) const HELD: usize = 1 << 14;

/// The elements of a constant, row-major.
#[derive(Clone)]
pub struct Elements(Arc<Inner>);

struct Inner {
    length: usize,
    source: Source,
    statistics: OnceLock<Statistics>,
}

enum Source {
    Held(Vec<f32>),
    Computed(Box<dyn Fn() -> Vec<f32> + Send + Sync>),
}

/// Statistics of all elements, which the passes read.
#[derive(Clone, Copy)]
struct Statistics {
    /// The largest absolute value; infinite if an element is NaN.
    largest: f32,
    /// The element that all others are bit-identical to, if there is one.
    uniform: Option<f32>,
    /// A hash of the bits of all elements.
    hash: u64,
}

impl From<Vec<f32>> for Elements {
    fn from(data: Vec<f32>) -> Self {
        Self(Arc::new(Inner { length: data.len(), source: Source::Held(data), statistics: OnceLock::new() }))
    }
}

impl fmt::Debug for Elements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} elements", self.len())
    }
}

impl PartialEq for Elements {
    fn eq(&self, other: &Self) -> bool {
        let same = || self.len() == other.len() && self.statistics().hash == other.statistics().hash;
        Arc::ptr_eq(&self.0, &other.0) || (same() && self.read() == other.read())
    }
}

impl Elements {
    /// `length` elements that `compute` gives, the same whenever it is called.
    pub(crate) fn computed(length: usize, compute: impl Fn() -> Vec<f32> + Send + Sync + 'static) -> Self {
        if length <= HELD {
            return compute().into();
        }
        Self(Arc::new(Inner { length, source: Source::Computed(Box::new(compute)), statistics: OnceLock::new() }))
    }

    /// The elements; computed if they are not held.
    pub fn read(&self) -> Cow<'_, [f32]> {
        match &self.0.source {
            Source::Held(data) => Cow::Borrowed(data),
            Source::Computed(compute) => Cow::Owned(compute()),
        }
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.0.length
    }

    /// True if there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn statistics(&self) -> Statistics {
        *self.0.statistics.get_or_init(|| {
            let data = self.read();
            let (mut largest, mut hash) = (0f32, 0xcbf2_9ce4_8422_2325_u64);
            for value in data.iter() {
                let size = if value.is_nan() { f32::INFINITY } else { value.abs() };
                largest = largest.max(size);
                hash = (hash ^ u64::from(value.to_bits())).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
            }
            let first = data.first().copied();
            Statistics { largest, uniform: first.filter(|first| data.iter().all(|value| value.to_bits() == first.to_bits())), hash }
        })
    }

    /// The largest absolute value; 0 without elements.
    pub(crate) fn largest(&self) -> f32 {
        self.statistics().largest
    }

    /// The element that all others are bit-identical to, if there is one.
    pub(crate) fn uniform(&self) -> Option<f32> {
        self.statistics().uniform
    }
}

/// The first error of reading elements after compiling began. A failed read gives zeros, and whoever wants the result asks here.
#[derive(Clone, Debug, Default)]
pub struct ReadErrors(Arc<Mutex<Option<CompileError>>>);

impl ReadErrors {
    /// The elements, or as many zeros and a note of the error.
    pub(crate) fn or_zeros(&self, length: usize, read: Result<Vec<f32>, CompileError>) -> Vec<f32> {
        let error = match read {
            Ok(data) if data.len() == length => return data,
            Ok(data) => CompileError::Capture(format!("a constant has {} elements, expected {length}", data.len())),
            Err(error) => error,
        };
        if let Ok(mut first) = self.0.lock() {
            first.get_or_insert(error);
        }
        vec![0.0; length]
    }

    /// Fails if a read failed.
    ///
    /// # Errors
    /// The first error.
    pub(crate) fn check(&self) -> Result<(), CompileError> {
        match self.0.lock().ok().and_then(|first| first.clone()) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}
