//! The conversion to an image, and the non-finite check.

use onestep_program::TensorRef;

use super::{case::Failure, sketch::Sketch};
use crate::{
    exec::{Batch, Executor, Gpu, Image},
    plan::{Capabilities, Plan},
};

/// The image of a decoder that copies its input.
pub(super) async fn case(gpu: &Gpu, limits: &Capabilities) -> Result<(), Failure> {
    let (height, width) = (23, 29);
    let mut sketch = Sketch::new("image");
    let values: Vec<f32> = (0..3 * height * width).map(|i| -1.3 + i as f32 * 0.0013).collect();
    let x = sketch.input_of(&[1, 3, height, width], values.clone());
    sketch.output(x);
    let executor = Executor::new(gpu, Plan::new(&sketch.program, gpu.capabilities())?, &|name| sketch.view(name)).await?;
    let image = Image::within(gpu, limits, &executor, "output0").await?;
    if image.read_rgba8().await.is_ok() {
        return Err(Failure::new("an image was read before it was submitted"));
    }
    let (non_finite, bytes) = convert(gpu, &executor, &image, &values).await?;
    if non_finite != 0 || image.wait().await? != 0 {
        return Err(Failure::new(format!("{non_finite} pixels of a finite image are counted as non-finite")));
    }
    let count = height * width;
    for (i, pixel) in bytes.chunks(4).enumerate() {
        let channels = [0, 1, 2].map(|channel| values[channel * count + i]);
        let expected = channels.map(|value| ((f64::from(value) * 0.5 + 0.5).clamp(0.0, 1.0) * 255.0 + 0.5).floor());
        // A value at the boundary between two bytes in f64 may round to either in f32.
        let wrong = |channel: usize| {
            let allowed = f64::from(u8::from(is_near_boundary(channels[channel])));
            (f64::from(pixel[channel]) - expected[channel]).abs() > allowed
        };
        if bytes.len() != 4 * count || pixel[3] != 255 || (0..3).any(wrong) {
            return Err(Failure::new(format!("pixel {i} is {pixel:?}, expected was {expected:?}")));
        }
    }
    // Pixels with non-finite values are counted, each once.
    let mut broken = values;
    for (index, value) in [(0, f32::NAN), (count, f32::INFINITY), (2 * count + 9, f32::NEG_INFINITY), (17, -f32::NAN)] {
        broken[index] = value;
    }
    let (found, bytes) = convert(gpu, &executor, &image, &broken).await?;
    let waited = image.wait().await?;
    let black = [0, 9, 17].iter().all(|&i| bytes[4 * i..4 * i + 4] == [0, 0, 0, 255]);
    match (found, waited, black) {
        (3, 3, true) => Ok(()),
        _ => Err(Failure::new(format!("of 3 non-finite pixels {found} and {waited} are counted; black: {black}"))),
    }
}

/// Runs the decoder on `values`, and converts and reads its output.
async fn convert(gpu: &Gpu, executor: &Executor, image: &Image, values: &[f32]) -> Result<(u32, Vec<u8>), Failure> {
    executor.write_input("input0", TensorRef::F32(values))?;
    let mut batch = Batch::new(gpu)?;
    batch.run(executor)?;
    batch.image(image)?;
    batch.submit()?;
    Ok(image.read_rgba8().await?)
}

fn is_near_boundary(value: f32) -> bool {
    let scaled = (f64::from(value) * 0.5 + 0.5) * 255.0 + 0.5;
    (scaled - scaled.round()).abs() < 1e-4
}
