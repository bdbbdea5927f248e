//! The platform's error codes with its texts (reference A2, A5, A7, A8).

/// A refusal in the platform's own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: i64,
    pub(crate) message: String,
}

impl Refusal {
    /// The code with its usual text.
    pub(crate) fn of(code: i64) -> Self {
        Self { code, message: text(code).to_owned() }
    }

    /// The code with a text of its own.
    pub(crate) fn saying(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// A wrong argument: the text names the field and how it is wrong.
    pub(crate) fn argument(field: &str, wrong: &str) -> Self {
        Self::saying(47003, format!("argument invalid! {field} {wrong}"))
    }
}

fn text(code: i64) -> &'static str {
    match code {
        -1 => "system error",
        40001 => "invalid credential, access_token is invalid or not latest",
        40002 => "invalid grant_type",
        40003 => "invalid openid",
        40013 => "invalid appid",
        40014 => "invalid access_token",
        40037 => "invalid template_id",
        40038 => "reach max daily limit of long-term template",
        40125 => "invalid appsecret",
        40164 => "invalid ip, not in whitelist",
        40243 => "appsecret is frozen",
        41001 => "access_token missing",
        41004 => "appsecret missing",
        41030 => "invalid page",
        42001 => "access_token expired",
        43001 => "require GET method",
        43002 => "require POST method",
        43004 => "require subscribe",
        43019 => "receiver is in blacklist",
        43100 => "template modified too often",
        43101 => "user refuse to accept the msg",
        43102 => "template is not a subscription template",
        43104 => "openid does not match this appid",
        43106 => "adding templates is blocked",
        43107 => "subscribe message ability is banned",
        43108 => "can not make concurrent calls to the same OpenID",
        43116 => "This template_id is banned",
        44002 => "empty post data",
        44990 => "reach max frequency per second",
        44991 => "reach max frequency per minute",
        44993 => "reach max frequency per day",
        45009 => "reach max api daily quota limit",
        45011 => "api minute-quota reach limit, must slower, retry next minute",
        45015 => "response out of time limit",
        45047 => "out of response count limit",
        45109 => "this api is no longer supported",
        45168 => "content contains sensitive words",
        47001 => "data format error",
        47003 => "argument invalid!",
        48001 => "api unauthorized",
        48004 => "api forbidden for irregularities",
        48006 => "forbid to clear quota because of reaching the limit",
        50002 => "user limited",
        50004 => "forbidden to fetch access_token",
        50007 => "account is frozen",
        61007 => "api is unauthorized to component",
        76001 => "rid not found",
        76021 => "cgi_path not found",
        76022 => "could not use this cgi_path, no permission",
        89501 => "ip is waiting for confirmation of the administrator",
        89503 => "this ip needs confirmation of the administrator",
        89506 => "ip was refused twice by the administrator, retry after 24 hours",
        89507 => "ip was refused by the administrator, retry after 1 hour",
        200011 => "this account has been banned",
        200012 => "personal template count limit exceeded",
        200013 => "this template has been banned",
        200014 => "invalid tid",
        200016 => "invalid start",
        200017 => "invalid limit",
        200018 => "ids missing",
        200019 => "invalid ids",
        200020 => "invalid kidList",
        200021 => "invalid sceneDesc",
        200022 => "template with the same title and keywords exists",
        200100 => "account type not supported",
        _ => "error",
    }
}
