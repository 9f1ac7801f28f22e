//! Element types of safetensors files and their conversion to f32; every reader of tensors uses this conversion.

use crate::program::DType;

/// The type of a stored element, under its name in safetensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ElementType {
    /// 64-bit float.
    F64,
    /// 32-bit float.
    F32,
    /// 16-bit float of IEEE 754.
    F16,
    /// 16-bit float with the exponent of f32.
    BF16,
    /// 64-bit signed integer.
    I64,
    /// 32-bit signed integer.
    I32,
    /// A valid type that is not converted here: its name and its bits per element.
    Unsupported(&'static str, u8),
}

/// Every type of the format, by its name in a header.
const TYPES: [(&str, ElementType); 22] = [
    ("F64", ElementType::F64),
    ("F32", ElementType::F32),
    ("F16", ElementType::F16),
    ("BF16", ElementType::BF16),
    ("I64", ElementType::I64),
    ("I32", ElementType::I32),
    ("BOOL", ElementType::Unsupported("BOOL", 8)),
    ("U8", ElementType::Unsupported("U8", 8)),
    ("I8", ElementType::Unsupported("I8", 8)),
    ("U16", ElementType::Unsupported("U16", 16)),
    ("I16", ElementType::Unsupported("I16", 16)),
    ("U32", ElementType::Unsupported("U32", 32)),
    ("U64", ElementType::Unsupported("U64", 64)),
    ("C64", ElementType::Unsupported("C64", 64)),
    ("F8_E5M2", ElementType::Unsupported("F8_E5M2", 8)),
    ("F8_E4M3", ElementType::Unsupported("F8_E4M3", 8)),
    ("F8_E8M0", ElementType::Unsupported("F8_E8M0", 8)),
    ("F8_E4M3FNUZ", ElementType::Unsupported("F8_E4M3FNUZ", 8)),
    ("F8_E5M2FNUZ", ElementType::Unsupported("F8_E5M2FNUZ", 8)),
    ("F6_E2M3", ElementType::Unsupported("F6_E2M3", 6)),
    ("F6_E3M2", ElementType::Unsupported("F6_E3M2", 6)),
    ("F4", ElementType::Unsupported("F4", 4)),
];

impl ElementType {
    /// The types that weights may have.
    pub const WEIGHTS: &'static [Self] = &[Self::F32, Self::F16, Self::BF16];
    /// Every type that [`to_f32`](Self::to_f32) converts.
    pub const SUPPORTED: &'static [Self] = &[Self::F64, Self::F32, Self::F16, Self::BF16, Self::I64, Self::I32];

    /// The type of this name, or `None` if safetensors has no such type.
    pub fn of_name(name: &str) -> Option<Self> {
        TYPES.iter().find(|(known, _)| *known == name).map(|(_, element)| *element)
    }

    /// The name in a header.
    pub fn name(self) -> &'static str {
        TYPES.iter().find(|(_, element)| *element == self).map_or("?", |(name, _)| name)
    }

    /// Bits per element; types of fewer than 8 bits are packed.
    pub fn bits(self) -> u64 {
        match self {
            Self::F64 | Self::I64 => 64,
            Self::F32 | Self::I32 => 32,
            Self::F16 | Self::BF16 => 16,
            Self::Unsupported(_, bits) => u64::from(bits),
        }
    }

    /// Converts little-endian elements to f32, rounding F64 to nearest; integers are exact below 2^24. `None` for an unsupported type.
    pub fn to_f32(self, bytes: &[u8]) -> Option<Vec<f32>> {
        let halves = bytes.as_chunks::<2>().0.iter();
        let words = bytes.as_chunks::<4>().0.iter();
        let doubles = bytes.as_chunks::<8>().0.iter();
        Some(match self {
            Self::F64 => doubles.map(|&bytes| f64::from_le_bytes(bytes) as f32).collect(),
            Self::F32 => words.map(|&bytes| f32::from_le_bytes(bytes)).collect(),
            Self::F16 => halves.map(|&bytes| half::f16::from_le_bytes(bytes).to_f32()).collect(),
            Self::BF16 => halves.map(|&bytes| half::bf16::from_le_bytes(bytes).to_f32()).collect(),
            Self::I64 => doubles.map(|&bytes| i64::from_le_bytes(bytes) as f32).collect(),
            Self::I32 => words.map(|&bytes| i32::from_le_bytes(bytes) as f32).collect(),
            Self::Unsupported(..) => return None,
        })
    }

    /// The index of the first element that is NaN or infinite; `None` for integers and unsupported types.
    pub fn first_non_finite(self, bytes: &[u8]) -> Option<usize> {
        match self {
            Self::F64 => first(bytes, |&bytes: &[u8; 8]| !f64::from_le_bytes(bytes).is_finite()),
            Self::F32 => first(bytes, |&bytes: &[u8; 4]| u32::from_le_bytes(bytes) & 0x7f80_0000 == 0x7f80_0000),
            Self::F16 => first(bytes, |&bytes: &[u8; 2]| u16::from_le_bytes(bytes) & 0x7c00 == 0x7c00),
            Self::BF16 => first(bytes, |&bytes: &[u8; 2]| u16::from_le_bytes(bytes) & 0x7f80 == 0x7f80),
            Self::I64 | Self::I32 | Self::Unsupported(..) => None,
        }
    }
}

impl From<DType> for ElementType {
    fn from(dtype: DType) -> Self {
        match dtype {
            DType::F32 => Self::F32,
            DType::F16 => Self::F16,
            DType::I32 => Self::I32,
        }
    }
}

/// Elements that are checked without an early exit, so that the compiler vectorises the loop.
const BLOCK: usize = 4096;

/// The index of the first element for which `is_wanted`.
fn first<const N: usize>(bytes: &[u8], is_wanted: impl Fn(&[u8; N]) -> bool) -> Option<usize> {
    let elements = bytes.as_chunks::<N>().0;
    let blocks = elements.chunks(BLOCK);
    let block = blocks.clone().position(|block| block.iter().fold(false, |found, element| found | is_wanted(element)))?;
    let offset = elements.get(block * BLOCK..)?.iter().position(is_wanted)?;
    Some(block * BLOCK + offset)
}

/// The index along each axis of element `number` of a row-major tensor of this shape.
pub fn coordinates(shape: &[usize], number: usize) -> Vec<usize> {
    let mut rest = number;
    let mut indices: Vec<usize> = shape
        .iter()
        .rev()
        .map(|&length| {
            let index = rest % length.max(1);
            rest /= length.max(1);
            index
        })
        .collect();
    indices.reverse();
    indices
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_a_type_and_back() {
        for (name, element) in TYPES {
            assert_eq!((ElementType::of_name(name), element.name()), (Some(element), name));
        }
        assert_eq!(ElementType::of_name("f32"), None);
    }

    #[test]
    fn elements_of_every_type_become_f32() {
        let bits = |value: f32| value.to_le_bytes().to_vec();
        let cases = [
            (ElementType::F64, 1.5f64.to_le_bytes().to_vec()),
            (ElementType::F32, bits(1.5)),
            (ElementType::F16, half::f16::from_f32(1.5).to_le_bytes().to_vec()),
            (ElementType::BF16, half::bf16::from_f32(1.5).to_le_bytes().to_vec()),
        ];
        for (element, bytes) in cases {
            assert_eq!(element.to_f32(&bytes), Some(vec![1.5]), "{element:?}");
        }
        assert_eq!(ElementType::I64.to_f32(&(-3i64).to_le_bytes()), Some(vec![-3.0]));
        assert_eq!(ElementType::I32.to_f32(&7i32.to_le_bytes()), Some(vec![7.0]));
        assert_eq!(ElementType::of_name("U8").unwrap().to_f32(&[1]), None);
    }

    #[test]
    fn the_first_value_that_is_not_finite_is_found_wherever_it_is() {
        for index in [0, 1, BLOCK - 1, BLOCK, 2 * BLOCK + 5] {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut values = vec![f32::MAX; 2 * BLOCK + 9];
                values[index] = bad;
                values[2 * BLOCK + 8] = bad;
                let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                assert_eq!(ElementType::F32.first_non_finite(&bytes), Some(index));
                let bytes: Vec<u8> = values.iter().flat_map(|value| f64::from(*value).to_le_bytes()).collect();
                assert_eq!(ElementType::F64.first_non_finite(&bytes), Some(index));
                let brain = |value: f32| if value.is_finite() { half::bf16::MAX } else { half::bf16::from_f32(value) };
                let bytes: Vec<u8> = values.iter().flat_map(|value| brain(*value).to_le_bytes()).collect();
                assert_eq!(ElementType::BF16.first_non_finite(&bytes), Some(index));
                let half = |value: f32| if value.is_finite() { half::f16::MAX } else { half::f16::from_f32(value) };
                let bytes: Vec<u8> = values.iter().flat_map(|value| half(*value).to_le_bytes()).collect();
                assert_eq!(ElementType::F16.first_non_finite(&bytes), Some(index));
            }
        }
        assert_eq!(ElementType::F32.first_non_finite(&f32::MIN_POSITIVE.to_le_bytes()), None);
        assert_eq!(ElementType::I32.first_non_finite(&[0xff; 8]), None);
    }

    #[test]
    fn positions_are_indices_along_the_axes() {
        assert_eq!(coordinates(&[2, 3, 4], 23), [1, 2, 3]);
        assert_eq!(coordinates(&[2, 3, 4], 4), [0, 1, 0]);
        assert_eq!(coordinates(&[], 0), [0; 0]);
    }
}
