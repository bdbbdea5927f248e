//! The platforms' simulators, on the stack's clock.

use std::net::SocketAddr;
use std::sync::Arc;

use platform_simulators::{SimClock, Simulators};
use tidepost_io::clock::Clock;
use tokio::task::JoinHandle;

use crate::stack::error::StackError;
use crate::stack::serve::listen;
use crate::stack::stop::Stop;

/// Running simulators.
pub struct Running {
    /// Where they answer.
    pub url: String,
    /// Themselves.
    pub simulators: Simulators,
    task: JoinHandle<()>,
}

impl Running {
    /// Serves the simulators at `address`.
    ///
    /// # Errors
    /// [`StackError::Listen`] when the address is taken.
    pub async fn start(
        address: SocketAddr,
        clock: &Clock,
        speed: f64,
        seed: u64,
        stop: &Stop,
    ) -> Result<Self, StackError> {
        let (listener, at) = listen(address).await?;
        let clock = clock.clone();
        let simulators = Simulators::new(SimClock::new(Arc::new(move || clock.now()), speed), seed);
        let serving = simulators.clone().serve(listener, stop.signal());
        let task = tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, "the simulators ended");
            }
        });
        Ok(Self { url: format!("http://{at}"), simulators, task })
    }

    /// Drops what is left of them.
    pub fn abort(&self) {
        self.task.abort();
    }
}
