//! Any order of consents, sends, answers and links leaves what the plain account says.

use jiff::Timestamp;
use proptest::prelude::*;

use super::account::Book;
use tidepost_core::category::{Category, Urgency};
use tidepost_core::channel::{Cap, Channel, Health};
use tidepost_core::decide::{Case, Hold, Offer};
use tidepost_core::dispatch::{Reserved, Settlement, Step, reserve, settle};
use tidepost_core::grant::{Consent, Source, Terms};
use tidepost_core::ids::{MessageId, Nonce, SubscriberId};
use tidepost_core::person::{Answer, Heard, HeardStatus, Person};
use tidepost_core::reason::ReasonCode;
use tidepost_core::template::{Template, TemplateKind};

const TEMPLATES: [&str; 2] = ["TMPL_A", "TMPL_B"];
const CHANNELS: [&str; 2] = ["shop", "club"];
const START: i64 = 1_795_230_000;

/// What happens next, after a pause.
#[derive(Clone, Debug)]
enum Happening {
    Hear {
        who: usize,
        template: usize,
        consent: Consent,
        source: Source,
        event: u8,
        lasts_seconds: Option<i64>,
    },
    Send {
        who: usize,
        template: usize,
        settlement: Option<Settlement>,
    },
    /// The two subscribers turn out to be one person; says whose record takes over the other's.
    Link {
        into: usize,
    },
}

fn happenings() -> impl Strategy<Value = Vec<(i64, Happening)>> {
    let consents = vec![Consent::Accept, Consent::Accept, Consent::Accept, Consent::Reject, Consent::Neither];
    let lasts = prop::option::of(prop::sample::select(vec![1_800_i64, 10_800]));
    let source = prop::sample::select(vec![Source::Event, Source::Report]);
    let hear = (0..2_usize, 0..2_usize, prop::sample::select(consents), source, 0..60_u8, lasts).prop_map(
        |(who, template, consent, source, event, lasts_seconds)| Happening::Hear {
            who,
            template,
            consent,
            source,
            event,
            lasts_seconds,
        },
    );
    let settlements = vec![None, None, Some(Settlement::Undo), Some(Settlement::Refused), Some(Settlement::NoGrant)];
    let send = (0..2_usize, 0..2_usize, prop::sample::select(settlements))
        .prop_map(|(who, template, settlement)| Happening::Send { who, template, settlement });
    let link = (0..2_usize).prop_map(|into| Happening::Link { into });
    let happening = prop_oneof![10 => hear, 8 => send, 1 => link];
    // Pauses around the length of a lead and of the shortest consent, and none.
    let pause = prop_oneof![2 => Just(0_i64), 3 => 0..900_i64, 1 => 1_700..3_700_i64];
    prop::collection::vec((pause, happening), 1..60)
}

/// The records as they are stored: two items until the link, one afterwards.
struct Ledger {
    items: [Option<Person>; 2],
    channel: Channel,
    template: Template,
    book: Book,
    messages: usize,
    now: i64,
}

impl Ledger {
    fn new() -> Self {
        let text = r#"{"platform":"wechat_mini","app_id":"wx1","secret_ref":"env:S","policy":{"quiet_hours":null,
            "caps":[{"scope":"subscriber","per":"day","limit":1000}]}}"#;
        Self {
            items: [0, 1].map(|who| Some(Person::new(&subscriber(who)))),
            channel: serde_json::from_str(text).unwrap(),
            template: serde_json::from_str(r#"{"title":"t","fields":[{"key":"thing1"}]}"#).unwrap(),
            book: Book::default(),
            messages: 0,
            now: START,
        }
    }

    fn at(&self) -> Timestamp {
        Timestamp::from_second(self.now).unwrap()
    }

    /// The day in Asia/Shanghai, which has kept +8 since before these tests.
    fn today(&self) -> i64 {
        (self.now + 8 * 3_600).div_euclid(86_400)
    }

    fn item(&mut self, who: usize) -> &mut Person {
        let index = if self.items[who].is_some() { who } else { 1 - who };
        self.items[index].as_mut().unwrap()
    }

    fn happen(&mut self, happening: &Happening) -> Result<(), TestCaseError> {
        match happening {
            Happening::Hear { who, template, consent, source, event, lasts_seconds } => {
                self.hear(*who, *template, *consent, *source, *event, *lasts_seconds)
            }
            Happening::Send { who, template, settlement } => self.send(*who, *template, *settlement),
            Happening::Link { into } => {
                if self.items.iter().all(Option::is_some) {
                    let theirs = self.items[1 - into].take().unwrap();
                    self.item(*into).join(theirs);
                }
                Ok(())
            }
        }
    }

    fn hear(
        &mut self,
        who: usize,
        template: usize,
        consent: Consent,
        source: Source,
        event: u8,
        lasts_seconds: Option<i64>,
    ) -> Result<(), TestCaseError> {
        let (now, at) = (self.now, self.at());
        let end = lasts_seconds.map(|seconds| now + seconds);
        let answer = Answer {
            template: TEMPLATES[template].into(),
            kind: TemplateKind::OneTime,
            consent,
            terms: Terms { expires_at: end.map(|end| Timestamp::from_second(end).unwrap()), ..Terms::default() },
        };
        let heard =
            Heard { event: [u8::try_from(who).unwrap(), event, 0, 0, 0, 0, 0, 0], source, answers: vec![answer] };
        let told = self.item(who).hear(&subscriber(who), &heard, at);
        if !self.book.heard.insert((who, event)) {
            prop_assert_eq!(told, [HeardStatus::Duplicate]);
            return Ok(());
        }
        let account = self.book.accounts.entry((who, template)).or_default();
        let granted = match consent {
            Consent::Accept => account.accept(source == Source::Event, end.unwrap_or(i64::MAX), now),
            Consent::Reject => {
                account.reject();
                false
            }
            Consent::Neither => false,
        };
        let available = u32::try_from(account.available(now)).unwrap();
        let expected = if granted { HeardStatus::Granted { available } } else { HeardStatus::Recorded { available } };
        prop_assert_eq!(told, [expected]);
        Ok(())
    }

    fn send(&mut self, who: usize, template: usize, settlement: Option<Settlement>) -> Result<(), TestCaseError> {
        self.messages += 1;
        let offer = offer(who, template, self.messages, self.at());
        let nonce = Nonce([7; 8]);
        let step = {
            let (item, at) = (self.item(who).clone(), self.at());
            let case = Case {
                person: &item,
                offer: &offer,
                channel: &self.channel,
                health: &Health::default(),
                template: &self.template,
                now: at,
            };
            reserve(&case, nonce, None)
        };
        let now = self.now;
        let paid = self.book.accounts.entry((who, template)).or_default().pay(now);
        let Some(end) = paid else {
            let is_refused = matches!(&step, Step::Held(Hold::Refuse(reason)) if reason.code == ReasonCode::NoGrant);
            prop_assert!(is_refused, "nothing is left to pay with: {step:?}");
            return Ok(());
        };
        let Step::Swap(reserved) = step else {
            return Err(TestCaseError::fail(format!("a consent is left, yet {step:?}")));
        };
        self.settle(who, template, &offer, *reserved, settlement, end)
    }

    fn settle(
        &mut self,
        who: usize,
        template: usize,
        offer: &Offer,
        reserved: Reserved,
        settlement: Option<Settlement>,
        end: i64,
    ) -> Result<(), TestCaseError> {
        let Reserved { person, payment } = reserved;
        let nonce = Nonce([7; 8]);
        let settled = |person: &Person, settlement| {
            settle(person, offer, &self.channel, TemplateKind::OneTime, nonce, &payment, settlement)
        };
        let stored = match settlement {
            None => person,
            Some(settlement) => {
                let stored = settled(&person, settlement).unwrap();
                prop_assert!(settled(&stored, settlement).is_none(), "a settlement heard twice counts once");
                stored
            }
        };
        *self.item(who) = stored;
        let today = self.today();
        let account = self.book.accounts.get_mut(&(who, template)).unwrap();
        match settlement {
            Some(Settlement::NoGrant) => account.denied(),
            Some(_) => account.give_back(end),
            None => {
                account.not_denied();
                self.book.sent_on.push(today);
            }
        }
        Ok(())
    }

    fn agrees(&mut self) -> Result<(), TestCaseError> {
        let (now, at, today) = (self.now, self.at(), self.today());
        for (who, template) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let item = self.item(who);
            let one = item.subscriber(&subscriber(who));
            let grant = one.and_then(|one| one.grants.get(TEMPLATES[template])).cloned().unwrap_or_default();
            let account = self.book.accounts.entry((who, template)).or_default();
            prop_assert_eq!(grant.available(at) as usize, account.available(now));
            prop_assert_eq!(grant.expires_at(at).map(Timestamp::as_second), account.first_end(now));
        }
        let cap: Cap = self.channel.policy.caps[0].clone();
        let zone = self.channel.zone();
        let counted: usize =
            self.items.iter().flatten().map(|item| usize::from(item.counted(&cap, "", &zone, at))).sum();
        prop_assert_eq!(counted, self.book.sent_on.iter().filter(|day| **day == today).count());
        Ok(())
    }
}

fn subscriber(who: usize) -> SubscriberId {
    SubscriberId::new(CHANNELS[who], "oUSER0001")
}

fn offer(who: usize, template: usize, message: usize, now: Timestamp) -> Offer {
    Offer {
        id: MessageId::derive(CHANNELS[who], "k_1", &message.to_string(), now),
        to: subscriber(who),
        template: TEMPLATES[template].into(),
        category: Category::Reminder,
        urgency: Urgency::Normal,
        topic: "orders".into(),
        business_line: None,
        not_before: None,
        not_after: Timestamp::from_second(now.as_second() + 3_600).unwrap(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn what_may_be_sent_is_what_a_plain_account_says(happenings in happenings()) {
        let mut ledger = Ledger::new();
        for (pause, happening) in &happenings {
            ledger.now += pause;
            ledger.happen(happening)?;
            ledger.agrees()?;
        }
    }
}

/// The person says no while a send is under way, and the platform is busy: what was given before the no is void.
#[test]
fn a_refund_does_not_undo_a_rejection() {
    let mut ledger = Ledger::new();
    let hear = |ledger: &mut Ledger, consent, event| ledger.hear(0, 0, consent, Source::Event, event, None).unwrap();
    hear(&mut ledger, Consent::Accept, 1);
    let offer = offer(0, 0, 1, ledger.at());
    let (item, at) = (ledger.item(0).clone(), ledger.at());
    let case = Case {
        person: &item,
        offer: &offer,
        channel: &ledger.channel,
        health: &Health::default(),
        template: &ledger.template,
        now: at,
    };
    let Step::Swap(reserved) = reserve(&case, Nonce([7; 8]), None) else {
        panic!("a consent is left");
    };
    *ledger.item(0) = reserved.person;
    ledger.book.accounts.get_mut(&(0, 0)).unwrap().pay(START);
    hear(&mut ledger, Consent::Reject, 2);
    let (kind, nonce, undo) = (TemplateKind::OneTime, Nonce([7; 8]), Settlement::Undo);
    let item = ledger.item(0).clone();
    let settled = settle(&item, &offer, &ledger.channel, kind, nonce, &reserved.payment, undo);
    *ledger.item(0) = settled.unwrap();
    ledger.agrees().unwrap();
}
