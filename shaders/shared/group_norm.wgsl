// The layout of a group norm's intermediate tensors.

// Vectors per chunk in stats: means, squared deviations.
const STAT_VECTORS = 2u;
// Vectors per image in scale: means, factors, betas.
const SCALE_VECTORS = 3u;
