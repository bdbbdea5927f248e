//! The main job in front of one's eyes: a shop's evening on the embedded stack, then campaigns that compete for three days'
//! windows, judged by the simulator's truth.
//!
//! ```text
//! story    who answers what and who is sent what, from a seed     (pure)
//! shop     the shop's channel, the same on both sides             (pure)
//! run      tells the story over HTTP
//! truth    what the simulator saw
//! checks   the invariants, restated over truth and answers        (pure)
//! print    bars, tables, the last lines
//! sale     the same of the campaigns
//! ```

pub mod checks;
pub mod print;
pub mod run;
pub mod sale;
pub mod shop;
pub mod story;
pub mod truth;
