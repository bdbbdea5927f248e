//! Listeners and servers on them.

use std::net::SocketAddr;

use axum::Router;
use axum::serve::ListenerExt;
use tokio::net::TcpListener;

use crate::stack::error::StackError;
use crate::stack::stop::Stop;

/// Listens on an address; port 0 takes a free one. Returns the address that it got.
///
/// # Errors
/// [`StackError::Listen`] when it is taken or not ours.
pub async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StackError> {
    let failed = |source| StackError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let got = listener.local_addr().map_err(failed)?;
    Ok((listener, got))
}

/// Serves until the end begins, then finishes what is in flight.
pub async fn serve(what: &'static str, listener: TcpListener, router: Router, stop: Stop) {
    // Answers are small: waiting to fill a segment would only add the peer's delayed acknowledgement.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    if let Err(error) = axum::serve(listener, service).with_graceful_shutdown(stop.signal()).await {
        tracing::error!(%error, what, "a local server ended");
    }
}
