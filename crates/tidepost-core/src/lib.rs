//! Every rule of Tidepost, as plain functions over plain data.
//!
//! Nothing here is async, reads a clock, the environment or a file, draws randomness or logs: `now` and seeds are
//! arguments.

pub mod activity;
pub mod brake;
pub mod callback;
pub mod campaign;
pub mod category;
pub mod channel;
pub mod choice;
pub mod decide;
pub mod digest;
pub mod dispatch;
pub mod erasure;
pub mod event;
pub mod grant;
pub mod ids;
pub mod invalid;
pub mod list;
pub mod message;
pub mod metric;
mod nearest;
pub mod outcome;
pub mod pace;
mod packed;
pub mod person;
pub mod profile;
pub mod purchase;
pub mod quota;
pub mod reason;
pub mod receipt;
pub mod recover;
pub mod reply;
pub mod rfm;
pub mod segment;
pub mod sends;
pub mod size;
pub mod sweep;
pub mod sync;
pub mod template;
pub mod time;
pub mod token;
