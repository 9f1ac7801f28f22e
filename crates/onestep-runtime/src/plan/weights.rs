//! How weights lie on the GPU, and how they are brought into that layout.

use onestep_program::{DType, WeightView};

use crate::error::RunError;

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
    /// The bytes for the GPU.
    pub(crate) fn pack(&self, view: &WeightView<'_>) -> Result<Vec<u8>, RunError> {
        let elements: usize = self.shape.iter().product();
        if view.shape != self.shape || view.dtype != self.dtype || view.bytes.len() != elements.saturating_mul(self.dtype.size()) {
            return Err(RunError::invalid(format!(
                "the weight {} is {:?} {:?} in {} bytes, the program says {:?} {:?}",
                self.name,
                view.dtype,
                view.shape,
                view.bytes.len(),
                self.dtype,
                self.shape
            )));
        }
        let converted;
        let source: &[u8] = match (self.dtype, self.stored) {
            (DType::F16, DType::F32) => {
                converted = view.to_f32();
                bytemuck::cast_slice(&converted)
            }
            (DType::F32, DType::F16) => {
                let halves: Vec<half::f16> = view.to_f32().into_iter().map(half::f16::from_f32).collect();
                return self.arrange(bytemuck::cast_slice(&halves));
            }
            _ => view.bytes,
        };
        self.arrange(source)
    }

    /// Elements as they are stored, into the order of the layout.
    fn arrange(&self, source: &[u8]) -> Result<Vec<u8>, RunError> {
        let width = self.stored.size();
        let room = usize::try_from(self.size)
            .map_err(|_| RunError::unsupported(format!("the weight {} does not fit this machine's addresses", self.name)))?;
        let mut packed = vec![0; room];
        match self.layout {
            Layout::Plain | Layout::Padded { .. } => {
                let length = source.len().min(room);
                packed[..length].copy_from_slice(&source[..length]);
            }
            Layout::Panels { start, columns, depth, taps, panel, gated } => {
                let row = depth * taps * width;
                if row == 0 || panel == 0 {
                    return Ok(packed);
                }
                let padded = depth.next_multiple_of(4);
                // Column by column; the rows of a panel stay in cache.
                for (column, values) in source[(start * width).min(source.len())..].chunks_exact(row).take(columns).enumerate() {
                    let (half, unit) = (columns / 2, column % (columns / 2).max(1) / 4);
                    let column = if gated { unit * 8 + column / half.max(1) * 4 + column % 4 } else { column };
                    let at = (column / panel * taps * padded * panel + column % panel) * width;
                    for (index, value) in values.chunks_exact(width).enumerate() {
                        let (channel, tap) = (index / taps, index % taps);
                        let to = at + (tap * padded + channel) * panel * width;
                        if let Some(place) = packed.get_mut(to..to + width) {
                            place.copy_from_slice(value);
                        }
                    }
                }
            }
        }
        Ok(packed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_put_neighbouring_channels_side_by_side() {
        let slot = WeightSlot {
            name: "w".into(),
            shape: vec![3, 1, 2],
            dtype: DType::F32,
            stored: DType::F32,
            layout: Layout::Panels { start: 0, columns: 3, depth: 1, taps: 2, panel: 2, gated: false },
            buffer: 0,
            offset: 0,
            size: 128,
        };
        let values = [1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0];
        let view = WeightView { shape: &[3, 1, 2], dtype: DType::F32, bytes: bytemuck::cast_slice(&values) };
        let packed: Vec<f32> = bytemuck::pod_collect_to_vec(&slot.pack(&view).unwrap());
        // Panel, tap, channel, column.
        let mut expected = vec![0.0; 32];
        (expected[0], expected[1], expected[8], expected[9]) = (1.0, 3.0, 2.0, 4.0);
        (expected[16], expected[24]) = (5.0, 6.0);
        assert_eq!(packed, expected);
        let short = WeightView { bytes: &view.bytes[4..], ..view };
        assert_eq!(slot.pack(&short).unwrap_err().kind(), crate::ErrorKind::Invalid);
    }

    #[test]
    fn gates_lie_beside_their_values() {
        let values: Vec<f32> = (0..24).map(|i| i as f32).collect();
        let slot = WeightSlot {
            name: "w".into(),
            shape: vec![24, 1],
            dtype: DType::F32,
            stored: DType::F32,
            layout: Layout::Panels { start: 0, columns: 24, depth: 1, taps: 1, panel: 16, gated: true },
            buffer: 0,
            offset: 0,
            size: 512,
        };
        let view = WeightView { shape: &[24, 1], dtype: DType::F32, bytes: bytemuck::cast_slice(&values) };
        let packed: Vec<f32> = bytemuck::pod_collect_to_vec(&slot.pack(&view).unwrap());
        assert_eq!(packed[..16], [0.0, 1.0, 2.0, 3.0, 12.0, 13.0, 14.0, 15.0, 4.0, 5.0, 6.0, 7.0, 16.0, 17.0, 18.0, 19.0]);
        // The second panel: after three more rows that pad the depth.
        assert_eq!(packed[64..72], [8.0, 9.0, 10.0, 11.0, 20.0, 21.0, 22.0, 23.0]);
        assert!(packed[16..64].iter().chain(&packed[72..]).all(|&x| x == 0.0));
    }

    #[test]
    fn storage_changes_both_ways() {
        let slot = |dtype, stored| WeightSlot {
            name: "w".into(),
            shape: vec![2],
            dtype,
            stored,
            layout: Layout::Padded { padded: 4 },
            buffer: 0,
            offset: 0,
            size: 16,
        };
        let (wide, narrow) = ([1.0f32, -2.0], [0x3c00u16, 0xc000]);
        let view = WeightView { shape: &[2], dtype: DType::F32, bytes: bytemuck::cast_slice(&wide) };
        assert_eq!(slot(DType::F32, DType::F16).pack(&view).unwrap()[..8], *bytemuck::cast_slice::<u16, u8>(&[0x3c00, 0xc000, 0, 0]));
        let view = WeightView { shape: &[2], dtype: DType::F16, bytes: bytemuck::cast_slice(&narrow) };
        assert_eq!(slot(DType::F16, DType::F32).pack(&view).unwrap(), *bytemuck::cast_slice::<f32, u8>(&[1.0, -2.0, 0.0, 0.0]));
    }
}
