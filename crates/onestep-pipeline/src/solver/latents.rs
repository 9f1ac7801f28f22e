//! What solvers need of a tensor.

/// Latents, or anything else that can be scaled, added and clamped element by element.
///
/// Solvers are linear combinations of their inputs, so this is all that they ask. Vectors are latents for tests and for coefficients; tensor
/// libraries are adapted by a type around their tensor.
pub trait Latents: Clone {
    /// Every element multiplied by `factor`.
    #[must_use]
    fn scale(self, factor: f64) -> Self;
    /// The sum of two latents of the same shape.
    #[must_use]
    fn add(self, other: Self) -> Self;
    /// Every element clamped to `-limit..=limit`.
    #[must_use]
    fn clamp(self, limit: f64) -> Self;
}

macro_rules! vector {
    ($float:ty) => {
        impl Latents for Vec<$float> {
            fn scale(mut self, factor: f64) -> Self {
                self.iter_mut().for_each(|value| *value *= factor as $float);
                self
            }

            fn add(mut self, other: Self) -> Self {
                self.iter_mut().zip(other).for_each(|(value, other)| *value += other);
                self
            }

            fn clamp(mut self, limit: f64) -> Self {
                self.iter_mut().for_each(|value| *value = value.clamp(-limit as $float, limit as $float));
                self
            }
        }
    };
}

vector!(f32);
vector!(f64);

/// `first + Σ factor · latents`, without terms that have the factor 0.
pub(super) fn combine<L: Latents>(first: (f64, &L), others: &[(f64, &L)]) -> L {
    let mut terms = [first].into_iter().chain(others.iter().copied()).filter(|(factor, _)| *factor != 0.0);
    let scaled = |(factor, latents): (f64, &L)| if factor == 1.0 { latents.clone() } else { latents.clone().scale(factor) };
    match terms.next() {
        Some(term) => terms.fold(scaled(term), |sum, term| sum.add(scaled(term))),
        None => first.1.clone().scale(0.0),
    }
}
