//! How weights lie on the GPU, and how they are brought into that layout.

use onestep_program::{DType, WeightView};

use crate::error::RunError;

/// The order of a weight's elements in its buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Layout {
    /// As in the file.
    Plain,
    /// A matrix [columns, depth] turned into [depth, padded]: neighbours in memory are neighbouring output channels, zeros in the tail.
    Turned {
        /// Output channels.
        columns: usize,
        /// Input channels times taps.
        depth: usize,
        /// `columns` rounded up to the tile.
        padded: usize,
    },
}

impl Layout {
    /// Elements in this layout of a tensor that has `elements`.
    pub(crate) fn elements(self, elements: usize) -> usize {
        match self {
            Layout::Plain => elements,
            Layout::Turned { depth, padded, .. } => depth.saturating_mul(padded),
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
    /// Its storage on the GPU: 16-bit weights are widened where a kernel wants 32.
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
        let widened;
        let source: &[u8] = if self.stored == self.dtype {
            view.bytes
        } else {
            widened = view.to_f32();
            bytemuck::cast_slice(&widened)
        };
        let width = self.stored.size();
        let room = usize::try_from(self.size)
            .map_err(|_| RunError::unsupported(format!("the weight {} does not fit this machine's addresses", self.name)))?;
        let mut packed = vec![0; room];
        match self.layout {
            Layout::Plain => {
                let length = source.len().min(room);
                packed[..length].copy_from_slice(&source[..length]);
            }
            Layout::Turned { columns, depth, padded } => {
                if depth == 0 || padded == 0 {
                    return Ok(packed);
                }
                // Column by column; the rows of the result stay in cache.
                for (column, values) in source.chunks_exact(depth * width).take(columns).enumerate() {
                    for (value, row) in values.chunks_exact(width).zip(packed.chunks_exact_mut(padded * width)) {
                        row[column * width..(column + 1) * width].copy_from_slice(value);
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
    fn turning_puts_neighbouring_channels_side_by_side() {
        let slot = WeightSlot {
            name: "w".into(),
            shape: vec![3, 2],
            dtype: DType::F32,
            stored: DType::F32,
            layout: Layout::Turned { columns: 3, depth: 2, padded: 4 },
            buffer: 0,
            offset: 0,
            size: 32,
        };
        let values = [1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0];
        let view = WeightView { shape: &[3, 2], dtype: DType::F32, bytes: bytemuck::cast_slice(&values) };
        let packed: Vec<f32> = bytemuck::pod_collect_to_vec(&slot.pack(&view).unwrap());
        assert_eq!(packed, [1.0, 3.0, 5.0, 0.0, 2.0, 4.0, 6.0, 0.0]);
        let short = WeightView { bytes: &view.bytes[4..], ..view };
        assert_eq!(slot.pack(&short).unwrap_err().kind(), crate::ErrorKind::Invalid);
    }
}
