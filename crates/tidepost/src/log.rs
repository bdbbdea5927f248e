//! The command's log: JSON lines on standard error.

use tracing_subscriber::EnvFilter;

/// The level unless `TIDEPOST_LOG` says another. The DynamoDB stand-in warns at each failed condition, which for us is
/// an everyday answer.
const QUIET_STAND_INS: &str = "dynoxide=error";

/// Starts logging at the level of `TIDEPOST_LOG`, `warn` unless set.
pub fn init() {
    let level = std::env::var("TIDEPOST_LOG").unwrap_or_else(|_| "warn".to_owned());
    let filter = EnvFilter::try_new(format!("{level},{QUIET_STAND_INS}"));
    let filter = filter.unwrap_or_else(|_| EnvFilter::new(format!("warn,{QUIET_STAND_INS}")));
    let subscriber = tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(std::io::stderr).finish();
    // A second call finds the first one's subscriber in place, which is what is wanted.
    drop(tracing::subscriber::set_global_default(subscriber));
}
