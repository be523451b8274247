//! Running register code.
//!
//! Every access to memory is checked against its buffer here; what code generation would leave unchecked is reported
//! as a fault with the names of function and buffer.

use super::alu::{Op, alu};
use super::code::Program;
use super::memory::{Place, read, write};
use super::{Env, Stop};
use crate::base::dim::SymId;
use crate::loops::ir::{Access, Callee};
use std::sync::Arc;

/// Calls may nest this deep; a contract's reference that calls itself ends here.
const MAX_DEPTH: usize = 16;

/// A buffer during a run.
#[derive(Clone, Copy)]
struct Slot {
    region: usize,
    base: usize,
    /// Elements that may be touched.
    len: u64,
    /// Bytes of an element.
    size: usize,
}

/// What all functions of a run share.
pub(super) struct Run<'r, 'm, 'e> {
    pub regions: &'r mut [&'m mut [u8]],
    pub syms: &'r mut Vec<i64>,
    pub env: &'r Env<'e>,
    /// Rounds of loops that are left.
    pub budget: u64,
    /// References compiled so far.
    pub cache: Vec<(Callee, Arc<Program>)>,
}

impl Run<'_, '_, '_> {
    /// Runs `p` over buffers that lie at `places`.
    pub fn call(
        &mut self,
        p: &Program,
        places: &[Place],
        ints: &[i64],
        depth: usize,
    ) -> Result<(), Stop> {
        let fault = |what: String| Stop::Fault(format!("{}: {what}", p.name));
        if places.len() != p.bufs.len() || ints.len() != p.ints.len() {
            return Err(fault(format!(
                "called with {} buffers and {} numbers, takes {} and {}",
                places.len(),
                ints.len(),
                p.bufs.len(),
                p.ints.len()
            )));
        }
        if depth > MAX_DEPTH {
            return Err(fault("calls nest too deeply".into()));
        }
        let slots: Vec<Slot> = places
            .iter()
            .zip(&p.bufs)
            .map(|(place, b)| {
                let there = (place.bytes / b.size.max(1)) as u64;
                let declared = b.len.as_ref().map(|d| d.eval(self.syms).max(0) as u64);
                Slot {
                    region: place.region,
                    base: place.offset,
                    len: there.min(declared.unwrap_or(u64::MAX)),
                    size: b.size,
                }
            })
            .collect();
        let mut regs = vec![0u64; p.regs];
        for &(r, v) in &p.consts {
            regs[r as usize] = v;
        }
        for (&r, &v) in p.ints.iter().zip(ints) {
            regs[r as usize] = v as u64;
        }
        self.steps(p, &slots, places, &mut regs, depth)
    }

    fn steps(
        &mut self,
        p: &Program,
        slots: &[Slot],
        places: &[Place],
        regs: &mut [u64],
        depth: usize,
    ) -> Result<(), Stop> {
        let code = p.code.as_slice();
        let mut pc = 0usize;
        while let Some(&i) = code.get(pc) {
            pc += 1;
            let (d, a, b, c) = (i.d as usize, i.a as usize, i.b as usize, i.c as usize);
            match i.op {
                Op::Halt => return Ok(()),
                Op::Jump => {
                    if d < pc {
                        self.round(p)?;
                    }
                    pc = d;
                }
                Op::JumpIfNot => {
                    if regs[a] == 0 {
                        pc = d;
                    }
                }
                Op::LoopStart => {
                    regs[d] = 0;
                    if regs[a] as i64 <= 0 {
                        pc = b;
                    }
                }
                Op::LoopNext => {
                    let next = regs[d] as i64 + 1;
                    regs[d] = next as u64;
                    if next < regs[a] as i64 {
                        self.round(p)?;
                        pc = b;
                    }
                }
                Op::FailIf => {
                    if regs[a] != 0 {
                        return Err(Stop::Status(i.b as i32));
                    }
                }
                Op::Sym => match self.syms.get(a) {
                    Some(&v) => regs[d] = v as u64,
                    None => return Err(self.no_symbol(p, a)),
                },
                Op::SetSym => self.set_sym(SymId(i.b), regs[a] as i64)?,
                Op::Call => self.call_site(p, a, places, regs, depth)?,
                Op::LoadBool
                | Op::Load8
                | Op::Load8S
                | Op::Load16
                | Op::Load16S
                | Op::Load32
                | Op::Load64
                | Op::LoadF16
                | Op::LoadBf16 => {
                    let s = &slots[b];
                    let at = regs[a];
                    let v = if at < s.len {
                        read(i.op, self.regions[s.region], s.base + at as usize * s.size)
                    } else {
                        None
                    };
                    match v {
                        Some(v) => regs[d] = v,
                        None => return Err(out_of_range(p, "read", b, at, s.len)),
                    }
                }
                Op::Store8
                | Op::Store16
                | Op::Store32
                | Op::Store64
                | Op::StoreF16
                | Op::StoreBf16
                | Op::StoreU4
                | Op::StoreI4
                | Op::StoreU2
                | Op::StoreI2 => {
                    let s = &slots[b];
                    let at = regs[a];
                    let done = if at < s.len {
                        let to = s.base + at as usize * s.size;
                        write(i.op, self.regions[s.region], to, regs[c])
                    } else {
                        None
                    };
                    if done.is_none() {
                        return Err(out_of_range(p, "write", b, at, s.len));
                    }
                }
                op => {
                    // Fields that an operation does not use are 0: always a register.
                    regs[d] = alu(op, regs[a], regs[b], regs[c]);
                }
            }
        }
        Ok(())
    }

    #[inline(always)]
    fn round(&mut self, p: &Program) -> Result<(), Stop> {
        self.budget -= 1;
        if self.budget == 0 {
            return Err(Stop::Fault(format!("{}: ran out of steps", p.name)));
        }
        Ok(())
    }
    #[cold]
    fn no_symbol(&self, p: &Program, sym: usize) -> Stop {
        Stop::Fault(format!("{}: symbol s{sym} has no value", p.name))
    }
    fn set_sym(&mut self, sym: SymId, value: i64) -> Result<(), Stop> {
        if let Some(s) = self.env.symbols.get(sym)
            && !(s.lo..=s.hi).contains(&value)
        {
            return Err(Stop::Size { sym, value });
        }
        let at = sym.0 as usize;
        if at >= self.syms.len() {
            self.syms.resize(at + 1, 0);
        }
        self.syms[at] = value;
        Ok(())
    }
    fn call_site(
        &mut self,
        p: &Program,
        site: usize,
        places: &[Place],
        regs: &[u64],
        depth: usize,
    ) -> Result<(), Stop> {
        let site = &p.calls[site];
        let callee = self.reference(p, site.callee)?;
        let mut to = Vec::with_capacity(site.ptrs.len());
        for (n, &(buf, offset)) in site.ptrs.iter().enumerate() {
            let (place, b) = (places[buf as usize], &p.bufs[buf as usize]);
            let at = regs[offset as usize];
            let bytes = at.checked_mul(b.size as u64);
            let Some(bytes) = bytes.filter(|o| *o <= place.bytes as u64) else {
                let len = (place.bytes / b.size.max(1)) as u64;
                return Err(out_of_range(p, "call at", buf as usize, at, len));
            };
            if b.access == Access::Read
                && callee.bufs.get(n).is_some_and(|c| c.access != Access::Read)
            {
                return Err(Stop::Fault(format!(
                    "{}: {} writes to buffer {}, which is only read",
                    p.name, callee.name, b.name
                )));
            }
            to.push(Place {
                offset: place.offset + bytes as usize,
                bytes: place.bytes - bytes as usize,
                ..place
            });
        }
        let ints: Vec<i64> = site.ints.iter().map(|r| regs[*r as usize] as i64).collect();
        self.call(&callee, &to, &ints, depth + 1)
    }
    fn reference(&mut self, p: &Program, callee: usize) -> Result<Arc<Program>, Stop> {
        let callee = &p.callees[callee];
        if let Some((_, found)) = self.cache.iter().find(|(c, _)| c == callee) {
            return Ok(found.clone());
        }
        let func = self.env.callees.reference(callee).ok_or_else(|| {
            Stop::Fault(format!(
                "{}: contract {} of callee {} has no reference",
                p.name, callee.contract, callee.kernel
            ))
        })?;
        let program = Program::new(&func)
            .map_err(|e| Stop::Fault(format!("{}: {e}", func.name)))
            .map(Arc::new)?;
        self.cache.push((callee.clone(), program.clone()));
        Ok(program)
    }
}

#[cold]
fn out_of_range(p: &Program, what: &str, buf: usize, at: u64, len: u64) -> Stop {
    Stop::Fault(format!(
        "{}: {what} element {} of buffer {}, which has {len}",
        p.name, at as i64, p.bufs[buf].name
    ))
}
