//! The command's arguments.

use clap::{Parser, Subcommand};

use crate::commands::{
    campaign, channel, demo, dlq, key, message, metrics, quota, send, stores, subscriber, template, up,
};

/// Subscription messages at the edge of quota windows: the local stack and the client of its API.
#[derive(Debug, Parser)]
#[command(name = "tidepost", version, about, after_help = EXAMPLES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  tidepost demo                                see the main job, checked by the simulator's truth
  tidepost up                                  run the whole stack on this machine
  tidepost channel put shop channel.json       set a channel up
  tidepost send --channel shop --openid o1 --template TMPL_A --data thing1=咖啡
  tidepost subscribers import people.csv --channel shop
  tidepost campaign create spring.json --start

Exit codes:
  0 done
  1 it ran, and the answer is no (not found, refused by a rule, rows rejected)
  2 wrong usage
  3 the endpoint is not reachable, or timed out
  4 the API refused; its code is on standard error";

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Tell the story of a shop's evening and check every invariant
    Demo(demo::Args),
    /// Run the stack: API, functions, stand-ins for AWS, simulators
    Up(up::Args),
    /// Run only the stand-ins for AWS, for `up --aws-endpoint`
    Stores(stores::Args),
    /// API keys
    #[command(subcommand)]
    Key(key::Command),
    /// Channels
    #[command(subcommand)]
    Channel(channel::Command),
    /// Templates
    #[command(subcommand)]
    Template(template::Command),
    /// Campaigns
    #[command(subcommand)]
    Campaign(campaign::Command),
    /// Send one message
    Send(Box<send::Args>),
    /// Messages
    #[command(subcommand)]
    Message(message::Command),
    /// A channel's live quota windows
    Quota(quota::Args),
    /// A channel's counts
    Metrics(metrics::Args),
    /// Subscribers
    #[command(subcommand, visible_alias = "subscribers")]
    Subscriber(subscriber::Command),
    /// Dead letters: what the queues gave up on
    #[command(subcommand)]
    Dlq(dlq::Command),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_subcommand_has_examples() {
        fn check(command: &clap::Command) {
            let leaves: Vec<_> = command.get_subcommands().filter(|one| one.get_name() != "help").collect();
            if leaves.is_empty() {
                let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains("tidepost "), "{} has no example", command.get_name());
            }
            leaves.into_iter().for_each(check);
        }
        check(&Cli::command());
    }

    #[test]
    fn a_speed_below_one_is_wrong_usage() {
        assert!(Cli::try_parse_from(["tidepost", "up", "--speed", "0.5"]).is_err());
        assert!(Cli::try_parse_from(["tidepost", "up", "--speed", "600"]).is_ok());
    }
}
