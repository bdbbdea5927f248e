//! Deliveries, the store and the platform as a state machine.

use jiff::Timestamp;
use stateright::{Model, Property};

use tidepost_core::category::{Category, Urgency};
use tidepost_core::channel::{Channel, Health};
use tidepost_core::decide::{Case, Offer};
use tidepost_core::dispatch::{REPEAT_SECONDS, RESERVE_TRIES, Settlement, Step, may_repeat, reserve, settle};
use tidepost_core::grant::{Consent, Payment, Source, Terms};
use tidepost_core::ids::{MessageId, Nonce, SubscriberId};
use tidepost_core::person::{Answer as Word, Heard, Person};
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
}

/// The model: which deliveries there will be, and everything that does not change.
pub struct Protocol {
    variant: Variant,
    /// The category of each delivery's message; deliveries of one category are deliveries of one message.
    pub plan: Vec<Category>,
    rejections: u8,
    /// Tries under one nonce after the platform was busy.
    busy_retries: u8,
    offers: Vec<Offer>,
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
    /// Whether the pause before a second try has passed since the start.
    pub is_later: bool,
}

/// One delivery of a message, and what it has done to the store.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Delivery {
    pub phase: Phase,
    tries_left: usize,
    busy_retries_left: u8,
    /// Grants that its writes took, less those that they gave back.
    pub kept: i8,
    /// The same for the count of the cap.
    pub counted: i8,
    /// Only in [`Variant::CallFirst`]: the call was made.
    called: bool,
    /// It had to decide again, or a write of it took effect unheard: shows that the model gets there.
    pub conflicted: bool,
    pub unheard: bool,
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
    /// It leaves its receipt.
    Reporting(Answer),
    /// It is over, with or without a receipt.
    Ended,
    /// It died after it had reserved.
    Crashed,
}

/// A compare-and-swap under way; `None` once the item has changed and the condition must fail.
type Swap = Option<Box<Person>>;

/// How a call ends.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Answer {
    Delivered,
    /// Busy; tried again under the same nonce.
    BusyAgain,
    /// Busy; taken back and parked.
    BusyPark,
    NoGrant,
    Refused,
    /// No answer. Whether the platform delivered makes no difference to us: the checkers count it as a send.
    TimedOut,
}

const ANSWERS: [Answer; 6] =
    [Answer::Delivered, Answer::BusyAgain, Answer::BusyPark, Answer::NoGrant, Answer::Refused, Answer::TimedOut];

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
    Report(usize),
    Crash(usize),
    /// The walk over the messages finds the reservation of a dead delivery without a receipt.
    Recover(usize),
}

impl Protocol {
    pub fn new(variant: Variant, plan: &[Category]) -> Self {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        Self {
            variant,
            plan: plan.to_vec(),
            rejections: 0,
            busy_retries: 1,
            offers: plan.iter().map(|category| offer(*category, now)).collect(),
            channel: channel(),
            template: template(),
            start: now,
        }
    }

    /// The person may also say no, once; to keep the number of states down, a busy platform is not tried again at once.
    pub fn with_rejection(self) -> Self {
        Self { rejections: 1, busy_retries: 0, ..self }
    }

    fn now(&self, is_later: bool) -> Timestamp {
        let pause_seconds = if is_later { REPEAT_SECONDS + 1 } else { 0 };
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
            now: self.now(state.is_later),
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
        let settled_person = match answer {
            Answer::BusyAgain => return Phase::Calling(payment.clone()),
            Answer::BusyPark => settle(Settlement::Undo),
            Answer::NoGrant => settle(Settlement::NoGrant),
            Answer::Refused => settle(Settlement::Refused),
            Answer::TimedOut if self.plan[delivery] == Category::Basic => may_repeat(&state.item, offer.id, nonce),
            Answer::Delivered | Answer::TimedOut => return Phase::Reporting(answer),
        };
        match settled_person {
            Some(person) => Phase::Settling { swap: Some(Box::new(person)), payment: payment.clone(), answer },
            None => settled(answer),
        }
    }

    /// A write arrives at the store; `heard` says whether its answer comes back.
    fn write(&self, state: &mut State, delivery: usize, heard: bool) {
        let phase = state.deliveries[delivery].phase.clone();
        match &phase {
            Phase::Swapping { swap: Some(new), .. } => {
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
                let takes_back = matches!(answer, Answer::BusyPark | Answer::Refused);
                one.kept -= i8::from(takes_back);
                // The person said no after it was paid: it is not given back.
                state.withdrawn += u8::from(takes_back && one.forfeited);
                one.counted -= i8::from(*answer != Answer::TimedOut);
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
            Phase::Settling { swap: Some(_), answer, .. } => settled(answer),
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
            let (category, is_later) = (self.plan[delivery], state.is_later);
            state.sends.push(Send { delivery, category, answer, is_later });
        }
        state.deliveries[delivery].called = self.variant == Variant::CallFirst;
        if answer == Answer::BusyAgain {
            state.deliveries[delivery].busy_retries_left -= 1;
        }
        state.deliveries[delivery].phase = self.after(state, delivery, &payment, answer);
    }

    fn hear(&self, state: &mut State, consent: Consent) {
        let before = self.available(&state.item);
        let mut item = state.item.clone();
        item.hear(&someone(), &heard(consent, 100 + consent as u8), self.now(state.is_later));
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
            tries_left: RESERVE_TRIES,
            busy_retries_left: self.busy_retries,
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
                    .filter(|answer| *answer != Answer::BusyAgain || one.busy_retries_left > 0)
                    .map(|answer| Action::Call(delivery, answer)),
            ),
            Phase::Reporting(_) => actions.push(Action::Report(delivery)),
            Phase::Ended => return,
            Phase::Crashed => {
                if self.recovered(state, delivery).is_some() {
                    actions.push(Action::Recover(delivery));
                }
                return;
            }
        }
        actions.push(Action::Crash(delivery));
    }

    /// The walk reads, decides and swaps; since it starts over when the item changed, that is one step.
    fn recovered(&self, state: &State, delivery: usize) -> Option<Person> {
        if self.plan[delivery] != Category::Basic {
            return None;
        }
        may_repeat(&state.item, self.offers[delivery].id, self.nonce(delivery))
    }
}

/// A settled delivery leaves a receipt, unless it was parked.
fn settled(answer: Answer) -> Phase {
    if answer == Answer::BusyPark { Phase::Ended } else { Phase::Reporting(answer) }
}

impl Delivery {
    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Ended | Phase::Crashed)
    }

    /// Drops the working memory of a delivery that is over.
    fn forget(&mut self) {
        if self.is_over() {
            (self.tries_left, self.busy_retries_left) = (0, 0);
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
            is_later: false,
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
        if !state.is_later && state.sends.iter().any(|send| send.category == Category::Basic) {
            actions.push(Action::Pass);
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
            Action::Pass => state.is_later = true,
            Action::Start => self.begin(&mut state),
            Action::Write(delivery) => self.write(&mut state, delivery, true),
            Action::WriteUnheard(delivery) => self.write(&mut state, delivery, false),
            Action::Call(delivery, answer) => self.call(&mut state, delivery, answer),
            Action::Report(delivery) => state.deliveries[delivery].phase = Phase::Ended,
            Action::Crash(delivery) => {
                let held_nothing = state.deliveries[delivery].kept == 0;
                state.deliveries[delivery].phase = if held_nothing { Phase::Ended } else { Phase::Crashed };
            }
            Action::Recover(delivery) => {
                let item = self.recovered(&state, delivery)?;
                self.store(&mut state, &item);
            }
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

/// One cap that is never reached, so that its count can be checked.
fn channel() -> Channel {
    let text = r#"{"platform":"wechat_mini","app_id":"wx1","secret_ref":"env:S","time_zone":"UTC",
        "policy":{"quiet_hours":null,"caps":[{"scope":"subscriber","per":"day","limit":100}]}}"#;
    serde_json::from_str(text).unwrap()
}

fn template() -> Template {
    serde_json::from_str(r#"{"title":"t","category":"basic","fields":[{"key":"thing1"}]}"#).unwrap()
}
