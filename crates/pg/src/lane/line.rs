//! The keys of one kind that wait to be sent: in the order of their arrival, each once, with all who asked for it.
//!
//! Pure: knows neither connections nor bounds. Whoever leaves is taken out at once, in the middle of the line too, so
//! that what is counted is what is wanted.

use std::{collections::VecDeque, fmt};

use hashbrown::HashTable;
use tokio::{sync::oneshot, time::Instant};

/// Where an entry is. Counts up and is never used twice, so the place of one that has been sent leads nowhere.
pub(super) type Place = u64;

/// What a key takes up while it waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cost {
    /// Who asks, as far as fairness is concerned.
    pub(super) party: u64,
    /// Bytes of the key.
    pub(super) key_bytes: usize,
    /// Bytes that its answer is expected to have.
    pub(super) answer_bytes: usize,
}

/// A key, and those who wait for its answer `A`.
pub(super) struct Entry<K, A> {
    pub(super) key: K,
    pub(super) cost: Cost,
    /// When the first of them came.
    pub(super) arrived: Instant,
    /// When the last of them gives up.
    pub(super) deadline: Instant,
    hash: u64,
    waiters: Waiters<A>,
}

impl<K, A> Entry<K, A> {
    pub(super) fn new(key: K, hash: u64, cost: Cost, arrived: Instant, waiter: Waiter<A>) -> Self {
        Self {
            key,
            cost,
            arrived,
            deadline: waiter.deadline,
            hash,
            waiters: Waiters {
                first: waiter.reply,
                others: Vec::new(),
                present: 1,
            },
        }
    }

    /// How many joined, those who have left since included.
    pub(super) fn joined(&self) -> usize {
        1 + self.waiters.others.len()
    }
}

impl<K, A: Clone> Entry<K, A> {
    /// Tells everybody who still waits.
    pub(super) fn answer(self, answer: A) {
        for other in self.waiters.others {
            // Gone: its answer is nobody's.
            let _ = other.send(answer.clone());
        }
        let _ = self.waiters.first.send(answer);
    }
}

impl<K: fmt::Debug, A> fmt::Debug for Entry<K, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("key", &self.key)
            .field("waiters", &self.waiters.present)
            .finish_non_exhaustive()
    }
}

/// One who waits.
pub(super) struct Waiter<A> {
    pub(super) reply: oneshot::Sender<A>,
    pub(super) deadline: Instant,
}

/// Nearly always one, which then needs no memory of its own.
struct Waiters<A> {
    first: oneshot::Sender<A>,
    others: Vec<oneshot::Sender<A>>,
    /// Those who have not left.
    present: usize,
}

impl<A> Waiters<A> {
    fn join(&mut self, reply: oneshot::Sender<A>) {
        // Of a key that many ask for and leave again, the dead go when they are as many as the living.
        if self.others.len() >= 2 * self.present.max(16) {
            self.others.retain(|other| !other.is_closed());
        }
        self.others.push(reply);
        self.present += 1;
    }
}

/// The line.
pub(super) struct Line<K, A> {
    /// `None` where somebody left. The first is never `None`.
    entries: VecDeque<Option<Entry<K, A>>>,
    /// The place of the first of `entries`.
    first: Place,
    /// The places by key.
    places: HashTable<Place>,
}

impl<K, A> fmt::Debug for Line<K, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line")
            .field("waiting", &self.places.len())
            .finish_non_exhaustive()
    }
}

impl<K, A> Default for Line<K, A> {
    fn default() -> Self {
        Self {
            entries: VecDeque::new(),
            first: 0,
            places: HashTable::new(),
        }
    }
}

impl<K: Eq, A> Line<K, A> {
    /// Keys that wait.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Where `key` waits already.
    pub(super) fn find(&self, hash: u64, key: &K) -> Option<Place> {
        let same = |place: &Place| self.at(*place).is_some_and(|entry| entry.key == *key);
        self.places.find(hash, same).copied()
    }

    /// Adds someone to the entry at `place`, which [`Line::find`] has found.
    pub(super) fn join(&mut self, place: Place, waiter: Waiter<A>) {
        if let Some(entry) = self.at_mut(place).and_then(Option::as_mut) {
            entry.deadline = entry.deadline.max(waiter.deadline);
            entry.waiters.join(waiter.reply);
        }
    }

    /// Adds a key that does not wait yet.
    pub(super) fn push(&mut self, entry: Entry<K, A>) -> Place {
        let place = self.first + self.entries.len() as Place;
        let (first, entries) = (self.first, &self.entries);
        let hash = |place: &Place| {
            index(first, *place)
                .and_then(|index| entries.get(index)?.as_ref())
                .expect("places are those of entries")
                .hash
        };
        self.places.insert_unique(entry.hash, place, hash);
        self.entries.push_back(Some(entry));
        place
    }

    /// Somebody leaves. `None` if the entry has been sent; otherwise what it cost, if nobody waits for it any more.
    pub(super) fn leave(&mut self, place: Place) -> Option<Left> {
        let slot = self.at_mut(place)?;
        let entry = slot.as_mut()?;
        entry.waiters.present -= 1;
        if entry.waiters.present > 0 {
            return Some(Left::Others);
        }
        let (hash, cost) = (entry.hash, entry.cost);
        *slot = None;
        self.forget(hash, place);
        self.trim();
        Some(Left::Nobody(cost))
    }

    /// Takes out the entry that has waited longest.
    pub(super) fn pop(&mut self) -> Option<Entry<K, A>> {
        let entry = self.entries.pop_front()??;
        self.forget(entry.hash, self.first);
        self.first += 1;
        self.trim();
        Some(entry)
    }

    /// The entry that has waited longest.
    pub(super) fn front(&self) -> Option<&Entry<K, A>> {
        self.entries.front()?.as_ref()
    }

    fn forget(&mut self, hash: u64, place: Place) {
        if let Ok(found) = self.places.find_entry(hash, |other| *other == place) {
            found.remove();
        }
    }

    /// Lets those who left fall off the front.
    fn trim(&mut self) {
        let gone = self
            .entries
            .iter()
            .take_while(|slot| slot.is_none())
            .count();
        self.entries.drain(..gone);
        self.first += gone as Place;
    }

    fn at(&self, place: Place) -> Option<&Entry<K, A>> {
        self.entries.get(index(self.first, place)?)?.as_ref()
    }

    fn at_mut(&mut self, place: Place) -> Option<&mut Option<Entry<K, A>>> {
        self.entries.get_mut(index(self.first, place)?)
    }
}

/// What somebody who left has left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// Others who want the same.
    Others,
    /// Nothing: the key has gone.
    Nobody(Cost),
}

fn index(first: Place, place: Place) -> Option<usize> {
    usize::try_from(place.checked_sub(first)?).ok()
}
