//! Work on all cores: rayon's threads natively, the calling one in a browser.

/// Multiply-adds below which another thread costs more than it saves: some tens of microseconds of one core.
const WORTH_A_THREAD: usize = 1_000_000;

/// Runs work that will be cut into parts, on one of the threads that take them: from outside, each cut would put the caller to sleep.
pub(crate) fn enter<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    #[cfg(not(target_arch = "wasm32"))]
    if rayon::current_num_threads() > 1 {
        return rayon::scope(|_| work());
    }
    work()
}

/// Into how many parts to cut so many multiply-adds.
pub(crate) fn parts_of(work: usize) -> usize {
    #[cfg(not(target_arch = "wasm32"))]
    let threads = rayon::current_num_threads();
    #[cfg(target_arch = "wasm32")]
    let threads = 1;
    (work / WORTH_A_THREAD).clamp(1, threads)
}

/// Results of `task` for 0..count, in order.
pub(crate) fn map<T: Send>(count: usize, task: impl Fn(usize) -> T + Send + Sync) -> Vec<T> {
    #[cfg(not(target_arch = "wasm32"))]
    if count > 1 {
        use rayon::prelude::*;
        return (0..count).into_par_iter().map(task).collect();
    }
    (0..count).map(task).collect()
}

/// Runs `task` on chunks of `length` elements with their numbers, in `parts` parts.
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
