//! What follows a product: bias, activation and residual, in one walk over the memory.

use burn_flex::FlexTensor;
use onestep_program::Activation;

use crate::{
    dense::{elements, tensor},
    elementwise::zip,
    exp::swish,
};

/// Where the bias of an element stands.
#[derive(Clone, Copy)]
pub(crate) enum BiasAxis {
    /// One for each run of so many elements: channels of a picture.
    Runs(usize),
    /// One for each element of a row.
    Row,
}

/// `act(x + bias) + residual`.
pub(crate) fn finish(x: FlexTensor, bias: Option<(FlexTensor, BiasAxis)>, act: Activation, residual: Option<FlexTensor>) -> FlexTensor {
    if bias.is_none() && act == Activation::None && residual.is_none() {
        return x;
    }
    let shape = x.layout().shape().to_vec();
    let mut data = elements(x);
    if let Some((bias, axis)) = bias {
        let bias = bias.to_contiguous();
        let bias: &[f32] = bias.storage();
        match axis {
            BiasAxis::Runs(length) => {
                for (run, bias) in data.chunks_exact_mut(length).zip(bias.iter().cycle()) {
                    for value in &mut *run {
                        *value += bias;
                    }
                    activate(run, act);
                }
            }
            BiasAxis::Row => {
                for row in data.chunks_exact_mut(bias.len()) {
                    for (value, bias) in row.iter_mut().zip(bias) {
                        *value += bias;
                    }
                    activate(row, act);
                }
            }
        }
    } else {
        activate(&mut data, act);
    }
    let x = tensor(data, &shape);
    match residual {
        Some(residual) => zip(x, residual, &shape, |x, residual| x + residual),
        None => x,
    }
}

pub(crate) fn activate(values: &mut [f32], act: Activation) {
    match act {
        Activation::None => {}
        Activation::Gelu => values.iter_mut().for_each(|value| *value = gelu(*value)),
        Activation::Relu => values.iter_mut().for_each(|value| *value = value.max(0.0)),
        Activation::Silu => values.iter_mut().for_each(|value| *value = swish(*value, 1.0)),
        Activation::QuickGelu => values.iter_mut().for_each(|value| *value = swish(*value, 1.702)),
    }
}

/// The exact form, by the error function.
pub(crate) fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + libm::erff(x * std::f32::consts::FRAC_1_SQRT_2))
}
