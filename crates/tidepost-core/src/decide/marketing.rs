//! WeChat's subscription and template messages must not be pure marketing (DESIGN, 'Defaults from the field').

use super::{Case, Hold};
use crate::category::Category;
use crate::channel::Platform;
use crate::reason::{Reason, ReasonCode};
use crate::template::Template;

pub(super) fn rule(case: &Case<'_>) -> Option<Hold> {
    is_refused(case.channel.platform, case.template, case.offer.category)
        .then(|| Hold::Refuse(Reason::new(ReasonCode::MarketingNotAllowed, REMEDY)))
}

/// What to do about a refusal.
pub(crate) const REMEDY: &str =
    "WeChat does not allow marketing here; set marketing_allowed on the template where WeChat agreed to it";

/// Whether the platform takes no message of `category` with `template`.
pub(crate) fn is_refused(platform: Platform, template: &Template, category: Category) -> bool {
    let is_wechat = matches!(platform, Platform::WechatMini | Platform::WechatOa);
    is_wechat && category == Category::Marketing && !template.marketing_allowed
}
