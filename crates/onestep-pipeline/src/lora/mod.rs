//! LoRA files: small changes of a model's weights, merged when the weights are read.
//!
//! A LoRA changes a weight `W` to `W + weight · scale · up · down`, with `scale = alpha / rank` (1 without alpha). Its file
//! is in the form of kohya (`lora_unet_….lora_down.weight`, with diffusers' or the original names), of diffusers or of peft
//! (`unet.….lora_A.weight`). Alpha stands in tensors `….alpha` or in the header's metadata.
//!
//! [`Lora::read`] takes names, shapes and the values of alphas only. [`Lora::merge`] changes one tensor; several LoRAs
//! are merged one after the other. Every tensor of a file must have a layer to change.

mod adapter_metadata;
mod lora_error;
mod lora_key;
mod lora_option;
mod targets;

use std::collections::BTreeMap;

use rayon::prelude::*;

pub use lora_error::LoraError;
pub use lora_option::LoraOption;
pub use targets::Targets;

use crate::Part;
use adapter_metadata::AdapterMetadata;
use lora_key::Role;

/// Largest rank that is accepted. Common ones are 1 to 256.
const MAX_RANK: usize = 1 << 14;

/// The LoRA of one file, for one pipeline.
#[derive(Debug, Clone, PartialEq)]
pub struct Lora {
    changes: BTreeMap<(Part, String), Change>,
}

/// The change of one weight.
#[derive(Debug, Clone, PartialEq)]
struct Change {
    /// Names in the file.
    down: String,
    up: String,
    mid: Option<String>,
    /// Shape of the weight.
    shape: Vec<usize>,
    rank: usize,
    /// Alpha divided by the rank.
    scale: f64,
}

/// The tensors of a change, as they are found.
#[derive(Default)]
struct Found<'a> {
    down: Option<&'a str>,
    up: Option<&'a str>,
    mid: Option<&'a str>,
    alpha: Option<&'a str>,
}

impl Lora {
    /// Reads a file's names and shapes, its header's metadata and, by `read`, the values of alphas (f32).
    ///
    /// # Errors
    /// Files without a LoRA, other adapters (by name), tensors without a layer in `targets`, tensors without their
    /// counterpart or of a wrong shape, alphas that are no finite numbers, metadata that contradict the tensors.
    pub fn read(
        tensors: &BTreeMap<String, Vec<usize>>,
        metadata: &BTreeMap<String, String>,
        targets: &Targets,
        read: &mut dyn FnMut(&str) -> Result<Vec<f32>, String>,
    ) -> Result<Self, LoraError> {
        let metadata = AdapterMetadata::read(metadata)?;
        let mut found: BTreeMap<(Part, String), Found<'_>> = BTreeMap::new();
        let parsed: Vec<_> = tensors.keys().map(|key| lora_key::parse(key).map(|(module, role)| (key, module, role))).collect();
        if !parsed.iter().any(|parsed| matches!(parsed, Ok((_, _, Role::Down | Role::Up)) | Err(LoraError::OtherKind { .. }))) {
            let first = tensors.keys().next().map_or_else(String::new, Clone::clone);
            return Err(LoraError::Empty { count: tensors.len(), first });
        }
        for parsed in parsed {
            let (key, module, role) = parsed?;
            let target = targets.find(key, &module)?;
            let change = found.entry(target.clone()).or_default();
            let slot = match role {
                Role::Down => &mut change.down,
                Role::Up => &mut change.up,
                Role::Mid => &mut change.mid,
                Role::Alpha => &mut change.alpha,
            };
            if let Some(first) = slot.replace(key) {
                let (component, target) = target;
                return Err(LoraError::Twice { what: role.name(), component, target, first: first.to_owned(), second: key.clone() });
            }
        }
        let mut changes = BTreeMap::new();
        for ((component, target), found) in found {
            let incomplete = |found: &str, missing| Err(LoraError::Incomplete { found: found.to_owned(), missing });
            let (down, up) = match (found.down, found.up, found.alpha.or(found.mid)) {
                (Some(down), Some(up), _) => (down, up),
                (Some(down), None, _) => return incomplete(down, "up matrix"),
                (None, Some(up), _) => return incomplete(up, "down matrix"),
                (None, None, Some(other)) => return incomplete(other, "pair of matrices"),
                (None, None, None) => continue,
            };
            let shape = targets.shape(component, &target).to_vec();
            let rank = check_shapes(tensors, down, up, found.mid, &shape)?;
            let module = target.strip_suffix(".weight").unwrap_or(&target);
            let scale = match found.alpha {
                Some(key) => alpha(key, &tensors[key], read)? / rank as f64,
                None => metadata.scale(component, module, rank)?.unwrap_or(1.0),
            };
            let (down, up, mid) = (down.to_owned(), up.to_owned(), found.mid.map(str::to_owned));
            changes.insert((component, target), Change { down, up, mid, shape, rank, scale });
        }
        Ok(Self { changes })
    }

    /// Number of weights that are changed.
    pub fn count(&self) -> usize {
        self.changes.len()
    }

    /// The weights that are changed: the network, diffusers' name, the rank and the scale (alpha divided by the rank).
    pub fn changes(&self) -> impl Iterator<Item = (Part, &str, usize, f64)> {
        self.changes.iter().map(|((component, target), change)| (*component, target.as_str(), change.rank, change.scale))
    }

    /// Whether [`merge`](Self::merge) changes the tensor with this name.
    pub fn has(&self, component: Part, tensor: &str) -> bool {
        self.changes.contains_key(&(component, tensor.to_owned()))
    }

    /// Adds `strength` times the change of the tensor with diffusers' name `tensor` to `weight`, its values row by row. Tensors
    /// of the file are read by `read`, as f32. Returns whether there is such a change.
    ///
    /// Computed in f32: `strength` and scale multiply each row of the product before it is added.
    ///
    /// # Errors
    /// Errors of `read`, and a `weight` or a tensor that has not as many values as its shape says.
    pub fn merge(
        &self,
        component: Part,
        tensor: &str,
        weight: &mut [f32],
        strength: f64,
        read: &mut dyn FnMut(&str) -> Result<Vec<f32>, String>,
    ) -> Result<bool, LoraError> {
        let Some(change) = self.changes.get(&(component, tensor.to_owned())) else { return Ok(false) };
        let (outputs, row) = (change.shape[0], change.shape[1..].iter().product::<usize>());
        let mut values = |key: &str, count: usize| {
            let values = read(key).map_err(|reason| LoraError::Read { key: key.to_owned(), reason })?;
            let reason = format!("it has {} values and not {count}", values.len());
            if values.len() == count { Ok(values) } else { Err(LoraError::Read { key: key.to_owned(), reason }) }
        };
        if weight.len() != outputs * row {
            let expected = format!("{tensor} of {component} has {} values", weight.len());
            return Err(LoraError::Shape { key: change.down.clone(), found: change.shape.clone(), expected });
        }
        let up = values(&change.up, outputs * change.rank)?;
        let inputs = change.shape[1];
        let down = match &change.mid {
            None => values(&change.down, change.rank * row)?,
            Some(mid) => {
                let kernel = row / inputs;
                let (down, mid) = (values(&change.down, change.rank * inputs)?, values(mid, change.rank * change.rank * kernel)?);
                through_middle(&down, &mid, change, kernel)
            }
        };
        let scale = (strength * change.scale) as f32;
        let rank = change.rank;
        weight.par_chunks_mut(row).zip(up.par_chunks(rank)).for_each_init(
            || vec![0.0_f32; row],
            |sum, (weight, up)| {
                sum.fill(0.0);
                for (&factor, down) in up.iter().zip(down.chunks_exact(row)) {
                    for (sum, value) in sum.iter_mut().zip(down) {
                        *sum += factor * value;
                    }
                }
                for (weight, sum) in weight.iter_mut().zip(&*sum) {
                    *weight += scale * sum;
                }
            },
        );
        Ok(true)
    }
}

/// `down` behind the kernel of `mid`, as one matrix [rank, inputs · kernel].
fn through_middle(down: &[f32], mid: &[f32], change: &Change, kernel: usize) -> Vec<f32> {
    let inputs = change.shape[1];
    let mut joint = vec![0.0; change.rank * inputs * kernel];
    for (joint, mid) in joint.chunks_exact_mut(inputs * kernel).zip(mid.chunks_exact(change.rank * kernel)) {
        for (down, mid) in down.chunks_exact(inputs).zip(mid.chunks_exact(kernel)) {
            for (joint, down) in joint.chunks_exact_mut(kernel).zip(down) {
                for (joint, mid) in joint.iter_mut().zip(mid) {
                    *joint += down * mid;
                }
            }
        }
    }
    joint
}

/// The rank, if the shapes fit the weight's.
fn check_shapes(tensors: &BTreeMap<String, Vec<usize>>, down: &str, up: &str, mid: Option<&str>, weight: &[usize]) -> Result<usize, LoraError> {
    let refuse = |key: &str, expected: String| Err(LoraError::Shape { key: key.to_owned(), found: tensors[key].clone(), expected });
    // Linear layers and 1x1 convolutions are written in each other's shape, with or without axes of length 1.
    let split = |key: &str| {
        let shape = &tensors[key];
        (shape.len() >= 2).then(|| (shape[0], shape[1], shape[2..].to_vec()))
    };
    let kernel: &[usize] = weight.get(2..).unwrap_or_default();
    let is_one = |axes: &[usize]| axes.iter().all(|&axis| axis == 1);
    if weight.len() < 2 || weight.contains(&0) {
        return refuse(down, format!("the layer's weight has the shape {weight:?}"));
    }
    let Some((rank, inputs, down_kernel)) = split(down) else {
        return refuse(down, "a matrix or a convolution is needed".to_owned());
    };
    let Some((outputs, up_rank, up_kernel)) = split(up) else {
        return refuse(up, "a matrix or a convolution is needed".to_owned());
    };
    if !(1..=MAX_RANK).contains(&rank) {
        return refuse(down, format!("the rank (its first axis) must be within 1..={MAX_RANK}"));
    }
    let down_fits = match mid {
        None => down_kernel == kernel || (is_one(&down_kernel) && is_one(kernel)),
        Some(_) => is_one(&down_kernel),
    };
    if inputs != weight[1] || !down_fits {
        return refuse(down, format!("the layer's weight has the shape {weight:?}"));
    }
    if outputs != weight[0] || !is_one(&up_kernel) {
        return refuse(up, format!("the layer's weight has the shape {weight:?}"));
    }
    match mid {
        _ if up_rank != rank => refuse(up, format!("the rank of {down:?} is {rank}")),
        None => Ok(rank),
        Some(mid) => match tensors[mid].as_slice() {
            [from_up, from_down, axes @ ..] if (*from_up, *from_down, axes) == (rank, rank, kernel) => Ok(rank),
            _ => refuse(mid, format!("[{rank}, {rank}] and the kernel {kernel:?} are needed between {down:?} and {up:?}")),
        },
    }
}

/// The value of an alpha.
fn alpha(key: &str, shape: &[usize], read: &mut dyn FnMut(&str) -> Result<Vec<f32>, String>) -> Result<f64, LoraError> {
    if shape.iter().any(|&axis| axis != 1) {
        return Err(LoraError::Shape { key: key.to_owned(), found: shape.to_vec(), expected: "alpha is one number".to_owned() });
    }
    let values = read(key).map_err(|reason| LoraError::Read { key: key.to_owned(), reason })?;
    match values.as_slice() {
        [alpha] if alpha.is_finite() => Ok(f64::from(*alpha)),
        values => Err(LoraError::Alpha { key: key.to_owned(), value: values.first().map_or_else(|| "empty".to_owned(), f32::to_string) }),
    }
}
