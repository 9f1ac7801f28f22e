//! Augmentation of latents for E-LatentLPIPS (Diffusion2GAN, section 3.1).
//!
//! The augmentations are those of StyleGAN2-ADA (Karras et al. 2020, appendix B), with the parameters of the official E-LatentLPIPS package:
//!
//! | group | name | what | parameters |
//! |---|---|---|---|
//! | `blit` | `xflip` | horizontal flip | with probability ½ |
//! | | `rotate90` | rotation by 0, 90, 180 or 270 degrees | |
//! | | `xint` | translation by whole pixels | up to `xint_max` of the size |
//! | `geom` | `scale` | isotropic scaling | 2^N(0, `scale_std`²) |
//! | | `rotate` | rotation before and after `aniso` | any angle |
//! | | `aniso` | anisotropic scaling | s = 2^N(0, `aniso_std`²) along one axis, 1/s along the other |
//! | | `xfrac` | translation | N(0, `xfrac_std`²) of the size |
//! | `color` | `color` | brightness, contrast, saturation | + U(−½,½); about the mean by U(½,3/2); about the channels' mean by U(0,2) |
//! | `cutout` | `cutout` | a square becomes 0 | side `cutout_size` of the size |

use std::collections::BTreeSet;
use std::f64::consts::{FRAC_PI_2, PI};
use std::fmt;
use std::str::FromStr;

use burn::tensor::{Device, Tensor, TensorData};
use onestep_noise::{Philox, Stream};
use serde::{Deserialize, Serialize};

use super::geometry::{Affine, Warp};
use crate::error::{TrainError, TrainErrorKind};

/// One augmentation, by its name in StyleGAN2-ADA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AugmentationKind {
    /// `xflip`
    XFlip,
    /// `rotate90`
    Rotate90,
    /// `xint`
    XInt,
    /// `scale`
    Scale,
    /// `rotate`
    Rotate,
    /// `aniso`
    Aniso,
    /// `xfrac`
    XFrac,
    /// `color`
    Color,
    /// `cutout`
    Cutout,
}

use AugmentationKind::{Aniso, Color, Cutout, Rotate, Rotate90, Scale, XFlip, XFrac, XInt};

/// Names of single augmentations, in the order in which they are applied.
const NAMES: [(&str, AugmentationKind); 9] = [
    ("xflip", XFlip),
    ("rotate90", Rotate90),
    ("xint", XInt),
    ("scale", Scale),
    ("rotate", Rotate),
    ("aniso", Aniso),
    ("xfrac", XFrac),
    ("color", Color),
    ("cutout", Cutout),
];
/// Names of groups, as in the augmentation pipelines (`--augpipe`) of StyleGAN2-ADA.
const GROUPS: [(&str, &[AugmentationKind]); 2] = [("blit", &[XFlip, Rotate90, XInt]), ("geom", &[Scale, Rotate, Aniso, XFrac])];

/// A set of augmentations, written as names joined by `+`, such as `blit+geom+cutout` or `xflip+scale`; `none` is the empty set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct AugmentationKinds(BTreeSet<AugmentationKind>);

impl AugmentationKinds {
    /// No augmentation.
    pub const NONE: Self = Self(BTreeSet::new());

    /// The augmentations with which Diffusion2GAN distils: `blit+geom+cutout`.
    pub fn blit_geom_cutout() -> Self {
        Self(GROUPS.iter().flat_map(|group| group.1).copied().chain([Cutout]).collect())
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn has(&self, kind: AugmentationKind) -> bool {
        self.0.contains(&kind)
    }

    fn has_any(&self, kinds: &[AugmentationKind]) -> bool {
        kinds.iter().any(|kind| self.has(*kind))
    }
}

impl FromStr for AugmentationKinds {
    type Err = TrainError;

    fn from_str(text: &str) -> Result<Self, TrainError> {
        let mut kinds = BTreeSet::new();
        if text == "none" {
            return Ok(Self(kinds));
        }
        for name in text.split('+') {
            if let Some(group) = GROUPS.iter().find(|group| group.0 == name) {
                kinds.extend(group.1);
            } else if let Some(single) = NAMES.iter().find(|single| single.0 == name) {
                kinds.insert(single.1);
            } else {
                let known: Vec<&str> = GROUPS.iter().map(|group| group.0).chain(NAMES.iter().map(|single| single.0)).collect();
                let message = format!("no augmentation {name:?}: expected none, or names of {} joined by +, as blit+geom+cutout", known.join(", "));
                return Err(TrainError::new(TrainErrorKind::Usage, message));
            }
        }
        Ok(Self(kinds))
    }
}

impl TryFrom<String> for AugmentationKinds {
    type Error = TrainError;

    fn try_from(text: String) -> Result<Self, TrainError> {
        text.parse()
    }
}

impl From<AugmentationKinds> for String {
    fn from(kinds: AugmentationKinds) -> Self {
        kinds.to_string()
    }
}

/// Whole groups by their name, the rest one by one.
impl fmt::Display for AugmentationKinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let groups: Vec<_> = GROUPS.iter().filter(|group| group.1.iter().all(|kind| self.has(*kind))).collect();
        let is_single = |kind| self.has(kind) && !groups.iter().any(|group| group.1.contains(&kind));
        let singles = NAMES.iter().filter(|single| is_single(single.1)).map(|single| single.0);
        let names: Vec<&str> = groups.iter().map(|group| group.0).chain(singles).collect();
        f.write_str(if names.is_empty() { "none".to_owned() } else { names.join("+") }.as_str())
    }
}

/// Which augmentations are applied to latents, and how strong they are.
#[derive(Clone, Debug, PartialEq, clap::Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LatentAugmentationOptions {
    /// Augmentations: none, or names joined by +, of blit, geom, color, cutout and their members such as xflip.
    #[arg(id = "augmentations", long, value_name = "NAMES")]
    pub kinds: AugmentationKinds,
    /// Probability of each augmentation but `color`, which is always applied.
    #[arg(skip)]
    pub probability: f64,
    /// Largest translation of `xint`, as a fraction of the size.
    #[arg(skip)]
    pub xint_max: f64,
    /// Standard deviation of log₂ of the factor of `scale`.
    #[arg(skip)]
    pub scale_std: f64,
    /// Standard deviation of log₂ of the factor of `aniso`.
    #[arg(skip)]
    pub aniso_std: f64,
    /// Standard deviation of the translation of `xfrac`, as a fraction of the size.
    #[arg(skip)]
    pub xfrac_std: f64,
    /// Side of the square of `cutout`, as a fraction of the size.
    #[arg(skip)]
    pub cutout_size: f64,
}

impl Default for LatentAugmentationOptions {
    fn default() -> Self {
        Self {
            kinds: AugmentationKinds::blit_geom_cutout(),
            probability: 1.0,
            xint_max: 0.125,
            scale_std: 0.2,
            aniso_std: 0.2,
            xfrac_std: 0.125,
            cutout_size: 0.5,
        }
    }
}

impl LatentAugmentationOptions {
    /// The default strengths of these augmentations.
    pub fn of(kinds: AugmentationKinds) -> Self {
        Self { kinds, ..Self::default() }
    }

    /// # Errors
    /// A probability outside 0 to 1; strengths that are negative, above 4 or not finite.
    pub fn check(&self) -> Result<(), TrainError> {
        let strengths = [self.xint_max, self.scale_std, self.aniso_std, self.xfrac_std, self.cutout_size];
        if !(0.0..=1.0).contains(&self.probability) || strengths.iter().any(|strength| !(0.0..=4.0).contains(strength)) {
            let message = "the options of the augmentation of latents: expected a probability from 0 to 1 and strengths from 0 to 4";
            return Err(TrainError::new(TrainErrorKind::Usage, message));
        }
        Ok(())
    }

    /// Samples the parameters for a batch of latents [count,C,rows,columns]. The same seed and index give the same parameters.
    pub fn sample(&self, seed: u64, index: u64, count: usize, [rows, columns]: [usize; 2], device: &Device) -> LatentAugmentation {
        let mut random = ParameterSampler(Philox::new(seed, Stream::LatentAugmentation, index));
        let (mut maps, mut colors, mut centres) = (Vec::with_capacity(count), Vec::new(), Vec::new());
        for _ in 0..count {
            maps.push(self.sample_map(&mut random, rows as f64, columns as f64));
            colors.extend([random.uniform(-0.5, 0.5), random.uniform(0.5, 1.5), random.uniform(0.0, 2.0)]);
            let is_applied = random.happens(self.probability);
            let centre = [random.unit(), random.unit()];
            // A square outside of the latent cuts nothing out.
            centres.extend(if is_applied { centre } else { [-9.0, -9.0] });
        }
        let is_geometric = GROUPS.iter().any(|group| self.kinds.has_any(group.1));
        LatentAugmentation {
            warp: is_geometric.then(|| Warp::new(&maps, [rows, columns], device)),
            colors: self.kinds.has(Color).then(|| column(colors.chunks_exact(3), device)),
            mask: self.kinds.has(Cutout).then(|| cutout_mask(&centres, self.cutout_size / 2.0, [rows, columns], device)),
        }
    }

    /// Samples the geometric map of one latent, from output pixels to input pixels.
    fn sample_map(&self, random: &mut ParameterSampler, rows: f64, columns: f64) -> Affine {
        let p = self.probability;
        let [flip, quarters] = [random.below(2), random.below(4)];
        let xint = [random.uniform(-1.0, 1.0), random.uniform(-1.0, 1.0)].map(|unit| unit * self.xint_max);
        let happens = [random.happens(p), random.happens(p), random.happens(p)];
        let blit = [
            (XFlip, Affine::scale(1.0 - 2.0 * f64::from(flip), 1.0)),
            (Rotate90, Affine::rotation(FRAC_PI_2 * f64::from(quarters))),
            (XInt, Affine::translation(-(xint[0] * columns).round(), -(xint[1] * rows).round())),
        ];
        let blit = blit.into_iter().zip(happens);

        // StyleGAN2-ADA: either rotation happens with this probability, so that at least one does with probability p.
        let p_rotate = 1.0 - (1.0 - p).sqrt();
        let scale = (random.normal() * self.scale_std).exp2();
        let angles = [random.uniform(-PI, PI), random.uniform(-PI, PI)];
        let aniso = (random.normal() * self.aniso_std).exp2();
        let xfrac = [random.normal() * self.xfrac_std * columns, random.normal() * self.xfrac_std * rows];
        let happens = [random.happens(p), random.happens(p_rotate), random.happens(p), random.happens(p_rotate), random.happens(p)];
        let geom = [
            (Scale, Affine::scale(1.0 / scale, 1.0 / scale)),
            (Rotate, Affine::rotation(angles[0])),
            (Aniso, Affine::scale(1.0 / aniso, aniso)),
            (Rotate, Affine::rotation(angles[1])),
            (XFrac, Affine::translation(-xfrac[0], -xfrac[1])),
        ];
        let geom = geom.into_iter().zip(happens);

        let applied = blit.chain(geom).filter(|((kind, _), happens)| *happens && self.kinds.has(*kind));
        applied.fold(Affine::IDENTITY, |map, ((_, step), _)| map.of(step))
    }
}

/// Samples parameters. Every augmentation consumes its random numbers whether it is applied or not, so that adding one to the set does not
/// change the parameters of the others.
struct ParameterSampler(Philox);

impl ParameterSampler {
    fn unit(&mut self) -> f64 {
        f64::from(self.0.unit())
    }

    fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    fn below(&mut self, bound: u32) -> u32 {
        self.0.below(bound)
    }

    fn happens(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// A standard normal number, by the Box–Muller transform.
    fn normal(&mut self) -> f64 {
        self.0.normal_pair()[0]
    }
}

/// Sampled parameters for a batch. It is applied to both latents of a comparison, and differentiable in them.
pub struct LatentAugmentation {
    warp: Option<Warp>,
    /// Brightness, contrast, saturation: [N,3].
    colors: Option<Tensor<2>>,
    /// 0 where `cutout` cuts out, 1 elsewhere: [N,1,H,W].
    mask: Option<Tensor<4>>,
}

impl LatentAugmentation {
    /// Augments latents [N,C,H,W]; the shape stays.
    pub fn apply(&self, mut x: Tensor<4>) -> Tensor<4> {
        if let Some(warp) = &self.warp {
            x = warp.apply(x);
        }
        if let Some(colors) = &self.colors {
            let [batch, _] = colors.dims();
            let parameter = |index: usize| colors.clone().narrow(1, index, 1).reshape([batch, 1, 1, 1]);
            x = x + parameter(0);
            let mean = x.clone().mean_dim(1).mean_dim(2).mean_dim(3);
            x = (x - mean.clone()) * parameter(1) + mean;
            let mean = x.clone().mean_dim(1);
            x = (x - mean.clone()) * parameter(2) + mean;
        }
        match &self.mask {
            Some(mask) => x * mask.clone(),
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

/// The mask of squares with these centres (x, y as fractions of the size) and half sides: [N,1,H,W].
fn cutout_mask(centres: &[f64], half: f64, [rows, columns]: [usize; 2], device: &Device) -> Tensor<4> {
    let mut elements = Vec::with_capacity(centres.len() / 2 * rows * columns);
    let inside = |index: usize, length: usize, centre: f64| ((index as f64 + 0.5) / length as f64 - centre).abs() < half;
    for centre in centres.chunks_exact(2) {
        for row in 0..rows {
            let in_rows = inside(row, rows, centre[1]);
            elements.extend((0..columns).map(|column| if in_rows && inside(column, columns, centre[0]) { 0.0f32 } else { 1.0 }));
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

    fn options(kinds: &str) -> LatentAugmentationOptions {
        LatentAugmentationOptions::of(kinds.parse().unwrap())
    }

    #[test]
    fn an_index_always_gives_the_same_sample_and_another_index_another() {
        let device = Device::flex();
        let augmented = |index| values(options("blit+geom+color+cutout").sample(5, index, 6, [16, 16], &device).apply(latents(&device)));
        assert_eq!(augmented(7), augmented(7));
        assert_ne!(augmented(7), augmented(8));
    }

    #[test]
    fn both_latents_are_augmented_alike() {
        let device = Device::flex();
        let augmentation = LatentAugmentationOptions::default().sample(5, 1, 6, [16, 16], &device);
        // The default augmentations are linear: that of a difference is the difference of both.
        let (a, b) = (latents(&device), latents(&device).flip([2]));
        let separately = values(augmentation.apply(a.clone()) - augmentation.apply(b.clone()));
        let together = values(augmentation.apply(a - b));
        assert!(separately.iter().zip(&together).all(|(a, b)| (a - b).abs() < 1e-4));
    }

    #[test]
    fn sets_are_read_as_they_are_written() {
        for text in ["none", "xflip", "blit", "blit+geom+cutout", "xflip+aniso+color", "geom+xint"] {
            assert_eq!(text.parse::<AugmentationKinds>().unwrap().to_string(), text);
        }
        assert_eq!("cutout+xint+xflip+rotate90".parse::<AugmentationKinds>().unwrap().to_string(), "blit+cutout");
        assert_eq!(AugmentationKinds::blit_geom_cutout().to_string(), "blit+geom+cutout");
        for text in ["", "bgo", "blit,geom", "blit+"] {
            assert!(text.parse::<AugmentationKinds>().unwrap_err().to_string().contains("blit, geom, xflip"), "{text}");
        }
        assert!(LatentAugmentationOptions { probability: 1.5, ..options("blit") }.check().is_err());
    }

    #[test]
    fn augmentations_do_what_their_names_say() {
        let device = Device::flex();
        let x = values(latents(&device));
        let augmented = |kinds: &str| values(options(kinds).sample(9, 4, 6, [16, 16], &device).apply(latents(&device)));
        assert_eq!(augmented("none"), x);
        let cut = augmented("cutout");
        let zeros = cut.iter().filter(|value| **value == 0.0).count() as f64 / cut.len() as f64;
        assert!(zeros > 0.08 && zeros <= 0.25, "{zeros}");
        assert!(cut.iter().zip(&x).all(|(cut, x)| *cut == 0.0 || cut == x));
        for (kind, _) in NAMES {
            assert_ne!(augmented(kind), x, "{kind}");
        }
        // Each latent of `xflip` is the original or its mirror image, up to 15 % because the filter is not symmetric.
        let (flipped, mirrored) = (augmented("xflip"), values(latents(&device).flip([3])));
        let size = 4 * 16 * 16;
        let norm = |x: &mut dyn Iterator<Item = f32>| x.map(|value| value * value).sum::<f32>().sqrt();
        let close = |a: &[f32], b: &[f32]| norm(&mut a.iter().zip(b).map(|(a, b)| a - b)) < 0.3 * norm(&mut b.iter().copied());
        for ((found, x), mirrored) in flipped.chunks(size).zip(x.chunks(size)).zip(mirrored.chunks(size)) {
            assert!(close(found, x) || close(found, mirrored));
        }
    }

    /// Compares the gradient of a weighted sum with finite differences.
    #[test]
    fn gradients_are_finite_differences() {
        let device = Device::flex();
        for (size, kinds) in [([8, 8], "blit+geom+color+cutout"), ([20, 20], "blit+geom+cutout")] {
            let shape = [2, 3, size[0], size[1]];
            let count = shape.iter().product();
            let data = |index| TensorData::new(normal(4, Stream::Training, index, count), shape);
            let sum = |x: &Tensor<4>, device: &Device| {
                (options(kinds).sample(2, 3, 2, size, device).apply(x.clone()) * Tensor::from_data(data(1), device)).sum()
            };
            let autodiff = device.clone().autodiff();
            let x = Tensor::<4>::from_data(data(0), &autodiff).require_grad();
            let gradient = x.grad(&sum(&x, &autodiff).backward()).unwrap();
            let direction = Tensor::<4>::from_data(data(2), &device);
            let found = f64::from((gradient * direction.clone()).sum().into_scalar::<f32>());
            let x = Tensor::<4>::from_data(data(0), &device);
            let step = 1e-2;
            let difference = sum(&(x.clone() + direction.clone().mul_scalar(step)), &device) - sum(&(x - direction.mul_scalar(step)), &device);
            let expected = f64::from(difference.into_scalar::<f32>()) / (2.0 * step);
            assert!((found - expected).abs() < 2e-3 * expected.abs().max(1.0), "{kinds}: {found} {expected}");
        }
    }
}
