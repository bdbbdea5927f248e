//! Before anything is taken: what of a batch may go now, and what is held back.

use std::collections::HashMap;

use tidepost_core::category::Category;
use tidepost_core::decide::{Case, Hold, Offer, decide};
use tidepost_core::dispatch::{Step, reserve};
use tidepost_core::ids::{CampaignId, MessageId, Nonce, SubscriberId};
use tidepost_core::message::{Message, Standing};
use tidepost_core::reason::{Reason, ReasonCode};
use tidepost_core::template::Template;
use tidepost_core::time::plus_milliseconds;
use tidepost_io::app::App;
use tidepost_io::channels::ChannelState;
use tidepost_io::ledger::Entry;
use tidepost_io::store::StoreError;

/// A message that may go now.
#[derive(Debug)]
pub struct Candidate<'a> {
    /// Its id.
    pub id: MessageId,
    /// Its row.
    pub message: Message,
    /// The candidate send that it is.
    pub offer: Offer,
    /// Its template.
    pub template: &'a Template,
    /// The person as read with the batch.
    pub entry: Entry,
    /// For a campaign: which one, and whom it outbid.
    pub won: Option<Won>,
}

/// What a campaign's candidate is beyond a message.
#[derive(Debug)]
pub struct Won {
    /// The campaign.
    pub campaign: CampaignId,
    /// The variant that the person gets.
    pub variant: String,
    /// The campaigns that lost the person to it.
    pub losers: Vec<[u8; 4]>,
}

/// What a batch comes to.
#[derive(Debug, Default)]
pub struct Plan<'a> {
    /// May go now: `basic` first, then by deadline.
    pub go: Vec<Candidate<'a>>,
    /// Held back, and why.
    pub held: Vec<(MessageId, Message, Hold)>,
    /// Whose row or person cannot be read: the queue keeps them, for the dead letters in the end.
    pub unreadable: Vec<MessageId>,
}

/// Reads rows and people together and sorts the batch.
pub async fn plan<'a>(
    app: &App,
    state: &'a ChannelState,
    ids: &[MessageId],
    nonce: Nonce,
) -> Result<Plan<'a>, StoreError> {
    let rows = app.store.messages(ids).await?;
    let mut plan = Plan::default();
    plan.unreadable.extend(ids.iter().filter(|id| !rows.iter().any(|(row, _)| row == *id)));
    let live = rows.into_iter().filter(|(_, row)| !matches!(row.standing(), Standing::Ended { .. }));
    let live: Vec<(MessageId, Message)> = live.collect();
    let subscribers: Vec<SubscriberId> = live.iter().map(|(_, row)| row.subscriber()).collect();
    let people = app.store.people(&subscribers).await?;
    for (id, message) in live {
        sort(app, state, &people, id, message, nonce, &mut plan);
    }
    plan.go.sort_by_key(|candidate| (candidate.message.category != Category::Basic, candidate.message.deadline));
    Ok(plan)
}

fn sort<'a>(
    app: &App,
    state: &'a ChannelState,
    people: &HashMap<SubscriberId, Entry>,
    id: MessageId,
    message: Message,
    nonce: Nonce,
    plan: &mut Plan<'a>,
) {
    // A task for what is parked is a copy: the parked row brings it back in time.
    let skew = i64::from(state.channel.skew_milliseconds);
    if matches!(message.standing(), Standing::Waiting { until, .. } if plus_milliseconds(app.clock.now(), skew) < *until)
    {
        return;
    }
    let Some(template) = state.templates.get(&message.template) else {
        let reason = Reason::new(ReasonCode::TemplateUnusable, "the channel has no such template any more");
        plan.held.push((id, message, Hold::Refuse(reason)));
        return;
    };
    let offer = message.offer(id);
    let Some(entry) = people.get(&offer.to).cloned() else {
        plan.unreadable.push(id);
        return;
    };
    let case = case(state, template, &entry, &offer, app.clock.now());
    // A message that the person's record does not know is reserved once only, right before its call.
    let hold = match entry.person().sends.find(id).map(|_| reserve(&case, nonce, None)) {
        None => decide(&case),
        Some(Step::Swap(_) | Step::Ours(_)) => None,
        Some(Step::Held(hold)) => Some(hold),
        Some(Step::Elsewhere(_)) => return,
    };
    match hold {
        None => plan.go.push(Candidate { id, message, offer, template, entry, won: None }),
        Some(hold) => plan.held.push((id, message, hold)),
    }
}

/// One offer to one person at one time.
pub fn case<'a>(
    state: &'a ChannelState,
    template: &'a Template,
    entry: &'a Entry,
    offer: &'a Offer,
    now: jiff::Timestamp,
) -> Case<'a> {
    Case { person: entry.person(), offer, channel: &state.channel, health: &state.health, template, now }
}
