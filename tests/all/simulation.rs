//! The whole system on a virtual clock, with faults from a seed.

use simulation::planted::Planted;
use simulation::{Size, checkers, runs};

/// A first look; any number by `cargo run -p tidepost-tests -- simulate --seeds N`.
const SEEDS: u64 = 20;

#[test]
fn the_invariants_hold_whatever_goes_wrong() {
    let verdict = runs::run(1, SEEDS, Size::default(), None, |_, _| {});
    let reports: Vec<String> = verdict.broken.iter().map(runs::Broken::report).collect();
    assert!(reports.is_empty(), "{}", reports.join("\n"));
}

#[test]
fn a_seed_run_twice_leaves_the_same_delivery_log() {
    for seed in [1, 2, 3] {
        let log = || runs::history(seed, Size::default(), None).delivery_log();
        let (one, other) = (log(), log());
        assert!(one.lines().count() > 100, "{one}");
        if let Some((one, other)) = one.lines().zip(other.lines()).find(|(one, other)| one != other) {
            panic!("seed {seed}: {one}\nand then: {other}");
        }
        assert_eq!(one, other);
    }
}

/// A checker that cannot fail proves nothing: each has a fault that only it must find.
#[test]
fn planted_faults_are_found() {
    std::thread::scope(|scope| {
        // All of them first: they share the processors.
        let searches: Vec<_> = Planted::ALL.map(|planted| (planted, scope.spawn(move || is_found(planted)))).into();
        for (planted, search) in searches {
            assert!(search.join().unwrap(), "{planted:?} went unnoticed in {SEEDS_PLANTED} seeds");
        }
    });
}

/// So many seeds are tried until a planted fault shows.
const SEEDS_PLANTED: u64 = 30;

fn is_found(planted: Planted) -> bool {
    let tells = |line: &String| line.starts_with(planted.checker());
    (1..=SEEDS_PLANTED)
        .any(|seed| checkers::check(&runs::history(seed, Size::default(), Some(planted))).iter().any(tells))
}
