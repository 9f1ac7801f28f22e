//! The adversarial game: losses of both players, and the penalty that keeps the discriminator smooth.

use burn::tensor::{Tensor, activation::softplus};

/// Mean over the readouts of the mean over places of `softplus(−logit)`: [1]. For the discriminator on what is true, and for the
/// generator on its own (the non-saturating loss, Goodfellow et al. 2014).
pub fn believed(logits: &[Tensor<4>]) -> Tensor<1> {
    mean(logits.iter().map(|logits| softplus(logits.clone().neg(), 1.0).mean()))
}

/// The same of `softplus(logit)`: for the discriminator on what is false.
pub fn doubted(logits: &[Tensor<4>]) -> Tensor<1> {
    mean(logits.iter().map(|logits| softplus(logits.clone(), 1.0).mean()))
}

fn mean(terms: impl ExactSizeIterator<Item = Tensor<1>>) -> Tensor<1> {
    let terms: Vec<Tensor<1>> = terms.collect();
    Tensor::cat(terms, 0).mean()
}

/// `s(x)`: the sum over readouts of their mean logits, [1]; what R1 differentiates.
pub fn score(logits: &[Tensor<4>]) -> Tensor<1> {
    Tensor::cat(logits.iter().map(|logits| logits.clone().mean()).collect(), 0).sum()
}

/// Share of the latent's length by which R1's two evaluations lie to either side.
///
/// The error falls with its square until f32 cannot tell the scores apart. On the toy net of the test below 0.01, the usual choice, misses the limit
/// of 1e-3 of the gradient's length; half of it keeps within.
const STEP: f64 = 0.005;

/// R1 (Mescheder et al. 2018) by first derivatives alone: see [`penalty`].
pub struct R1 {
    /// `γ/2 · ‖∇ₓ s‖²`, to be logged.
    pub value: f64,
    /// Its gradient with respect to the parameters is R1's, up to the square of the step; its value means nothing. [1]
    pub loss: Tensor<1>,
}

/// `γ/2 · ‖∇ₓ s(x)‖²` at one true latent x [1,C,H,W] (on an autodiff device), as a loss for the parameters of `s`.
///
/// burn differentiates once, so the derivative of the norm along the parameters is taken as a difference: with `g = ∇ₓ s`, `u = g/‖g‖`
/// and `ε = 0.005·‖x‖`, `L = γ·‖g‖/(2ε)·[s(x + εu) − s(x − εu)]` has `∇_θ L = γ/2·∇_θ‖g‖² + O(ε²)`, everything but s being constant.
/// None where s is flat: there is nothing to lessen. What is not finite is for the caller to see.
pub fn penalty(s: impl Fn(Tensor<4>) -> Tensor<1>, x: Tensor<4>, gamma: f64) -> Option<R1> {
    let at = x.clone().detach().require_grad();
    let gradients = s(at.clone()).backward();
    let gradient = at.grad(&gradients)?;
    let norm = length(&gradient);
    if norm == 0.0 {
        return None;
    }
    let epsilon = STEP * length(&x.clone().inner()).max(f64::MIN_POSITIVE);
    let aside = Tensor::from_inner(gradient.mul_scalar(epsilon / norm));
    let x = x.detach();
    let difference = s(x.clone() + aside.clone()) - s(x - aside);
    Some(R1 { value: gamma / 2.0 * norm * norm, loss: difference.mul_scalar(gamma * norm / (2.0 * epsilon)) })
}

/// The Euclidean norm of all elements.
pub fn length(x: &Tensor<4>) -> f64 {
    f64::from(x.clone().square().sum().into_scalar::<f32>()).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::module::{Module, Param};
    use burn::tensor::{Device, TensorData};
    use onestep_noise::{Stream, normal};

    /// `s(x) = mean tanh(w ⊙ x + shifted)`, a net whose second derivatives are not zero.
    #[derive(Module, Debug)]
    struct Toy {
        w: Param<Tensor<4>>,
    }

    fn tensor(index: u64, device: &Device) -> Tensor<4> {
        Tensor::from_data(TensorData::new(normal(8, Stream::Training, index, 48), [1, 3, 4, 4]), device)
    }

    fn toy(w: Tensor<4>) -> impl Fn(Tensor<4>) -> Tensor<1> {
        move |x: Tensor<4>| {
            let hidden = (x.clone() * w.clone() + x.flip([3]).mul_scalar(0.5)).tanh();
            (hidden.clone() * hidden.flip([2]).add_scalar(0.3) * w.clone()).sum()
        }
    }

    #[test]
    fn its_gradient_is_that_of_the_squared_norm() {
        let (device, on) = (Device::flex(), Device::flex().autodiff());
        let x = tensor(0, &on);
        let net = Toy { w: Param::from_tensor(tensor(1, &on)) };
        let r1 = penalty(toy(net.w.val()), x.clone(), 2.0).unwrap();
        let found = net.w.val().grad(&r1.loss.backward()).unwrap();
        // A direction of unit deviation meets about so much of it.
        let whole = length(&found);
        // γ = 2: the value is ‖g‖² itself. Central differences of it along some directions.
        for direction in 2..6 {
            let along = tensor(direction, &device);
            let value = |step: f64| {
                let w = Tensor::from_inner(tensor(1, &device) + along.clone().mul_scalar(step));
                penalty(toy(w), x.clone(), 2.0).unwrap().value
            };
            let difference = |step: f64| (value(step) - value(-step)) / (2.0 * step);
            // Richardson's way: what is left is of the fourth power of the step.
            let expected = (4.0 * difference(1e-2) - difference(2e-2)) / 3.0;
            let found = f64::from((found.clone() * along.clone()).sum().into_scalar::<f32>());
            println!("{found} {expected} of {whole}");
            assert!((found - expected).abs() < 1e-3 * whole, "{found} {expected}");
        }
    }

    #[test]
    fn losses_are_those_of_the_game() {
        let device = Device::flex();
        let logits = [Tensor::<4>::full([2, 1, 3, 3], 0.0, &device), Tensor::<4>::full([2, 1, 1, 1], 20.0, &device)];
        let value = |x: Tensor<1>| f64::from(x.into_scalar::<f32>());
        assert!((value(believed(&logits)) - 0.5 * 2f64.ln()).abs() < 1e-5);
        assert!((value(doubted(&logits)) - 0.5 * (2f64.ln() + 20.0)).abs() < 1e-5);
        assert!((value(score(&logits)) - 20.0).abs() < 1e-5);
    }
}
