//! The whole path over real HTTP, on the embedded stack. What happened is read from the simulator, never from the core.

mod alarms;
mod callback;
mod campaign_api;
mod campaign_crash;
mod campaign_ends;
mod campaign_rules;
mod campaigns;
mod crash;
mod dead_letters;
mod delivery;
mod events;
mod messages;
mod platform_codes;
mod proxy;
mod throttles;
mod two_hosts;
mod upgrade;
mod upkeep;
mod world;
