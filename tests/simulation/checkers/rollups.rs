//! Roll-ups equal the outcomes: what the metrics count is what messages say of themselves.

use std::collections::BTreeMap;

use crate::history::History;

pub(super) fn check(history: &History) -> Vec<String> {
    let mut counts: BTreeMap<(&str, &str, &str, &str), (u64, u64)> = BTreeMap::new();
    for asked in history.asked.values() {
        let told = asked.told.as_ref().and_then(|told| told["status"].as_str());
        if let Some(status @ ("delivered" | "refused" | "failed" | "unknown")) = told {
            counts.entry((&asked.who.0, &asked.template, &asked.topic, status)).or_default().0 += 1;
        }
    }
    for (id, channel) in &history.channels {
        let singles = channel.metrics.iter().filter(|((_, topic, _), _)| !history.campaigns.contains_key(topic));
        for ((template, topic, outcome), count) in singles {
            counts.entry((id, template, topic, outcome)).or_default().1 += count;
        }
    }
    let differing = counts.into_iter().filter(|(_, (messages, metrics))| messages != metrics);
    differing
        .map(|(about, (messages, metrics))| format!("{about:?}: {messages} messages, the metrics say {metrics}"))
        .collect()
}
