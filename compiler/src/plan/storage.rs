//! Memory of values while a program is planned: who lies where, from when to when.

use super::memory::{Interval, place};
use super::program::{ALIGN, Place, align_of_constant};
use crate::graph::ir::ValueId;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::collections::HashMap;

/// Where a storage will be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Home {
    /// Somewhere in the arena, settled last.
    Arena,
    /// The caller's input number.
    Input(u32),
    /// The caller's output number.
    Output(u32),
    /// At this byte of the weights.
    Weights(u64),
}

/// A byte in a storage.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub struct Spot {
    /// Which storage.
    pub storage: u32,
    /// Byte in it.
    pub offset: u64,
}

struct Storage {
    bytes: u64,
    home: Home,
    first: u32,
    last: u32,
}

/// All storages of a program under way.
#[derive(Default)]
pub struct Storages {
    list: Vec<Storage>,
    of: HashMap<(usize, ValueId), Spot>,
    weights: Vec<(u64, Bytes)>,
    weights_bytes: u64,
    /// Where the last byte ends that a layer may think is there.
    reach: u64,
    same: HashMap<[u8; 32], Spot>,
}

/// Storages with their places.
pub struct Settled {
    places: Vec<Place>,
    /// Constants by offset.
    pub weights: Vec<(u64, Bytes)>,
    /// Bytes of all constants.
    pub weights_bytes: u64,
    /// Bytes of the arena with what lies at its start.
    pub arena_bytes: u64,
    /// Lower bound of `arena_bytes`.
    pub peak_bytes: u64,
}

impl Storages {
    /// A new storage.
    pub fn add(&mut self, bytes: i64, home: Home) -> Spot {
        self.list.push(Storage {
            bytes: bytes.max(0) as u64,
            home,
            first: u32::MAX,
            last: 0,
        });
        Spot {
            storage: self.list.len() as u32 - 1,
            offset: 0,
        }
    }
    /// Puts a value (of a scope) there.
    pub fn assign(&mut self, v: (usize, ValueId), spot: Spot) {
        self.of.insert(v, spot);
    }
    /// Where a value was put.
    pub fn get(&self, v: (usize, ValueId)) -> Option<Spot> {
        self.of.get(&v).copied()
    }
    /// Whether it lies in the arena.
    pub fn is_arena(&self, s: Spot) -> bool {
        self.list[s.storage as usize].home == Home::Arena
    }
    /// Notes that the storage holds something at that moment.
    pub fn touch(&mut self, s: Spot, now: u32) {
        let st = &mut self.list[s.storage as usize];
        st.first = st.first.min(now);
        st.last = st.last.max(now);
    }
    /// What lived before `from` and is used up to `to` in a loop is needed until its end: the next round reads it again.
    pub fn extend_over_loop(&mut self, from: u32, to: u32) {
        for st in self
            .list
            .iter_mut()
            .filter(|s| s.first < from && s.last >= from)
        {
            st.last = st.last.max(to);
        }
    }
    /// The storage of a constant; equal ones share it.
    pub fn weights(&mut self, data: Bytes) -> Spot {
        let digest: [u8; 32] = Sha256::digest(&data).into();
        if let Some(&s) = self.same.get(&digest) {
            return s;
        }
        let align = align_of_constant(data.len() as u64);
        let at = self.weights_bytes.next_multiple_of(align);
        self.weights_bytes = at + data.len() as u64;
        let spot = self.add(data.len() as i64, Home::Weights(at));
        self.weights.push((at, data));
        self.same.insert(digest, spot);
        spot
    }
    /// The same of a constant that a layer thinks is so long: layers share code whose constants differ in length.
    pub fn weights_that_reach(&mut self, data: Bytes, bytes: u64) -> Spot {
        let spot = self.weights(data);
        if let Home::Weights(at) = self.list[spot.storage as usize].home {
            self.reach = self.reach.max(at + bytes);
        }
        spot
    }
    /// Bytes of every storage.
    pub fn sizes(&self) -> Vec<u64> {
        self.list.iter().map(|s| s.bytes).collect()
    }
    /// Settles every storage; `reserved` bytes at the start of the arena are left alone. `search`: try several orders.
    pub fn settle(self, reserved: u64, search: bool) -> Settled {
        let arena: Vec<usize> = (0..self.list.len())
            .filter(|&i| self.list[i].home == Home::Arena && self.list[i].first != u32::MAX)
            .collect();
        let intervals: Vec<Interval> = arena
            .iter()
            .map(|&i| Interval {
                bytes: self.list[i].bytes,
                first: self.list[i].first,
                last: self.list[i].last,
            })
            .collect();
        let placed = place(&intervals, ALIGN, search);
        let mut places: Vec<Place> = self
            .list
            .iter()
            .map(|s| match s.home {
                Home::Arena => Place::Arena(0),
                Home::Input(k) => Place::Input(k, 0),
                Home::Output(k) => Place::Output(k, 0),
                Home::Weights(at) => Place::Weights(at),
            })
            .collect();
        for (&i, &at) in arena.iter().zip(&placed.offsets) {
            places[i] = Place::Arena(reserved + at);
        }
        Settled {
            places,
            weights: self.weights,
            weights_bytes: self.weights_bytes.max(self.reach),
            arena_bytes: reserved + placed.total,
            peak_bytes: reserved + placed.peak,
        }
    }
}

impl Settled {
    /// The place of a spot.
    pub fn place(&self, s: Spot) -> Place {
        match self.places[s.storage as usize] {
            Place::Arena(at) => Place::Arena(at + s.offset),
            Place::Weights(at) => Place::Weights(at + s.offset),
            Place::Input(k, at) => Place::Input(k, at + s.offset),
            Place::Output(k, at) => Place::Output(k, at + s.offset),
        }
    }
}
