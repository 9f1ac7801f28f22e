//! Adversarial training: the non-saturating loss and the R1 penalty of the discriminator.

use burn::tensor::{Tensor, activation::softplus};

/// `softplus(−D)`, averaged over positions and then over readouts; logits are [N,1,h,w] for each readout, the result is [1].
///
/// The discriminator minimises it on real samples. The generator minimises it on its own samples, which makes its loss the non-saturating one
/// (Goodfellow et al. 2014).
pub fn loss_real(logits: &[Tensor<4>]) -> Tensor<1> {
    mean(logits.iter().map(|logits| softplus(logits.clone().neg(), 1.0).mean()))
}

/// `softplus(D)`, averaged as in [`loss_real`]: [1]. The discriminator minimises it on fake samples.
pub fn loss_fake(logits: &[Tensor<4>]) -> Tensor<1> {
    mean(logits.iter().map(|logits| softplus(logits.clone(), 1.0).mean()))
}

fn mean(terms: impl ExactSizeIterator<Item = Tensor<1>>) -> Tensor<1> {
    let terms: Vec<Tensor<1>> = terms.collect();
    Tensor::cat(terms, 0).mean()
}

/// `s(x)`: the sum over readouts of the mean logit, [1]. R1 differentiates it.
pub fn score(logits: &[Tensor<4>]) -> Tensor<1> {
    Tensor::cat(logits.iter().map(|logits| logits.clone().mean()).collect(), 0).sum()
}

/// Half of the distance between R1's two evaluations, relative to the norm of the latent.
///
/// The error of the finite difference falls with its square, until f32 cannot resolve the two scores. On the network of the test below the usual
/// choice, 0.01, misses the tolerance of 1e-3 of the gradient's norm; 0.005 meets it.
const RELATIVE_STEP: f64 = 0.005;

/// The R1 penalty (Mescheder et al. 2018), made of first derivatives only; see [`r1_penalty`].
pub struct R1 {
    /// `γ/2 · ‖∇ₓ s‖²`, for the log.
    pub value: f64,
    /// Its gradient with respect to the parameters is that of R1, up to O(ε²). Its value has no meaning. [1]
    pub loss: Tensor<1>,
}

/// `γ/2 · ‖∇ₓ s(x)‖²` at one real latent x [1,C,H,W] (on an autodiff device), as a loss for the parameters of `s`.
///
/// burn has no second derivatives, so a central difference replaces the outer one: with `g = ∇ₓ s`, `u = g/‖g‖` and `ε = 0.005·‖x‖`, the loss
/// `L = γ·‖g‖/(2ε)·[s(x + εu) − s(x − εu)]` has `∇_θ L = γ/2·∇_θ‖g‖² + O(ε²)`; g, u and ε are constants in it.
///
/// None if the gradient is zero, because there is nothing to penalise. A value that is not finite is returned as it is.
pub fn r1_penalty(s: impl Fn(Tensor<4>) -> Tensor<1>, x: Tensor<4>, gamma: f64) -> Option<R1> {
    let input = x.clone().detach().require_grad();
    let gradients = s(input.clone()).backward();
    let gradient = input.grad(&gradients)?;
    let norm = norm(&gradient);
    if norm == 0.0 {
        return None;
    }
    let epsilon = RELATIVE_STEP * self::norm(&x.clone().inner()).max(f64::MIN_POSITIVE);
    let epsilon_u = Tensor::from_inner(gradient.mul_scalar(epsilon / norm));
    let x = x.detach();
    let difference = s(x.clone() + epsilon_u.clone()) - s(x - epsilon_u);
    Some(R1 { value: gamma / 2.0 * norm * norm, loss: difference.mul_scalar(gamma * norm / (2.0 * epsilon)) })
}

/// The Euclidean norm of all elements.
pub fn norm(x: &Tensor<4>) -> f64 {
    f64::from(x.clone().square().sum().into_scalar::<f32>()).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::module::{Module, Param};
    use burn::tensor::{Device, TensorData};
    use onestep_noise::{Stream, normal};

    /// A network with second derivatives that are not zero.
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
    fn the_gradient_of_r1_is_that_of_the_squared_norm() {
        let (device, autodiff) = (Device::flex(), Device::flex().autodiff());
        let x = tensor(0, &autodiff);
        let net = Toy { w: Param::from_tensor(tensor(1, &autodiff)) };
        let r1 = r1_penalty(toy(net.w.val()), x.clone(), 2.0).unwrap();
        let gradient = net.w.val().grad(&r1.loss.backward()).unwrap();
        // The directions below have elements of unit deviation, so that directional derivatives are of this size.
        let size = norm(&gradient);
        // γ = 2: the value is ‖g‖² itself. It is compared with central differences of that along some directions.
        for index in 2..6 {
            let direction = tensor(index, &device);
            let value = |step: f64| {
                let w = Tensor::from_inner(tensor(1, &device) + direction.clone().mul_scalar(step));
                r1_penalty(toy(w), x.clone(), 2.0).unwrap().value
            };
            let difference = |step: f64| (value(step) - value(-step)) / (2.0 * step);
            // Richardson extrapolation leaves an error of the fourth order in the step.
            let expected = (4.0 * difference(1e-2) - difference(2e-2)) / 3.0;
            let found = f64::from((gradient.clone() * direction.clone()).sum().into_scalar::<f32>());
            println!("{found} {expected} of {size}");
            assert!((found - expected).abs() < 1e-3 * size, "{found} {expected}");
        }
    }

    #[test]
    fn losses_are_the_softplus_of_the_logits_averaged_over_readouts() {
        let device = Device::flex();
        let logits = [Tensor::<4>::full([2, 1, 3, 3], 0.0, &device), Tensor::<4>::full([2, 1, 1, 1], 20.0, &device)];
        let value = |x: Tensor<1>| f64::from(x.into_scalar::<f32>());
        assert!((value(loss_real(&logits)) - 0.5 * 2f64.ln()).abs() < 1e-5);
        assert!((value(loss_fake(&logits)) - 0.5 * (2f64.ln() + 20.0)).abs() < 1e-5);
        assert!((value(score(&logits)) - 20.0).abs() < 1e-5);
    }
}
