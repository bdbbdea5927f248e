//! Faults put into the system on purpose: with any of them the checkers must find something.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// What is broken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Planted {
    /// Every conditional write of a person succeeds: two deliveries reserve the same message.
    Reservations,
    /// What was taken of the windows of calls and messages is not kept.
    Leases,
    /// Receipts are not kept.
    Receipts,
    /// The channel is told of no quiet hours.
    Night,
    /// The channel is told of no caps.
    Caps,
    /// Consents count twice: the channel's backend reports each a second time as another.
    Consents,
    /// Rows of messages are not kept.
    Rows,
    /// That a campaign was paused or stopped is not kept.
    Stops,
    /// Whom a campaign is for is not kept.
    Rosters,
    /// The channel is told of more broadcasts a day than there are.
    Broadcasts,
    /// What campaigns that are over were to people is not kept.
    Accounts,
}

/// What the table does with a request.
pub(crate) enum Treated {
    /// As it should.
    Apply(Vec<u8>),
    /// Says yes and does nothing.
    Nothing,
}

impl Planted {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Reservations,
        Self::Leases,
        Self::Receipts,
        Self::Night,
        Self::Caps,
        Self::Consents,
        Self::Rows,
        Self::Stops,
        Self::Rosters,
        Self::Broadcasts,
        Self::Accounts,
    ];

    /// The checker that has to find it.
    #[must_use]
    pub fn checker(self) -> &'static str {
        match self {
            Self::Reservations => "no double",
            Self::Leases | Self::Broadcasts => "no overshoot",
            Self::Receipts => "roll-ups",
            Self::Night | Self::Caps => "respect",
            Self::Consents => "one grant, one send",
            Self::Rows => "no loss",
            Self::Stops | Self::Rosters | Self::Accounts => "campaigns",
        }
    }

    /// How this fault treats a request to the table.
    pub(crate) fn treat(self, operation: &str, body: &[u8]) -> Treated {
        let mut request: Value = serde_json::from_slice(body).unwrap_or_default();
        let partition = request.pointer("/Item/pk/S").or_else(|| request.pointer("/Key/pk/S"));
        let partition = partition.and_then(Value::as_str).unwrap_or_default().to_owned();
        let is_hit = match self {
            Self::Reservations => partition.starts_with("P#"),
            Self::Leases => partition.starts_with("Q#"),
            Self::Receipts => partition.starts_with("R#"),
            Self::Rows => partition.starts_with("M#") && request.get("ConditionExpression").is_some(),
            Self::Stops => partition.starts_with("G#") && says(&request, &["paused", "stopped"]),
            Self::Accounts => partition.starts_with("G#") && says(&request, &["no_grant", "quota_window"]),
            Self::Rosters => partition.starts_with("B#") && partition.matches('#').count() == 2,
            Self::Night | Self::Caps | Self::Consents | Self::Broadcasts => false,
        };
        match (self, operation) {
            (Self::Receipts | Self::Rows | Self::Stops | Self::Rosters | Self::Accounts, "PutItem") if is_hit => {
                Treated::Nothing
            }
            (Self::Leases, "PutItem") if is_hit => {
                untouched(&mut request);
                Treated::Apply(request.to_string().into_bytes())
            }
            (Self::Reservations, "PutItem") if is_hit => {
                if let Some(fields) = request.as_object_mut() {
                    fields.remove("ConditionExpression");
                    fields.remove("ExpressionAttributeValues");
                }
                Treated::Apply(request.to_string().into_bytes())
            }
            _ => Treated::Apply(body.to_vec()),
        }
    }
}

/// Sets back what was taken of windows of calls and messages; campaigns keep their broadcasts.
fn untouched(request: &mut Value) {
    for (_, attribute) in request["Item"].as_object_mut().into_iter().flatten() {
        let bytes = attribute["B"].as_str().and_then(|blob| STANDARD.decode(blob).ok());
        let Some(mut quota) = bytes.and_then(|bytes| rmp_serde::from_slice::<Value>(&bytes).ok()) else { continue };
        for window in quota["w"].as_array_mut().into_iter().flatten() {
            if window["r"] == "daily" || window["r"] == "minute" {
                window["t"] = json!(0);
            }
        }
        if let Ok(bytes) = rmp_serde::to_vec_named(&quota) {
            attribute["B"] = json!(STANDARD.encode(bytes));
        }
    }
}

/// Whether a campaign's row says one of these: words stand among the packed bytes.
fn says(request: &Value, words: &[&str]) -> bool {
    let blobs = request["Item"].as_object().into_iter().flatten().filter_map(|(_, value)| value["B"].as_str());
    blobs.filter_map(|blob| STANDARD.decode(blob).ok()).any(|bytes| {
        let text = String::from_utf8_lossy(&bytes).to_lowercase();
        words.iter().any(|word| text.contains(word))
    })
}
