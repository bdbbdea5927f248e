//! A plain account of consents and sends: lists and counts, no cleverness.

use std::collections::{BTreeMap, BTreeSet};

/// Events and reports of one consent are told apart when they are this far from each other.
const LEAD_SECONDS: i64 = 3_600;

/// One subscriber's consents for one template.
#[derive(Debug, Default)]
pub struct Account {
    /// The end of each consent that is left; `i64::MAX` for those without.
    ends: Vec<i64>,
    by_event: i64,
    by_report: i64,
    /// When the larger of the two last grew.
    grew_at: i64,
    denials_in_a_row: u8,
}

impl Account {
    pub fn available(&self, now: i64) -> usize {
        self.ends.iter().filter(|end| now < **end).count()
    }

    pub fn first_end(&self, now: i64) -> Option<i64> {
        let live = self.ends.iter().filter(|end| now < **end && **end != i64::MAX);
        live.min().copied()
    }

    /// What is granted is the larger count.
    pub fn accept(&mut self, is_event: bool, end: i64, now: i64) -> bool {
        if now - self.grew_at >= LEAD_SECONDS {
            self.level();
        }
        let before = self.by_event.max(self.by_report);
        if is_event {
            self.by_event += 1;
        } else {
            self.by_report += 1;
        }
        let grew = self.by_event.max(self.by_report) > before;
        if grew {
            self.grew_at = now;
            self.ends.push(end);
            self.denials_in_a_row = 0;
        }
        grew
    }

    pub fn reject(&mut self) {
        self.ends.clear();
        self.level();
        self.denials_in_a_row = 0;
    }

    /// The consent that ends first pays.
    pub fn pay(&mut self, now: i64) -> Option<i64> {
        let first = self.ends.iter().filter(|end| now < **end).min().copied()?;
        let index = self.ends.iter().position(|end| *end == first).unwrap();
        Some(self.ends.swap_remove(index))
    }

    pub fn give_back(&mut self, end: i64) {
        self.ends.push(end);
    }

    /// The platform accepted a send, or nobody knows: it did not deny one.
    pub fn not_denied(&mut self) {
        self.denials_in_a_row = 0;
    }

    pub fn denied(&mut self) {
        self.level();
        self.denials_in_a_row += 1;
        if self.denials_in_a_row == 2 {
            self.ends.clear();
            self.denials_in_a_row = 0;
        }
    }

    fn level(&mut self) {
        let larger = self.by_event.max(self.by_report);
        (self.by_event, self.by_report) = (larger, larger);
    }
}

/// All of a person's accounts, by subscriber and template; the events that were heard; and what counts against caps.
#[derive(Debug, Default)]
pub struct Book {
    pub accounts: BTreeMap<(usize, usize), Account>,
    pub heard: BTreeSet<(usize, u8)>,
    /// The local day of each send that was not taken back or refused, in days of the epoch.
    pub sent_on: Vec<i64>,
}
