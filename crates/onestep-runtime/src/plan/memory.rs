//! Where activations live: few arenas, places reused as soon as the last reader is done, and no dispatch that reads and writes
//! one arena, because WebGPU forbids a buffer to be bound for both.

use std::collections::BTreeSet;

use crate::error::RunError;

/// Bytes between the starts of placed tensors: what WebGPU accepts as an offset everywhere.
pub(crate) const ALIGNMENT: u64 = 256;

/// A tensor to be placed.
#[derive(Clone, Debug)]
pub(crate) struct Tenant {
    /// Bytes.
    pub(crate) size: u64,
    /// The first step that writes it, and the last that uses it.
    pub(crate) life: Option<(usize, usize)>,
    /// What must not share an arena with it: what is read where it is written, and written where it is read.
    pub(crate) apart: BTreeSet<usize>,
    /// What its place is called in errors.
    pub(crate) name: String,
}

/// A place: arena and offset.
pub(crate) type Place = (usize, u64);

/// How tenants are placed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// The largest arena.
    pub(crate) max_buffer: u64,
    /// Whether places are used again; off, every tensor can be inspected after a run.
    pub(crate) reuse: bool,
    /// Bytes left free behind every tenant.
    pub(crate) guard: u64,
}

/// Places all tenants in order of their first step; gives the places and the sizes of the arenas.
pub(crate) fn place(tenants: &[Tenant], rules: Rules) -> Result<(Vec<Place>, Vec<u64>), RunError> {
    /// One arena while it is filled: its size, and what lives there now, by offset.
    #[derive(Default)]
    struct Arena {
        size: u64,
        residents: Vec<(u64, u64, usize)>,
    }
    let mut order: Vec<usize> = (0..tenants.len()).collect();
    order.sort_by_key(|&tenant| (tenants[tenant].life.map_or(0, |(first, _)| first), tenant));
    let mut places: Vec<Option<Place>> = vec![None; tenants.len()];
    let mut arenas: Vec<Arena> = vec![Arena::default()];
    for index in order {
        let tenant = &tenants[index];
        let (first, last) = tenant.life.unwrap_or((0, 0));
        let size = (tenant.size.max(16) + rules.guard).next_multiple_of(ALIGNMENT);
        let forbidden: BTreeSet<usize> = tenant.apart.iter().filter_map(|&other| places[other]).map(|(arena, _)| arena).collect();
        let mut best: Option<(u64, usize, u64)> = None;
        for (number, arena) in arenas.iter_mut().enumerate() {
            if forbidden.contains(&number) {
                continue;
            }
            if rules.reuse {
                arena.residents.retain(|&(_, _, until)| until >= first);
            }
            let mut offset = 0;
            for &(start, end, _) in &arena.residents {
                if start >= offset + size {
                    break;
                }
                offset = offset.max(end);
            }
            let growth = (offset + size).saturating_sub(arena.size);
            if offset + size <= rules.max_buffer && best.is_none_or(|(least, _, _)| growth < least) {
                best = Some((growth, number, offset));
            }
        }
        let (number, offset) = match best {
            Some((_, number, offset)) => (number, offset),
            None if size <= rules.max_buffer => {
                arenas.push(Arena::default());
                (arenas.len() - 1, 0)
            }
            None => {
                return Err(RunError::unsupported(format!(
                    "{} takes {size} bytes, and this adapter's largest buffer has {}",
                    tenant.name, rules.max_buffer
                )));
            }
        };
        let arena = &mut arenas[number];
        arena.size = arena.size.max(offset + size);
        let at = arena.residents.partition_point(|&(start, _, _)| start < offset);
        arena.residents.insert(at, (offset, offset + size, last));
        places[index] = Some((number, offset));
    }
    Ok((places.into_iter().flatten().collect(), arenas.into_iter().map(|arena| arena.size).collect()))
}

/// The most bytes of tenants that live at the same time.
pub(crate) fn live_bytes(tenants: &[Tenant]) -> u64 {
    let mut changes: Vec<(usize, bool, u64)> = Vec::new();
    for tenant in tenants {
        let (first, last) = tenant.life.unwrap_or((0, 0));
        // A tensor still lives in the step that reads it last.
        changes.extend([(first, true, tenant.size), (last.saturating_add(1), false, tenant.size)]);
    }
    // Those that end before a step leave first.
    changes.sort_unstable();
    let (mut live, mut most) = (0u64, 0u64);
    for (_, begins, size) in changes {
        live = if begins { live.saturating_add(size) } else { live.saturating_sub(size) };
        most = most.max(live);
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(size: u64, life: (usize, usize), reads: &[usize]) -> Tenant {
        Tenant { size, life: Some(life), apart: reads.iter().copied().collect(), name: "t".into() }
    }
    const RULES: Rules = Rules { max_buffer: 1 << 20, reuse: true, guard: 0 };

    #[test]
    fn a_chain_alternates_between_two_arenas_of_one_tensor_each() {
        let chain: Vec<Tenant> = (0..6).map(|i| tenant(1024, (i, i + 1), [&[][..], &[0], &[1], &[2], &[3], &[4]][i])).collect();
        let (places, arenas) = place(&chain, RULES).unwrap();
        assert_eq!(arenas, [1024, 1024]);
        assert!(places.windows(2).all(|pair| pair[0].0 != pair[1].0));
    }

    #[test]
    fn what_lives_together_never_overlaps() {
        let mut state = 1u32;
        let mut next = |below: usize| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as usize % below
        };
        let tenants: Vec<Tenant> = (0..300)
            .map(|i| {
                let reads: Vec<usize> = if i == 0 { vec![] } else { (0..3).map(|_| i - 1 - next(i.min(4))).collect() };
                tenant(next(5000) as u64, (i, i + 4 + next(10)), &reads)
            })
            .collect();
        let (places, arenas) = place(&tenants, RULES).unwrap();
        for a in 0..tenants.len() {
            assert!(places[a].1 % ALIGNMENT == 0 && places[a].1 + tenants[a].size <= arenas[places[a].0]);
            assert!(tenants[a].apart.iter().all(|&b| places[a].0 != places[b].0));
            for b in 0..a {
                let (first, last) = (tenants[a].life.unwrap(), tenants[b].life.unwrap());
                if places[a].0 == places[b].0 && first.0 <= last.1 && last.0 <= first.1 {
                    let apart = places[a].1 + tenants[a].size <= places[b].1 || places[b].1 + tenants[b].size <= places[a].1;
                    assert!(apart, "{a} and {b}");
                }
            }
        }
        let everything: u64 = tenants.iter().map(|tenant| tenant.size).sum();
        assert!(arenas.iter().sum::<u64>() < everything / 4, "places are used again");
    }

    #[test]
    fn a_full_arena_opens_the_next_and_a_giant_is_refused() {
        let rules = Rules { max_buffer: 2048, ..RULES };
        let (_, arenas) = place(&[tenant(1500, (0, 9), &[]), tenant(1500, (1, 9), &[])], rules).unwrap();
        assert_eq!(arenas.len(), 2);
        assert_eq!(place(&[tenant(4096, (0, 1), &[])], rules).unwrap_err().kind(), crate::ErrorKind::Unsupported);
    }
}
