//! From wire keys to flows.
//!
//! What a packet's flow is made of lies in memory that no cache holds once there are many flows. So the keys lie in the
//! table itself, and packets are looked up many at a time: the processor waits for the memory of all of them together
//! instead of for one after the other.

use std::hash::{BuildHasher, Hasher, RandomState};

use arrayvec::ArrayVec;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use pyo3::exceptions::{PyKeyError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use pyo3::{PyTraverseError, PyVisit};

use crate::flow::{FlowState, Wire};
use crate::headers::Ip;
use crate::memory::{prefetch, prefetch_object};

/// Packets that are looked up at a time: more than the processor fetches at once, less than its nearest cache holds.
pub const TOGETHER: usize = 32;
/// Whether it is IPv6, and the protocol.
type Kind = (bool, u8);
/// TCP, UDP and ICMP, in either family.
const PLAIN_KINDS: usize = 6;

/// A map by wire key. Strangers choose addresses and ports, so the hash is one that they cannot foresee.
pub struct Index<V> {
    entries: HashTable<(Wire, V)>,
    state: RandomState,
}

impl<V> Index<V> {
    pub fn new() -> Self {
        Self { entries: HashTable::new(), state: RandomState::new() }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn hash(&self, key: &Wire) -> u64 {
        hash_by(&self.state, key)
    }

    /// Begin to bring the entry of the key that has this hash into the processor's cache: the first that may be it.
    pub fn prefetch(&self, hash: u64) {
        if let Some(entry) = self.entries.iter_hash(hash).next() {
            prefetch(entry);
        }
    }

    pub fn find(&self, hash: u64, key: &Wire) -> Option<&V> {
        self.entries.find(hash, |(its, _)| its == key).map(|(_, value)| value)
    }

    /// Enter a value; returns the one that it replaces.
    pub fn insert(&mut self, key: Wire, value: V) -> Option<V> {
        let hash = self.hash(&key);
        match self.entries.entry(hash, |(its, _)| *its == key, |(its, _)| hash_by(&self.state, its)) {
            Entry::Occupied(mut entry) => Some(std::mem::replace(&mut entry.get_mut().1, value)),
            Entry::Vacant(entry) => {
                entry.insert((key, value));
                None
            }
        }
    }

    pub fn remove(&mut self, key: &Wire) -> Option<V> {
        let entry = self.entries.find_entry(self.hash(key), |(its, _)| its == key).ok()?;
        Some(entry.remove().0.1)
    }
}

fn hash_by(state: &RandomState, key: &Wire) -> u64 {
    let mut hasher = state.build_hasher();
    hasher.write(key.all());
    hasher.finish()
}

/// The flows of one family and protocol by their wire keys one way, with as much of a dict's face as a flow table uses.
///
/// A flow is let go only when the table is no longer borrowed: the interpreter may do anything meanwhile.
#[pyclass(mapping, module = "wiresock_py._native")]
pub struct FlowIndex(Index<Py<FlowState>>);

#[pymethods]
impl FlowIndex {
    #[new]
    fn new() -> Self {
        Self(Index::new())
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }

    #[pyo3(signature = (key, /))]
    fn get(&self, py: Python<'_>, key: &[u8]) -> Option<Py<FlowState>> {
        let key = Wire::new(key)?;
        Some(self.0.find(self.0.hash(&key), &key)?.clone_ref(py))
    }

    fn __setitem__(slf: &Bound<'_, Self>, key: &[u8], flow: Py<FlowState>) -> PyResult<()> {
        let key = Wire::new(key).ok_or_else(|| PyValueError::new_err("a wire key has 12 or 36 bytes"))?;
        let replaced = slf.borrow_mut().0.insert(key, flow);
        drop(replaced);
        Ok(())
    }

    fn __delitem__(slf: &Bound<'_, Self>, key: &[u8]) -> PyResult<()> {
        let removed = Wire::new(key).and_then(|key| slf.borrow_mut().0.remove(&key));
        removed.map(drop).ok_or_else(|| PyKeyError::new_err(key.to_vec()))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.0.entries.iter().try_for_each(|(_, flow)| visit.call(flow))
    }

    fn __clear__(slf: &Bound<'_, Self>) {
        let flows = std::mem::take(&mut slf.borrow_mut().0.entries);
        drop(flows);
    }
}

/// The indices of a flow table one way, and what a call looks up in them.
pub struct Indices<'py> {
    ipv4: Bound<'py, PyDict>,
    ipv6: Bound<'py, PyDict>,
    /// Those that were asked for.
    used: ArrayVec<(Kind, Option<Bound<'py, FlowIndex>>), PLAIN_KINDS>,
}

/// The flow of each packet, if there is one.
pub type Flows<'py> = ArrayVec<Option<Bound<'py, FlowState>>, TOGETHER>;

impl<'py> Indices<'py> {
    /// Of the dicts from protocols to indices, of each family.
    pub fn new(ipv4: &Bound<'py, PyDict>, ipv6: &Bound<'py, PyDict>) -> Self {
        Self { ipv4: ipv4.clone(), ipv6: ipv6.clone(), used: ArrayVec::new() }
    }

    /// Look up packets, at most `TOGETHER`, by the IP headers and wire keys of those that are plain.
    pub fn find<'key>(&mut self, packets: impl Iterator<Item = Option<(Ip, &'key Wire)>>) -> PyResult<Flows<'py>> {
        let py = self.ipv4.py();
        let mut wanted: ArrayVec<(usize, &Wire, u64), TOGETHER> = ArrayVec::new();
        let mut by_packet: ArrayVec<Option<usize>, TOGETHER> = ArrayVec::new();
        for packet in packets {
            let Some((ip, key)) = packet else {
                by_packet.push(None);
                continue;
            };
            let place = self.place(ip)?;
            if wanted.last().is_none_or(|&(before, last, _)| before != place || last != key) {
                wanted.push((place, key, 0));
            }
            by_packet.push(Some(wanted.len() - 1));
        }
        let used: ArrayVec<_, PLAIN_KINDS> =
            self.used.iter().map(|(_, index)| index.as_ref().map(|index| index.borrow())).collect();
        for (place, key, hash) in &mut wanted {
            if let Some(index) = &used[*place] {
                *hash = index.0.hash(key);
            }
        }
        for (place, _, hash) in &wanted {
            if let Some(index) = &used[*place] {
                index.0.prefetch(*hash);
            }
        }
        let found: ArrayVec<_, TOGETHER> = wanted
            .iter()
            .map(|(place, key, hash)| used[*place].as_ref()?.0.find(*hash, key).inspect(|flow| prefetch_object(flow)))
            .collect();
        Ok(by_packet.into_iter().map(|number| Some(found[number?]?.bind(py).clone())).collect())
    }

    /// Where in `used` the index for a packet is.
    fn place(&mut self, ip: Ip) -> PyResult<usize> {
        let kind = (ip.is_ipv6, ip.protocol);
        if let Some(place) = self.used.iter().position(|(its, _)| *its == kind) {
            return Ok(place);
        }
        let by_protocol = if ip.is_ipv6 { &self.ipv6 } else { &self.ipv4 };
        let index = by_protocol.get_item(ip.protocol)?.map(Bound::cast_into::<FlowIndex>).transpose()?;
        self.used.push((kind, index));
        Ok(self.used.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use ring::rand::{SecureRandom, SystemRandom};

    use super::*;

    fn key(number: u8) -> Wire {
        let bytes = [number; 36];
        Wire::new(if number % 2 == 0 { &bytes[..12] } else { &bytes }).expect("a wire key")
    }

    fn found(index: &Index<usize>, key: &Wire) -> Option<usize> {
        let hash = index.hash(key);
        index.prefetch(hash);
        index.find(hash, key).copied()
    }

    #[test]
    fn an_index_is_a_map() {
        let mut steps = [0; 4000];
        SystemRandom::new().fill(&mut steps).expect("randomness");
        let (mut index, mut model) = (Index::new(), HashMap::new());
        for (value, step) in steps.chunks(2).enumerate() {
            let (number, key) = (step[0], key(step[0]));
            if step[1] % 3 == 0 {
                assert_eq!(index.remove(&key), model.remove(&number));
            } else {
                assert_eq!(index.insert(key, value), model.insert(number, value));
            }
            assert_eq!(index.len(), model.len());
            assert_eq!(found(&index, &key), model.get(&number).copied());
        }
        for number in 0..=255 {
            assert_eq!(found(&index, &key(number)), model.get(&number).copied());
        }
    }

    #[test]
    fn a_short_key_is_not_the_beginning_of_a_long_one() {
        let mut index = Index::new();
        let long = Wire::new(&[0; 36]).expect("a wire key");
        index.insert(long, 1);
        assert_eq!(found(&index, &Wire::new(&[0; 12]).expect("a wire key")), None);
        assert_eq!(found(&index, &long), Some(1));
    }
}
