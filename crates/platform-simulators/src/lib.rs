//! Strict stand-ins for the platforms' servers (today: WeChat mini programs).
//!
//! A simulator is the other side of the wire, written from the platform's documentation and from nothing of ours: it
//! shares no type with the client, so a mistake made on one side cannot hide on the other. It checks tokens,
//! templates, field types, pages, consents and quotas, answers with the platform's own codes and texts, pushes the
//! platform's own events, misbehaves when told to, and keeps the ground truth: what each person received, paid by
//! which consent, and every call of every window.
//!
//! The platform's own paths are at the root (`/cgi-bin/…`, `/wxaapi/…`); what a test or an operator steers is below
//! `/sim/…` (see [`control`] for the list). [`wechat::config::AppConfig`] documents every knob.
//!
//! ```
//! # async fn run() -> std::io::Result<()> {
//! use platform_simulators::{SimClock, Simulators};
//!
//! let simulators = Simulators::new(SimClock::system(), 1);
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8788").await?;
//! simulators.serve(listener, std::future::pending()).await
//! # }
//! ```
//!
//! How it stays quick and small: one short critical section per app and call, never held across an await; people and
//! received messages are kept whole (they are the truth), the logs of calls and callbacks are rings.

mod clock;
pub mod control;
mod delivery;
mod faults;
mod problem;
mod truth;
pub mod wechat;
mod world;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::serve::ListenerExt;
use tokio::net::TcpListener;

pub use clock::{NowFn, SimClock};
use delivery::Way;
pub use delivery::{Answering, Callback};
use world::World;

/// All simulated platforms behind one port. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Simulators {
    world: Arc<World>,
}

impl Simulators {
    /// Simulators without any app yet. All randomness (tokens, ids, nonces, fault chances) comes from `seed`.
    #[must_use]
    pub fn new(clock: SimClock, seed: u64) -> Self {
        Self { world: Arc::new(World::new(clock, seed, Way::network())) }
    }

    /// The same with nothing on the network: callbacks go to `receive`, and [`Self::router`] takes the calls.
    #[must_use]
    pub fn in_process(
        clock: SimClock,
        seed: u64,
        receive: impl Fn(Callback) -> Answering + Send + Sync + 'static,
    ) -> Self {
        Self { world: Arc::new(World::new(clock, seed, Way::InProcess(Box::new(receive)))) }
    }

    /// The platform's paths and the control paths, to be served on any listener.
    pub fn router(&self) -> Router {
        wechat::router().merge(control::router()).fallback(control::not_found).with_state(Arc::clone(&self.world))
    }

    /// Serves until `shutdown` ends, then finishes what is in flight; calls that hang by a fault are cut.
    ///
    /// # Errors
    /// When the listener fails.
    pub async fn serve(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let service = self.router().into_make_service_with_connect_info::<SocketAddr>();
        // Answers are small: waiting to fill a segment would only add the peer's delayed acknowledgement.
        let listener = listener.tap_io(|stream| {
            let _ = stream.set_nodelay(true);
        });
        let world = self.world;
        axum::serve(listener, service)
            .with_graceful_shutdown(async move {
                shutdown.await;
                world.close();
            })
            .await
    }

    /// Waits until no callback is queued, held back or on its way.
    pub async fn idle(&self) {
        self.world.deliveries.idle().await;
    }

    /// How many callbacks are queued, held back or on their way.
    #[must_use]
    pub fn pending_callbacks(&self) -> usize {
        self.world.deliveries.pending()
    }
}
