//! Random changes that both sides of a comparison share (Diffusion2GAN, section 3.1; parameters after StyleGAN2-ADA and the official package).
//!
//! | letter | what | how much |
//! |---|---|---|
//! | b | flip, quarter turns, whole shifts | with probability ½; 0 to 3; up to an eighth of the size |
//! | g | scale, turn, stretch, turn again, shift | 2^N(0,0.2²); any angle; 2^N(0,0.2²) one way and its inverse the other; N(0,⅛²) of the size |
//! | c | brightness, contrast, saturation | + U(−½,½); about the mean by U(½,3/2); about the channels' mean by U(0,2) |
//! | o | cutout | a square of half the width and height becomes 0 |

use std::f64::consts::{FRAC_PI_2, PI};

use burn::tensor::{Device, Tensor, TensorData};
use onestep_noise::{Philox, Stream};
use serde::{Deserialize, Serialize};

use super::geometry::{Affine, Warp};
use crate::error::{TrainError, TrainErrorKind};

/// Which changes are drawn, and how strong they are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AugmentationOptions {
    /// Letters of the groups: `b`, `g`, `c`, `o`; none for no change at all. The paper distils with geometric changes and cutout.
    pub groups: String,
    /// Probability of every change but colour.
    pub probability: f64,
    /// Largest whole shift as a share of the size.
    pub whole_shift: f64,
    /// Standard deviation of the scale's binary logarithm.
    pub scale: f64,
    /// Standard deviation of the stretch's binary logarithm.
    pub stretch: f64,
    /// Standard deviation of the other shift as a share of the size.
    pub shift: f64,
    /// Side of the cutout as a share of the size.
    pub cutout: f64,
}

impl Default for AugmentationOptions {
    fn default() -> Self {
        Self { groups: "bgo".into(), probability: 1.0, whole_shift: 0.125, scale: 0.2, stretch: 0.2, shift: 0.125, cutout: 0.5 }
    }
}

impl AugmentationOptions {
    /// # Errors
    /// Unknown letters, a probability outside 0 to 1, sizes that are not finite or negative.
    pub fn check(&self) -> Result<(), TrainError> {
        let usage = |message: String| Err(TrainError::new(TrainErrorKind::Usage, message));
        if let Some(other) = self.groups.chars().find(|letter| !"bgco".contains(*letter)) {
            return usage(format!(
                "no group of augmentations {other:?}; there are b (blitting), g (geometric), c (colour) and o (cutout), as in bgo"
            ));
        }
        let sizes = [self.whole_shift, self.scale, self.stretch, self.shift, self.cutout];
        if !(0.0..=1.0).contains(&self.probability) || sizes.iter().any(|size| !(0.0..=4.0).contains(size)) {
            return usage("the augmentations' probability is from 0 to 1 and their sizes from 0 to 4".into());
        }
        Ok(())
    }

    fn has(&self, group: char) -> bool {
        self.groups.contains(group)
    }

    /// Draws the changes of a batch of latents [count,C,rows,columns]; the same for the same seed and index.
    pub fn draw(&self, seed: u64, index: u64, count: usize, [rows, columns]: [usize; 2], device: &Device) -> Augmentation {
        let mut random = Random(Philox::new(seed, Stream::LatentAugmentation, index));
        let (mut maps, mut colours, mut centres) = (Vec::with_capacity(count), Vec::new(), Vec::new());
        for _ in 0..count {
            maps.push(self.map(&mut random, rows as f64, columns as f64));
            colours.extend([random.between(-0.5, 0.5), random.between(0.5, 1.5), random.between(0.0, 2.0)]);
            // A cutout that does not fire lies where no pixel is.
            let fires = random.fires(self.probability);
            let centre = [random.unit(), random.unit()];
            centres.extend(if fires { centre } else { [-9.0, -9.0] });
        }
        Augmentation {
            warp: (self.has('b') || self.has('g')).then(|| Warp::new(&maps, [rows, columns], device)),
            colours: self.has('c').then(|| column(colours.chunks_exact(3), device)),
            kept: self.has('o').then(|| kept(&centres, self.cutout / 2.0, [rows, columns], device)),
        }
    }

    /// From pixels of the result to pixels of the source.
    fn map(&self, random: &mut Random, rows: f64, columns: f64) -> Affine {
        let p = self.probability;
        // Both turns together fire with probability p.
        let turns = 1.0 - (1.0 - p).sqrt();
        let mut map = Affine::IDENTITY;
        let [flip, quarters] = [random.below(2), random.below(4)];
        let whole = [random.between(-1.0, 1.0), random.between(-1.0, 1.0)];
        let fires = [random.fires(p), random.fires(p), random.fires(p)];
        if self.has('b') {
            if fires[0] {
                map = map.of(Affine::scale(1.0 - 2.0 * f64::from(flip), 1.0));
            }
            if fires[1] {
                map = map.of(Affine::rotation(FRAC_PI_2 * f64::from(quarters)));
            }
            if fires[2] {
                let [x, y] = whole;
                map = map.of(Affine::translation(-(x * self.whole_shift * columns).round(), -(y * self.whole_shift * rows).round()));
            }
        }
        let scale = (random.normal() * self.scale).exp2();
        let angles = [random.between(-PI, PI), random.between(-PI, PI)];
        let stretch = (random.normal() * self.stretch).exp2();
        let shift = [random.normal() * self.shift * columns, random.normal() * self.shift * rows];
        let fires = [random.fires(p), random.fires(turns), random.fires(p), random.fires(turns), random.fires(p)];
        if self.has('g') {
            let steps = [
                Affine::scale(1.0 / scale, 1.0 / scale),
                Affine::rotation(angles[0]),
                Affine::scale(1.0 / stretch, stretch),
                Affine::rotation(angles[1]),
                Affine::translation(-shift[0], -shift[1]),
            ];
            for (step, fires) in steps.into_iter().zip(fires) {
                if fires {
                    map = map.of(step);
                }
            }
        }
        map
    }
}

/// Random numbers of one draw. Every change takes its numbers whether it fires or not, so that groups can be switched without changing
/// what the others draw.
struct Random(Philox);

impl Random {
    fn unit(&mut self) -> f64 {
        f64::from(self.0.unit())
    }

    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    fn below(&mut self, bound: u32) -> u32 {
        self.0.below(bound)
    }

    fn fires(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    fn normal(&mut self) -> f64 {
        self.0.normal_pair()[0]
    }
}

/// One draw for a batch. Applied to both sides of a comparison, and differentiable in them.
pub struct Augmentation {
    warp: Option<Warp>,
    /// Brightness, contrast, saturation: [N,3].
    colours: Option<Tensor<2>>,
    /// 1, and 0 where it is cut out: [N,1,H,W].
    kept: Option<Tensor<4>>,
}

impl Augmentation {
    /// Latents [N,C,H,W] to the same shape.
    pub fn apply(&self, mut x: Tensor<4>) -> Tensor<4> {
        if let Some(warp) = &self.warp {
            x = warp.apply(x);
        }
        if let Some(colours) = &self.colours {
            let [batch, _] = colours.dims();
            let of = |which: usize| colours.clone().narrow(1, which, 1).reshape([batch, 1, 1, 1]);
            x = x + of(0);
            let mean = x.clone().mean_dim(1).mean_dim(2).mean_dim(3);
            x = (x - mean.clone()) * of(1) + mean;
            let mean = x.clone().mean_dim(1);
            x = (x - mean.clone()) * of(2) + mean;
        }
        match &self.kept {
            Some(kept) => x * kept.clone(),
            None => x,
        }
    }
}

fn column<'a>(rows: impl ExactSizeIterator<Item = &'a [f64]>, device: &Device) -> Tensor<2> {
    let count = rows.len();
    let elements: Vec<f32> = rows.flatten().map(|&value| value as f32).collect();
    let width = elements.len() / count.max(1);
    Tensor::from_data(TensorData::new(elements, [count, width]), device)
}

/// Squares around centres (x, y in shares of the size), `half` to each side.
fn kept(centres: &[f64], half: f64, [rows, columns]: [usize; 2], device: &Device) -> Tensor<4> {
    let mut elements = Vec::with_capacity(centres.len() / 2 * rows * columns);
    let inside = |index: usize, length: usize, centre: f64| ((index as f64 + 0.5) / length as f64 - centre).abs() < half;
    for centre in centres.chunks_exact(2) {
        for row in 0..rows {
            let cut_row = inside(row, rows, centre[1]);
            elements.extend((0..columns).map(|column| if cut_row && inside(column, columns, centre[0]) { 0.0f32 } else { 1.0 }));
        }
    }
    Tensor::from_data(TensorData::new(elements, [centres.len() / 2, 1, rows, columns]), device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use onestep_noise::normal;

    fn latents(device: &Device) -> Tensor<4> {
        Tensor::from_data(TensorData::new(normal(3, Stream::Training, 0, 6 * 4 * 16 * 16), [6, 4, 16, 16]), device)
    }

    fn values(x: Tensor<4>) -> Vec<f32> {
        x.to_data().try_to_vec().unwrap()
    }

    #[test]
    fn a_draw_is_the_same_each_time_and_another_for_each_index() {
        let device = Device::flex();
        let options = AugmentationOptions { groups: "bgco".into(), ..AugmentationOptions::default() };
        let of = |index| values(options.draw(5, index, 6, [16, 16], &device).apply(latents(&device)));
        assert_eq!(of(7), of(7));
        assert_ne!(of(7), of(8));
    }

    #[test]
    fn both_sides_are_changed_alike() {
        let device = Device::flex();
        let draw = AugmentationOptions::default().draw(5, 1, 6, [16, 16], &device);
        // A linear change of the difference is the difference of the changed.
        let (a, b) = (latents(&device), latents(&device).flip([2]));
        let whole = values(draw.apply(a.clone()) - draw.apply(b.clone()));
        let parts = values(draw.apply(a - b));
        assert!(whole.iter().zip(&parts).all(|(a, b)| (a - b).abs() < 1e-4));
    }

    #[test]
    fn groups_do_what_their_letters_say() {
        let device = Device::flex();
        let x = values(latents(&device));
        let of = |groups: &str| {
            let options = AugmentationOptions { groups: groups.into(), ..AugmentationOptions::default() };
            options.check().unwrap();
            values(options.draw(9, 4, 6, [16, 16], &device).apply(latents(&device)))
        };
        assert_eq!(of(""), x);
        let cut = of("o");
        let zeros = cut.iter().filter(|value| **value == 0.0).count() as f64 / cut.len() as f64;
        assert!(zeros > 0.08 && zeros <= 0.25, "{zeros}");
        assert!(cut.iter().zip(&x).all(|(cut, x)| *cut == 0.0 || cut == x));
        assert!(of("b") != x && of("g") != x && of("c") != x && of("b") != of("bg"));
        assert!(AugmentationOptions { groups: "bz".into(), ..AugmentationOptions::default() }.check().unwrap_err().to_string().contains("'z'"));
    }

    /// The gradient of a weighted sum is the same change turned around: here it is compared with finite differences.
    #[test]
    fn gradients_are_finite_differences() {
        let device = Device::flex();
        for (size, groups) in [([8, 8], "bgco"), ([20, 20], "bgo")] {
            let options = AugmentationOptions { groups: groups.into(), ..AugmentationOptions::default() };
            let shape = [2, 3, size[0], size[1]];
            let count = shape.iter().product();
            let data = |index| TensorData::new(normal(4, Stream::Training, index, count), shape);
            let of =
                |x: &Tensor<4>, device: &Device| (options.draw(2, 3, 2, size, device).apply(x.clone()) * Tensor::from_data(data(1), device)).sum();
            let on = device.clone().autodiff();
            let x = Tensor::<4>::from_data(data(0), &on).require_grad();
            let gradient = x.grad(&of(&x, &on).backward()).unwrap();
            let along = Tensor::<4>::from_data(data(2), &device);
            let expected = f64::from((gradient * along.clone()).sum().into_scalar::<f32>());
            let x = Tensor::<4>::from_data(data(0), &device);
            let step = 1e-2;
            let difference = of(&(x.clone() + along.clone().mul_scalar(step)), &device) - of(&(x - along.mul_scalar(step)), &device);
            let found = f64::from(difference.into_scalar::<f32>()) / (2.0 * step);
            assert!((found - expected).abs() < 2e-3 * expected.abs().max(1.0), "{groups}: {found} {expected}");
        }
    }
}
