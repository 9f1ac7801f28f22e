//! The flags that tell the variants of a kernel family apart.

use std::ops::BitOr;

/// A set of flags. Each is a preprocessor definition of the kernels and a suffix of the variants' names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flags(u16);

/// The definition and the name suffix of each flag, in the order of the suffixes; flag `i` is bit `i`.
pub const NAMES: [(&str, &str); 8] = [
    ("TAPS", "taps"),
    ("STATS", "stats"),
    ("SPLIT", "split"),
    ("PLAIN_IN", "plain_in"),
    ("PLAIN_OUT", "plain_out"),
    ("SERIAL", "serial"),
    ("WEIGHT_F16", "w16"),
    ("ACTIVATION_F16", "a16"),
];

impl Flags {
    /// No flag.
    pub const NONE: Self = Self(0);
    /// A convolution with a kernel, strides and padding, instead of one input pixel per output pixel.
    pub const TAPS: Self = Self(1);
    /// Also writes the per-channel statistics that a group norm of the result needs.
    pub const STATS: Self = Self(1 << 1);
    /// Split-K: every slice of k writes partial sums, which `split_sum` adds up.
    pub const SPLIT: Self = Self(1 << 2);
    /// The input is in the plain layout (f32 elements) instead of the blocked one.
    pub const PLAIN_IN: Self = Self(1 << 3);
    /// The output is in the plain layout (f32 elements) instead of the blocked one.
    pub const PLAIN_OUT: Self = Self(1 << 4);
    /// One invocation reduces a row, instead of a workgroup.
    pub const SERIAL: Self = Self(1 << 5);
    /// Weights are stored as f16 instead of f32.
    pub const WEIGHT_F16: Self = Self(1 << 6);
    /// Activations are stored as f16 instead of f32.
    pub const ACTIVATION_F16: Self = Self(1 << 7);

    /// These flags if `condition` holds, else none.
    #[must_use]
    pub const fn when(self, condition: bool) -> Self {
        if condition { self } else { Self::NONE }
    }

    /// True if every flag of `other` is in the set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The flag of a preprocessor definition; none for definitions that are no flags, such as tile sizes.
    pub fn of_definition(definition: &str) -> Option<Self> {
        NAMES.iter().position(|(name, _)| *name == definition).map(|bit| Self(1 << bit))
    }

    /// The set as a number.
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// The set of that number.
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// What the flags append to the name of a family: `_taps_w16`.
    pub fn suffix(self) -> String {
        NAMES.iter().enumerate().filter(|(bit, _)| self.0 >> bit & 1 == 1).map(|(_, (_, suffix))| format!("_{suffix}")).collect()
    }
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}
