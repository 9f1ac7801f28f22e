//! `scheduler_config.json` of a pipeline, the schedule that is made of it, and its solver.
#![no_main]

use libfuzzer_sys::fuzz_target;
use onestep_fuzz_support::{mutate_json, within};
use onestep_pipeline::{
    config::{SchedulerClass, SchedulerConfig},
    one_step::OneStep,
    schedule::NoiseSchedule,
    solver::solver,
};

/// Noise levels at most: 100,000 numbers in f64, which no length of the file bounds. A schedule, its copy in a solver, tables and timesteps.
const SCHEDULE_BYTES: usize = 8 * 100_000;

mutate_json!();

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let Some(config) = within(text.len(), 160, || {
        for (_, class) in SchedulerClass::ALL {
            let _ = SchedulerConfig::from_json_as(&text, class);
        }
        let config = SchedulerConfig::from_json(&text).ok()?;
        assert_eq!(SchedulerConfig::from_json(&config.to_json()).as_ref(), Ok(&config), "what is written is what was read");
        Some(config)
    }) else {
        return;
    };
    within(SCHEDULE_BYTES, 64, || {
        let schedule = NoiseSchedule::new(&config).expect("a configuration that was read makes a schedule");
        let levels = schedule.alphas_cumprod();
        assert_eq!(levels.len(), config.num_train_timesteps);
        assert!(levels.iter().all(|level| (0.0..1.0).contains(level)), "coefficients of the signal");
        assert!(levels.is_sorted_by(|a, b| a >= b), "noise grows");
        for steps in [0, 1, 2, 7, 50, config.num_train_timesteps, usize::MAX] {
            let Ok(mut solver) = solver::<Vec<f64>>(&schedule, steps) else { continue };
            let timesteps = solver.timesteps().to_vec();
            assert!(!timesteps.is_empty() && timesteps.len() <= steps + 9, "{} evaluations in {steps} steps", timesteps.len());
            assert!(timesteps.iter().all(|&timestep| (0.0..config.num_train_timesteps as f64).contains(&timestep)), "{timesteps:?}");
            let mut x = vec![solver.init_noise_sigma()];
            for index in 0..timesteps.len().min(60) {
                assert!(solver.input_scale(index).is_finite() && solver.noising(index).sigma.is_finite());
                x = solver.step(index, x, vec![0.5], &mut || vec![1.0]);
                assert!(x[0].is_finite(), "step {index} of {steps}");
            }
        }
        for (_, kind) in OneStep::NAMES {
            for timestep in [None, Some(0), Some(config.num_train_timesteps - 1)] {
                if let Ok(rule) = kind.rule(&schedule, timestep) {
                    assert!(rule.input.is_finite() && rule.sample.is_finite() && rule.output.is_finite(), "{kind:?} {rule:?}");
                }
            }
        }
    });
});
