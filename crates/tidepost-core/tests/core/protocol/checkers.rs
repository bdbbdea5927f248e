//! The rules, restated over the logs: nothing here asks the code that it checks.

use stateright::Property;
use tidepost_core::category::Category;

use super::model::{Answer, Delivery, GRANTS, Phase, Protocol, Send, State};

pub const NO_DOUBLE_SEND: &str = "no double send";
pub const NO_DOUBLE_CONSUMPTION: &str = "no double consumption";
pub const NO_CALL_WITHOUT_RESERVATION: &str = "no call without a reservation";
pub const GRANTS_ARE_CONSERVED: &str = "grants are conserved";
pub const NO_TRY_AGAINST_THE_WORD: &str = "no try is reserved once the event has told";

pub fn all() -> Vec<Property<Protocol>> {
    vec![
        Property::always(NO_DOUBLE_SEND, no_double_send),
        Property::always("a second try waits for the first one's event", second_tries_wait),
        Property::always(NO_DOUBLE_CONSUMPTION, no_double_consumption),
        Property::always(NO_CALL_WITHOUT_RESERVATION, |_, state: &State| state.calls_unreserved == 0),
        Property::always(NO_TRY_AGAINST_THE_WORD, |_, state: &State| state.reserved_against_word == 0),
        Property::always(GRANTS_ARE_CONSERVED, grants_are_conserved),
        Property::always("the cap counts what was not given back", counts_are_right),
        // That the model gets anywhere at all.
        Property::sometimes("a message is delivered", |_, state| delivered(state, |_| true)),
        Property::sometimes("a conflict is decided again and delivered", |_, state| {
            delivered(state, |one| one.conflicted)
        }),
        Property::sometimes("a reservation made unheard is recognised and delivered", |_, state| {
            delivered(state, |one| one.unheard)
        }),
    ]
}

fn delivered(state: &State, what: fn(&Delivery) -> bool) -> bool {
    let mut ones = state.deliveries.iter();
    ones.any(|one| one.phase == Phase::Reporting(Answer::Delivered) && what(one))
}

/// Whether nobody of ours knows how a call ended.
fn is_unknown(state: &State, send: &Send) -> bool {
    send.answer != Answer::Delivered || state.deliveries[send.delivery].is_dead()
}

/// How many times a message may be called for that can deliver.
fn calls_max(category: Category) -> usize {
    if category == Category::Basic { 2 } else { 1 }
}

fn no_double_send(model: &Protocol, state: &State) -> bool {
    let by_message = model.plan.iter().all(|category| {
        let sends = || state.sends.iter().filter(|send| send.category == *category);
        let earlier = sends().count().saturating_sub(1);
        sends().count() <= calls_max(*category) && sends().take(earlier).all(|send| is_unknown(state, send))
    });
    let by_delivery = (0..state.deliveries.len()).all(|delivery| {
        let sends = state.sends.iter().filter(|send| send.delivery == delivery);
        sends.count() <= 1
    });
    by_message && by_delivery
}

/// Of two calls for one message that may have delivered, only the first was made before the pause.
fn second_tries_wait(model: &Protocol, state: &State) -> bool {
    model.plan.iter().all(|category| {
        let sends = state.sends.iter().filter(|send| send.category == *category);
        sends.filter(|send| !send.is_later).count() <= 1
    })
}

/// A delivery keeps at most one grant, a message at most one for each call that it may make, and each call that can
/// deliver has one of its own.
fn no_double_consumption(model: &Protocol, state: &State) -> bool {
    let by_delivery = state.deliveries.iter().all(|one| (0..=1).contains(&one.kept));
    let by_message = model.plan.iter().all(|category| {
        let ones = state.deliveries.iter().zip(&model.plan);
        let kept: i8 = ones.filter(|(_, of)| *of == category).map(|(one, _)| one.kept).sum();
        usize::try_from(kept).is_ok_and(|kept| kept <= calls_max(*category))
    });
    let by_send = state.sends.iter().all(|send| state.deliveries[send.delivery].kept == 1);
    by_delivery && by_message && by_send
}

/// What was ever granted is there, or taken by a reservation, or went for a reason that the logs show.
fn grants_are_conserved(model: &Protocol, state: &State) -> bool {
    let taken: i32 = state.deliveries.iter().map(|one| i32::from(one.kept)).sum();
    let gone = i32::from(state.withdrawn) + i32::from(state.emptied);
    let granted = i32::from(GRANTS) + i32::from(state.consents);
    granted == i32::from(model.available(&state.item)) + taken + gone && (state.emptied == 0 || state.denials >= 2)
}

fn counts_are_right(_: &Protocol, state: &State) -> bool {
    let counted = state.item.counters.get("sd").map_or(0, |(_, count)| i32::from(*count));
    let ones = state.deliveries.iter();
    counted == ones.map(|one| i32::from(one.counted)).sum::<i32>()
}
