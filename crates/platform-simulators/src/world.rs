//! What all apps share: the clock, the seed, the tokens' owners, faults and callbacks on their way.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use jiff::Timestamp;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::sync::watch;

use crate::clock::SimClock;
use crate::delivery::{Deliveries, Way};
use crate::faults::{CallPlan, CallbackPlan, FaultBook};
use crate::wechat::app::App;

/// Locks, also after a panic elsewhere: a test that panics must not take the simulator's truth with it.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) struct World {
    pub(crate) clock: SimClock,
    random: Mutex<ChaCha8Rng>,
    apps: RwLock<BTreeMap<String, Arc<App>>>,
    /// Access token to app. Whether the token is still good is the app's knowledge.
    tokens: RwLock<HashMap<String, Arc<App>>>,
    faults: Mutex<FaultBook>,
    pub(crate) deliveries: Deliveries,
    message_ids: AtomicU64,
    closing: watch::Sender<bool>,
}

impl World {
    pub(crate) fn new(clock: SimClock, seed: u64, callbacks: Way) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        // As large as the real ones: beyond what a double holds exactly, below what a signed integer does.
        let first = 3_000_000_000_000_000_000 + u64::from(random.random::<u32>()) * 1_000;
        Self {
            clock,
            random: Mutex::new(random),
            apps: RwLock::default(),
            tokens: RwLock::default(),
            faults: Mutex::default(),
            deliveries: Deliveries::new(callbacks),
            message_ids: AtomicU64::new(first),
            closing: watch::Sender::new(false),
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn random<T>(&self, draw: impl FnOnce(&mut ChaCha8Rng) -> T) -> T {
        draw(&mut lock(&self.random))
    }

    /// Random characters of the URL-safe alphabet.
    pub(crate) fn random_text(&self, length: usize) -> String {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        self.random(|random| {
            (0..length)
                .filter_map(|_| ALPHABET.get(usize::from(random.random::<u8>() % 64)).map(|b| char::from(*b)))
                .collect()
        })
    }

    pub(crate) fn next_message_id(&self) -> u64 {
        self.message_ids.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn app(&self, app_id: &str) -> Option<Arc<App>> {
        self.apps.read().unwrap_or_else(PoisonError::into_inner).get(app_id).cloned()
    }

    pub(crate) fn apps(&self) -> Vec<Arc<App>> {
        self.apps.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// The app, and whether it is new.
    pub(crate) fn app_or_new(&self, app_id: &str) -> (Arc<App>, bool) {
        let mut apps = self.apps.write().unwrap_or_else(PoisonError::into_inner);
        let known = apps.get(app_id).cloned();
        let is_new = known.is_none();
        let app = known.unwrap_or_else(|| Arc::new(App::new(app_id)));
        apps.insert(app_id.to_owned(), Arc::clone(&app));
        (app, is_new)
    }

    pub(crate) fn token_owner(&self, token: &str) -> Option<Arc<App>> {
        self.tokens.read().unwrap_or_else(PoisonError::into_inner).get(token).cloned()
    }

    /// Makes new tokens known and long dead ones unknown.
    pub(crate) fn register_tokens(&self, app: &Arc<App>, new: Option<String>, dead: &[String]) {
        let mut tokens = self.tokens.write().unwrap_or_else(PoisonError::into_inner);
        for token in dead {
            tokens.remove(token);
        }
        if let Some(token) = new {
            tokens.insert(token, Arc::clone(app));
        }
    }

    pub(crate) fn faults(&self) -> MutexGuard<'_, FaultBook> {
        lock(&self.faults)
    }

    pub(crate) fn plan_call(&self, path: &str, openid: Option<&str>) -> CallPlan {
        let mut faults = self.faults();
        if faults.is_empty() {
            CallPlan::default()
        } else {
            self.random(|random| faults.plan_call(path, openid, random))
        }
    }

    pub(crate) fn plan_callback(&self, names: &[&str], openid: &str) -> CallbackPlan {
        let mut faults = self.faults();
        if faults.is_empty() {
            CallbackPlan::default()
        } else {
            self.random(|random| faults.plan_callback(names, openid, random))
        }
    }

    /// Forgets every app, token, fault and queued callback.
    pub(crate) fn reset(&self) {
        self.apps.write().unwrap_or_else(PoisonError::into_inner).clear();
        self.tokens.write().unwrap_or_else(PoisonError::into_inner).clear();
        self.faults().clear();
        self.deliveries.clear();
    }

    /// Ends calls that hang by a fault, so that a server can stop.
    pub(crate) fn close(&self) {
        self.closing.send_replace(true);
    }

    pub(crate) async fn closed(&self) {
        // An error would mean that the sender is gone, but it lives as long as `self`.
        let _ = self.closing.subscribe().wait_for(|closing| *closing).await;
    }
}
