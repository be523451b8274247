//! Vector registers of a kernel: who is in which, who goes to the frame.
//!
//! Within a block the value whose next use is furthest goes first. What lives through a loop is either pinned to its register
//! while the loop runs, or waits in the frame: so registers mean the same at the end of a loop as at its beginning.

use super::{Kernel, count_uses, number, sets};
use crate::vector::ir::*;
use onnxc_compiler::loops::lane_loop::{Inst, Value, ValueNo};
use std::collections::{BTreeMap, BTreeSet};

/// A value or variable (by number, variables after the values) of one vector.
pub type Key = (u32, u8);

/// Where a value is.
#[derive(Clone, Copy, Default, Debug)]
pub struct Home {
    /// In this register.
    reg: Option<V>,
    /// In this slot of the frame, too.
    slot: Option<u16>,
    /// A variable that lives in its slot while a loop runs.
    fixed: bool,
    /// It is still in memory, where nothing is written until its last use.
    memory: bool,
    /// Defined outside of the open block.
    outer: bool,
}

#[derive(Default)]
pub struct Registers {
    homes: BTreeMap<Key, Home>,
    owner: BTreeMap<V, Key>,
    pinned: BTreeSet<V>,
    /// Not to be taken at the moment.
    locked: BTreeSet<V>,
    /// Where in the open block each value is used.
    uses: BTreeMap<u32, Vec<usize>>,
    /// Where in the open block we are.
    pub at: usize,
    free_slots: Vec<u16>,
    /// A value that was computed right into a variable.
    pub fused: BTreeSet<Key>,
}

/// Registers that a loop leaves to what its body computes, at least.
const LEAST: usize = 5;

/// What [`Kernel::enter`] settled for a loop.
#[derive(Default)]
pub struct Inside {
    pinned: Vec<Key>,
    fixed: Vec<Key>,
}

/// What [`Kernel::begin_block`] put aside.
pub struct Outer {
    uses: BTreeMap<u32, Vec<usize>>,
    at: usize,
    outer: Vec<Key>,
}

impl Kernel<'_> {
    pub(super) fn key(&self, no: u32, u: u8) -> Key {
        (no, if self.wide[no as usize] { u } else { 0 })
    }
    fn bits(&self, no: u32) -> Option<u32> {
        match self.l.values.get(no as usize) {
            Some(Value::Bits(b)) => Some(*b),
            _ => None,
        }
    }

    // Blocks

    pub(super) fn begin_block(&mut self, body: &[Inst]) -> Outer {
        let mut uses: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (at, i) in body.iter().enumerate() {
            let mut all = BTreeMap::new();
            count_uses(self.l, std::slice::from_ref(i), 1, &mut all);
            for no in all.into_keys() {
                uses.entry(no).or_default().push(at);
            }
        }
        let mut outer = vec![];
        for (k, h) in &mut self.regs.homes {
            if !h.outer {
                h.outer = true;
                outer.push(*k);
            }
        }
        Outer {
            uses: std::mem::replace(&mut self.regs.uses, uses),
            at: std::mem::replace(&mut self.regs.at, 0),
            outer,
        }
    }
    pub(super) fn end_block(&mut self, o: Outer) {
        let own: Vec<Key> = self
            .regs
            .homes
            .iter()
            .filter(|(_, h)| !h.outer)
            .map(|(k, _)| *k)
            .collect();
        for k in own {
            self.forget(k);
        }
        let temporary: Vec<Key> = self
            .regs
            .owner
            .iter()
            .filter(|(v, _)| !self.regs.pinned.contains(v))
            .map(|(_, k)| *k)
            .collect();
        for k in temporary {
            self.drop_reg(k);
        }
        for k in o.outer {
            if let Some(h) = self.regs.homes.get_mut(&k) {
                h.outer = false;
            }
        }
        self.regs.uses = o.uses;
        self.regs.at = o.at;
    }
    fn next_use(&self, no: u32) -> Option<usize> {
        let uses = self.regs.uses.get(&no)?;
        uses.get(uses.partition_point(|p| *p <= self.regs.at))
            .copied()
    }
    /// Gives back what the rest of the block does not need.
    pub(super) fn release_dead(&mut self) {
        let dead: Vec<Key> = self
            .regs
            .homes
            .keys()
            .filter(|k| self.next_use(k.0).is_none())
            .copied()
            .collect();
        for k in dead {
            let home = self.regs.homes[&k];
            match home.reg {
                Some(v) if self.regs.pinned.contains(&v) => {}
                _ if home.outer => self.drop_reg(k),
                _ => self.forget(k),
            }
        }
    }
    fn drop_reg(&mut self, k: Key) {
        let reg = self.regs.homes.get_mut(&k).and_then(|h| h.reg.take());
        if let Some(v) = reg {
            self.regs.owner.remove(&v);
            self.regs.pinned.remove(&v);
            self.vm.free(v);
        }
    }
    fn forget(&mut self, k: Key) {
        self.drop_reg(k);
        if let Some(h) = self.regs.homes.remove(&k) {
            self.regs.free_slots.extend(h.slot);
        }
    }
    fn own(&mut self, k: Key, v: V) {
        self.regs.homes.entry(k).or_default().reg = Some(v);
        self.regs.owner.insert(v, k);
    }

    // Registers

    /// Keeps a register until [`Kernel::unlock`].
    pub(super) fn lock(&mut self, v: V) {
        self.regs.locked.insert(v);
    }
    pub(super) fn unlock(&mut self) {
        self.regs.locked.clear();
    }
    fn slot(&mut self) -> u16 {
        self.regs.free_slots.pop().unwrap_or_else(|| self.vm.slot())
    }
    /// A register that belongs to nobody yet.
    pub(super) fn fresh(&mut self) -> Option<V> {
        if self.vm.spare() == 0 {
            let r = &self.regs;
            let out = r
                .owner
                .iter()
                .filter(|(v, _)| !r.pinned.contains(v) && !r.locked.contains(v))
                .max_by_key(|(_, k)| self.next_use(k.0).unwrap_or(usize::MAX))
                .map(|(_, k)| *k)?;
            self.save(out)?;
            self.drop_reg(out);
        }
        Some(self.vm.v())
    }
    pub(super) fn give_back(&mut self, v: V) {
        self.vm.free(v);
    }
    // Makes sure that a value survives the loss of its register.
    fn save(&mut self, k: Key) -> Option<()> {
        let h = *self.regs.homes.get(&k)?;
        if h.slot.is_some() || h.memory || self.bits(k.0).is_some() {
            return Some(());
        }
        let slot = self.slot();
        let s = h.reg?;
        self.vm.op(Op::Spill { s, slot });
        self.regs.homes.get_mut(&k)?.slot = Some(slot);
        Some(())
    }
    /// A value's register, locked.
    pub(super) fn reg(&mut self, v: ValueNo, u: u8) -> Option<V> {
        let no = number(self.l, v);
        let k = self.key(no, u);
        let r = self.reg_of(k)?;
        self.lock(r);
        Some(r)
    }
    fn reg_of(&mut self, k: Key) -> Option<V> {
        let h = self.regs.homes.get(&k).copied().unwrap_or_default();
        if let Some(r) = h.reg {
            return Some(r);
        }
        let d = self.fresh()?;
        match (self.bits(k.0), h.slot) {
            (Some(0), _) => self.vm.op(Op::Zero { d }),
            (Some(bits), _) => self.vm.op(Op::Const { d, bits }),
            (_, Some(slot)) => self.vm.op(Op::Fill { d, slot }),
            _ if h.memory => self.load_now(k, d)?,
            _ => return None,
        }
        if self.bits(k.0).is_some() {
            // Constants are everybody's: they are never forgotten with a block.
            self.regs.homes.entry(k).or_default().outer = true;
        }
        self.own(k, d);
        Some(d)
    }
    /// A value as a second operand: from its register, from memory, or as a constant.
    pub(super) fn src(&mut self, v: ValueNo, u: u8) -> Option<Src> {
        let no = number(self.l, v);
        let k = self.key(no, u);
        let h = self.regs.homes.get(&k).copied().unwrap_or_default();
        if h.reg.is_none() {
            if let Some(bits) = self.bits(no) {
                return Some(Src::Const(bits));
            }
            if h.memory
                && self.next_use(no).is_none()
                && let Some(m) = self.memory_operand(v, u)?
            {
                return Some(Src::Mem(m));
            }
        }
        self.reg(v, u).map(Src::Reg)
    }
    /// Whether a value is not needed after this operation, so that its register may be taken over.
    pub(super) fn dies(&self, v: ValueNo, u: u8) -> bool {
        let no = number(self.l, v);
        let k = self.key(no, u);
        let last = self.wide[no as usize] || self.us.last() == Some(&u);
        let Some(r) = self.regs.homes.get(&k).and_then(|h| h.reg) else {
            return false;
        };
        last && !self.regs.pinned.contains(&r)
            && self.next_use(no).is_none()
            // A variable's value goes on.
            && (no as usize) < self.l.values.len()
    }
    /// Takes the register of a value that dies.
    pub(super) fn take(&mut self, v: ValueNo, u: u8) -> Option<V> {
        let k = self.key(number(self.l, v), u);
        let r = self.regs.homes.get_mut(&k)?.reg.take()?;
        self.regs.owner.remove(&r);
        Some(r)
    }
    /// Gives a value its register.
    pub(super) fn define_in(&mut self, v: ValueNo, u: u8, r: V) {
        let k = self.key(v, u);
        self.own(k, r);
    }
    /// Notes that a value can be read from memory when it is wanted.
    pub(super) fn define_in_memory(&mut self, v: ValueNo, u: u8) {
        let k = self.key(v, u);
        self.regs.homes.entry(k).or_default().memory = true;
    }
    /// The register to which a variable is pinned.
    pub(super) fn pinned_var(&self, var: u16, u: u8) -> Option<V> {
        let k = self.key(self.l.values.len() as u32 + u32::from(var), u);
        let r = self.regs.homes.get(&k)?.reg?;
        self.regs.pinned.contains(&r).then_some(r)
    }
    pub(super) fn in_register(&self, v: ValueNo, u: u8) -> bool {
        let k = self.key(number(self.l, v), u);
        self.regs.homes.get(&k).is_some_and(|h| h.reg.is_some())
    }
    /// How often a value is used in the block.
    pub(super) fn uses_in_block(&self, v: ValueNo) -> usize {
        self.regs.uses.get(&v).map_or(0, Vec::len)
    }
    pub(super) fn last_use(&self, v: ValueNo) -> usize {
        let uses = self.regs.uses.get(&v);
        uses.and_then(|u| u.last().copied()).unwrap_or(0)
    }
    pub(super) fn set(&mut self, var: u16, v: ValueNo) -> Option<()> {
        for u in self.us.clone() {
            if self.regs.fused.remove(&(v, u)) {
                continue;
            }
            let k = self.key(self.l.values.len() as u32 + u32::from(var), u);
            let h = self.regs.homes.get(&k).copied().unwrap_or_default();
            if let Some(d) = self.pinned_var(var, u) {
                let a = self.reg(v, u)?;
                self.vm.op(Op::Move { d, a });
            } else if h.fixed {
                let s = self.reg(v, u)?;
                self.vm.op(Op::Spill { s, slot: h.slot? });
                self.drop_reg(k);
            } else {
                let d = if self.dies(v, u) {
                    self.reg(v, u)?;
                    self.drop_reg(k);
                    self.take(v, u)?
                } else {
                    let a = self.reg(v, u)?;
                    let d = match self.regs.homes.get(&k).and_then(|h| h.reg) {
                        Some(d) => d,
                        None => self.fresh()?,
                    };
                    self.vm.op(Op::Move { d, a });
                    d
                };
                self.own(k, d);
                // What the frame holds is old.
                if let Some(h) = self.regs.homes.get_mut(&k) {
                    self.regs.free_slots.extend(h.slot.take());
                }
            }
            self.unlock();
        }
        Some(())
    }

    // Loops

    /// Most values of a body that live at once, for one vector.
    pub(super) fn pressure(&self, body: &[Inst]) -> usize {
        let mut last: BTreeMap<u32, usize> = BTreeMap::new();
        for (at, i) in body.iter().enumerate() {
            let mut all = BTreeMap::new();
            count_uses(self.l, std::slice::from_ref(i), 1, &mut all);
            for no in all.into_keys() {
                last.insert(no, at);
            }
        }
        let (mut live, mut most) = (0usize, 0usize);
        let mut ends = vec![0usize; body.len()];
        for (at, i) in body.iter().enumerate() {
            if let Inst::Loop(_, inner) = i {
                most = most.max(live + self.pressure(inner));
            }
            if let Inst::Define(v) = i
                && !matches!(self.l.values[*v as usize], Value::Var(_) | Value::Bits(_))
                && let Some(end) = last.get(v)
            {
                live += 1;
                ends[*end] += 1;
                most = most.max(live);
            }
            live = live.saturating_sub(ends[at]);
        }
        most
    }
    /// Before a loop: what it changes or reads often stays in registers, the rest waits in the frame. `side`: vectors
    /// worked on side by side. Returns what it pinned.
    pub(super) fn enter(&mut self, body: &[Inst], side: usize) -> Option<Inside> {
        let mut uses = BTreeMap::new();
        count_uses(self.l, body, 1, &mut uses);
        let mut set = BTreeSet::new();
        sets(self.l, body, &mut set);
        // Constants have no home until they are wanted.
        for no in uses.keys() {
            if self.bits(*no).is_some() {
                self.regs.homes.entry((*no, 0)).or_default().outer = true;
            }
        }
        let mut wanted: Vec<(i64, Key)> = vec![];
        for (k, h) in &self.regs.homes {
            if h.fixed || h.reg.is_some_and(|r| self.regs.pinned.contains(&r)) {
                continue;
            }
            let constant = self.bits(k.0).is_some();
            let used = uses.get(&k.0).copied().unwrap_or(0);
            let score = match set.contains(&k.0) {
                true => i64::MAX,
                false if constant => used,
                false => used.saturating_mul(2),
            };
            if score > 0 {
                wanted.push((score, *k));
            }
        }
        wanted.sort_by_key(|(s, k)| (std::cmp::Reverse(*s), *k));
        let reserve = (self.pressure(body) * side + 2).max(LEAST);
        let changed = wanted.iter().filter(|(_, k)| set.contains(&k.0)).count();
        let free = self.vm.isa.vregs.saturating_sub(self.regs.pinned.len());
        let room = free
            .saturating_sub(reserve)
            .max(free.saturating_sub(LEAST).min(changed));
        let mut inside = Inside::default();
        let chosen: Vec<Key> = wanted.iter().take(room).map(|(_, k)| *k).collect();
        // First everybody else goes, so that there is room.
        let others: Vec<Key> = self
            .regs
            .owner
            .iter()
            .filter(|(r, k)| !self.regs.pinned.contains(r) && !chosen.contains(k))
            .map(|(_, k)| *k)
            .collect();
        for k in others {
            self.save(k)?;
            self.drop_reg(k);
        }
        for k in chosen {
            let r = self.reg_of(k)?;
            self.regs.pinned.insert(r);
            inside.pinned.push(k);
            if let Some(h) = self.regs.homes.get_mut(&k)
                && set.contains(&k.0)
            {
                self.regs.free_slots.extend(h.slot.take());
            }
        }
        for (_, k) in wanted.iter().skip(room) {
            if let Some(h) = self.regs.homes.get_mut(k)
                && set.contains(&k.0)
            {
                h.fixed = true;
                inside.fixed.push(*k);
            }
        }
        Some(inside)
    }
    /// After a loop.
    pub(super) fn leave(&mut self, inside: Inside) {
        for k in inside.pinned {
            if let Some(r) = self.regs.homes.get(&k).and_then(|h| h.reg) {
                self.regs.pinned.remove(&r);
            }
        }
        for k in inside.fixed {
            if let Some(h) = self.regs.homes.get_mut(&k) {
                h.fixed = false;
            }
        }
    }
}
