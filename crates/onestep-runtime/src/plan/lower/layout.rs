//! The memory layout of a value, and which changes of shape need no copy.

pub(super) use super::super::axes::BLOCK;
use super::super::axes::{IndexBox, strides};
use super::step::Resource;

/// The layout of a value in memory: where it starts, and the strides of its axes.
///
/// Tensors between kernels have the **blocked** layout (NC/4HW4, with the blocks innermost): one axis, the block axis, is contiguous and padded
/// with zeros to whole blocks of four, and all other strides are multiples of four. Inputs, outputs and some weights have the **plain** layout:
/// f32 elements without padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct View {
    pub(super) resource: Resource,
    /// True for the plain layout, with strides in any order.
    pub(super) plain: bool,
    /// The block axis. A view that starts or ends inside a block has none and can only be copied from.
    pub(super) block_axis: Option<usize>,
    /// Elements before the first one.
    pub(super) start: usize,
    /// Elements between neighbours along each axis.
    pub(super) strides: Vec<usize>,
}

/// The dim order with one axis innermost and the others in their order.
pub(super) fn dim_order(rank: usize, innermost: usize) -> Vec<usize> {
    (0..rank).filter(|&axis| axis != innermost).chain((rank > 0).then_some(innermost)).collect()
}

/// All axes but one, in their order.
pub(super) fn outer_dims(shape: &[usize], innermost: usize) -> Vec<usize> {
    (0..shape.len()).filter(|&axis| axis != innermost).collect()
}

/// Blocks between neighbours along some axes of a blocked view.
pub(super) fn block_strides(view: &View, axes: &[usize]) -> Vec<usize> {
    axes.iter().map(|&axis| view.strides[axis] / BLOCK).collect()
}

/// The number of elements of a shape of a checked program.
pub(super) fn elements(shape: &[usize]) -> usize {
    shape.iter().product()
}

/// The blocks of tensors of `shape` with the block axis `block_axis`, as one box of merged axes, blocks last. Views without a block axis are splats.
pub(super) fn merged_blocks<const TENSORS: usize>(shape: &[usize], block_axis: usize, views: [&View; TENSORS]) -> IndexBox<TENSORS> {
    let outer = outer_dims(shape, block_axis);
    let mut lengths: Vec<usize> = outer.iter().map(|&axis| shape[axis]).collect();
    lengths.push(shape.get(block_axis).copied().unwrap_or(1).div_ceil(BLOCK));
    let strides = views.map(|view| [block_strides(view, &outer), vec![usize::from(view.block_axis.is_some())]].concat());
    IndexBox::merged(&lengths, std::array::from_fn(|tensor| strides[tensor].as_slice()))
}

impl View {
    /// A whole tensor in the blocked layout, with the given dim order, innermost last; and how many elements it takes with padding.
    pub(super) fn blocked(resource: Resource, shape: &[usize], order: &[usize]) -> (Self, usize) {
        let mut strides = vec![1; shape.len()];
        let mut reach = 1usize;
        for (step, &axis) in order.iter().rev().enumerate() {
            strides[axis] = reach;
            let length = if step == 0 { shape[axis].next_multiple_of(BLOCK) } else { shape[axis] };
            reach = reach.saturating_mul(length);
        }
        if shape.is_empty() {
            reach = BLOCK;
        }
        (Self { resource, plain: false, block_axis: order.last().copied(), start: 0, strides }, reach)
    }

    /// A whole tensor in the plain layout, row-major.
    pub(super) fn plain(resource: Resource, shape: &[usize]) -> Self {
        Self { resource, plain: true, block_axis: None, start: 0, strides: strides(shape) }
    }

    /// True if it is a whole resource in the plain layout, row-major.
    pub(super) fn is_row_major(&self, shape: &[usize]) -> bool {
        self.plain
            && self.start == 0
            && shape.iter().zip(self.strides.iter().zip(strides(shape))).all(|(&length, (own, dense))| length == 1 || *own == dense)
    }

    /// The view with its axes permuted.
    pub(super) fn permuted(&self, axes: &[usize]) -> Self {
        Self {
            block_axis: self.block_axis.and_then(|block_axis| axes.iter().position(|&axis| axis == block_axis)),
            strides: axes.iter().map(|&axis| self.strides[axis]).collect(),
            ..self.clone()
        }
    }

    /// The part of shape `shape` from index `start` on, of a tensor of shape `whole`.
    pub(super) fn part(&self, whole: &[usize], start: &[usize], shape: &[usize]) -> Self {
        let fits =
            |&axis: &usize| start[axis].is_multiple_of(BLOCK) && (shape[axis].is_multiple_of(BLOCK) || start[axis] + shape[axis] == whole[axis]);
        Self {
            block_axis: self.block_axis.filter(fits),
            start: start.iter().zip(&self.strides).fold(self.start, |at, (start, stride)| at.saturating_add(start.saturating_mul(*stride))),
            ..self.clone()
        }
    }

    /// The view broadcast from `shape` to `to`.
    pub(super) fn broadcast(&self, shape: &[usize], to: &[usize]) -> Self {
        let new = to.len() - shape.len().min(to.len());
        let repeats = |axis: usize| axis < new || (shape[axis - new] == 1 && to[axis] != 1);
        Self {
            block_axis: self.block_axis.map(|axis| axis + new).filter(|&axis| !repeats(axis)),
            strides: (0..to.len()).map(|axis| if repeats(axis) { 0 } else { self.strides[axis - new] }).collect(),
            ..self.clone()
        }
    }

    /// The view reshaped from `shape` to `to`; none if that needs a copy.
    pub(super) fn reshaped(&self, shape: &[usize], to: &[usize]) -> Option<Self> {
        let old: Vec<(usize, usize)> = shape.iter().copied().zip(self.strides.iter().copied()).filter(|&(length, _)| length != 1).collect();
        let mut strides = vec![1usize; to.len()];
        let (mut from, mut into) = (0, 0);
        while from < old.len() || into < to.len() {
            if into < to.len() && to[into] == 1 {
                into += 1;
                continue;
            }
            let (first, start) = (from, into);
            let (mut own, mut wanted) = (old.get(from)?.0, *to.get(into)?);
            (from, into) = (from + 1, into + 1);
            while own != wanted {
                if own < wanted {
                    let &(length, stride) = old.get(from)?;
                    // The axes must be contiguous.
                    if old[from - 1].1 != stride.checked_mul(length)? {
                        return None;
                    }
                    own = own.checked_mul(length)?;
                    from += 1;
                } else {
                    wanted = wanted.checked_mul(*to.get(into)?)?;
                    into += 1;
                }
            }
            let mut reach = old[from - 1].1;
            debug_assert!(first < from);
            for axis in (start..into).rev() {
                strides[axis] = reach;
                reach = reach.checked_mul(to[axis])?;
            }
        }
        let block_axis = match self.block_axis {
            None => None,
            // Any axis of length 1 can be the block axis: its padding is the same.
            Some(block) if shape[block] == 1 => (0..to.len()).rev().find(|&axis| to[axis] == 1),
            Some(_) => (0..to.len()).rev().find(|&axis| to[axis] != 1 && strides[axis] == 1),
        };
        let block_axis = block_axis.filter(|&block| (0..to.len()).all(|axis| axis == block || to[axis] == 1 || strides[axis].is_multiple_of(BLOCK)));
        Some(Self { block_axis, strides, ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> View {
        View::blocked(Resource::Activation(0), &[2, 8, 3, 5], &dim_order(4, 1)).0
    }

    #[test]
    fn an_image_becomes_tokens_without_a_copy() {
        let view = image();
        assert_eq!(view.strides, [120, 1, 40, 8]);
        let tokens = view.reshaped(&[2, 8, 3, 5], &[2, 8, 15]).unwrap().permuted(&[0, 2, 1]);
        assert_eq!((tokens.block_axis, tokens.strides), (Some(2), vec![120, 8, 1]));
    }

    #[test]
    fn heads_split_and_join_if_they_fill_blocks() {
        let (view, elements) = View::blocked(Resource::Activation(0), &[1, 6, 24], &[0, 1, 2]);
        assert_eq!(elements, 144);
        let heads = view.reshaped(&[1, 6, 24], &[1, 6, 3, 8]).unwrap();
        assert_eq!((heads.block_axis, &heads.strides[1..]), (Some(3), &[24, 8, 1][..]));
        let back = heads.reshaped(&[1, 6, 3, 8], &[1, 6, 24]).unwrap();
        assert_eq!((back.block_axis, &back.strides[1..]), (Some(2), &[24, 1][..]));
        assert_eq!(view.reshaped(&[1, 6, 24], &[1, 6, 8, 3]).unwrap().block_axis, None);
        let (padded, _) = View::blocked(Resource::Activation(0), &[6, 3], &[0, 1]);
        assert!(padded.reshaped(&[6, 3], &[18]).is_none());
    }

    #[test]
    fn parts_that_cut_blocks_have_no_block_axis() {
        let part = |start: usize, length: usize| image().part(&[2, 8, 3, 5], &[0, start, 0, 0], &[2, length, 3, 5]);
        assert_eq!((part(4, 4).block_axis, part(4, 4).start), (Some(1), 4));
        assert_eq!(part(4, 3).block_axis, None);
        assert_eq!(part(3, 5).block_axis, None);
    }
}
