//! Where activations live: few arenas, places reused as soon as the last reader is done, and no dispatch that reads and writes
//! one arena, because WebGPU forbids a buffer to be bound for both.

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
    pub(crate) apart: Vec<usize>,
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

/// Places all tenants; gives the places and the sizes of the arenas.
///
/// Which order of placing packs best depends on the program: several are tried, and the smallest result is taken.
pub(crate) fn place(tenants: &[Tenant], rules: Rules) -> Result<(Vec<Place>, Vec<u64>), RunError> {
    let life = |tenant: usize| tenants[tenant].life.unwrap_or((0, 0));
    let orders: [&dyn Fn(usize) -> (u64, u64); 4] = [
        // As they come.
        &|tenant| (life(tenant).0 as u64, 0),
        // Large ones first.
        &|tenant| (u64::MAX - tenants[tenant].size, life(tenant).0 as u64),
        // Those that live long first, among them the large ones.
        &|tenant| ((u64::MAX - life(tenant).1.saturating_sub(life(tenant).0) as u64), u64::MAX - tenants[tenant].size),
        // What takes much room for a long time first.
        &|tenant| {
            let steps = (life(tenant).1.saturating_sub(life(tenant).0) as u64).min(1 << 20);
            (u64::MAX - tenants[tenant].size.saturating_mul(steps + 1), 0)
        },
    ];
    let least = live_bytes(tenants);
    let mut best: Option<Placed> = None;
    let enough = |best: &Option<Placed>| best.as_ref().is_some_and(|best| best.bytes() as f64 <= ENOUGH * least as f64);
    let mut attempt = |order: &[usize]| -> Result<Option<usize>, RunError> {
        let placed = place_in(order, tenants, rules)?;
        let late = placed.late;
        if best.as_ref().is_none_or(|best| placed.bytes() < best.bytes()) {
            best = Some(placed);
        }
        Ok(late.filter(|_| !enough(&best)))
    };
    let sorted = |key: &dyn Fn(usize) -> (u64, u64)| {
        let mut order: Vec<usize> = (0..tenants.len()).collect();
        order.sort_by_key(|&tenant| (key(tenant), tenant));
        order
    };
    // Without reuse everything lies side by side, in whatever order.
    let attempts = if rules.reuse { ATTEMPTS } else { 1 };
    for key in orders {
        let mut order = sorted(key);
        // What came too late and made an arena grow comes first in the next attempt.
        for _ in 0..attempts {
            match attempt(&order)?.and_then(|late| order.iter().position(|&tenant| tenant == late)) {
                Some(at) if at > 0 => order[..=at].rotate_right(1),
                _ => break,
            }
        }
    }
    // Large ones first, more or less: the same attempts on every machine.
    let mut state = 1u64;
    let mut dice = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 56
    };
    let random = (RANDOM_WORK / (tenants.len() * tenants.len()).max(1)).min(RANDOM_ATTEMPTS);
    for _ in 0..if rules.reuse { random } else { 0 } {
        let factors: Vec<u64> = tenants.iter().map(|_| 64 + dice()).collect();
        if attempt(&sorted(&|tenant| (u64::MAX - tenants[tenant].size.saturating_mul(factors[tenant]), 0)))?.is_none() {
            break;
        }
    }
    Ok(best.map(|placed| (placed.places, placed.arenas)).unwrap_or_default())
}

/// A placing within this of what no placing can go below is good enough.
const ENOUGH: f64 = 1.08;

/// How many random orders are tried.
const RANDOM_ATTEMPTS: usize = 200;

/// Comparisons that may go into random orders: a fraction of a second for the largest programs.
const RANDOM_WORK: usize = 10_000_000;

/// How often a placing is tried again from each of the orders.
const ATTEMPTS: usize = 40;

/// A placing.
struct Placed {
    places: Vec<Place>,
    arenas: Vec<u64>,
    /// The last tenant for which an arena grew.
    late: Option<usize>,
}

impl Placed {
    fn bytes(&self) -> u64 {
        self.arenas.iter().sum()
    }
}

/// Places tenants one after the other where an arena grows least.
fn place_in(order: &[usize], tenants: &[Tenant], rules: Rules) -> Result<Placed, RunError> {
    /// What is in an arena: from where, to where, and which tenant.
    type Resident = (u64, u64, usize);
    let life = |tenant: usize| tenants[tenant].life.unwrap_or((0, 0));
    let mut places: Vec<Option<Place>> = vec![None; tenants.len()];
    let mut arenas: Vec<(u64, Vec<Resident>)> = vec![(0, Vec::new())];
    let mut late = None;
    for &index in order {
        let tenant = &tenants[index];
        let (first, last) = life(index);
        let size = (tenant.size.max(16) + rules.guard).next_multiple_of(ALIGNMENT);
        let forbidden: Vec<usize> = tenant.apart.iter().filter_map(|&other| places[other]).map(|(arena, _)| arena).collect();
        let mut best: Option<(u64, usize, u64)> = None;
        for (number, (length, residents)) in arenas.iter().enumerate() {
            if forbidden.contains(&number) {
                continue;
            }
            let mut offset = 0;
            for &(start, end, other) in residents {
                let (from, until) = life(other);
                let meet = !rules.reuse || (from <= last && first <= until);
                if !meet {
                    continue;
                }
                if start >= offset + size {
                    break;
                }
                offset = offset.max(end);
            }
            let growth = (offset + size).saturating_sub(*length);
            if offset + size <= rules.max_buffer && best.is_none_or(|(least, _, _)| growth < least) {
                best = Some((growth, number, offset));
            }
        }
        let (number, offset) = match best {
            Some((_, number, offset)) => (number, offset),
            None if size <= rules.max_buffer => {
                arenas.push((0, Vec::new()));
                (arenas.len() - 1, 0)
            }
            None => {
                return Err(RunError::unsupported(format!(
                    "{} takes {size} bytes, and this adapter's largest buffer has {}",
                    tenant.name, rules.max_buffer
                )));
            }
        };
        let (length, residents) = &mut arenas[number];
        if offset + size > *length {
            (*length, late) = (offset + size, Some(index));
        }
        let at = residents.partition_point(|&(start, _, _)| start < offset);
        residents.insert(at, (offset, offset + size, index));
        places[index] = Some((number, offset));
    }
    Ok(Placed { places: places.into_iter().flatten().collect(), arenas: arenas.into_iter().map(|(length, _)| length).collect(), late })
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
        Tenant { size, life: Some(life), apart: reads.to_vec(), name: "t".into() }
    }
    const RULES: Rules = Rules { max_buffer: 1 << 20, reuse: true, guard: 0 };

    #[test]
    fn a_chain_alternates_between_two_arenas_of_one_tensor_each() {
        let chain: Vec<Tenant> = (0..6).map(|i| tenant(1024, (i, i + 1), [&[1][..], &[0, 2], &[1, 3], &[2, 4], &[3, 5], &[4]][i])).collect();
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
        let mut tenants: Vec<Tenant> = (0..300)
            .map(|i| {
                let reads: Vec<usize> = if i == 0 { vec![] } else { (0..3).map(|_| i - 1 - next(i.min(4))).collect() };
                tenant(next(5000) as u64, (i, i + 4 + next(10)), &reads)
            })
            .collect();
        for i in 0..tenants.len() {
            for other in tenants[i].apart.clone() {
                tenants[other].apart.push(i);
            }
        }
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

    /// Whether tenants fit into arenas of those sizes, by trying every place; sizes are small numbers.
    fn fits(tenants: &[Tenant], arenas: &[u64], places: &mut Vec<Place>) -> bool {
        let Some(tenant) = tenants.get(places.len()) else { return true };
        let (first, last) = tenant.life.unwrap();
        for (arena, &length) in arenas.iter().enumerate() {
            if tenant.apart.iter().any(|&other| places.get(other).is_some_and(|place| place.0 == arena)) {
                continue;
            }
            for offset in 0..(length + 1).saturating_sub(tenant.size) {
                let free = places.iter().zip(tenants).all(|(&(number, at), other)| {
                    let (from, until) = other.life.unwrap();
                    number != arena || until < first || last < from || at + other.size <= offset || offset + tenant.size <= at
                });
                if free {
                    places.push((arena, offset));
                    if fits(tenants, arenas, places) {
                        return true;
                    }
                    places.pop();
                }
            }
        }
        false
    }

    /// All ways to divide a number into parts of at most `largest`.
    fn divisions(number: u64, largest: u64) -> Vec<Vec<u64>> {
        if number == 0 {
            return vec![Vec::new()];
        }
        let with = |part: u64| divisions(number - part, part).into_iter().map(move |rest| [&[part][..], &rest].concat());
        (1..=largest.min(number)).flat_map(with).collect()
    }

    /// A text encoder of two blocks, as the shipped one: at most six times its width lives at once, yet no placing does with six, because
    /// of what a step reads and writes in different arenas. The seventh is what [`place`] takes.
    #[test]
    fn a_transformer_takes_one_tensor_more_than_live_at_once() {
        // What is read, and the width of what is written.
        let mut steps: Vec<(Vec<usize>, u64)> = vec![(vec![], 1), (vec![], 1), (vec![0, 1], 1)];
        for _ in 0..2 {
            let x = steps.len() - 1;
            let (attended, hidden) = (x + 4, x + 6);
            steps.extend([(vec![x], 1), (vec![x + 1], 3), (vec![x + 2], 1), (vec![x + 3, x], 1)]);
            steps.extend([(vec![attended], 1), (vec![attended + 1], 4), (vec![hidden, attended], 1)]);
        }
        steps.extend([(vec![steps.len() - 1], 1), (vec![steps.len()], 1)]);
        let of = |unit: u64| {
            let mut tenants: Vec<Tenant> = steps.iter().enumerate().map(|(step, (read, width))| tenant(width * unit, (step, step), read)).collect();
            for (step, (read, _)) in steps.iter().enumerate() {
                for &other in read {
                    tenants[other].apart.push(step);
                    tenants[other].life = Some((other, step));
                }
            }
            tenants
        };
        let tenants = of(1);
        assert_eq!(live_bytes(&tenants), 6);
        let in_all = |sum: u64| divisions(sum, sum).iter().any(|arenas| fits(&tenants, arenas, &mut Vec::new()));
        assert!(!in_all(6) && in_all(7));
        let (_, arenas) = place(&of(8192), RULES).unwrap();
        assert_eq!(arenas.iter().sum::<u64>(), 7 * 8192);
    }
}
