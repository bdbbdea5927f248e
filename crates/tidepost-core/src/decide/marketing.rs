//! WeChat's subscription and template messages must not be pure marketing (DESIGN, 'Defaults from the field').

use super::{Case, Hold};
use crate::category::Category;
use crate::channel::Platform;
use crate::reason::{Reason, ReasonCode};

pub(super) fn rule(case: &Case<'_>) -> Option<Hold> {
    let is_wechat = matches!(case.channel.platform, Platform::WechatMini | Platform::WechatOa);
    let is_refused = is_wechat && case.offer.category == Category::Marketing && !case.template.marketing_allowed;
    is_refused.then(|| {
        let detail =
            "WeChat does not allow marketing here; set marketing_allowed on the template where WeChat agreed to it";
        Hold::Refuse(Reason::new(ReasonCode::MarketingNotAllowed, detail))
    })
}
