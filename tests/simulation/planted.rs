//! Faults put into the system on purpose: with any of them the checkers must find something.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// What is broken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Planted {
    /// Every conditional write of a person succeeds: two deliveries reserve the same message.
    Reservations,
    /// Whoever leases finds the windows untouched.
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
    pub const ALL: [Self; 9] = [
        Self::Reservations,
        Self::Leases,
        Self::Receipts,
        Self::Night,
        Self::Caps,
        Self::Consents,
        Self::Rows,
        Self::Stops,
        Self::Rosters,
    ];

    /// The checker that has to find it.
    #[must_use]
    pub fn checker(self) -> &'static str {
        match self {
            Self::Reservations => "no double",
            Self::Leases => "no overshoot",
            Self::Receipts => "roll-ups",
            Self::Night | Self::Caps => "respect",
            Self::Consents => "one grant, one send",
            Self::Rows => "no loss",
            Self::Stops | Self::Rosters => "campaigns",
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
            Self::Stops => partition.starts_with("G#") && is_halted(&request),
            Self::Rosters => partition.starts_with("B#") && partition.matches('#').count() == 2,
            Self::Night | Self::Caps | Self::Consents => false,
        };
        match (self, operation) {
            (Self::Receipts | Self::Rows | Self::Stops | Self::Rosters, "PutItem") | (Self::Leases, "GetItem")
                if is_hit =>
            {
                Treated::Nothing
            }
            (Self::Reservations | Self::Leases, "PutItem") if is_hit => {
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

/// Whether a campaign's row says that it does not send: the words stand among the packed bytes.
fn is_halted(request: &Value) -> bool {
    let blobs = request["Item"].as_object().into_iter().flatten().filter_map(|(_, value)| value["B"].as_str());
    blobs.filter_map(|blob| STANDARD.decode(blob).ok()).any(|bytes| {
        let text = String::from_utf8_lossy(&bytes).to_lowercase();
        text.contains("paused") || text.contains("stopped")
    })
}
