//! Whom the campaigns are for, and what they consented to. All of it from one seed.

use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// One campaign as its business line wants it.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Its name.
    pub name: &'static str,
    /// The tag of those whom it is for.
    pub tag: &'static str,
    /// Who in the company asks for it.
    pub business_line: &'static str,
    /// Higher goes first.
    pub priority: u8,
    /// What one conversion is worth; decides where the priority does not.
    pub value: f64,
    /// How many of all people it is for.
    share: f64,
}

/// The three campaigns, in the order in which they are shown.
pub const CAMPAIGNS: [Wanted; 3] = [
    Wanted { name: "Spring tea", tag: "tea", business_line: "tea", priority: 80, value: 1.0, share: 0.4 },
    Wanted { name: "Coffee week", tag: "coffee", business_line: "coffee", priority: 50, value: 4.0, share: 0.45 },
    Wanted { name: "New cups", tag: "cups", business_line: "cups", priority: 50, value: 1.0, share: 0.5 },
];

/// Consents of one person, as often as they are met: most have one, some none.
const CONSENTS: [u32; 10] = [0, 1, 1, 1, 1, 1, 2, 2, 2, 3];

/// One person.
#[derive(Clone, Debug)]
pub struct Member {
    /// The platform's name for them.
    pub openid: String,
    /// What the shop knows of them.
    pub tags: Vec<&'static str>,
    /// How often they accepted in the dialog: so many messages they may be sent.
    pub consents: u32,
}

impl Member {
    /// Whether a campaign is for this person.
    #[must_use]
    pub fn is_meant_by(&self, wanted: &Wanted) -> bool {
        self.tags.contains(&wanted.tag)
    }
}

/// Invents so many people.
#[must_use]
pub fn invent(people: usize, seed: u64) -> Vec<Member> {
    // Another stream than the other part's: its people stay as they are, whatever is invented here.
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(1);
    (0..people).map(|number| member(number, &mut random)).collect()
}

fn member(number: usize, random: &mut ChaCha8Rng) -> Member {
    let meant = CAMPAIGNS.iter().filter(|wanted| random.random_bool(wanted.share));
    let tags = meant.map(|wanted| wanted.tag).collect();
    let consents = CONSENTS.choose(random).copied().unwrap_or_default();
    Member { openid: format!("oSALE{:07}{:012x}", number, random.random_range(0..1_u64 << 48)), tags, consents }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_is_one_audience() {
        let audience = |seed| format!("{:?}", invent(50, seed));
        assert_eq!(audience(1), audience(1));
        assert_ne!(audience(1), audience(2));
    }

    #[test]
    fn every_campaign_means_somebody_whom_another_means_too() {
        let members = invent(100, 1);
        for wanted in &CAMPAIGNS {
            let contested = members.iter().filter(|member| member.is_meant_by(wanted) && member.tags.len() > 1);
            assert!(contested.count() > 10, "{wanted:?}");
        }
    }
}
