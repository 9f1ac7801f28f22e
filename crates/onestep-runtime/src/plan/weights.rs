//! The layouts of weights on the GPU, and how a window of their file is packed into them.

use std::ops::Range;

use onestep_program::{DType, limits};
use onestep_shaders::PACK;

use super::{axes::BLOCK, params::Params};
use crate::error::RunError;

/// The size of a window of a weight file, in bytes: that of the chunks that a bundle lists with their hashes.
pub const WINDOW_BYTES: u64 = limits::CHUNK_BYTES.max;
/// Bytes of the previous window that precede a window in the staging buffer, so that an element across the boundary is complete.
pub const CARRIED_BYTES: u64 = 4;

/// The order of a weight's elements in its buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Layout {
    /// Row-major, as in the file.
    Plain,
    /// A vector, padded with zeros.
    Padded {
        /// Elements with padding.
        padded: usize,
    },
    /// A matrix [columns, depth, taps] as [columns / panel][taps][depth in whole blocks][panel], padded with zeros: output channels are contiguous,
    /// and so is what a tile of a matrix kernel reads.
    Panels {
        /// The index of its first element in the tensor, which may hold several matrices.
        start: usize,
        /// Output channels.
        columns: usize,
        /// Input channels.
        depth: usize,
        /// Taps of a convolution's kernel; 1 for a linear layer.
        taps: usize,
        /// Columns of a panel.
        panel: usize,
        /// True for GEGLU: blocks of the first half of the columns (values) and of the second (gates) alternate. Both halves are whole blocks.
        gated: bool,
    },
}

impl Layout {
    /// Elements in this layout of a tensor that has `elements`.
    pub(crate) fn elements(self, elements: usize) -> usize {
        match self {
            Layout::Plain => elements,
            Layout::Padded { padded } => padded,
            Layout::Panels { columns, depth, taps, panel, .. } => {
                columns.next_multiple_of(panel.max(1)).saturating_mul(taps).saturating_mul(depth.next_multiple_of(BLOCK))
            }
        }
    }
}

/// A weight on the GPU: its source, its layout and its location.
#[derive(Clone, Debug)]
pub struct WeightSlot {
    /// The name in the weight files.
    pub name: String,
    /// The shape in the file.
    pub shape: Vec<usize>,
    /// The element type in the file.
    pub dtype: DType,
    /// The element type on the GPU.
    pub stored: DType,
    /// The layout on the GPU.
    pub layout: Layout,
    /// The index in [`Plan::weight_buffers`](super::Plan::weight_buffers).
    pub buffer: usize,
    /// Bytes from the start of the buffer.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
}

impl WeightSlot {
    /// Refuses a tensor with another shape, type or size than the program's.
    pub(crate) fn check(&self, shape: &[usize], dtype: DType, bytes: u64) -> Result<(), RunError> {
        let size = (self.elements() as u64).saturating_mul(self.dtype.size() as u64);
        if shape == self.shape && dtype == self.dtype && bytes == size {
            return Ok(());
        }
        Err(RunError::invalid(format!(
            "the weight {} is {dtype:?} {shape:?} in {bytes} bytes; the program expects {:?} {:?}",
            self.name, self.dtype, self.shape
        )))
    }

    /// Elements in the file.
    pub(crate) fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// The dispatch that packs the part of the tensor inside a window of its file; none if no element is inside. The tensor begins at byte `start` of
    /// the file.
    pub(crate) fn packing(&self, start: u64, window: &Range<u64>) -> Result<Option<Packing>, RunError> {
        let (width, elements) = (self.dtype.size() as u64, self.elements() as u64);
        let held = window.start.saturating_sub(CARRIED_BYTES)..window.end;
        let base = held.start.saturating_sub(start).div_ceil(width);
        let end = (held.end.saturating_sub(start) / width).min(elements);
        let (first, columns, depth, taps, panel, gated) = match self.layout {
            Layout::Plain | Layout::Padded { .. } => (0, 1, self.elements(), 1, 1, false),
            Layout::Panels { start, columns, depth, taps, panel, gated } => (start, columns, depth, taps, panel, gated),
        };
        if base >= end || end <= first as u64 || columns == 0 || depth == 0 || taps == 0 || panel == 0 {
            return Ok((base < end).then_some(Packing { elements: base..end, params: Vec::new(), words: 0 }));
        }
        // The range of packed elements that the window touches: whole panels, or the elements themselves in other layouts.
        let row = (depth * taps) as u64;
        let panel_elements = (panel * taps * depth.next_multiple_of(BLOCK)) as u64;
        let column = |element: u64| element.saturating_sub(first as u64) / row;
        let touched = match self.layout {
            Layout::Panels { .. } => {
                let (from, to) = (column(base), column(end - 1));
                let half = columns as u64 / 2;
                let (block, pair) = (BLOCK as u64, 2 * BLOCK as u64);
                // Values and gates alternate, so a range of columns spreads over twice as many; one with both values and gates spreads over all.
                let spread = match gated {
                    false => from..to + 1,
                    true if from < half && to >= half => 0..columns as u64,
                    true => from % half / block * pair..to.min(columns as u64 - 1) % half / block * pair + pair,
                };
                spread.start / panel as u64 * panel_elements..spread.end.div_ceil(panel as u64).saturating_mul(panel_elements)
            }
            _ => base..end,
        };
        // Padding is written too, that after the last element together with it.
        let per_word = 4 / self.stored.size() as u64;
        let last = self.size / 4;
        let words = touched.start / per_word..if end == elements { last } else { touched.end.div_ceil(per_word).min(last) };
        if words.is_empty() {
            return Ok(Some(Packing { elements: base..end, params: Vec::new(), words: 0 }));
        }
        let mut params = Params::new(&PACK);
        let mut set = |name, value: u64| params.set(name, usize::try_from(value).unwrap_or(usize::MAX));
        set("count", words.end - words.start);
        set("first_word", words.start);
        set("x_f16", u64::from(self.dtype == DType::F16));
        set("y_f16", u64::from(self.stored == DType::F16));
        set("first_element", base);
        set("elements", end - base);
        set("first_byte", start + base * width + CARRIED_BYTES - window.start);
        set("start", first as u64);
        set("columns", columns as u64);
        set("depth", depth as u64);
        set("padded_depth", depth.next_multiple_of(BLOCK) as u64);
        set("taps", taps as u64);
        set("panel", panel as u64);
        set("half_columns", if gated { columns as u64 / 2 } else { 0 });
        Ok(Some(Packing { elements: base..end, params: params.finish()?, words: words.end - words.start }))
    }
}

/// A dispatch of the kernel `pack`.
pub(crate) struct Packing {
    /// The elements that the window holds.
    pub(crate) elements: Range<u64>,
    /// The parameters; empty if the layout uses none of the elements.
    pub(crate) params: Vec<u8>,
    /// Words that it writes.
    pub(crate) words: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(layout: Layout) -> WeightSlot {
        WeightSlot { name: "w".into(), shape: vec![3, 5, 2], dtype: DType::F16, stored: DType::F32, layout, buffer: 0, offset: 0, size: 512 }
    }

    #[test]
    fn every_element_is_complete_in_some_window() {
        for layout in [Layout::Plain, Layout::Panels { start: 0, columns: 3, depth: 5, taps: 2, panel: 2, gated: false }] {
            for start in 0..9 {
                for length in 1..70 {
                    let (mut offset, mut reached) = (0, 0);
                    while offset < start + 60 {
                        let window = offset..(offset + length).min(start + 60);
                        if let Some(packing) = slot(layout).packing(start, &window).unwrap() {
                            // No element is left out; a short window may repeat elements.
                            assert!(packing.elements.start <= reached, "{start} {length}");
                            reached = reached.max(packing.elements.end);
                        }
                        offset = window.end;
                    }
                    assert_eq!(reached, 30, "a tensor at {start} in windows of {length}");
                }
            }
        }
    }

    #[test]
    fn a_tensor_of_another_shape_type_or_size_is_refused() {
        let slot = slot(Layout::Plain);
        assert!(slot.check(&[3, 5, 2], DType::F16, 60).is_ok());
        for (shape, dtype, bytes) in [([3, 2, 5], DType::F16, 60), ([3, 5, 2], DType::F32, 60), ([3, 5, 2], DType::F16, 59)] {
            let error = slot.check(&shape, dtype, bytes).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::Invalid);
            assert!(error.to_string().contains("the weight w"), "{error}");
        }
    }
}
