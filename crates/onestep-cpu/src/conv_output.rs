//! The output of both convolution algorithms: the epilogue, bands of pixels for threads, and tiles of 2x2 pixels.

use onestep_program::Activation;

use crate::{pointwise::add, reduce::vectorized};

/// Cost of copying an element, in multiply-adds.
pub(crate) const COPY_WORK: usize = 4;

/// What is computed from the sums x: `act(x + bias) + residual`.
pub(crate) struct Epilogue<'a> {
    pub(crate) bias: Option<&'a [f32]>,
    pub(crate) act: Activation,
    pub(crate) residual: Option<&'a [f32]>,
}

/// A range of pixels of all channels.
pub(crate) struct Band<'a> {
    /// The first pixel, and the number of pixels.
    pub(crate) first: usize,
    pub(crate) length: usize,
    /// The pixels by channel.
    pub(crate) rows: Vec<&'a mut [f32]>,
}

/// Splits planes of `pixels` pixels into bands of `of_band` pixels.
pub(crate) fn bands(planes: &mut [f32], pixels: usize, of_band: usize) -> Vec<Band<'_>> {
    let firsts = (0..pixels).step_by(of_band);
    let mut bands: Vec<Band<'_>> = firsts.map(|first| Band { first, length: of_band.min(pixels - first), rows: Vec::new() }).collect();
    for plane in planes.chunks_exact_mut(pixels) {
        for (band, row) in bands.iter_mut().zip(plane.chunks_mut(of_band)) {
            band.rows.push(row);
        }
    }
    bands
}

/// Writes `count` tiles [2,2,width], beginning with tile `first`, to rows of pixels. A row has `across` tiles or `columns` pixels.
pub(crate) fn scatter(tile: &[f32], first: usize, count: usize, [across, columns]: [usize; 2], result: &mut [f32], residual: Option<&[f32]>) {
    let width = tile.len() / 4;
    let mut done = 0;
    while done < count {
        let (row, column) = ((first + done) / across, (first + done) % across);
        let length = (count - done).min(across - column);
        for down in 0..2 {
            let (even, odd) = (&tile[2 * down * width + done..][..length], &tile[(2 * down + 1) * width + done..][..length]);
            let offset = (2 * row + down) * columns + 2 * column;
            let range = offset..offset + (2 * length).min(columns - 2 * column);
            // The last row or column of tiles may exceed the image.
            let Some(line) = result.get_mut(range.clone()) else { continue };
            vectorized(|| {
                let (pairs, last) = line.as_chunks_mut::<2>();
                for (pair, (even, odd)) in pairs.iter_mut().zip(even.iter().zip(odd)) {
                    *pair = [*even, *odd];
                }
                if let ([last], Some(even)) = (last, even.get(pairs.len())) {
                    *last = *even;
                }
            });
            if let Some(residual) = residual {
                add(line, &residual[range]);
            }
        }
        done += length;
    }
}
