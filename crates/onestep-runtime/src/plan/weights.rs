//! How weights lie on the GPU, and how a window of their file is brought into that layout.

use std::ops::Range;

use onestep_program::{DType, limits};
use onestep_shaders::PACK;

use super::Params;
use crate::error::RunError;

/// Bytes of a file that are packed at a time: the chunks that bundles have hashes of.
pub const WINDOW_BYTES: u64 = limits::CHUNK_BYTES.max;
/// Bytes of the window before that stay in front of a window: an element that both share is whole there.
pub const CARRIED_BYTES: u64 = 4;

/// The order of a weight's elements in its buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Layout {
    /// As in the file.
    Plain,
    /// A vector with zeros behind it.
    Padded {
        /// Elements with the zeros.
        padded: usize,
    },
    /// A matrix [columns, depth, taps] as [columns / panel][taps][depth rounded up to 4][panel]: neighbours in memory are neighbouring output
    /// channels, and what a tile of the matrix kernel reads follows itself. Zeros in the tails.
    Panels {
        /// The first of its elements in the file: several matrices may lie in one tensor.
        start: usize,
        /// Output channels.
        columns: usize,
        /// Input channels.
        depth: usize,
        /// Taps of a convolution's kernel; 1 for a linear layer.
        taps: usize,
        /// Columns of a panel.
        panel: usize,
        /// Whether the columns lie in units of the first half and of the second by turns; the halves are whole units.
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
                columns.next_multiple_of(panel.max(1)).saturating_mul(taps).saturating_mul(depth.next_multiple_of(4))
            }
        }
    }
}

/// A weight to be uploaded: which, how, and where to.
#[derive(Clone, Debug)]
pub struct WeightSlot {
    /// Its name in the weight files.
    pub name: String,
    /// Its shape there.
    pub shape: Vec<usize>,
    /// Its storage there.
    pub dtype: DType,
    /// Its storage on the GPU, as the kernel wants it.
    pub stored: DType,
    /// The order of its elements on the GPU.
    pub layout: Layout,
    /// Which of [`Plan::weight_buffers`](super::Plan::weight_buffers).
    pub buffer: usize,
    /// Bytes from its start.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
}

impl WeightSlot {
    /// Refuses a tensor that is not what the program says.
    pub(crate) fn check(&self, shape: &[usize], dtype: DType, bytes: u64) -> Result<(), RunError> {
        let size = (self.elements() as u64).saturating_mul(self.dtype.size() as u64);
        if shape == self.shape && dtype == self.dtype && bytes == size {
            return Ok(());
        }
        Err(RunError::invalid(format!(
            "the weight {} is {dtype:?} {shape:?} in {bytes} bytes, the program says {:?} {:?}",
            self.name, self.dtype, self.shape
        )))
    }

    /// Elements in the file.
    pub(crate) fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// What packs the part of the tensor that lies in a window of its file, if any does; the tensor begins at byte `start` of it.
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
        // The panels that the elements are in; elements that are not panelled are one long row.
        let row = (depth * taps) as u64;
        let line = (panel * taps * depth.next_multiple_of(4)) as u64;
        let column = |element: u64| element.saturating_sub(first as u64) / row;
        let touched = match self.layout {
            Layout::Panels { .. } => {
                let (from, to) = (column(base), column(end - 1));
                let half = columns as u64 / 2;
                // Values and gates lie by turns: their columns are spread over twice as many, and what reaches from these to those is everywhere.
                let spread = match gated {
                    false => from..to + 1,
                    true if from < half && to >= half => 0..columns as u64,
                    true => from % half / 4 * 8..to.min(columns as u64 - 1) % half / 4 * 8 + 8,
                };
                spread.start / panel as u64 * line..spread.end.div_ceil(panel as u64).saturating_mul(line)
            }
            _ => base..end,
        };
        // All zeros are written, too: those behind the last element with it.
        let per_word = 4 / self.stored.size() as u64;
        let last = self.size / 4;
        let words = touched.start / per_word..if end == elements { last } else { touched.end.div_ceil(per_word).min(last) };
        if words.is_empty() {
            return Ok(Some(Packing { elements: base..end, params: Vec::new(), words: 0 }));
        }
        let mut params = Params::new(&PACK);
        let mut set = |name, value: u64| params.set(name, usize::try_from(value).unwrap_or(usize::MAX));
        set("count", words.end - words.start);
        set("first", words.start);
        set("x_half", u64::from(self.dtype == DType::F16));
        set("y_half", u64::from(self.stored == DType::F16));
        set("base", base);
        set("length", end - base);
        set("lead", start + base * width + CARRIED_BYTES - window.start);
        set("start", first as u64);
        set("columns", columns as u64);
        set("depth", depth as u64);
        set("padded", depth.next_multiple_of(4) as u64);
        set("taps", taps as u64);
        set("panel", panel as u64);
        set("gates", if gated { columns as u64 / 2 } else { 0 });
        Ok(Some(Packing { elements: base..end, params: params.finish()?, words: words.end - words.start }))
    }
}

/// One dispatch of the kernel `pack`.
pub(crate) struct Packing {
    /// The elements that it brings.
    pub(crate) elements: Range<u64>,
    /// Its parameters; nothing where the layout takes none of the elements.
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
    fn every_element_is_whole_in_some_window() {
        for layout in [Layout::Plain, Layout::Panels { start: 0, columns: 3, depth: 5, taps: 2, panel: 2, gated: false }] {
            for start in 0..9 {
                for length in 1..70 {
                    let (mut at, mut reached) = (0, 0);
                    while at < start + 60 {
                        let window = at..(at + length).min(start + 60);
                        if let Some(packing) = slot(layout).packing(start, &window).unwrap() {
                            // Nothing is left out; what is carried into a short window may come again.
                            assert!(packing.elements.start <= reached, "{start} {length}");
                            reached = reached.max(packing.elements.end);
                        }
                        at = window.end;
                    }
                    assert_eq!(reached, 30, "a tensor at {start} in windows of {length}");
                }
            }
        }
    }

    #[test]
    fn a_tensor_that_is_another_is_refused() {
        let slot = slot(Layout::Plain);
        assert!(slot.check(&[3, 5, 2], DType::F16, 60).is_ok());
        for (shape, dtype, bytes) in [([3, 2, 5], DType::F16, 60), ([3, 5, 2], DType::F32, 60), ([3, 5, 2], DType::F16, 59)] {
            let error = slot.check(&shape, dtype, bytes).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::Invalid);
            assert!(error.to_string().contains("the weight w"), "{error}");
        }
    }
}
