//! What depends on inputs that often stay the same, and need not be computed again while they do.

use std::collections::BTreeSet;

/// What a step reads and writes.
#[derive(Clone, Debug, Default)]
pub(super) struct Traffic {
    /// Inputs of the program.
    pub(super) inputs: BTreeSet<usize>,
    /// Tenants that are read.
    pub(super) read: BTreeSet<usize>,
    /// Tenants that are written.
    pub(super) written: BTreeSet<usize>,
}

/// Which steps depend on kept inputs alone, all that they write being written by such steps only. Steps that depend on nothing at all are
/// among them.
pub(super) fn keepable(steps: &[Traffic], kept: &BTreeSet<usize>) -> Vec<bool> {
    let mut keep: Vec<bool> = steps.iter().map(|step| step.inputs.is_subset(kept)).collect();
    loop {
        let changing: BTreeSet<usize> =
            steps.iter().zip(&keep).filter(|(_, keep)| !**keep).flat_map(|(step, _)| step.written.iter().copied()).collect();
        let mut changed = false;
        for (step, keep) in steps.iter().zip(&mut keep) {
            if *keep && !(step.read.is_disjoint(&changing) && step.written.is_disjoint(&changing)) {
                (*keep, changed) = (false, true);
            }
        }
        if !changed {
            return keep;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(inputs: &[usize], read: &[usize], written: &[usize]) -> Traffic {
        let set = |of: &[usize]| of.iter().copied().collect();
        Traffic { inputs: set(inputs), read: set(read), written: set(written) }
    }

    #[test]
    fn what_touches_what_changes_is_not_kept() {
        let steps = [step(&[0], &[], &[0]), step(&[1], &[], &[1]), step(&[], &[1], &[2]), step(&[], &[2, 0], &[3]), step(&[], &[1], &[3])];
        let kept = BTreeSet::from([1]);
        assert_eq!(keepable(&steps, &kept), [false, true, true, false, false]);
        assert_eq!(keepable(&steps, &BTreeSet::new()), [false; 5]);
        assert_eq!(keepable(&[step(&[], &[], &[0])], &BTreeSet::new()), [true]);
    }
}
