//! The list of all cases.

use super::super::case::Case;
use super::{attention, bands, convolutions, edges, linears, movement, norms, pointwise, rows};

/// All cases.
pub(in crate::selftest) fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    convolutions::convolutions(&mut cases);
    convolutions::up_convolutions(&mut cases);
    convolutions::other_convolutions(&mut cases);
    linears::linears(&mut cases);
    linears::gated_linears(&mut cases);
    linears::products(&mut cases);
    norms::norms(&mut cases);
    norms::norms_of_products(&mut cases);
    attention::attentions(&mut cases);
    rows::rows(&mut cases);
    pointwise::pointwise(&mut cases);
    pointwise::broadcasts(&mut cases);
    movement::permutations(&mut cases);
    movement::moves(&mut cases);
    edges::edges(&mut cases);
    bands::bands_of_products(&mut cases);
    bands::bands_of_other_operations(&mut cases);
    cases
}
