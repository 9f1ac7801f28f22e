//! How a value lies in memory, and which rearrangements of it need no copy.

use super::super::axes::strides;
use super::Bound;

/// Elements of a unit: what kernels read and write at once.
pub(super) const UNIT: usize = 4;

/// Where the elements of a value are found.
///
/// A tensor that kernels have written lies in **units**: along one axis, its innermost, neighbours are neighbours in memory, and that axis is
/// padded with zeros to a multiple of four, so that every unit starts at a multiple of four. What callers give and get is **raw**: f32 without
/// padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct View {
    pub(super) bound: Bound,
    /// f32 elements in any order, not units.
    pub(super) raw: bool,
    /// The axis that lies in units. A view without one, of a part that starts or ends inside a unit, can only be copied from.
    pub(super) inner: Option<usize>,
    /// Elements from the start of what is bound.
    pub(super) start: usize,
    /// Elements between neighbours along each axis.
    pub(super) strides: Vec<usize>,
}

/// The order in memory in which an axis is the innermost and the others keep theirs.
pub(super) fn order(rank: usize, inner: usize) -> Vec<usize> {
    (0..rank).filter(|&axis| axis != inner).chain((rank > 0).then_some(inner)).collect()
}

impl View {
    /// A whole tensor in units with its axes in that order, the innermost last; also how many elements it takes.
    pub(super) fn units(bound: Bound, shape: &[usize], order: &[usize]) -> (Self, usize) {
        let mut strides = vec![1; shape.len()];
        let mut reach = 1usize;
        for (step, &axis) in order.iter().rev().enumerate() {
            strides[axis] = reach;
            let length = if step == 0 { shape[axis].next_multiple_of(UNIT) } else { shape[axis] };
            reach = reach.saturating_mul(length);
        }
        if shape.is_empty() {
            reach = UNIT;
        }
        (Self { bound, raw: false, inner: order.last().copied(), start: 0, strides }, reach)
    }

    /// A whole tensor as a caller sees it.
    pub(super) fn raw(bound: Bound, shape: &[usize]) -> Self {
        Self { bound, raw: true, inner: None, start: 0, strides: strides(shape) }
    }

    /// Whether it is the whole tensor as a caller sees it, from the start.
    pub(super) fn is_raw_and_dense(&self, shape: &[usize]) -> bool {
        self.raw
            && self.start == 0
            && shape.iter().zip(self.strides.iter().zip(strides(shape))).all(|(&length, (own, dense))| length == 1 || *own == dense)
    }

    pub(super) fn permuted(&self, axes: &[usize]) -> Self {
        Self {
            inner: self.inner.and_then(|inner| axes.iter().position(|&axis| axis == inner)),
            strides: axes.iter().map(|&axis| self.strides[axis]).collect(),
            ..self.clone()
        }
    }

    /// The part of `shape` that begins at `start`, for a tensor of the shape `whole`.
    pub(super) fn part(&self, whole: &[usize], start: &[usize], shape: &[usize]) -> Self {
        let fits =
            |&inner: &usize| start[inner].is_multiple_of(UNIT) && (shape[inner].is_multiple_of(UNIT) || start[inner] + shape[inner] == whole[inner]);
        Self {
            inner: self.inner.filter(fits),
            start: start.iter().zip(&self.strides).fold(self.start, |at, (start, stride)| at.saturating_add(start.saturating_mul(*stride))),
            ..self.clone()
        }
    }

    /// With axes of length 1 repeated to `to`, and axes of length 1 in front where `to` has more.
    pub(super) fn broadcast(&self, shape: &[usize], to: &[usize]) -> Self {
        let new = to.len() - shape.len().min(to.len());
        let repeats = |axis: usize| axis < new || (shape[axis - new] == 1 && to[axis] != 1);
        Self {
            inner: self.inner.map(|inner| inner + new).filter(|&inner| !repeats(inner)),
            strides: (0..to.len()).map(|axis| if repeats(axis) { 0 } else { self.strides[axis - new] }).collect(),
            ..self.clone()
        }
    }

    /// The same elements in the same order under another shape, where that needs no copy.
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
                    // The axes must run together.
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
        let inner = match self.inner {
            None => None,
            // Any other axis of length 1 has the same zeros behind it.
            Some(inner) if shape[inner] == 1 => (0..to.len()).rev().find(|&axis| to[axis] == 1),
            Some(_) => (0..to.len()).rev().find(|&axis| to[axis] != 1 && strides[axis] == 1),
        };
        let inner = inner.filter(|&inner| (0..to.len()).all(|axis| axis == inner || to[axis] == 1 || strides[axis].is_multiple_of(UNIT)));
        Some(Self { inner, strides, ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> View {
        View::units(Bound::Tenant(0), &[2, 8, 3, 5], &order(4, 1)).0
    }

    #[test]
    fn an_image_becomes_tokens_without_a_copy() {
        let view = image();
        assert_eq!(view.strides, [120, 1, 40, 8]);
        let tokens = view.reshaped(&[2, 8, 3, 5], &[2, 8, 15]).unwrap().permuted(&[0, 2, 1]);
        assert_eq!((tokens.inner, tokens.strides), (Some(2), vec![120, 8, 1]));
    }

    #[test]
    fn heads_split_and_join_where_they_fill_units() {
        let (view, elements) = View::units(Bound::Tenant(0), &[1, 6, 24], &[0, 1, 2]);
        assert_eq!(elements, 144);
        let heads = view.reshaped(&[1, 6, 24], &[1, 6, 3, 8]).unwrap();
        assert_eq!((heads.inner, &heads.strides[1..]), (Some(3), &[24, 8, 1][..]));
        let back = heads.reshaped(&[1, 6, 3, 8], &[1, 6, 24]).unwrap();
        assert_eq!((back.inner, &back.strides[1..]), (Some(2), &[24, 1][..]));
        assert_eq!(view.reshaped(&[1, 6, 24], &[1, 6, 8, 3]).unwrap().inner, None);
        let (padded, _) = View::units(Bound::Tenant(0), &[6, 3], &[0, 1]);
        assert!(padded.reshaped(&[6, 3], &[18]).is_none());
    }

    #[test]
    fn parts_that_cut_units_can_only_be_copied_from() {
        let part = |start: usize, length: usize| image().part(&[2, 8, 3, 5], &[0, start, 0, 0], &[2, length, 3, 5]);
        assert_eq!((part(4, 4).inner, part(4, 4).start), (Some(1), 4));
        assert_eq!(part(4, 3).inner, None);
        assert_eq!(part(3, 5).inner, None);
    }
}
