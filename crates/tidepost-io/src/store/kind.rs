//! The kinds of items in the table, by their keys.
//!
//! # What a change of a shape has to keep
//!
//! While a release is rolled out or back, functions of two versions read what either wrote. So:
//!
//! - A new field has a default and can do without. An older version passes over what it does not know, and drops it when it
//!   replaces the item. What must outlive that is an attribute of its own beside the others: a
//!   replacement carries whole attributes through, but nothing inside one.
//! - A new word where a shape has a fixed set of them, or a field that changes its meaning, makes the item unreadable for an
//!   older version: [`super::StoreError::Form`]. It sends nothing because of such an item and writes nothing over it; a walk
//!   passes over it with an error in the log. What waits for it comes back once the newer version does. A word that must not
//!   stop an older version is therefore read by one release and written by the next.
//! - A payload of a queue says its version. One that is too new goes back to its queue and in the end to the dead letters,
//!   from where it is redriven to the newer version.
//! - A fixture keeps each shape that was ever written (`tests/fixtures`).

use super::Key;

/// A kind of item: its name, its partitions and its sort keys.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Kind {
    /// What it is called in fixtures.
    pub name: &'static str,
    /// The partition; one that ends in `#` stands for all that begin with it.
    partition: &'static str,
    /// How sort keys begin.
    sort: &'static str,
}

const fn kind(name: &'static str, partition: &'static str, sort: &'static str) -> Kind {
    Kind { name, partition, sort }
}

/// All kinds. The first that fits a key is the item's.
pub const KINDS: [Kind; 32] = [
    kind("rolled_up_until", "A#", "until"),
    kind("rollup", "A#", ""),
    kind("sweep_progress", "B#", "progress"),
    kind("sweep_range", "B#", "range#"),
    kind("late_flight", "B#", "late#"),
    kind("slot_plan", "B#", "slot#"),
    kind("sweep_piece", "B#", ""),
    kind("channel", "C", ""),
    kind("health", "C#", "health"),
    kind("template", "C#", "template#"),
    kind("dirty_hour", "D", ""),
    kind("event", "E#", ""),
    kind("campaign_place", "G", ""),
    kind("campaign", "G#", ""),
    kind("campaign_list", "GL#", ""),
    kind("heard", "H#", ""),
    kind("key", "K", ""),
    kind("link", "L#", ""),
    kind("message", "M#", ""),
    kind("unknown_send", "N#", ""),
    kind("person", "P#", ""),
    kind("quota", "Q#", ""),
    kind("receipt", "R#", ""),
    kind("message_walk", "S", "message walk"),
    kind("template_sync", "S", "template sync"),
    kind("windows_told", "S", "windows told"),
    kind("token", "T#", ""),
    kind("rfm_cuts", "V", ""),
    kind("parked", "W#", ""),
    kind("erasure", "X", ""),
    kind("complaint", "X#", ""),
    kind("channel_brake", "Y", ""),
];

impl Kind {
    /// The kind of the item at `key`.
    #[must_use]
    pub fn of(key: &Key) -> Option<Self> {
        KINDS.into_iter().find(|kind| kind.holds(key))
    }

    fn holds(self, key: &Key) -> bool {
        let is_here =
            if self.partition.ends_with('#') { key.pk.starts_with(self.partition) } else { key.pk == self.partition };
        is_here && key.sk.starts_with(self.sort)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_says_what_its_item_is() {
        let name = |pk: &str, sk: &str| Kind::of(&Key::new(pk, sk)).map(|kind| kind.name);
        assert_eq!(name("G", "c_1"), Some("campaign_place"));
        assert_eq!(name("G#shop", "1764000000#c_1"), Some("campaign"));
        assert_eq!(name("GL#c_1#p", "0#0000"), Some("campaign_list"));
        assert_eq!(name("B#shop", "slot#1764000000"), Some("slot_plan"));
        assert_eq!(name("B#shop#00", "0000000001#00000000"), Some("sweep_piece"));
        assert_eq!(name("A#shop", "until"), Some("rolled_up_until"));
        assert_eq!(name("?", "until"), None);
    }
}
