//! Strides, and merging of axes that are contiguous in every tensor.

/// Elements of a channel block: the width of the vectors that kernels read and write.
pub(crate) const BLOCK: usize = 4;

/// Elements between neighbours along each axis of a dense row-major tensor.
pub(crate) fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1usize; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis].saturating_mul(shape[axis]);
    }
    strides
}

/// The strides of a dense tensor broadcast to a shape: 0 along broadcast axes.
pub(crate) fn broadcast_strides(shape: &[usize], to: &[usize]) -> Vec<usize> {
    let dense = strides(shape);
    let new = to.len() - shape.len().min(to.len());
    (0..to.len()).map(|axis| if axis < new || shape[axis - new] == 1 { 0 } else { dense[axis - new] }).collect()
}

/// An index space, with the strides of each of several tensors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IndexBox<const TENSORS: usize> {
    pub(crate) shape: Vec<usize>,
    pub(crate) strides: [Vec<usize>; TENSORS],
}

impl<const TENSORS: usize> IndexBox<TENSORS> {
    /// Drops axes of length 1 and merges neighbouring axes that are contiguous in every tensor. At least one axis remains.
    pub(crate) fn merged(shape: &[usize], strides: [&[usize]; TENSORS]) -> Self {
        let mut merged = Self { shape: Vec::new(), strides: std::array::from_fn(|_| Vec::new()) };
        for (axis, &length) in shape.iter().enumerate().filter(|&(_, &length)| length != 1) {
            let joins = merged.strides.iter().zip(strides).all(|(merged, strides)| merged.last() == Some(&strides[axis].saturating_mul(length)));
            match merged.shape.last_mut().filter(|_| joins) {
                Some(last) => *last = last.saturating_mul(length),
                None => merged.shape.push(length),
            }
            for (merged, strides) in merged.strides.iter_mut().zip(strides) {
                if joins {
                    merged.pop();
                }
                merged.push(strides[axis]);
            }
        }
        if merged.shape.is_empty() {
            merged.shape.push(1);
            for list in &mut merged.strides {
                list.push(0);
            }
        }
        merged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dense_axes_merge_into_one() {
        let dense = strides(&[2, 3, 4]);
        let merged = IndexBox::merged(&[2, 3, 4], [&dense, &dense]);
        assert_eq!((merged.shape, merged.strides), (vec![24], [vec![1], vec![1]]));
    }

    #[test]
    fn a_broadcast_axis_is_not_merged() {
        let a = broadcast_strides(&[2, 1, 4], &[2, 3, 4]);
        assert_eq!(a, [4, 0, 1]);
        let merged = IndexBox::merged(&[2, 3, 4], [&a, &strides(&[2, 3, 4])]);
        assert_eq!(merged.shape, [2, 3, 4]);
        let scalar = broadcast_strides(&[], &[2, 3, 4]);
        assert_eq!(IndexBox::merged(&[2, 3, 4], [&scalar]).shape, [24]);
    }

    #[test]
    fn a_single_element_has_one_axis() {
        assert_eq!(IndexBox::<1>::merged(&[1, 1], [&[1, 1]]).shape, [1]);
        assert_eq!(IndexBox::<1>::merged(&[], [&[]]).shape, [1]);
    }
}
