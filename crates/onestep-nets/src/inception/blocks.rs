//! The five blocks of Inception-v3: parallel branches with concatenated channels.

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};

use super::{InceptionConv, InceptionPool, inception_layout::halved};

/// `Mixed_5b` to `Mixed_5d`, 35 x 35 places of an image of 299 x 299.
#[derive(Module, Debug)]
pub struct InceptionA {
    /// To 64 channels.
    pub branch1x1: InceptionConv,
    /// To 48 channels.
    pub branch5x5_1: InceptionConv,
    /// To 64 channels.
    pub branch5x5_2: InceptionConv,
    /// To 64 channels.
    pub branch3x3dbl_1: InceptionConv,
    /// To 96 channels.
    pub branch3x3dbl_2: InceptionConv,
    /// To 96 channels.
    pub branch3x3dbl_3: InceptionConv,
    /// 1x1 behind the pool.
    pub branch_pool: InceptionConv,
    /// The pool.
    #[module(skip)]
    pub pool: InceptionPool,
}

impl InceptionA {
    /// From `input` to 224 + `pool_features` channels.
    pub fn new(input: usize, pool_features: usize, pool: InceptionPool, device: &Device) -> Self {
        let conv = |input: usize, output: usize, kernel: usize| InceptionConv::same(input, output, [kernel; 2], device);
        Self {
            branch1x1: conv(input, 64, 1),
            branch5x5_1: conv(input, 48, 1),
            branch5x5_2: conv(48, 64, 5),
            branch3x3dbl_1: conv(input, 64, 1),
            branch3x3dbl_2: conv(64, 96, 3),
            branch3x3dbl_3: conv(96, 96, 3),
            branch_pool: conv(input, pool_features, 1),
            pool,
        }
    }

    /// `[batch, input, height, width]` to `[batch, 224 + pool_features, height, width]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let branch5x5 = through(x.clone(), &[&self.branch5x5_1, &self.branch5x5_2]);
        let branch3x3dbl = through(x.clone(), &[&self.branch3x3dbl_1, &self.branch3x3dbl_2, &self.branch3x3dbl_3]);
        let branch_pool = self.branch_pool.forward(self.pool.forward(x.clone()));
        Tensor::cat(vec![self.branch1x1.forward(x), branch5x5, branch3x3dbl, branch_pool], 1)
    }
}

/// `Mixed_6a`, from 35 x 35 to 17 x 17 places.
#[derive(Module, Debug)]
pub struct InceptionB {
    /// To 384 channels, stride 2.
    pub branch3x3: InceptionConv,
    /// To 64 channels.
    pub branch3x3dbl_1: InceptionConv,
    /// To 96 channels.
    pub branch3x3dbl_2: InceptionConv,
    /// To 96 channels, stride 2.
    pub branch3x3dbl_3: InceptionConv,
}

impl InceptionB {
    /// From `input` to 480 + `input` channels.
    pub fn new(input: usize, device: &Device) -> Self {
        Self {
            branch3x3: InceptionConv::valid(input, 384, 3, 2, device),
            branch3x3dbl_1: InceptionConv::same(input, 64, [1, 1], device),
            branch3x3dbl_2: InceptionConv::same(64, 96, [3, 3], device),
            branch3x3dbl_3: InceptionConv::valid(96, 96, 3, 2, device),
        }
    }

    /// `[batch, input, height, width]` to `[batch, 480 + input, (height - 1) / 2, (width - 1) / 2]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let branch3x3dbl = through(x.clone(), &[&self.branch3x3dbl_1, &self.branch3x3dbl_2, &self.branch3x3dbl_3]);
        Tensor::cat(vec![self.branch3x3.forward(x.clone()), branch3x3dbl, halved(x)], 1)
    }
}

/// `Mixed_6b` to `Mixed_6e`, 17 x 17 places.
#[derive(Module, Debug)]
pub struct InceptionC {
    /// To 192 channels.
    pub branch1x1: InceptionConv,
    /// 1x1.
    pub branch7x7_1: InceptionConv,
    /// One row of 7.
    pub branch7x7_2: InceptionConv,
    /// One column of 7, to 192 channels.
    pub branch7x7_3: InceptionConv,
    /// 1x1.
    pub branch7x7dbl_1: InceptionConv,
    /// One column of 7.
    pub branch7x7dbl_2: InceptionConv,
    /// One row of 7.
    pub branch7x7dbl_3: InceptionConv,
    /// One column of 7.
    pub branch7x7dbl_4: InceptionConv,
    /// One row of 7, to 192 channels.
    pub branch7x7dbl_5: InceptionConv,
    /// 1x1 behind the pool, to 192 channels.
    pub branch_pool: InceptionConv,
    /// The pool.
    #[module(skip)]
    pub pool: InceptionPool,
}

impl InceptionC {
    /// From `input` to 768 channels, with `channels_7x7` between the long kernels.
    pub fn new(input: usize, channels_7x7: usize, pool: InceptionPool, device: &Device) -> Self {
        let conv = |input: usize, output: usize, kernel: [usize; 2]| InceptionConv::same(input, output, kernel, device);
        let inner = channels_7x7;
        Self {
            branch1x1: conv(input, 192, [1, 1]),
            branch7x7_1: conv(input, inner, [1, 1]),
            branch7x7_2: conv(inner, inner, [1, 7]),
            branch7x7_3: conv(inner, 192, [7, 1]),
            branch7x7dbl_1: conv(input, inner, [1, 1]),
            branch7x7dbl_2: conv(inner, inner, [7, 1]),
            branch7x7dbl_3: conv(inner, inner, [1, 7]),
            branch7x7dbl_4: conv(inner, inner, [7, 1]),
            branch7x7dbl_5: conv(inner, 192, [1, 7]),
            branch_pool: conv(input, 192, [1, 1]),
            pool,
        }
    }

    /// `[batch, input, height, width]` to `[batch, 768, height, width]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let branch7x7 = through(x.clone(), &[&self.branch7x7_1, &self.branch7x7_2, &self.branch7x7_3]);
        let branch7x7dbl =
            through(x.clone(), &[&self.branch7x7dbl_1, &self.branch7x7dbl_2, &self.branch7x7dbl_3, &self.branch7x7dbl_4, &self.branch7x7dbl_5]);
        let branch_pool = self.branch_pool.forward(self.pool.forward(x.clone()));
        Tensor::cat(vec![self.branch1x1.forward(x), branch7x7, branch7x7dbl, branch_pool], 1)
    }
}

/// `Mixed_7a`, from 17 x 17 to 8 x 8 places.
#[derive(Module, Debug)]
pub struct InceptionD {
    /// To 192 channels.
    pub branch3x3_1: InceptionConv,
    /// To 320 channels, stride 2.
    pub branch3x3_2: InceptionConv,
    /// To 192 channels.
    pub branch7x7x3_1: InceptionConv,
    /// One row of 7.
    pub branch7x7x3_2: InceptionConv,
    /// One column of 7.
    pub branch7x7x3_3: InceptionConv,
    /// 3x3, stride 2.
    pub branch7x7x3_4: InceptionConv,
}

impl InceptionD {
    /// From `input` to 512 + `input` channels.
    pub fn new(input: usize, device: &Device) -> Self {
        Self {
            branch3x3_1: InceptionConv::same(input, 192, [1, 1], device),
            branch3x3_2: InceptionConv::valid(192, 320, 3, 2, device),
            branch7x7x3_1: InceptionConv::same(input, 192, [1, 1], device),
            branch7x7x3_2: InceptionConv::same(192, 192, [1, 7], device),
            branch7x7x3_3: InceptionConv::same(192, 192, [7, 1], device),
            branch7x7x3_4: InceptionConv::valid(192, 192, 3, 2, device),
        }
    }

    /// `[batch, input, height, width]` to `[batch, 512 + input, (height - 1) / 2, (width - 1) / 2]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let branch3x3 = through(x.clone(), &[&self.branch3x3_1, &self.branch3x3_2]);
        let branch7x7x3 = through(x.clone(), &[&self.branch7x7x3_1, &self.branch7x7x3_2, &self.branch7x7x3_3, &self.branch7x7x3_4]);
        Tensor::cat(vec![branch3x3, branch7x7x3, halved(x)], 1)
    }
}

/// `Mixed_7b` and `Mixed_7c`, 8 x 8 places.
#[derive(Module, Debug)]
pub struct InceptionE {
    /// To 320 channels.
    pub branch1x1: InceptionConv,
    /// To 384 channels.
    pub branch3x3_1: InceptionConv,
    /// One row of 3.
    pub branch3x3_2a: InceptionConv,
    /// A 3x1 convolution, parallel to the 1x3 one.
    pub branch3x3_2b: InceptionConv,
    /// To 448 channels.
    pub branch3x3dbl_1: InceptionConv,
    /// To 384 channels.
    pub branch3x3dbl_2: InceptionConv,
    /// One row of 3.
    pub branch3x3dbl_3a: InceptionConv,
    /// A 3x1 convolution, parallel to the 1x3 one.
    pub branch3x3dbl_3b: InceptionConv,
    /// 1x1 behind the pool, to 192 channels.
    pub branch_pool: InceptionConv,
    /// The pool.
    #[module(skip)]
    pub pool: InceptionPool,
}

impl InceptionE {
    /// From `input` to 2048 channels.
    pub fn new(input: usize, pool: InceptionPool, device: &Device) -> Self {
        let conv = |input: usize, output: usize, kernel: [usize; 2]| InceptionConv::same(input, output, kernel, device);
        Self {
            branch1x1: conv(input, 320, [1, 1]),
            branch3x3_1: conv(input, 384, [1, 1]),
            branch3x3_2a: conv(384, 384, [1, 3]),
            branch3x3_2b: conv(384, 384, [3, 1]),
            branch3x3dbl_1: conv(input, 448, [1, 1]),
            branch3x3dbl_2: conv(448, 384, [3, 3]),
            branch3x3dbl_3a: conv(384, 384, [1, 3]),
            branch3x3dbl_3b: conv(384, 384, [3, 1]),
            branch_pool: conv(input, 192, [1, 1]),
            pool,
        }
    }

    /// `[batch, input, height, width]` to `[batch, 2048, height, width]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let branch3x3 = self.branch3x3_1.forward(x.clone());
        let branch3x3dbl = through(x.clone(), &[&self.branch3x3dbl_1, &self.branch3x3dbl_2]);
        let branch_pool = self.branch_pool.forward(self.pool.forward(x.clone()));
        let branches = vec![
            self.branch1x1.forward(x),
            self.branch3x3_2a.forward(branch3x3.clone()),
            self.branch3x3_2b.forward(branch3x3),
            self.branch3x3dbl_3a.forward(branch3x3dbl.clone()),
            self.branch3x3dbl_3b.forward(branch3x3dbl),
            branch_pool,
        ];
        Tensor::cat(branches, 1)
    }
}

/// `x` through one layer after the other.
fn through(x: Tensor<4>, layers: &[&InceptionConv]) -> Tensor<4> {
    layers.iter().fold(x, |x, layer| layer.forward(x))
}
