//! Packing of weights: the kernel `pack` must give the same bits as a packing on the CPU.

use half::f16;
use onestep_program::{DType, WeightEntry, WeightView};

use super::case::{CaseResult, Failure, POISONS};
use crate::{
    error::RunError,
    exec::{Gpu, Loading},
    plan::{Layout, Plan, WeightSlot},
    random::SplitMix64,
};

/// Kinds of weights: name, shape, layout.
const LAYOUTS: [(&str, &[usize], Layout); 10] = [
    ("plain", &[7, 3, 5], Layout::Plain),
    ("one element", &[1], Layout::Plain),
    ("nothing", &[3, 0], Layout::Plain),
    ("padded", &[13], Layout::Padded { padded: 32 }),
    ("panels of a linear", &[10, 7], Layout::Panels { start: 0, columns: 10, depth: 7, taps: 1, panel: 4, gated: false }),
    ("panels of a kernel", &[5, 3, 3, 3], Layout::Panels { start: 0, columns: 5, depth: 3, taps: 9, panel: 16, gated: false }),
    ("panels of one of four", &[4, 6, 5, 2, 2], Layout::Panels { start: 240, columns: 6, depth: 5, taps: 4, panel: 2, gated: false }),
    ("panels of values and gates", &[24, 7], Layout::Panels { start: 0, columns: 24, depth: 7, taps: 1, panel: 8, gated: true }),
    ("one panel of values and gates", &[40, 5], Layout::Panels { start: 0, columns: 40, depth: 5, taps: 1, panel: 64, gated: true }),
    ("panels of even depth", &[33, 8], Layout::Panels { start: 0, columns: 33, depth: 8, taps: 1, panel: 32, gated: false }),
];

/// Element types in the file and on the GPU.
const STORED: [(DType, DType); 5] =
    [(DType::F32, DType::F32), (DType::F16, DType::F16), (DType::F16, DType::F32), (DType::F32, DType::F16), (DType::I32, DType::F32)];

/// Bits of f32 and of f16 numbers at the boundaries of rounding, range and finiteness.
const ODD_F32: [u32; 16] = [
    0,
    0x8000_0000,
    1,
    0x7f80_0000,
    0xff80_0000,
    0x7fa1_2345,
    0x477f_efff,
    0x477f_f000,
    0x4780_0000,
    0x3380_0000,
    0x3300_0000,
    0x3300_0001,
    0x387f_ffff,
    0x3880_1000,
    0x3f80_3000,
    0xb8ff_f000,
];
const ODD_F16: [u16; 8] = [0, 0x8000, 1, 0x83ff, 0x0400, 0x7c00, 0xfc00, 0x7d01];

/// Every layout and pair of element types, at every alignment, in windows of several sizes.
pub(super) async fn cases(gpu: &Gpu, filter: &str) -> Vec<CaseResult> {
    let mut results = Vec::new();
    // A window that holds the whole file, and odd ones that cut elements.
    for window in [1 << 16, 509, 61] {
        for shift in 0..4 {
            let name = format!("weights are packed from byte {shift} on in windows of {window}");
            if name.contains(filter) {
                let outcome = case(gpu, window, shift).await;
                let detail = outcome.as_ref().err().map_or_else(String::new, |failure| failure.what.clone());
                results.push(CaseResult { name, passed: outcome.is_ok(), detail, worst: 0.0 });
            }
        }
    }
    results
}

async fn case(gpu: &Gpu, window: usize, shift: usize) -> Result<(), Failure> {
    let mut random = SplitMix64(shift as u64);
    let mut plan = Plan::with_weights("packing");
    let mut file = vec![0xff; 3 + shift];
    let mut tensors = Vec::new();
    for (name, shape, layout) in LAYOUTS {
        for (dtype, stored) in STORED {
            let elements: usize = shape.iter().product();
            let start = file.len() as u64;
            for number in 0..elements {
                let (word, odd) = (random.below(usize::MAX) as u32, number % 3 == 0);
                match dtype {
                    DType::F16 => file.extend(if odd { random.choose(&ODD_F16) } else { word as u16 }.to_le_bytes()),
                    _ => file.extend(if odd { random.choose(&ODD_F32) } else { word }.to_le_bytes()),
                }
            }
            let tensor = WeightEntry { shape: shape.to_vec(), dtype, start, size: file.len() as u64 - start };
            let size = ((layout.elements(elements) * stored.size()).max(16) as u64).next_multiple_of(16);
            let offset = plan.weight_buffers[0].next_multiple_of(256);
            plan.weight_buffers[0] = offset + size;
            let name = format!("{name} {dtype:?} as {stored:?}");
            plan.weights.push(WeightSlot { name: name.clone(), shape: shape.to_vec(), dtype, stored, layout, buffer: 0, offset, size });
            tensors.push((name, tensor));
        }
    }
    let slots = plan.weights.clone();
    let mut loading = Loading::in_windows(gpu, vec![plan], window as u64).await?;
    loading.poison(POISONS[1]);
    // The file is begun twice, and the second time counts.
    for end in [file.len() / 2, file.len()] {
        loading.file(|name| tensors.iter().find(|(known, _)| known == name).map(|(_, tensor)| tensor))?;
        loading.bytes(&file[..end], window).await?;
    }
    let executor = loading.executor().await?;
    executor.submit()?;
    let packed = executor.read_weights().await?;
    for (slot, (_, tensor)) in slots.iter().zip(&tensors) {
        let bytes = &file[tensor.start as usize..(tensor.start + tensor.size) as usize];
        let view = WeightView { shape: &slot.shape, dtype: slot.dtype, bytes: bytes.into() };
        let expected = pack(slot, &view);
        let found = &packed[slot.offset as usize..(slot.offset + slot.size) as usize];
        if let Some(byte) = expected.iter().zip(found).position(|(a, b)| a != b).filter(|_| slot.elements() > 0) {
            let what = format!("{}: byte {byte} of {} is {:#x}, expected {:#x}", slot.name, slot.size, found[byte], expected[byte]);
            return Err(Failure::new(what));
        }
    }
    Ok(())
}

/// The packing on the CPU.
fn pack(slot: &WeightSlot, view: &WeightView<'_>) -> Vec<u8> {
    let source: Vec<u8> = match (slot.dtype, slot.stored) {
        (DType::F16, DType::F32) => view.to_f32().into_iter().flat_map(f32::to_le_bytes).collect(),
        (DType::F32, DType::F16) => view.to_f32().into_iter().flat_map(|value| f16::from_f32(value).to_le_bytes()).collect(),
        _ => view.bytes.to_vec(),
    };
    let width = slot.stored.size();
    let mut packed = vec![0; slot.size as usize];
    match slot.layout {
        Layout::Plain | Layout::Padded { .. } => packed[..source.len()].copy_from_slice(&source),
        Layout::Panels { start, columns, depth, taps, panel, gated } => {
            let padded = depth.next_multiple_of(4);
            // Blocks of values and of gates alternate.
            let packed_column = |column: usize| match gated {
                true => column % (columns / 2) / 4 * 8 + column / (columns / 2) * 4 + column % 4,
                false => column,
            };
            for (column, values) in source[start * width..].chunks_exact(depth * taps * width).take(columns).enumerate() {
                let column = packed_column(column);
                for (index, value) in values.chunks_exact(width).enumerate() {
                    let (channel, tap) = (index / taps, index % taps);
                    let target = (((column / panel * taps + tap) * padded + channel) * panel + column % panel) * width;
                    packed[target..target + width].copy_from_slice(value);
                }
            }
        }
    }
    packed
}

impl Plan {
    /// A plan without dispatches, to which weights can be added.
    fn with_weights(name: &str) -> Self {
        Self {
            name: name.into(),
            dispatches: Vec::new(),
            prologue: 0,
            persistent_inputs: Vec::new(),
            params: Vec::new(),
            inputs_size: 256,
            weight_buffers: vec![256],
            arenas: Vec::new(),
            live_bytes: 0,
            activations: Vec::new(),
            weights: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            operations: 0,
        }
    }
}

impl Loading {
    /// Packs the first bytes of the current file, in windows of that size.
    async fn bytes(&mut self, file: &[u8], window: usize) -> Result<(), RunError> {
        for start in (0..file.len()).step_by(window) {
            let end = (start + window).min(file.len());
            let mut bytes = vec![0xee; 4_usize.saturating_sub(start)];
            bytes.extend(&file[start.saturating_sub(4)..end]);
            self.write(&mut bytes)?;
            self.pack(start as u64..end as u64).await?;
        }
        Ok(())
    }
}
