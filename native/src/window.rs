//! The receive window of a session (RFC 6479): each counter is accepted once, and none that is too old to tell.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;

/// Counters from here on are never used (paper 6.5): REJECT_AFTER_MESSAGES.
pub const LIMIT: u64 = u64::MAX - (1 << 13);
const RING: usize = 8192;
const WORDS: usize = RING / 64;
/// One word less than the ring, as every deployed peer has it.
const USABLE: u64 = RING as u64 - 64;

/// Which counters were accepted, as bits; `greatest` is None before the first.
pub struct Window {
    pub greatest: Option<u64>,
    seen: [u64; WORDS],
}

impl Window {
    pub const fn new() -> Self {
        Self { greatest: None, seen: [0; WORDS] }
    }

    fn is_marked(&self, counter: u64) -> bool {
        self.seen[word_of(counter)] & bit_of(counter) != 0
    }

    /// Whether `accept` would accept; changes nothing.
    pub fn check(&self, counter: u64) -> bool {
        match self.greatest {
            Some(greatest) if counter <= greatest => greatest - counter <= USABLE && !self.is_marked(counter),
            _ => counter < LIMIT,
        }
    }

    /// Mark the counter of an authentic packet; false if it is a replay or at the limit.
    pub fn accept(&mut self, counter: u64) -> bool {
        if !self.check(counter) {
            return false;
        }
        if self.greatest.is_none_or(|greatest| counter > greatest) {
            let first = self.greatest.map_or(0, |greatest| greatest + 1);
            if counter - first >= RING as u64 {
                self.seen = [0; WORDS];
            } else {
                for skipped in first..counter {
                    self.seen[word_of(skipped)] &= !bit_of(skipped);
                }
            }
            self.greatest = Some(counter);
        }
        self.seen[word_of(counter)] |= bit_of(counter);
        true
    }
}

const fn word_of(counter: u64) -> usize {
    counter as usize / 64 % WORDS
}

const fn bit_of(counter: u64) -> u64 {
    1 << (counter % 64)
}

/// A window that the interpreter and the data path share.
#[pyclass(frozen, module = "wiresock_py._native")]
pub struct ReplayWindow(Arc<Mutex<Window>>);

impl ReplayWindow {
    pub fn share(&self) -> Arc<Mutex<Window>> {
        Arc::clone(&self.0)
    }
}

/// The window, whatever befell another thread that had it: its state is right after every step.
pub fn locked(window: &Mutex<Window>) -> MutexGuard<'_, Window> {
    window.lock().unwrap_or_else(PoisonError::into_inner)
}

#[pymethods]
impl ReplayWindow {
    #[new]
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Window::new())))
    }

    #[getter]
    fn greatest(&self) -> i128 {
        locked(&self.0).greatest.map_or(-1, i128::from)
    }

    #[pyo3(signature = (counter, /))]
    fn check(&self, counter: u64) -> bool {
        locked(&self.0).check(counter)
    }

    #[pyo3(signature = (counter, /))]
    fn accept(&self, counter: u64) -> bool {
        locked(&self.0).accept(counter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_counter_is_accepted_once_and_none_that_is_too_old() {
        let mut window = Window::new();
        for (counter, accepted) in [(0, true), (0, false), (9000, true), (9000 - USABLE, true), (8999 - USABLE, false)]
        {
            assert_eq!(window.accept(counter), accepted, "{counter}");
        }
    }

    #[test]
    fn what_was_skipped_is_not_taken_for_seen_one_ring_later() {
        let mut window = Window::new();
        for counter in 0..100 {
            assert!(window.accept(counter));
        }
        assert!(window.accept(RING as u64 + 200));
        for counter in RING as u64 + 100..RING as u64 + 200 {
            assert!(window.accept(counter), "{counter}");
        }
    }

    #[test]
    fn no_counter_at_the_limit_is_accepted() {
        let mut window = Window::new();
        assert!(!window.accept(LIMIT));
        assert!(window.accept(LIMIT - 1));
    }
}
