//! Which function answers which path, as the template routes them.

use crate::stack::host::functions::HttpFunction;

/// What a path leads to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Route {
    /// A function.
    Function(HttpFunction),
    /// The host itself says that it is up.
    Health,
    /// Nothing.
    Unknown,
}

/// The route of a path (no query).
#[must_use]
pub fn route(path: &str) -> Route {
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let function = match segments.as_slice() {
        ["healthz"] => return Route::Health,
        ["callbacks", _] | ["v1", "channels", _, "grants"] | ["v1", "events"] => HttpFunction::Callback,
        ["v1", "messages" | "campaigns", ..] => HttpFunction::Enqueue,
        ["v1", "channels", _, "quota" | "metrics" | "report"] | ["openapi.json"] => HttpFunction::Report,
        ["v1", ..] => HttpFunction::Admin,
        _ => return Route::Unknown,
    };
    Route::Function(function)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_has_its_function() {
        let function = |path| match route(path) {
            Route::Function(function) => function.name(),
            Route::Health => "health",
            Route::Unknown => "unknown",
        };
        for (path, name) in [
            ("/callbacks/shop", "callback"),
            ("/v1/channels/shop/grants", "callback"),
            ("/v1/events", "callback"),
            ("/v1/messages", "enqueue"),
            ("/v1/messages/m_1", "enqueue"),
            ("/v1/campaigns", "enqueue"),
            ("/v1/campaigns/c_1/start", "enqueue"),
            ("/v1/channels/shop/quota", "report"),
            ("/v1/channels/shop/metrics", "report"),
            ("/v1/channels/shop/report", "report"),
            ("/openapi.json", "report"),
            ("/v1/channels/shop", "admin"),
            ("/v1/channels/shop/subscribers/o1/preferences", "admin"),
            ("/v1/keys", "admin"),
            ("/v1/dead-letters", "admin"),
            ("/v1/dead-letters/redrive", "admin"),
            ("/v1/nothing", "admin"),
            ("/healthz", "health"),
            ("/callbacks", "unknown"),
            ("/", "unknown"),
        ] {
            assert_eq!(function(path), name, "{path}");
        }
    }
}
