//! The prologue: steps that depend on persistent inputs alone. Their results stay in memory until one of those inputs is written.

/// What a step reads and writes.
#[derive(Clone, Debug, Default)]
pub(super) struct Traffic {
    /// Inputs of the program that it reads, by index.
    pub(super) inputs: Vec<usize>,
    /// Allocations that it reads, by index.
    pub(super) read: Vec<usize>,
    /// Allocations that it writes, by index.
    pub(super) written: Vec<usize>,
}

/// For each step, true if it belongs to the prologue: it reads no inputs but persistent ones, and everything that it reads or writes is written by
/// steps of the prologue only. Steps that read nothing belong to it.
pub(super) fn prologue(steps: &[Traffic], persistent_inputs: &[usize]) -> Vec<bool> {
    let mut inside: Vec<bool> = steps.iter().map(|step| step.inputs.iter().all(|input| persistent_inputs.contains(input))).collect();
    let allocations = steps.iter().flat_map(|step| step.read.iter().chain(&step.written)).max().map_or(0, |largest| largest + 1);
    loop {
        let mut written_outside = vec![false; allocations];
        for (step, _) in steps.iter().zip(&inside).filter(|(_, inside)| !**inside) {
            step.written.iter().for_each(|&allocation| written_outside[allocation] = true);
        }
        let mut changed = false;
        for (step, inside) in steps.iter().zip(&mut inside) {
            if *inside && step.read.iter().chain(&step.written).any(|&allocation| written_outside[allocation]) {
                (*inside, changed) = (false, true);
            }
        }
        if !changed {
            return inside;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(inputs: &[usize], read: &[usize], written: &[usize]) -> Traffic {
        Traffic { inputs: inputs.to_vec(), read: read.to_vec(), written: written.to_vec() }
    }

    #[test]
    fn steps_that_depend_on_other_inputs_are_outside() {
        let steps = [step(&[0], &[], &[0]), step(&[1], &[], &[1]), step(&[], &[1], &[2]), step(&[], &[2, 0], &[3]), step(&[], &[1], &[3])];
        assert_eq!(prologue(&steps, &[1]), [false, true, true, false, false]);
        assert_eq!(prologue(&steps, &[]), [false; 5]);
        assert_eq!(prologue(&[step(&[], &[], &[0])], &[]), [true]);
    }
}
