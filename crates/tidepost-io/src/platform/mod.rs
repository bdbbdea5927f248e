//! The platforms that Tidepost speaks to, one folder each: parse its callbacks, build its requests, classify its
//! replies, send.
//!
//! Adding a platform is a folder beside `wechat/`, a variant of [`Adapter`] and its arm in [`Platforms::adapter`]; the
//! compiler then names every caller that has to learn it. There is no trait: platforms differ in what they need.

pub mod transport;
pub mod wechat;

use std::time::Duration;

use reqwest::redirect::Policy;
use thiserror::Error;
use tidepost_core::channel::Platform;

use transport::Transport;
use wechat::client::WechatClient;

/// How long name resolution, connection and TLS may take together. Shorter than a call's time-out, so that a platform
/// out of reach is known as 'not sent' and not as 'unknown'.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long an idle connection is kept. A frozen function wakes with connections that the platform has closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// One client per platform, built once at cold start.
#[derive(Clone, Debug)]
pub struct Platforms {
    wechat: WechatClient,
}

/// The implementation for one platform.
#[derive(Clone, Copy, Debug)]
pub enum Adapter<'a> {
    /// WeChat mini-programs.
    Wechat(&'a WechatClient),
}

/// This version has no adapter for the platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("this version cannot speak to {0:?} yet")]
pub struct NotSupported(pub Platform);

impl Platforms {
    /// The clients of all platforms over one transport, and each platform's address.
    #[must_use]
    pub fn new(transport: Transport, wechat_base_url: &str) -> Self {
        Self { wechat: WechatClient::new(transport, wechat_base_url.to_owned()) }
    }

    /// Opens a connection to each platform that there is an adapter for.
    ///
    /// # Errors
    /// What is in the way.
    pub async fn open(&self) -> Result<(), String> {
        self.wechat.open().await
    }

    /// The registry: which implementation a platform has.
    ///
    /// # Errors
    /// [`NotSupported`] for a platform without one.
    pub fn adapter(&self, platform: Platform) -> Result<Adapter<'_>, NotSupported> {
        match platform {
            Platform::WechatMini => Ok(Adapter::Wechat(&self.wechat)),
            Platform::WechatOa | Platform::Alipay | Platform::Douyin => Err(NotSupported(platform)),
        }
    }
}

/// The HTTP client that the platforms' clients need: it never repeats a request (no redirects) and reads no proxy from
/// the environment.
///
/// # Errors
/// When the TLS roots of the machine cannot be read.
pub fn http_client() -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .redirect(Policy::none())
        .no_proxy()
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_wechat_mini_programs_have_an_adapter() {
        let platforms = Platforms::new(Transport::network(http_client().unwrap()), "http://127.0.0.1:9");
        assert!(platforms.adapter(Platform::WechatMini).is_ok());
        for platform in [Platform::WechatOa, Platform::Alipay, Platform::Douyin] {
            assert_eq!(platforms.adapter(platform).unwrap_err(), NotSupported(platform));
        }
    }
}
