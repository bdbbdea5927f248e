//! Events as the services write them: JSON text, from given inputs and nothing else.
//!
//! What each builder must produce is in `tests/fixtures/events/`.

pub mod http;
pub mod schedule;
pub mod sqs;

/// The account in every ARN of the local stack.
pub const ACCOUNT: &str = "123456789012";
