//! Addresses, counts and jumps, as they are written down.

use super::*;

impl Machine<'_> {
    /// Does an operation on addresses or a jump; where to, if it jumps.
    pub(super) fn address_step(&mut self, op: &Op) -> Result<Option<Label>> {
        let jump = |holds: bool, to: Label| Ok(holds.then_some(to));
        match *op {
            Op::Arg { d, n } => {
                let value = *self.arg(n)?;
                self.set_x(d, value)
            }
            Op::SetArg { n, s } => {
                *self.arg(n)? = self.x(s)?;
                Ok(None)
            }
            Op::SetX { d, value } => self.set_x(d, value),
            Op::MoveX { d, a } => self.set_x(d, self.x(a)?),
            Op::AddX { d, a, b, shift } if shift < 4 => {
                let b = self.x(b)?.wrapping_shl(shift.into());
                self.set_x(d, self.x(a)?.wrapping_add(b))
            }
            Op::AddX { shift, .. } => wrong(format!("a shift by {shift}")),
            Op::SubX { d, a, b } => self.set_x(d, self.x(a)?.wrapping_sub(self.x(b)?)),
            Op::AddI { d, a, by } => self.set_x(d, self.x(a)?.wrapping_add(by.into())),
            Op::ShlX { by: 64.., .. } => wrong("a shift by more than 63"),
            Op::ShlX { d, a, by } => self.set_x(d, self.x(a)? << by),
            Op::ShrX { by: 64.., .. } => wrong("a shift by more than 63"),
            Op::ShrX { d, a, by } => self.set_x(d, (self.x(a)? as u64 >> by) as i64),
            Op::AndX { d, a, mask } => self.set_x(d, i64::from(self.x(a)? as u32 & mask as u32)),
            Op::MulX { d, a, b } => self.set_x(d, self.x(a)?.wrapping_mul(self.x(b)?)),
            Op::LoadX { d, ref at } => {
                let value = i64::from_le_bytes(self.bytes(at, 0)?);
                self.set_x(d, value)
            }
            Op::LoadSmallX { d, ref at, bytes } => {
                let value = match bytes {
                    1 => u32::from(self.bytes::<1>(at, 0)?[0]),
                    2 => u32::from(u16::from_le_bytes(self.bytes(at, 0)?)),
                    _ => u32::from_le_bytes(self.bytes(at, 0)?),
                };
                self.set_x(d, value.into())
            }
            Op::Jump { to } => jump(true, to),
            Op::Branch { x, cond, with, to } => jump(holds(cond, self.x(x)?, with.into()), to),
            Op::BranchX { a, cond, b, to } => jump(holds(cond, self.x(a)?, self.x(b)?), to),
            Op::Count { x, by, to } => {
                let (old, by) = (self.x(x)?, i64::from(by));
                self.set_x(x, old.wrapping_sub(by))?;
                // As if numbers had no end.
                jump(old > by, to)
            }
            // A label, or what was done before.
            _ => Ok(None),
        }
    }
}
