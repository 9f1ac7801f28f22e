//! Parallel work: rayon's threads natively, the calling thread in a browser.

/// Multiply-adds per thread below which another thread costs more than it saves: some tens of microseconds of one core.
const WORTH_A_THREAD: usize = 1_000_000;

/// Runs work on a thread of the pool. Outside the pool, every parallel section would put the calling thread to sleep.
pub(crate) fn enter<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    #[cfg(not(target_arch = "wasm32"))]
    if rayon::current_num_threads() > 1 {
        return rayon::scope(|_| work());
    }
    work()
}

/// The number of parts to split `work` multiply-adds into.
pub(crate) fn parts_of(work: usize) -> usize {
    #[cfg(not(target_arch = "wasm32"))]
    let threads = rayon::current_num_threads();
    #[cfg(target_arch = "wasm32")]
    let threads = 1;
    (work / WORTH_A_THREAD).clamp(1, threads)
}

/// Runs `task` on each item in parallel.
pub(crate) fn for_each<T: Send>(items: Vec<T>, task: impl Fn(T) + Send + Sync) {
    #[cfg(not(target_arch = "wasm32"))]
    if items.len() > 1 {
        use rayon::prelude::*;
        return items.into_par_iter().with_max_len(1).for_each(task);
    }
    items.into_iter().for_each(task);
}

/// Runs `task` on each item in `parts` parts, each with a state from `init`.
pub(crate) fn for_each_of<T: Send, S>(items: Vec<T>, parts: usize, init: impl Fn() -> S + Send + Sync, task: impl Fn(&mut S, T) + Send + Sync) {
    let of_part = items.len().div_ceil(parts).max(1);
    let mut items = items.into_iter();
    let parts: Vec<Vec<T>> = std::iter::from_fn(|| Some(items.by_ref().take(of_part).collect::<Vec<T>>()).filter(|part| !part.is_empty())).collect();
    for_each(parts, |part| {
        let mut state = init();
        part.into_iter().for_each(|item| task(&mut state, item));
    });
}

/// Runs `task` on chunks of `length` elements with their index, in `parts` parts.
pub(crate) fn for_chunks(elements: &mut [f32], length: usize, parts: usize, task: impl Fn(usize, &mut [f32]) + Send + Sync) {
    let length = length.max(1);
    #[cfg(not(target_arch = "wasm32"))]
    if parts > 1 {
        use rayon::prelude::*;
        let chunks = (elements.len() / length).div_ceil(parts).max(1);
        elements.par_chunks_mut(chunks * length).enumerate().for_each(|(part, elements)| {
            for (index, chunk) in elements.chunks_mut(length).enumerate() {
                task(part * chunks + index, chunk);
            }
        });
        return;
    }
    #[cfg(target_arch = "wasm32")]
    let _ = parts;
    for (index, chunk) in elements.chunks_mut(length).enumerate() {
        task(index, chunk);
    }
}
