//! Deliveries, the store and the platform as a state machine.

use std::collections::BTreeMap;

use jiff::Timestamp;
use stateright::{Model, Property};

use tidepost_core::category::{Category, Urgency};
use tidepost_core::channel::{Channel, Health};
use tidepost_core::decide::{Case, Offer};
use tidepost_core::dispatch::{
    FollowUp, REPEAT_SECONDS, RESERVE_TRIES, Settlement, Step, follow_up, may_repeat, never_again, reserve, settle,
};
use tidepost_core::grant::{Consent, Payment, Source, Terms};
use tidepost_core::ids::{MessageId, Nonce, SubscriberId};
use tidepost_core::message::Message;
use tidepost_core::outcome::{Ending, Outcome, PlatformWord};
use tidepost_core::person::{Answer as Word, Heard, Person};
use tidepost_core::reason::{Reason, ReasonCode};
use tidepost_core::receipt::{Entry, best};
use tidepost_core::recover::{DELIVERY_SECONDS, Recovery, TRANSIT_SECONDS, recover};
use tidepost_core::reply::{Answer as PlatformAnswer, CallResult, Reply, RetryReason};
use tidepost_core::sends::Mark;
use tidepost_core::template::{Template, TemplateKind};
use tidepost_core::time::plus_seconds;

/// Deliveries that are alive at the same time.
const CONCURRENT: usize = 2;
/// Grants the person has at first.
pub const GRANTS: u8 = 2;
const TEMPLATE: &str = "T";

/// What the deliveries do: as the core has it, or one of the ways that look as if they would do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Variant {
    /// Reserve, send, receipt.
    Core,
    /// Call the platform and write the reservation afterwards.
    CallFirst,
    /// When the condition fails and the message's id is there, go on whoever reserved it.
    ConflictIsOwnRetry,
    /// All deliveries of a message share one nonce.
    NoncePerMessage,
    /// Write the item whatever has become of it.
    NoCondition,
    /// Park an undone second try without a look for the word of the first one's event.
    NoLook,
}

/// The model: which deliveries there will be, and everything that does not change.
pub struct Protocol {
    variant: Variant,
    /// The category of each delivery's message; deliveries of one category are deliveries of one message.
    pub plan: Vec<Category>,
    rejections: u8,
    /// Whether the platform's sent event comes.
    has_event: bool,
    /// Calls of a delivery that the platform may answer with 'busy'.
    busy_answers: u8,
    offers: Vec<Offer>,
    messages: Vec<Message>,
    channel: Channel,
    template: Template,
    /// The model's clock at first.
    start: Timestamp,
}

/// One moment. What can make no difference any more is left out, so that equal futures are one state: the item's version
/// (a write knows whether it is stale) and the working memory of deliveries that are over.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct State {
    /// What is stored.
    pub item: Person,
    /// Deliveries that were started, in order.
    pub deliveries: Vec<Delivery>,
    /// The platform's log of calls that may have delivered.
    pub sends: Vec<Send>,
    /// Calls, of whatever answer, that had no reservation when they were made.
    pub calls_unreserved: u8,
    /// Calls that were answered with 'no grant'.
    pub denials: u8,
    /// Consents that were counted after the start.
    pub consents: u8,
    /// Grants that went when the person said no.
    pub withdrawn: u8,
    /// Grants that went when the platform knew of none a second time.
    pub emptied: u8,
    rejections_left: u8,
    /// How far the platform's sent event on the `basic` message has come.
    pub event: SentEvent,
    /// The best word of all receipts on each message.
    receipts: BTreeMap<Category, Outcome>,
    /// Somebody died between a second try's leave and its look for the event's word.
    pub died_before_look: bool,
    /// Reservations made after the event was told, while nobody was about to look for its word.
    pub reserved_against_word: u8,
    /// How many pauses before a second try have passed since the start.
    pub pauses: u8,
}

/// What the callback does with the event that says that the `basic` message was delivered: it takes the leave for a second
/// try away, leaves its receipt, and takes the leave away again.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum SentEvent {
    Away,
    Forbidden,
    Noted,
    Told,
}

/// One delivery of a message, and what it has done to the store.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Delivery {
    pub phase: Phase,
    tries_left: usize,
    /// Under its reservation.
    calls: u8,
    /// Grants that its writes took, less those that they gave back.
    pub kept: i8,
    /// The same for the count of the cap.
    pub counted: i8,
    /// Only in [`Variant::CallFirst`]: the call was made.
    called: bool,
    /// It had to decide again, or a write of it took effect unheard: shows that the model gets there.
    pub conflicted: bool,
    pub unheard: bool,
    /// A write of its own, or of the walk after it, gave leave for a second try, and the look for the event's word is due.
    owes_look: bool,
    /// The person said no while it held a reservation.
    pub forfeited: bool,
}

/// What a delivery does next.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Phase {
    /// It computed a reservation and swaps.
    Swapping { swap: Swap, payment: Payment },
    /// It believes to hold a reservation and calls.
    Calling(Payment),
    /// It computed a settlement and swaps.
    Settling { swap: Swap, payment: Payment, answer: Answer },
    /// It has given leave for a second try and looks whether the event has told meanwhile.
    Looking(Answer),
    /// It leaves its receipt.
    Reporting(Answer),
    /// It is over, with or without a receipt.
    Ended,
    /// It died after it had reserved.
    Crashed,
    /// It died, the walk found no receipt and is about to allow a second try.
    Found,
    /// It died, and the walk looks whether the event has told before it allowed a second try.
    Walked,
}

/// A compare-and-swap under way; `None` once the item has changed and the condition must fail.
type Swap = Option<Box<Person>>;

/// How a call ends.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Answer {
    Delivered,
    /// Busy for a moment.
    Busy,
    /// The request never left.
    Down,
    NoGrant,
    Refused,
    /// No answer. Whether the platform delivered makes no difference to us: the checkers count it as a send.
    TimedOut,
}

const ANSWERS: [Answer; 6] =
    [Answer::Delivered, Answer::Busy, Answer::Down, Answer::NoGrant, Answer::Refused, Answer::TimedOut];

impl Answer {
    /// As the platform's client tells it.
    fn result(self) -> CallResult {
        let answered = |code, reply| CallResult::Answered(PlatformAnswer { code, message: String::new(), reply });
        match self {
            Self::Delivered => answered(0, Reply::Delivered { message_id: None }),
            Self::Busy => answered(-1, Reply::Retry { after_seconds: 1, reason: RetryReason::Busy }),
            Self::Down => CallResult::NotSent { detail: String::new() },
            Self::NoGrant => answered(43_101, Reply::NoGrant),
            Self::Refused => answered(47_003, Reply::BadRequest { field: None }),
            Self::TimedOut => CallResult::Unknown { detail: String::new() },
        }
    }

    fn outcome(self) -> Outcome {
        match self {
            Self::Delivered => Outcome::Delivered,
            Self::TimedOut => Outcome::Unknown,
            _ => Outcome::Refused,
        }
    }
}

/// One call that may have delivered.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Send {
    pub delivery: usize,
    pub category: Category,
    pub answer: Answer,
    /// Whether it was made after the pause.
    pub is_later: bool,
}

/// One step of the world.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Action {
    /// A callback tells of one more consent.
    Accept,
    /// A callback tells that the person said no.
    Reject,
    /// The pause before a second try passes.
    Pass,
    /// The queue hands the next delivery to somebody, who reads the item and decides.
    Start,
    /// A write reaches the store and its answer comes back.
    Write(usize),
    /// A write takes effect and its answer is lost: the SDK will send it again.
    WriteUnheard(usize),
    Call(usize, Answer),
    /// Somebody who gave leave for a second try, or is about to, looks for the event's word.
    Look(usize),
    Report(usize),
    Crash(usize),
    /// The walk over the messages finds the reservation of a dead delivery without a receipt.
    Recover(usize),
    /// The walk allows the second try.
    Allow(usize),
    /// The platform's sent event on the `basic` message arrives, or its handler takes one more step.
    Event,
}

impl Protocol {
    pub fn new(variant: Variant, plan: &[Category]) -> Self {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        Self {
            variant,
            plan: plan.to_vec(),
            rejections: 0,
            has_event: false,
            busy_answers: 1,
            offers: plan.iter().map(|category| offer(*category, now)).collect(),
            messages: plan.iter().map(|category| message(*category)).collect(),
            channel: channel(),
            template: template(),
            start: now,
        }
    }

    /// The person may also say no, once; to keep the number of states down, a busy platform is not tried again at once.
    pub fn with_rejection(self) -> Self {
        Self { rejections: 1, busy_answers: 0, ..self }
    }

    /// The platform's event on the `basic` message may come as well.
    pub fn with_event(self) -> Self {
        Self { has_event: true, ..self }
    }

    fn now(&self, pauses: u8) -> Timestamp {
        let pause_seconds = i64::from(pauses) * (REPEAT_SECONDS + 1);
        plus_seconds(self.start, pause_seconds)
    }

    /// The name of a delivery: fresh for each, except where the variant gets that wrong.
    fn nonce(&self, delivery: usize) -> Nonce {
        let byte = match self.variant {
            Variant::NoncePerMessage => 100 + self.plan[delivery] as u8,
            _ => u8::try_from(delivery).unwrap(),
        };
        Nonce([byte; 8])
    }

    /// Grants that may be used now.
    pub fn available(&self, item: &Person) -> u8 {
        let grant = item.subscriber(&someone()).and_then(|one| one.grants.get(TEMPLATE));
        u8::try_from(grant.map_or(0, |grant| grant.available(self.start))).unwrap()
    }

    /// Whether the item has a live entry of this delivery's message and nonce. Reads the entries, asks no rule.
    fn is_reserved(&self, item: &Person, delivery: usize) -> bool {
        item.sends.iter().any(|send| {
            send.id == self.offers[delivery].id
                && send.nonce == self.nonce(delivery)
                && matches!(send.mark, Mark::Reserved | Mark::Repeated)
        })
    }

    /// What a delivery does with the item as it is.
    fn decide(&self, state: &State, delivery: usize, held: Option<&Payment>) -> Phase {
        let case = Case {
            person: &state.item,
            offer: &self.offers[delivery],
            channel: &self.channel,
            health: &Health::default(),
            template: &self.template,
            now: self.now(state.pauses),
        };
        match reserve(&case, self.nonce(delivery), held) {
            Step::Swap(reserved) if self.calls_first(state, delivery) => Phase::Calling(reserved.payment),
            Step::Swap(reserved) => {
                Phase::Swapping { payment: reserved.payment, swap: Some(Box::new(reserved.person)) }
            }
            Step::Ours(payment) => Phase::Calling(payment),
            Step::Elsewhere(_) | Step::Held(_) => Phase::Ended,
        }
    }

    fn calls_first(&self, state: &State, delivery: usize) -> bool {
        let called = state.deliveries.get(delivery).is_some_and(|one| one.called);
        self.variant == Variant::CallFirst && !called
    }

    /// The condition of a reservation failed, and the store returned the item.
    fn decide_again(&self, state: &mut State, delivery: usize, payment: &Payment) -> Phase {
        let one = &mut state.deliveries[delivery];
        one.tries_left -= 1;
        one.conflicted |= !one.unheard;
        if one.tries_left == 0 {
            return Phase::Ended;
        }
        let id = self.offers[delivery].id;
        let is_there = state.item.sends.iter().any(|send| send.id == id);
        if self.variant == Variant::ConflictIsOwnRetry && is_there {
            return Phase::Calling(payment.clone());
        }
        self.decide(state, delivery, Some(payment))
    }

    /// What comes after an answer.
    fn after(&self, state: &State, delivery: usize, payment: &Payment, answer: Answer) -> Phase {
        if self.variant == Variant::CallFirst {
            return self.decide(state, delivery, None);
        }
        let (offer, nonce) = (&self.offers[delivery], self.nonce(delivery));
        let settle =
            |settlement| settle(&state.item, offer, &self.channel, TemplateKind::OneTime, nonce, payment, settlement);
        let calls = u32::from(state.deliveries[delivery].calls);
        let next = match follow_up(&answer.result(), calls, &self.channel, self.now(state.pauses)) {
            FollowUp::Done(_) => None,
            FollowUp::Again { .. } => return Phase::Calling(payment.clone()),
            FollowUp::Park { .. } => settle(Settlement::Undo),
            FollowUp::Settle(settlement, _) => settle(settlement),
            FollowUp::Unknown(_) if offer.category == Category::Basic => may_repeat(&state.item, offer.id, nonce),
            FollowUp::Unknown(_) => None,
        };
        match next {
            Some(person) => Phase::Settling { swap: Some(Box::new(person)), payment: payment.clone(), answer },
            None => self.settled(&state.item, delivery, answer),
        }
    }

    /// What comes once nothing is left to write: whoever gave leave for a second try looks for the event's word, and what
    /// was not parked leaves a receipt.
    fn settled(&self, item: &Person, delivery: usize, answer: Answer) -> Phase {
        let is_parked = matches!(answer, Answer::Busy | Answer::Down);
        let own = item.sends.find(self.offers[delivery].id).filter(|send| send.nonce == self.nonce(delivery));
        let gave_leave = own.is_some_and(|send| send.mark == Mark::MayRepeat);
        match (gave_leave, is_parked) {
            (true, true) if self.variant == Variant::NoLook => Phase::Ended,
            (true, _) => Phase::Looking(answer),
            (false, true) => Phase::Ended,
            (false, false) => Phase::Reporting(answer),
        }
    }

    /// Notes that a look is due, after a write that gave leave for a second try.
    fn owe_look(&self, state: &mut State, delivery: usize, answer: Answer) {
        let own = state.item.sends.find(self.offers[delivery].id).filter(|send| send.nonce == self.nonce(delivery));
        let gave_leave = own.is_some_and(|send| send.mark == Mark::MayRepeat);
        let looks = self.variant != Variant::NoLook || answer == Answer::TimedOut;
        state.deliveries[delivery].owes_look = gave_leave && looks;
    }

    fn look(&self, state: &mut State, delivery: usize) {
        let category = self.plan[delivery];
        if state.receipts.get(&category).is_some_and(|outcome| *outcome != Outcome::Unknown) {
            self.forbid(state, self.offers[delivery].id);
        }
        let one = &mut state.deliveries[delivery];
        one.owes_look = false;
        one.phase = match one.phase {
            Phase::Looking(Answer::Busy | Answer::Down) => Phase::Ended,
            Phase::Looking(answer) => Phase::Reporting(answer),
            _ => Phase::Crashed,
        };
    }

    /// A compare-and-swap that is tried until it succeeds.
    fn forbid(&self, state: &mut State, id: MessageId) {
        if let Some(item) = never_again(&state.item, id) {
            self.store(state, &item);
        }
    }

    /// The callback's next step.
    fn tell(&self, state: &mut State) {
        let Some(basic) = self.plan.iter().position(|category| *category == Category::Basic) else { return };
        let id = self.offers[basic].id;
        state.event = match state.event {
            SentEvent::Away => SentEvent::Forbidden,
            SentEvent::Forbidden => {
                self.leave_receipt(state, basic, Outcome::Delivered);
                SentEvent::Noted
            }
            SentEvent::Noted | SentEvent::Told => SentEvent::Told,
        };
        if state.event != SentEvent::Noted {
            self.forbid(state, id);
        }
    }

    fn leave_receipt(&self, state: &mut State, delivery: usize, outcome: Outcome) {
        let category = self.plan[delivery];
        let known = state.receipts.get(&category).copied();
        let all = known.into_iter().chain([outcome]).map(|outcome| self.entry(delivery, outcome));
        let best = best(all).map_or(outcome, |entry| entry.ending.outcome);
        state.receipts.insert(category, best);
    }

    fn entry(&self, delivery: usize, outcome: Outcome) -> Entry {
        let code = match outcome {
            Outcome::Unknown => ReasonCode::Timeout,
            _ => ReasonCode::NoGrant,
        };
        let ending = match outcome {
            Outcome::Delivered => Ending::delivered(PlatformWord { code: 0, message: String::new(), message_id: None }),
            _ => Ending::because(Reason::new(code, ""), None),
        };
        Entry { id: self.offers[delivery].id, at: self.start, ending }
    }

    /// A write arrives at the store; `heard` says whether its answer comes back.
    fn write(&self, state: &mut State, delivery: usize, heard: bool) {
        let phase = state.deliveries[delivery].phase.clone();
        match &phase {
            Phase::Swapping { swap: Some(new), .. } => {
                let is_against_word = state.event == SentEvent::Told
                    && self.plan[delivery] == Category::Basic
                    && !state.died_before_look
                    && !state.deliveries.iter().any(|one| one.owes_look);
                state.reserved_against_word += u8::from(is_against_word);
                self.store(state, new);
                let one = &mut state.deliveries[delivery];
                one.kept += 1;
                one.counted += 1;
            }
            Phase::Settling { swap: Some(new), answer, .. } => {
                let dropped = self.available(&state.item).saturating_sub(self.available(new));
                state.emptied += dropped;
                self.store(state, new);
                let one = &mut state.deliveries[delivery];
                let takes_back = matches!(answer, Answer::Busy | Answer::Down | Answer::Refused);
                one.kept -= i8::from(takes_back);
                // The person said no after it was paid: it is not given back.
                state.withdrawn += u8::from(takes_back && one.forfeited);
                one.counted -= i8::from(*answer != Answer::TimedOut);
                self.owe_look(state, delivery, *answer);
            }
            _ => {}
        }
        if !heard {
            state.deliveries[delivery].unheard = true;
            return;
        }
        let next = match phase {
            Phase::Swapping { swap: Some(_), .. } if state.deliveries[delivery].called => Phase::Ended,
            Phase::Swapping { swap: Some(_), payment, .. } => Phase::Calling(payment),
            Phase::Swapping { payment, .. } => self.decide_again(state, delivery, &payment),
            Phase::Settling { swap: Some(_), answer, .. } => self.settled(&state.item, delivery, answer),
            Phase::Settling { payment, answer, .. } => self.after(state, delivery, &payment, answer),
            other => other,
        };
        state.deliveries[delivery].phase = next;
    }

    /// The store takes an item, and the conditions of all other writes fail from now on.
    fn store(&self, state: &mut State, new: &Person) {
        state.item = new.clone();
        if self.variant == Variant::NoCondition {
            return;
        }
        for one in &mut state.deliveries {
            if let Phase::Swapping { swap, .. } | Phase::Settling { swap, .. } = &mut one.phase {
                *swap = None;
            }
        }
    }

    fn call(&self, state: &mut State, delivery: usize, answer: Answer) {
        let Phase::Calling(payment) = state.deliveries[delivery].phase.clone() else {
            unreachable!("only a delivery that may call does");
        };
        state.calls_unreserved += u8::from(!self.is_reserved(&state.item, delivery));
        state.denials += u8::from(answer == Answer::NoGrant);
        if matches!(answer, Answer::Delivered | Answer::TimedOut) {
            let (category, is_later) = (self.plan[delivery], state.pauses > 0);
            state.sends.push(Send { delivery, category, answer, is_later });
        }
        state.deliveries[delivery].called = self.variant == Variant::CallFirst;
        state.deliveries[delivery].calls += 1;
        state.deliveries[delivery].phase = self.after(state, delivery, &payment, answer);
    }

    fn hear(&self, state: &mut State, consent: Consent) {
        let before = self.available(&state.item);
        let mut item = state.item.clone();
        item.hear(&someone(), &heard(consent, 100 + consent as u8), self.now(state.pauses));
        self.store(state, &item);
        match consent {
            Consent::Accept => state.consents += 1,
            _ => {
                state.withdrawn += before;
                state.deliveries.iter_mut().for_each(|one| one.forfeited |= one.kept > 0);
                state.rejections_left -= 1;
            }
        }
    }

    fn begin(&self, state: &mut State) {
        let delivery = state.deliveries.len();
        let phase = self.decide(state, delivery, None);
        state.deliveries.push(Delivery {
            phase,
            forfeited: false,
            owes_look: false,
            tries_left: RESERVE_TRIES,
            calls: 0,
            kept: 0,
            counted: 0,
            called: false,
            conflicted: false,
            unheard: false,
        });
    }

    /// What a delivery that is alive can do, or suffer.
    fn steps(&self, state: &State, delivery: usize, actions: &mut Vec<Action>) {
        let one = &state.deliveries[delivery];
        match &one.phase {
            Phase::Swapping { swap, .. } | Phase::Settling { swap, .. } => {
                actions.push(Action::Write(delivery));
                if swap.is_some() && !one.unheard {
                    actions.push(Action::WriteUnheard(delivery));
                }
            }
            Phase::Calling(_) => actions.extend(
                ANSWERS
                    .into_iter()
                    .filter(|answer| *answer != Answer::Busy || one.calls < self.busy_answers)
                    .map(|answer| Action::Call(delivery, answer)),
            ),
            Phase::Looking(_) => actions.push(Action::Look(delivery)),
            Phase::Reporting(_) => actions.push(Action::Report(delivery)),
            Phase::Ended => return,
            Phase::Crashed => {
                if matches!(self.recovery(state, delivery), Some(Recovery::NoteCrash { .. })) {
                    actions.push(Action::Recover(delivery));
                }
                return;
            }
            Phase::Found => return actions.push(Action::Allow(delivery)),
            Phase::Walked => return actions.push(Action::Look(delivery)),
        }
        actions.push(Action::Crash(delivery));
    }

    /// What the walk makes of the message of a dead delivery whose reservation it finds.
    fn recovery(&self, state: &State, delivery: usize) -> Option<Recovery> {
        let (offer, category) = (&self.offers[delivery], self.plan[delivery]);
        let reserved = state.item.sends.find(offer.id).filter(|send| send.nonce == self.nonce(delivery))?;
        let receipt = state.receipts.get(&category).map(|outcome| self.entry(delivery, *outcome));
        // Longer than anybody lives after reserving.
        let now = plus_seconds(self.now(state.pauses), DELIVERY_SECONDS);
        let message = &self.messages[delivery];
        Some(recover(message, Some(reserved), receipt.as_ref(), false, TRANSIT_SECONDS, now))
    }

    fn walk(&self, state: &mut State, delivery: usize) {
        let Some(Recovery::NoteCrash { may_repeat }) = self.recovery(state, delivery) else { return };
        self.leave_receipt(state, delivery, Outcome::Unknown);
        state.deliveries[delivery].phase = if may_repeat { Phase::Found } else { Phase::Crashed };
    }

    fn allow(&self, state: &mut State, delivery: usize) {
        if let Some(item) = may_repeat(&state.item, self.offers[delivery].id, self.nonce(delivery)) {
            self.store(state, &item);
        }
        self.owe_look(state, delivery, Answer::TimedOut);
        state.deliveries[delivery].phase = Phase::Walked;
    }
}

impl Delivery {
    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Ended) || self.is_dead()
    }

    /// Whether it died after it had reserved.
    pub fn is_dead(&self) -> bool {
        matches!(self.phase, Phase::Crashed | Phase::Found | Phase::Walked)
    }

    /// Drops the working memory of a delivery that is over.
    fn forget(&mut self) {
        if self.is_over() {
            (self.tries_left, self.calls) = (0, 0);
            (self.conflicted, self.unheard, self.called) = (false, false, false);
        }
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let mut item = Person::new(&someone());
        for event in 0..GRANTS {
            item.hear(&someone(), &heard(Consent::Accept, event), self.start);
        }
        vec![State {
            item,
            deliveries: Vec::new(),
            sends: Vec::new(),
            calls_unreserved: 0,
            denials: 0,
            consents: 0,
            withdrawn: 0,
            emptied: 0,
            rejections_left: self.rejections,
            event: SentEvent::Away,
            receipts: BTreeMap::new(),
            died_before_look: false,
            reserved_against_word: 0,
            pauses: 0,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        // The world changes only while a delivery is under way: before and after, that is another first state.
        let alive = state.deliveries.iter().filter(|one| !one.is_over()).count();
        if alive > 0 && state.consents == 0 {
            actions.push(Action::Accept);
        }
        if alive > 0 && state.rejections_left > 0 {
            actions.push(Action::Reject);
        }
        // Only a second try looks at the time.
        let pauses_max = if self.has_event { 2 } else { 1 };
        if state.pauses < pauses_max && state.sends.iter().any(|send| send.category == Category::Basic) {
            actions.push(Action::Pass);
        }
        if self.has_event
            && state.event != SentEvent::Told
            && state.sends.iter().any(|send| send.category == Category::Basic)
        {
            actions.push(Action::Event);
        }
        if alive < CONCURRENT && state.deliveries.len() < self.plan.len() {
            actions.push(Action::Start);
        }
        for delivery in 0..state.deliveries.len() {
            self.steps(state, delivery, actions);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Accept => self.hear(&mut state, Consent::Accept),
            Action::Reject => self.hear(&mut state, Consent::Reject),
            Action::Pass => state.pauses += 1,
            Action::Start => self.begin(&mut state),
            Action::Write(delivery) => self.write(&mut state, delivery, true),
            Action::WriteUnheard(delivery) => self.write(&mut state, delivery, false),
            Action::Call(delivery, answer) => self.call(&mut state, delivery, answer),
            Action::Look(delivery) => self.look(&mut state, delivery),
            Action::Event => self.tell(&mut state),
            Action::Report(delivery) => {
                if let Phase::Reporting(answer) = state.deliveries[delivery].phase {
                    self.leave_receipt(&mut state, delivery, answer.outcome());
                }
                state.deliveries[delivery].phase = Phase::Ended;
            }
            Action::Crash(delivery) => {
                state.died_before_look |= state.deliveries[delivery].owes_look;
                let held_nothing = state.deliveries[delivery].kept == 0;
                state.deliveries[delivery].phase = if held_nothing { Phase::Ended } else { Phase::Crashed };
            }
            Action::Recover(delivery) => self.walk(&mut state, delivery),
            Action::Allow(delivery) => self.allow(&mut state, delivery),
        }
        state.deliveries.iter_mut().for_each(Delivery::forget);
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        super::checkers::all()
    }
}

fn someone() -> SubscriberId {
    SubscriberId::new("shop", "o1")
}

fn heard(consent: Consent, event: u8) -> Heard {
    Heard {
        event: [event; 8],
        source: Source::Event,
        answers: vec![Word {
            template: TEMPLATE.into(),
            kind: TemplateKind::OneTime,
            consent,
            terms: Terms::default(),
        }],
    }
}

fn offer(category: Category, now: Timestamp) -> Offer {
    Offer {
        id: MessageId::derive("shop", "k_1", &format!("{category:?}"), now),
        to: someone(),
        template: TEMPLATE.into(),
        category,
        urgency: Urgency::Normal,
        topic: "orders".into(),
        business_line: None,
        not_before: None,
        not_after: "2026-11-22T12:00:00Z".parse().unwrap(),
    }
}

/// The row of a delivery's message.
fn message(category: Category) -> Message {
    let row = serde_json::json!({"c": "shop", "o": "o1", "t": TEMPLATE, "p": "orders", "y": category, "u": "normal",
        "e": "2026-11-22T12:00:00Z", "a": "2026-11-21T12:00:00Z", "h": "00", "w": {"k": "queued"}});
    serde_json::from_value(row).unwrap()
}

/// One cap that is never reached, so that its count can be checked.
fn channel() -> Channel {
    let text = r#"{"platform":"wechat_mini","app_id":"wx1","secret_ref":"env:S","time_zone":"UTC",
        "policy":{"quiet_hours":null,"caps":[{"scope":"subscriber","per":"day","limit":100}]}}"#;
    serde_json::from_str(text).unwrap()
}

fn template() -> Template {
    serde_json::from_str(r#"{"title":"t","category":"basic","fields":[{"key":"thing1"}]}"#).unwrap()
}
