//! Durable steps: the writes of each function, and where it died at them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use crate::invocation;

/// How likely an invocation dies before, and how likely after, a step that the run meets for the first time: rare steps get
/// their share.
pub(crate) const FIRST_CRASH: f64 = 0.04;

/// In how many runs a step has to be met before it must have been died at on both sides.
const RUNS_MIN: u64 = 250;

/// What happened at one step, in one run or in many.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Struck {
    /// Runs that met it while invocations could die.
    pub runs: u64,
    /// Invocations that died right before it.
    pub before: u64,
    /// Invocations that died right after it.
    pub after: u64,
}

/// All steps, by function, operation and kind of item.
pub type Steps = BTreeMap<String, Struck>;

/// Those met in many runs of which some invocation never died before, or never after.
#[must_use]
pub fn missed(steps: &Steps) -> Vec<&str> {
    let is_missed = |struck: &Struck| struck.runs >= RUNS_MIN && (struck.before == 0 || struck.after == 0);
    steps.iter().filter(|(_, struck)| is_missed(struck)).map(|(step, _)| step.as_str()).collect()
}

/// Adds the steps of one run to those of others.
pub fn add(all: &mut Steps, run: &Steps) {
    for (step, struck) in run {
        let sum = all.entry(step.clone()).or_default();
        sum.runs += struck.runs;
        sum.before += struck.before;
        sum.after += struck.after;
    }
}

/// The steps of the run under way.
#[derive(Debug, Default)]
pub(crate) struct Log(Mutex<Steps>);

impl Log {
    /// Notes that a step is met; true for the first time.
    pub(crate) fn meet(&self, step: &str) -> bool {
        let mut steps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = !steps.contains_key(step);
        if is_first {
            steps.insert(step.to_owned(), Struck { runs: 1, ..Struck::default() });
        }
        is_first
    }

    /// Notes that an invocation died at a step.
    pub(crate) fn strike(&self, step: &str, is_before: bool) {
        let mut steps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let struck = steps.entry(step.to_owned()).or_default();
        struck.before += u64::from(is_before);
        struck.after += u64::from(!is_before);
    }

    pub(crate) fn take(&self) -> Steps {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The name of the step that a request to AWS is, made by the function under way; `None` for what changes nothing.
pub(crate) fn of_request(target: &str, body: &[u8]) -> Option<String> {
    let function = invocation::function()?;
    let (_, operation) = target.split_once('.')?;
    if ![
        "PutItem",
        "UpdateItem",
        "DeleteItem",
        "TransactWriteItems",
        "SendMessage",
        "SendMessageBatch",
        "DeleteMessage",
    ]
    .contains(&operation)
    {
        return None;
    }
    let request: Value = serde_json::from_slice(body).ok()?;
    let kind = match request["QueueUrl"].as_str() {
        Some(url) => url.rsplit('/').next()?.to_owned(),
        None => item_kind(&request)?,
    };
    Some(format!("{function} {operation} {kind}"))
}

/// What kind of item a write is about, by the first words of its keys.
fn item_kind(request: &Value) -> Option<String> {
    let write = request.pointer("/TransactItems/0").and_then(|item| item.as_object()?.values().next());
    let write = write.unwrap_or(request);
    let key = write.get("Item").or_else(|| write.get("Key"))?;
    let word = |name: &str| key.pointer(&format!("/{name}/S")).and_then(Value::as_str)?.split('#').next();
    let partition = word("pk")?;
    if partition != "B" {
        return Some(partition.to_owned());
    }
    // The sweeping of a channel is several kinds in one partition; rosters are numbered.
    let kind = word("sk").filter(|kind| kind.parse::<u64>().is_err()).unwrap_or("piece");
    Some(format!("B {kind}"))
}
