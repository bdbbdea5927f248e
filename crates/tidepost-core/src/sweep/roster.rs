//! The roster of a range: who is to be sent something, the best first, in pieces small enough to be read one by one.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::choice::{Histogram, Rank};
use crate::ids::MessageId;

/// People of one piece at the most: an item of about 20 KB, of which a slot reads what it needs.
pub const PIECE_MAX: usize = 1_000;

/// People of one range whose best offers are of the same campaign and equally good.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Piece {
    /// Names the item with their openids.
    #[serde(rename = "n")]
    pub number: u32,
    /// Business line; empty for none.
    #[serde(rename = "l")]
    pub line: String,
    /// How good the offers are.
    #[serde(rename = "r")]
    pub rank: Rank,
    /// The occurrence that wins them.
    #[serde(rename = "o")]
    pub offer: MessageId,
    /// How many people.
    #[serde(rename = "c")]
    pub count: u32,
    /// How many of them, from the first on, were handed out.
    #[serde(rename = "t", default)]
    pub taken: u32,
}

impl Piece {
    /// How many were not handed out yet.
    #[must_use]
    pub fn left(&self) -> u32 {
        self.count.saturating_sub(self.taken)
    }
}

/// What one range hands out in one slot.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Portion {
    /// By business line.
    #[serde(rename = "l", default)]
    pub lines: BTreeMap<String, u64>,
    /// Of these, at the most for campaigns that do not spend as fast as they can.
    #[serde(rename = "m", default)]
    pub limits: Vec<(MessageId, u64)>,
}

impl Portion {
    /// People in all.
    #[must_use]
    pub fn units(&self) -> u64 {
        self.lines.values().sum()
    }
}

/// A part of a piece.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Cut {
    /// The piece.
    #[serde(rename = "n")]
    pub number: u32,
    /// The occurrence that wins these people.
    #[serde(rename = "o")]
    pub offer: MessageId,
    /// The first.
    #[serde(rename = "f")]
    pub from: u32,
    /// The first that is not in it.
    #[serde(rename = "t")]
    pub to: u32,
}

/// Hands out the best of each business line.
pub fn take(pieces: &mut [Piece], portion: &Portion) -> Vec<Cut> {
    let mut left = portion.lines.clone();
    let mut limits = portion.limits.clone();
    let mut order: Vec<&mut Piece> = pieces.iter_mut().filter(|piece| piece.left() > 0).collect();
    order.sort_by(|a, b| b.rank.cmp(&a.rank).then(a.number.cmp(&b.number)));
    let mut cuts = Vec::new();
    for piece in order {
        let Some(units) = left.get_mut(&piece.line).filter(|units| **units > 0) else { continue };
        let mut limit = limits.iter_mut().find(|(offer, _)| *offer == piece.offer).map(|(_, limit)| limit);
        let most = limit.as_ref().map_or(*units, |limit| (**limit).min(*units)).min(u64::from(piece.left()));
        let Ok(count) = u32::try_from(most) else { continue };
        if count == 0 {
            continue;
        }
        *units -= most;
        if let Some(limit) = limit.as_mut() {
            **limit -= most;
        }
        cuts.push(Cut { number: piece.number, offer: piece.offer, from: piece.taken, to: piece.taken + count });
        piece.taken += count;
    }
    cuts
}

/// The occurrences of whose people some are handed out, the best first.
#[must_use]
pub fn handed_out(ranges: &[&[Piece]], portions: &[Portion]) -> Vec<MessageId> {
    let of_range = |(pieces, portion): (&&[Piece], &Portion)| {
        let mut after = pieces.to_vec();
        take(&mut after, portion);
        let is_taken = |(before, after): &(&Piece, Piece)| before.taken < after.taken;
        let taken = pieces.iter().zip(after).filter(is_taken);
        taken.map(|(piece, _)| (piece.rank, piece.offer)).collect::<Vec<_>>()
    };
    let mut all: Vec<(Rank, MessageId)> = ranges.iter().zip(portions).flat_map(of_range).collect();
    // Of equals the first by id, as they compete.
    all.sort_by(|(a, one), (b, other)| b.cmp(a).then_with(|| one.to_bytes().cmp(&other.to_bytes())));
    let mut offers: Vec<MessageId> = Vec::new();
    for (_, offer) in all {
        if !offers.contains(&offer) {
            offers.push(offer);
        }
    }
    offers
}

/// How many people are left, by business line and rank; `limit` says how many of a campaign count at the most.
#[must_use]
pub fn histogram(pieces: &[Piece], mut limit: impl FnMut(MessageId, u64) -> u64) -> Histogram {
    let mut histogram = Histogram::default();
    for piece in pieces.iter().filter(|piece| piece.left() > 0) {
        let count = limit(piece.offer, u64::from(piece.left()));
        if count > 0 {
            histogram.add_count(&piece.line, piece.rank, count);
        }
    }
    histogram
}

/// The openids of a piece. Stored as bytes: of each what it shares with the one before, and the rest of it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Openids(pub Vec<String>);

impl Serialize for Openids {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut packed = Vec::new();
        let mut before: &[u8] = &[];
        for openid in &self.0 {
            let bytes = openid.as_bytes();
            let shared = before.iter().zip(bytes).take_while(|(a, b)| a == b).count();
            let (_, rest) = bytes.split_at(shared);
            // An openid has at most 64 characters.
            packed.extend([shared, rest.len()].map(|length| u8::try_from(length).unwrap_or(0)));
            packed.extend(rest);
            before = bytes;
        }
        serializer.serialize_bytes(&packed)
    }
}

impl<'de> Deserialize<'de> for Openids {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let packed = crate::packed::bytes(deserializer)?;
        unpack(&packed).map(Self).ok_or_else(|| serde::de::Error::custom("openids of an unknown form"))
    }
}

fn unpack(mut packed: &[u8]) -> Option<Vec<String>> {
    let mut openids: Vec<String> = Vec::new();
    while let [shared, length, rest @ ..] = packed {
        let before = openids.last().map_or("", String::as_str);
        let (own, after) = rest.split_at_checked(usize::from(*length))?;
        openids.push(format!("{}{}", before.get(..usize::from(*shared))?, std::str::from_utf8(own).ok()?));
        packed = after;
    }
    packed.is_empty().then_some(openids)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::category::Category;
    use crate::choice::Merit;
    use crate::ids::CampaignId;
    use jiff::Timestamp;

    fn now() -> Timestamp {
        "2026-11-21T12:00:00+08:00".parse().unwrap()
    }

    fn piece(number: u32, line: &str, priority: u8, campaign: &str, count: u32) -> Piece {
        let merit = Merit { category: Category::Reminder, priority, worth: 1.0, deadline: now() };
        let offer = CampaignId::derive("shop", "k", campaign, now()).offer_id();
        Piece { number, line: line.into(), rank: Rank::new(&merit), offer, count, taken: 0 }
    }

    fn portion(lines: &[(&str, u64)]) -> Portion {
        let lines = lines.iter().map(|(line, units)| ((*line).to_owned(), *units)).collect();
        Portion { lines, limits: Vec::new() }
    }

    #[test]
    fn the_best_of_each_line_go_first_and_nobody_twice() {
        let mut pieces = vec![piece(0, "a", 10, "x", 5), piece(1, "a", 90, "y", 3), piece(2, "b", 50, "z", 9)];
        let cuts = |cuts: Vec<Cut>| cuts.iter().map(|cut| (cut.number, cut.from, cut.to)).collect::<Vec<_>>();
        assert_eq!(cuts(take(&mut pieces, &portion(&[("a", 4), ("b", 2)]))), [(1, 0, 3), (2, 0, 2), (0, 0, 1)]);
        assert_eq!(cuts(take(&mut pieces, &portion(&[("a", 9), ("c", 2)]))), [(0, 1, 5)]);
        assert_eq!(histogram(&pieces, |_, count| count).total(), 7);
    }

    #[test]
    fn a_campaign_that_spreads_itself_leaves_the_rest_to_others() {
        let (mut pieces, mut portion) =
            (vec![piece(0, "a", 90, "x", 50), piece(1, "a", 10, "y", 50)], portion(&[("a", 10)]));
        portion.limits.push((pieces[0].offer, 3));
        let taken: Vec<_> = take(&mut pieces, &portion).iter().map(|cut| (cut.number, cut.to)).collect();
        assert_eq!(taken, [(0, 3), (1, 7)]);
    }

    #[test]
    fn openids_survive_packing_in_few_bytes() {
        let openids: Vec<String> = (0..400).map(|number| format!("o6_bmjrPTlm6_2sgVt7h{number:08}")).collect();
        let stored = serde_json::to_value(Openids(openids.clone())).unwrap();
        assert!(stored.as_array().unwrap().len() < 400 * 6);
        assert_eq!(serde_json::from_value::<Openids>(stored).unwrap(), Openids(openids));
        assert_eq!(serde_json::from_str::<Openids>("[]").unwrap(), Openids::default());
        assert!(serde_json::from_str::<Openids>("[0,2,97]").is_err());
    }
}
