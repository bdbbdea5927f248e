//! The dead letters: what could not be handled is settled once it is worthless, and never sent.

use jiff::Timestamp;
use tidepost_core::recover::{DeadLetter, dead_letter};
use tidepost_io::app::App;
use tidepost_io::queue::{Letter, MessageTask, NowTask};
use tidepost_io::store::StoreError;

use crate::recovery::end;

/// Looks at the queue of dead letters in one tick at the most, 10 letters each.
const LOOKS_MAX: usize = 10;

/// Ends the messages of dead letters that are past their deadline, and deletes the letters of messages that are over. Letters
/// that this version cannot read stay for the one that can.
pub async fn settle(app: &App) -> Result<(), String> {
    let mut unreadable = 0;
    let mut failed = Vec::new();
    for _ in 0..LOOKS_MAX {
        let letters = app.dead_queue.look(0).await.map_err(|error| error.to_string())?;
        if letters.is_empty() {
            break;
        }
        for letter in letters {
            match serde_json::from_str(&letter.body) {
                Err(_) => unreadable += 1,
                Ok(NowTask::V1(task)) => failed.extend(settle_one(app, &letter, &task).await.err()),
            }
        }
    }
    if unreadable > 0 {
        // Not to be deleted: a newer version that was rolled back may have written them, and reads them when it is back.
        tracing::error!(unreadable, "dead letters cannot be read by this version");
    }
    if failed.is_empty() { Ok(()) } else { Err(failed.join("; ")) }
}

async fn settle_one(app: &App, letter: &Letter, task: &MessageTask) -> Result<(), String> {
    // Before row and person are read: what is reserved later is not taken for past its deadline unsent.
    let now = app.clock.now();
    let is_over = end_message(app, task, now).await.map_err(|error| format!("dead letter of {}: {error}", task.id))?;
    if is_over { app.dead_queue.discard(letter).await.map_err(|error| error.to_string()) } else { Ok(()) }
}

/// Returns whether the letter's message is over.
async fn end_message(app: &App, task: &MessageTask, now: Timestamp) -> Result<bool, StoreError> {
    let message = app.store.message(task.id).await?;
    let entry = app.store.person(&task.to).await?;
    let person = entry.person();
    let is_reserved = person.sends.find(task.id).is_some();
    match dead_letter(task.not_after, message.as_ref(), is_reserved, person.erased_at.is_some(), now) {
        DeadLetter::Leave => return Ok(false),
        DeadLetter::Discard => {}
        DeadLetter::End(ending) => {
            if let Some(message) = &message {
                tracing::warn!(id = %task.id, "a message that could not be handled ends at its deadline");
                end(app, task.id, message, ending, now).await?;
            }
        }
    }
    Ok(true)
}
