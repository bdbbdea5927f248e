//! The six invariants and what campaigns promise, restated from the history alone. Nothing here may know how Tidepost decides.

mod campaigns;
mod doubles;
mod grants;
mod losses;
mod overshoot;
mod respect;
mod rollups;

use crate::history::{History, Person, Wanted};

/// How far apart clocks are at the most, in milliseconds.
const SKEW: i64 = 2_000;

/// Whether somebody ever asked to be forgotten: what is known of them goes then, and the question is not when exactly.
fn is_erased(history: &History, person: &Person) -> bool {
    history.wishes.iter().any(|wish| wish.what == Wanted::Erasure && person.subscribers.contains(&wish.who))
}

type Check = fn(&History) -> Vec<String>;

/// All invariants, in the order in which the design states them, and what they come to for campaigns.
const CHECKS: [(&str, Check); 7] = [
    ("no overshoot", overshoot::check),
    ("one grant, one send", grants::check),
    ("no double", doubles::check),
    ("no loss", losses::check),
    ("respect", respect::check),
    ("roll-ups", rollups::check),
    ("campaigns", campaigns::check),
];

/// What is broken, one line each; nothing when all invariants held.
#[must_use]
pub fn check(history: &History) -> Vec<String> {
    let lines = |(name, check): &(&str, Check)| {
        check(history).into_iter().map(|line| format!("{name}: {line}")).collect::<Vec<_>>()
    };
    CHECKS.iter().flat_map(lines).collect()
}
