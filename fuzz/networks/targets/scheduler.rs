//! `scheduler_config.json` of a pipeline, and the schedule that is made of it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use onestep_fuzz_support::{mutate_json, within};
use onestep_nets::{NoiseSchedule, SchedulerConfig};

/// Noise levels at most: 100,000 numbers in f64, which no length of the file bounds.
const SCHEDULE_BYTES: usize = 8 * 100_000;

mutate_json!();

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let Some(config) = within(text.len(), 160, || {
        let config = SchedulerConfig::from_json(&text).ok()?;
        assert_eq!(SchedulerConfig::from_json(&config.to_json()).as_ref(), Ok(&config), "what is written is what was read");
        Some(config)
    }) else {
        return;
    };
    within(SCHEDULE_BYTES, 32, || {
        let schedule = NoiseSchedule::new(&config).expect("a configuration that was read makes a schedule");
        let levels = schedule.alphas_cumprod();
        assert_eq!(levels.len(), config.num_train_timesteps);
        assert!(levels.iter().all(|level| (0.0..1.0).contains(level)), "coefficients of the signal");
        assert!(levels.is_sorted_by(|a, b| a >= b), "noise grows");
        for steps in [0, 1, 2, 7, 50, config.num_train_timesteps, usize::MAX] {
            for step in schedule.timesteps(steps).unwrap_or_default() {
                assert!(schedule.check(step.timestep).is_ok() && step.previous.is_none_or(|previous| previous < step.timestep), "{step:?}");
                assert!(schedule.sigma(step.timestep) > 0.0);
            }
        }
    });
});
