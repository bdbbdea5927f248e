//! Serves the simulators alone: `cargo run -p platform-simulators --example serve -- 127.0.0.1:8788`.
//! Prints `ready simulators=http://…` when it listens; port 0 takes a free one.

use platform_simulators::{SimClock, Simulators};

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8788".to_owned());
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("ready simulators=http://{}", listener.local_addr()?);
    let interrupted = async {
        // Without a handler for it, the signal ends the process at once, which is as good here.
        let _ = tokio::signal::ctrl_c().await;
    };
    Simulators::new(SimClock::system(), 1).serve(listener, interrupted).await
}
