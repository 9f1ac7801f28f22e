//! torchvision's `Inception3`, and the form of it by which Fréchet distances of images are measured.

mod blocks;
mod inception_conv;
mod inception_layout;
mod inception_v3;

pub use blocks::{InceptionA, InceptionB, InceptionC, InceptionD, InceptionE};
pub use inception_conv::InceptionConv;
pub use inception_layout::{InceptionLayout, InceptionPool};
pub use inception_v3::InceptionV3;
