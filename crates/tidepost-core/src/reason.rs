//! Why a message waits, or was not delivered.

use serde::{Deserialize, Serialize};

/// A stable code and words for a person.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct Reason {
    /// The stable code.
    pub code: ReasonCode,
    /// What it means here, without personal data.
    pub detail: String,
}

impl Reason {
    /// A code with its words.
    pub fn new(code: ReasonCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }
}

/// Every reason there is. The first group makes a message wait, and ends it once the deadline cannot be met.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReasonCode {
    /// The person's quiet hours.
    QuietHours,
    /// A cap on everything the person gets.
    CapSubscriber,
    /// A cap on one topic.
    CapTopic,
    /// A cap on one business line.
    CapBusinessLine,
    /// Too soon after the last send.
    MinimumGap,
    /// The window's quota is used up.
    QuotaWindow,
    /// The channel's rate.
    Rate,
    /// Another send to the person is under way, or too many are remembered.
    InFlight,
    /// No consent is left.
    NoGrant,
    /// The person switched the topic off.
    TopicOff,
    /// The person switched everything off.
    Stopped,
    /// The deadline went by.
    DeadlinePassed,
    /// The platform does not let this template carry marketing.
    MarketingNotAllowed,
    /// The platform does not accept the template.
    TemplateUnusable,
    /// The platform does not accept the person's openid.
    TargetUnusable,
    /// The platform does not let the channel send.
    ChannelBanned,
    /// The campaign was stopped.
    CampaignStopped,
    /// Another campaign won the person.
    Outbid,
    /// The same id was sent before.
    AlreadySent,
    /// The person was erased.
    Erased,
    /// The platform refused the content.
    ContentRefused,
    /// The platform found the request malformed.
    BadRequest,
    /// The platform failed in a way that trying again does not mend.
    PlatformError,
    /// The message could not be processed.
    DeadLetter,
    /// The platform did not answer in time.
    Timeout,
    /// The function died between reserving and noting the outcome.
    Crash,
}

impl ReasonCode {
    /// Every code, in the order of their numbers in storage. New codes go to the end.
    pub const ALL: [Self; 26] = [
        Self::QuietHours,
        Self::CapSubscriber,
        Self::CapTopic,
        Self::CapBusinessLine,
        Self::MinimumGap,
        Self::QuotaWindow,
        Self::Rate,
        Self::InFlight,
        Self::NoGrant,
        Self::TopicOff,
        Self::Stopped,
        Self::DeadlinePassed,
        Self::MarketingNotAllowed,
        Self::TemplateUnusable,
        Self::TargetUnusable,
        Self::ChannelBanned,
        Self::CampaignStopped,
        Self::Outbid,
        Self::AlreadySent,
        Self::Erased,
        Self::ContentRefused,
        Self::BadRequest,
        Self::PlatformError,
        Self::DeadLetter,
        Self::Timeout,
        Self::Crash,
    ];
}
