//! Model check of reserve, send, receipt: every interleaving of deliveries of the same message, with crashes, lost
//! answers and callbacks at every step.
//!
//! The deliveries of the model call the core's own functions. The checkers do not: they read the platform's log of calls
//! and the store's log of writes that took effect.

mod checkers;
mod model;

use stateright::{Checker, HasDiscoveries, Model};

use model::{Protocol, Variant};
use tidepost_core::category::Category::{Basic, Reminder};

/// Explores every reachable state and expects each rule to hold in all of them, and each path to exist.
fn holds(name: &str, protocol: Protocol) {
    let checker = protocol.checker().spawn_bfs().join();
    println!(
        "{name}: {} states, {} of them different, depth {}",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth()
    );
    checker.assert_properties();
}

/// Expects a counterexample to each of `rules`.
fn breaks(name: &str, protocol: Protocol, rules: &[&'static str]) {
    let all = HasDiscoveries::AllOf(rules.iter().copied().collect());
    let checker = protocol.checker().finish_when(all).spawn_bfs().join();
    for rule in rules {
        let path = checker.discovery(rule);
        let path = path.unwrap_or_else(|| panic!("{name}: no counterexample to '{rule}'"));
        println!("{name}: '{rule}' broken after {} states by", checker.state_count());
        for action in path.into_actions() {
            println!("    {action:?}");
        }
    }
}

#[test]
fn a_reminder_is_called_for_at_most_once() {
    holds("reminder", Protocol::new(Variant::Core, &[Reminder; 4]));
}

#[test]
fn a_basic_message_is_called_for_at_most_twice_and_only_after_unknown() {
    holds("basic", Protocol::new(Variant::Core, &[Basic; 4]));
}

#[test]
fn a_second_try_is_not_made_against_the_word_of_the_first_ones_event() {
    holds("event", Protocol::new(Variant::Core, &[Basic; 3]).with_event());
}

#[test]
fn two_messages_of_one_person_do_not_pay_with_one_grant() {
    let plan = [Reminder, Basic, Reminder];
    holds("two messages", Protocol::new(Variant::Core, &plan).with_rejection());
}

#[test]
fn calling_first_and_reserving_afterwards_fails() {
    let protocol = Protocol::new(Variant::CallFirst, &[Reminder; 2]);
    breaks("call first", protocol, &[checkers::NO_DOUBLE_SEND, checkers::NO_CALL_WITHOUT_RESERVATION]);
}

#[test]
fn taking_any_failed_condition_for_the_own_retry_fails() {
    let protocol = Protocol::new(Variant::ConflictIsOwnRetry, &[Reminder; 2]);
    breaks("conflict is own retry", protocol, &[checkers::NO_DOUBLE_SEND, checkers::NO_CALL_WITHOUT_RESERVATION]);
}

#[test]
fn a_nonce_that_is_not_fresh_for_each_delivery_fails() {
    let protocol = Protocol::new(Variant::NoncePerMessage, &[Reminder; 2]);
    breaks("nonce per message", protocol, &[checkers::NO_DOUBLE_SEND]);
}

#[test]
fn writing_without_a_condition_fails() {
    let protocol = Protocol::new(Variant::NoCondition, &[Reminder; 2]);
    breaks("no condition", protocol, &[checkers::NO_DOUBLE_SEND, checkers::GRANTS_ARE_CONSERVED]);
}

#[test]
fn parking_an_undone_second_try_without_a_look_for_the_events_word_fails() {
    let protocol = Protocol::new(Variant::NoLook, &[Basic; 3]).with_event();
    breaks("no look", protocol, &[checkers::NO_TRY_AGAINST_THE_WORD]);
}
