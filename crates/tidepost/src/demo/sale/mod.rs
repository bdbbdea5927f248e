//! The demo's other part: three campaigns compete for the same people and for windows that cannot hold all of them.
//!
//! ```text
//! audience  whom the campaigns are for and who consented, from a seed     (pure)
//! app       the account, its channel and the campaigns, on both sides     (pure)
//! run       tells it over HTTP, lets the days pass
//! checks    the invariants, restated over what the simulator saw          (pure)
//! figures   what is counted of it, for tables and plot                    (pure)
//! print     tables and sparklines                                         (pure)
//! plot      the same as SVG                                               (pure)
//! ```

pub mod app;
pub mod audience;
pub mod checks;
pub mod figures;
pub mod plot;
pub mod print;
pub mod run;
