//! The layers of both encoders, and the embeddings of the text encoder.

use burn::{
    module::Module,
    nn::{Embedding, EmbeddingConfig, Initializer, LayerNorm, LayerNormConfig, Linear, LinearConfig},
    tensor::{Device, Int, Tensor},
};

use crate::blocks::{Mlp, scaled_dot_product};
use onestep_pipeline::config::{ClipActivation, ClipTextConfig};

/// Token and position tables.
#[derive(Module, Debug)]
pub struct ClipEmbeddings {
    /// `[vocabulary, features]`.
    pub token_embedding: Embedding,
    /// `[positions, features]`.
    pub position_embedding: Embedding,
}

/// Self-attention with biases.
#[derive(Module, Debug)]
pub struct ClipAttention {
    /// Keys.
    pub k_proj: Linear,
    /// Values.
    pub v_proj: Linear,
    /// Queries.
    pub q_proj: Linear,
    /// Output.
    pub out_proj: Linear,
    /// Number of heads.
    pub heads: usize,
    /// Whether a token sees itself and earlier ones only, as texts do and images do not.
    pub causal: bool,
}

/// One layer: attention, then feed-forward, each normalised in front and added to its input.
#[derive(Module, Debug)]
pub struct ClipEncoderLayer {
    /// Attention.
    pub self_attn: ClipAttention,
    /// In front of attention.
    pub layer_norm1: LayerNorm,
    /// Feed-forward.
    pub mlp: Mlp,
    /// In front of feed-forward.
    pub layer_norm2: LayerNorm,
}

/// All layers.
#[derive(Module, Debug)]
pub struct ClipEncoder {
    /// First to last.
    pub layers: Vec<ClipEncoderLayer>,
}

/// The outputs of the text encoder.
#[derive(Debug, Clone)]
pub struct ClipTextOutput {
    /// The embeddings and every layer's result, `[batch, tokens, features]` each, **not** normalised: layers + 1 of them.
    pub hidden_states: Vec<Tensor<3>>,
    /// The last layer's result, normalised.
    pub last_hidden_state: Tensor<3>,
}

/// The text encoder without its projection.
#[derive(Module, Debug)]
pub struct ClipTextTransformer {
    /// Tables.
    pub embeddings: ClipEmbeddings,
    /// Layers.
    pub encoder: ClipEncoder,
    /// Normalisation of the last layer's result.
    pub final_layer_norm: LayerNorm,
}

/// What the layers of an encoder are made from, for text and images alike.
pub(super) struct ClipLayers {
    pub size: usize,
    pub intermediate_size: usize,
    pub layers: usize,
    pub heads: usize,
    pub causal: bool,
    pub hidden_act: ClipActivation,
    pub layer_norm_eps: f64,
    pub initializer_factor: f64,
}

impl ClipLayers {
    /// Initial weights, distributed as those of transformers' `CLIPPreTrainedModel._init_weights`.
    pub fn init(&self, device: &Device) -> ClipEncoder {
        let size = self.size;
        let factor = self.initializer_factor;
        let norm = || LayerNormConfig::new(size).with_epsilon(self.layer_norm_eps).init(device);
        let inner = (size as f64).powf(-0.5) * (2.0 * self.layers.max(1) as f64).powf(-0.5) * factor;
        let outer = (size as f64).powf(-0.5) * factor;
        let hidden = (2.0 * size as f64).powf(-0.5) * factor;
        let linear = |std: f64| gaussian_linear(size, size, true, std, device);
        let layers = (0..self.layers)
            .map(|_| ClipEncoderLayer {
                self_attn: ClipAttention {
                    k_proj: linear(inner),
                    v_proj: linear(inner),
                    q_proj: linear(inner),
                    out_proj: linear(outer),
                    heads: self.heads,
                    causal: self.causal,
                },
                layer_norm1: norm(),
                mlp: Mlp {
                    fc1: gaussian_linear(size, self.intermediate_size, true, hidden, device),
                    fc2: gaussian_linear(self.intermediate_size, size, true, inner, device),
                    quick: self.hidden_act == ClipActivation::QuickGelu,
                },
                layer_norm2: norm(),
            })
            .collect();
        ClipEncoder { layers }
    }
}

/// A linear layer with a Gaussian matrix of standard deviation `std`, and a bias of zeros if any.
pub(super) fn gaussian_linear(input: usize, output: usize, bias: bool, std: f64, device: &Device) -> Linear {
    let mut linear = LinearConfig::new(input, output).with_bias(false).with_initializer(Initializer::Normal { mean: 0.0, std }).init(device);
    linear.bias = bias.then(|| Initializer::Zeros.init([output], device));
    linear
}

impl ClipTextTransformer {
    /// Initial weights, distributed as those of transformers' `CLIPPreTrainedModel._init_weights`.
    pub(super) fn new(config: &ClipTextConfig, device: &Device) -> Self {
        let size = config.hidden_size;
        let factor = config.initializer_factor;
        let embedding =
            |rows: usize| EmbeddingConfig::new(rows, size).with_initializer(Initializer::Normal { mean: 0.0, std: 0.02 * factor }).init(device);
        let layers = ClipLayers {
            size,
            intermediate_size: config.intermediate_size,
            layers: config.num_hidden_layers,
            heads: config.num_attention_heads,
            causal: true,
            hidden_act: config.hidden_act,
            layer_norm_eps: config.layer_norm_eps,
            initializer_factor: factor,
        };
        Self {
            embeddings: ClipEmbeddings {
                token_embedding: embedding(config.vocab_size),
                position_embedding: embedding(config.max_position_embeddings),
            },
            encoder: layers.init(device),
            final_layer_norm: LayerNormConfig::new(size).with_epsilon(config.layer_norm_eps).init(device),
        }
    }

    /// Encodes `input_ids` `[batch, tokens]`, each below the vocabulary's size.
    ///
    /// # Panics
    /// If there are more tokens than positions.
    pub fn forward(&self, input_ids: Tensor<2, Int>) -> ClipTextOutput {
        let mut hidden_states = vec![self.embeddings.forward(input_ids)];
        let mut x = hidden_states[0].clone();
        for layer in &self.encoder.layers {
            x = layer.forward(x);
            hidden_states.push(x.clone());
        }
        ClipTextOutput { hidden_states, last_hidden_state: self.final_layer_norm.forward(x) }
    }
}

impl ClipEmbeddings {
    /// `[batch, tokens]` to `[batch, tokens, features]`.
    ///
    /// # Panics
    /// If there are more tokens than positions.
    pub fn forward(&self, input_ids: Tensor<2, Int>) -> Tensor<3> {
        let [_, tokens] = input_ids.dims();
        let table = self.position_embedding.weight.val();
        let [positions, features] = table.dims();
        assert!(tokens <= positions, "{tokens} tokens given to a text encoder of {positions} positions");
        let table = if tokens == positions { table } else { table.slice([0..tokens, 0..features]) };
        self.token_embedding.forward(input_ids) + table.reshape([1, tokens, features])
    }
}

impl ClipAttention {
    /// `[batch, tokens, features]` to the same shape.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let (q, k, v) = (self.q_proj.forward(x.clone()), self.k_proj.forward(x.clone()), self.v_proj.forward(x));
        self.out_proj.forward(scaled_dot_product(q, k, v, self.heads, self.causal))
    }
}

impl ClipEncoderLayer {
    /// `[batch, tokens, features]` to the same shape.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let x = x.clone() + self.self_attn.forward(self.layer_norm1.forward(x));
        x.clone() + self.mlp.forward(self.layer_norm2.forward(x))
    }
}
