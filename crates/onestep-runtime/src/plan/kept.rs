//! What depends on inputs that often stay the same, and need not be computed again while they do.

/// What a step reads and writes.
#[derive(Clone, Debug, Default)]
pub(super) struct Traffic {
    /// Inputs of the program.
    pub(super) inputs: Vec<usize>,
    /// Tenants that are read.
    pub(super) read: Vec<usize>,
    /// Tenants that are written.
    pub(super) written: Vec<usize>,
}

/// Which steps depend on kept inputs alone, all that they write being written by such steps only. Steps that depend on nothing at all are
/// among them.
pub(super) fn keepable(steps: &[Traffic], kept: &[usize]) -> Vec<bool> {
    let mut keep: Vec<bool> = steps.iter().map(|step| step.inputs.iter().all(|input| kept.contains(input))).collect();
    let tenants = steps.iter().flat_map(|step| step.read.iter().chain(&step.written)).max().map_or(0, |most| most + 1);
    loop {
        // What steps write that are not kept.
        let mut changing = vec![false; tenants];
        steps.iter().zip(&keep).filter(|(_, keep)| !**keep).for_each(|(step, _)| step.written.iter().for_each(|&tenant| changing[tenant] = true));
        let mut changed = false;
        for (step, keep) in steps.iter().zip(&mut keep) {
            if *keep && step.read.iter().chain(&step.written).any(|&tenant| changing[tenant]) {
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
        Traffic { inputs: inputs.to_vec(), read: read.to_vec(), written: written.to_vec() }
    }

    #[test]
    fn what_touches_what_changes_is_not_kept() {
        let steps = [step(&[0], &[], &[0]), step(&[1], &[], &[1]), step(&[], &[1], &[2]), step(&[], &[2, 0], &[3]), step(&[], &[1], &[3])];
        assert_eq!(keepable(&steps, &[1]), [false, true, true, false, false]);
        assert_eq!(keepable(&steps, &[]), [false; 5]);
        assert_eq!(keepable(&[step(&[], &[], &[0])], &[]), [true]);
    }
}
